/* SOURCES: vmm/io/io_space.c */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/fakes.h"
#include "vmm/io/io_space.h"

static struct io_space space;
static struct spinlock lock;

/* A device that notes the last access. */
struct probe {
	uint64_t offset;
	unsigned size;
	uint64_t value;
	unsigned reads;
	unsigned writes;
	bool locked;
};

static uint64_t probe_read(void *dev, uint64_t offset, unsigned size)
{
	struct probe *probe = dev;

	probe->offset = offset;
	probe->size = size;
	probe->reads++;
	probe->locked = lock.held;
	return 0x1122334455667788;
}

static void probe_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct probe *probe = dev;

	probe->offset = offset;
	probe->size = size;
	probe->value = value;
	probe->writes++;
	probe->locked = lock.held;
}

static const struct io_ops ops = { .read = probe_read, .write = probe_write };

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&space, 0, sizeof(space));
	lock.held = 0;
	return 0;
}

static void test_dispatch(void **state)
{
	struct probe a = { 0 }, b = { 0 }, c = { 0 };

	(void)state;
	/* Not in order. */
	assert_int_equal(io_space_add(&space, 0x100, 8, &ops, &b, &lock), 0);
	assert_int_equal(io_space_add(&space, 0x20, 2, &ops, &a, NULL), 0);
	assert_int_equal(io_space_add(&space, 0x108, 4, &ops, &c, NULL), 0);
	assert_int_equal(space.count, 3);
	assert_true(space.range[0].base < space.range[1].base && space.range[1].base < space.range[2].base);

	assert_int_equal(io_space_read(&space, 0x21, 1), 0x1122334455667788);
	assert_int_equal(a.offset, 1);
	assert_false(a.locked);
	io_space_write(&space, 0x104, 4, 0xabcdef);
	assert_int_equal(b.offset, 4);
	assert_int_equal(b.size, 4);
	assert_int_equal(b.value, 0xabcdef);
	assert_true(b.locked);
	assert_int_equal(lock.held, 0);
	io_space_read(&space, 0x100, 8);
	assert_true(b.locked);
	assert_int_equal(lock.held, 0);
	io_space_write(&space, 0x108, 1, 1);
	assert_int_equal(c.writes, 1);
	assert_int_equal(c.offset, 0);
}

static void test_unclaimed(void **state)
{
	struct probe a = { 0 };

	(void)state;
	assert_true(io_space_read(&space, 0, 1) == UINT64_MAX);
	io_space_write(&space, 0, 1, 0);
	assert_int_equal(io_space_add(&space, 0x20, 2, &ops, &a, NULL), 0);
	/* Before, and behind. */
	assert_true(io_space_read(&space, 0x1f, 1) == UINT64_MAX);
	assert_true(io_space_read(&space, 0x1e, 2) == UINT64_MAX);
	assert_true(io_space_read(&space, 0x22, 1) == UINT64_MAX);
	assert_true(io_space_read(&space, UINT64_MAX - 7, 8) == UINT64_MAX);
	io_space_write(&space, 0x22, 1, 0);
	io_space_write(&space, UINT64_MAX - 3, 8, 0);
	assert_int_equal(a.reads + a.writes, 0);
}

/* Devices that write down the accesses they get, as "offset/size=value". */
static char trace[512];

static uint64_t trace_read(void *dev, uint64_t offset, unsigned size)
{
	unsigned at = (unsigned)strlen(trace);

	snprintf(trace + at, sizeof(trace) - at, " %s%u/%u", (const char *)dev, (unsigned)offset, size);
	assert_int_equal(lock.held, *(const char *)dev == 'b');
	return 0xfffffffffffff000 | (uint64_t)*(const char *)dev << 4 | offset; /* bits above `size` are to be ignored */
}

static void trace_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned at = (unsigned)strlen(trace);

	snprintf(trace + at, sizeof(trace) - at, " %s%u/%u=%llx", (const char *)dev, (unsigned)offset, size, (unsigned long long)value);
}

static void test_parts(void **state)
{
	static const struct io_ops bytes = { .read = trace_read, .write = trace_write, .widest = 1 };
	static const struct io_ops words = { .read = trace_read, .write = trace_write, .widest = 2 };
	static const struct io_ops any = { .read = trace_read, .write = trace_write };
	static const struct {
		uint64_t addr;
		unsigned size;
		uint64_t value; /* read; written is 0x8877665544332211 */
		const char *reads, *writes;
	} cases[] = {
		{ 0x20, 2, 0x2120, " b0/1 b1/1", " b0/1=11 b1/1=22" },
		{ 0x20, 4, 0x23222120, " b0/1 b1/1 b2/1 b3/1", " b0/1=11 b1/1=22 b2/1=33 b3/1=44" },
		{ 0x1f, 2, 0x20ff, " b0/1", " b0/1=22" },
		{ 0x22, 4, 0xf7702322, " b2/1 b3/1 w0/2", " b2/1=11 b3/1=22 w0/2=4433" },
		{ 0x24, 4, 0xf772f770, " w0/2 w2/2", " w0/2=2211 w2/2=4433" },
		{ 0x25, 2, 0xf771, " w1/2", " w1/2=2211" },
		{ 0x27, 2, 0xff73, " w3/1", " w3/1=11" },
		{ 0x26, 8, 0xfffffffffffff772, " w2/2", " w2/2=2211" },
		{ 0x40, 8, 0xfffffffffffff610, " a0/8", " a0/8=8877665544332211" },
		{ 0x44, 8, 0xfffffffffffff614, " a4/4", " a4/4=44332211" },
		{ 0x3e, 4, 0xf610ffff, " a0/2", " a0/2=4433" },
		{ 0x60, 8, UINT64_MAX, "", "" },
	};

	(void)state;
	assert_int_equal(io_space_add(&space, 0x20, 4, &bytes, "b", &lock), 0);
	assert_int_equal(io_space_add(&space, 0x24, 4, &words, "w", NULL), 0);
	assert_int_equal(io_space_add(&space, 0x40, 8, &any, "a", NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t mask = UINT64_MAX >> (64 - 8 * cases[i].size);
		uint64_t value;

		trace[0] = 0;
		value = io_space_read(&space, cases[i].addr, cases[i].size);
		assert_string_equal(trace, cases[i].reads);
		if ((value & mask) != cases[i].value)
			fail_msg("%u: %llx", i, (unsigned long long)value);
		trace[0] = 0;
		io_space_write(&space, cases[i].addr, cases[i].size, 0x8877665544332211 & mask);
		assert_string_equal(trace, cases[i].writes);
		assert_int_equal(lock.held, 0);
	}
}

static void test_refused_ranges(void **state)
{
	struct probe a = { 0 };

	(void)state;
	assert_int_equal(io_space_add(&space, 0x100, 0, &ops, &a, NULL), ERR_INVALID);
	assert_int_equal(io_space_add(&space, UINT64_MAX - 3, 8, &ops, &a, NULL), ERR_INVALID);
	assert_int_equal(io_space_add(&space, 0x100, 0x10, &ops, &a, NULL), 0);
	assert_int_equal(io_space_add(&space, 0x100, 0x10, &ops, &a, NULL), ERR_BUSY);
	assert_int_equal(io_space_add(&space, 0x10f, 1, &ops, &a, NULL), ERR_BUSY);
	assert_int_equal(io_space_add(&space, 0xff, 2, &ops, &a, NULL), ERR_BUSY);
	assert_int_equal(io_space_add(&space, 0x80, 0x200, &ops, &a, NULL), ERR_BUSY);
	assert_int_equal(io_space_add(&space, 0xf0, 0x10, &ops, &a, NULL), 0);
	assert_int_equal(io_space_add(&space, 0x110, 1, &ops, &a, NULL), 0);
	assert_int_equal(space.count, 3);
}

static void test_full_table(void **state)
{
	struct probe device[IO_SPACE_MAX] = { 0 };

	(void)state;
	for (unsigned i = 0; i < IO_SPACE_MAX; i++) {
		/* Scattered order: 7 and the table's size share no factor. */
		unsigned slot = i * 7 % IO_SPACE_MAX;

		assert_int_equal(io_space_add(&space, 0x1000 + slot * 16, 8, &ops, &device[slot], NULL), 0);
	}
	assert_int_equal(io_space_add(&space, 0x10, 1, &ops, &device[0], NULL), ERR_NOMEM);
	for (unsigned i = 0; i < IO_SPACE_MAX; i++) {
		io_space_write(&space, 0x1000 + i * 16 + 7, 1, i);
		io_space_write(&space, 0x1000 + i * 16 + 8, 1, 99);
		assert_int_equal(device[i].writes, 1);
		assert_int_equal(device[i].value, i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_dispatch, setup),
		cmocka_unit_test_setup(test_unclaimed, setup),
		cmocka_unit_test_setup(test_parts, setup),
		cmocka_unit_test_setup(test_refused_ranges, setup),
		cmocka_unit_test_setup(test_full_table, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

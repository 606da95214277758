/* SOURCES: mm/frames.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "mm/frames.h"
#include "tests/unit/fakes.h"

static struct frames frames;

static int setup(void **state)
{
	(void)state;
	fake_reset();
	frames_init(&frames);
	return 0;
}

/* What must hold always: sorted, apart, whole pages, never frame 0, and the sum is right. */
static void check(void)
{
	uint64_t sum = 0, last = 0;

	for (unsigned i = 0; i < frames.count; i++) {
		assert_true(frames.extent[i].base > last);
		assert_int_not_equal(frames.extent[i].size, 0);
		assert_int_equal((frames.extent[i].base | frames.extent[i].size) & 4095, 0);
		last = frames.extent[i].base + frames.extent[i].size;
		sum += frames.extent[i].size;
	}
	assert_int_equal(sum, frames_free_bytes(&frames));
}

static void test_add_clips_and_merges(void **state)
{
	(void)state;
	assert_int_equal(frames_add(&frames, 0, 0x3000), 0);
	assert_int_equal(frames_free_bytes(&frames), 0x2000); /* frame 0 stays out */
	assert_int_equal(frames_add(&frames, 0x10001, 0x2fff), 0);
	assert_int_equal(frames.extent[1].base, 0x11000);
	assert_int_equal(frames.extent[1].size, 0x2000);
	assert_int_equal(frames_add(&frames, 0x12800, 0x700), 0); /* nothing whole in it */
	assert_int_equal(frames.count, 2);
	assert_int_equal(frames_add(&frames, 0x3000, 0xe000), 0); /* fills the gap exactly */
	assert_int_equal(frames.count, 1);
	assert_int_equal(frames_free_bytes(&frames), 0x12000);
	assert_int_equal(frames_add(&frames, 0x1000, 0x100000), 0); /* overlaps all */
	assert_int_equal(frames_free_bytes(&frames), 0x100000);
	check();
	assert_int_equal(frames_add(&frames, UINT64_MAX - 0x1000, 0x2000), ERR_INVALID);
	assert_int_equal(frames_add(&frames, 1ULL << 52, 0x2000), ERR_INVALID);
	check();
}

static void test_reserve(void **state)
{
	(void)state;
	frames_add(&frames, 0x100000, 0x100000);
	frames_reserve(&frames, 0x110fff, 2); /* touches two pages */
	assert_int_equal(frames_free_bytes(&frames), 0xfe000);
	assert_int_equal(frames.count, 2);
	frames_reserve(&frames, 0x110000, 0x2000); /* again: nothing more */
	assert_int_equal(frames_free_bytes(&frames), 0xfe000);
	frames_reserve(&frames, 0, 0);
	assert_int_equal(frames_free_bytes(&frames), 0xfe000);
	frames_reserve(&frames, 0x1f0000, UINT64_MAX); /* wraps: to the end */
	assert_int_equal(frames_free_bytes(&frames), 0xee000);
	frames_reserve(&frames, 0, UINT64_MAX);
	assert_int_equal(frames.count, 0);
	check();
}

static void test_alloc_places(void **state)
{
	uint64_t a;

	(void)state;
	frames_add(&frames, 0x1000, 0x9e000);          /* low memory */
	frames_add(&frames, MIB(1), GIB(3) - MIB(1) - 0x10000);
	assert_int_equal(frames_largest(&frames, GIB(1)), GIB(2) - 0x10000);
	/* Small ones come from the odd end, not from the whole GiB, and not from low memory. */
	a = frames_alloc(&frames, 1, 1, 0);
	assert_int_equal(a, GIB(3) - 0x11000);
	assert_int_equal(frames_alloc(&frames, 4096, 4096, 0), GIB(3) - 0x12000);
	assert_int_equal(frames_alloc(&frames, MIB(2), MIB(2), 0), GIB(3) - MIB(4));
	/* One that needs to end below a limit. */
	a = frames_alloc(&frames, 8192, 8192, MIB(16));
	assert_true(a && a + 8192 <= MIB(16) && a % 8192 == 0);
	assert_true(a < MIB(2)); /* from the odd piece before the first whole 2 MiB */
	a = frames_alloc(&frames, 4096, 4096, MIB(1));
	assert_int_equal(a, 0x9e000);
	assert_int_equal(frames_alloc(&frames, 4096, 4096, 4096), 0);
	/* The GiB piece is still whole. */
	assert_int_equal(frames_alloc(&frames, GIB(1), GIB(1), 0), GIB(1));
	assert_int_equal(frames_alloc(&frames, GIB(1), GIB(1), 0), 0);
	/* A big one, unaligned to GiB, still finds room. */
	assert_int_not_equal(frames_alloc(&frames, MIB(900), MIB(2), 0), 0);
	assert_int_equal(frames_alloc(&frames, 0, 4096, 0), 0);
	assert_int_equal(frames_alloc(&frames, 4096, 3, 0), 0);
	assert_int_equal(frames_alloc(&frames, UINT64_MAX, 4096, 0), 0);
	assert_int_equal(frames_alloc(&frames, 4096, 1ULL << 63, 0), 0);
	check();
}

/* The first page above 1 MiB is no low memory: it is taken before anything that breaks a whole 2 MiB. */
static void test_first_mib(void **state)
{
	(void)state;
	frames_add(&frames, MIB(1) - 0x1000, 0x2000);
	frames_add(&frames, MIB(2), MIB(2));
	assert_int_equal(frames_alloc(&frames, 4096, 4096, 0), MIB(1));
	assert_int_equal(frames_alloc(&frames, 4096, 4096, 0), MIB(4) - 0x1000);
}

static void test_free_checks(void **state)
{
	uint64_t a;

	(void)state;
	frames_add(&frames, MIB(1), MIB(4));
	a = frames_alloc(&frames, 0x3000, 0x1000, 0);
	assert_int_equal(frames_free(&frames, a + 1, 0x1000), ERR_INVALID);
	assert_int_equal(frames_free(&frames, a - 0x1000, 0x2000), ERR_INVALID);
	assert_int_equal(frames_free(&frames, 0, 0x1000), ERR_INVALID);
	assert_int_equal(frames_free(&frames, a, UINT64_MAX), ERR_INVALID);
	assert_int_equal(frames_free(&frames, a, 0x2800), 0);
	assert_int_equal(frames_free(&frames, a, 0x3000), ERR_INVALID); /* twice */
	assert_non_null(strstr(fake.log, "bad free"));
	assert_int_equal(frames_free_bytes(&frames), MIB(4));
	assert_int_equal(frames.count, 1);
	check();
}

static void test_guest_one_gib(void **state)
{
	struct frame_piece piece[8];
	unsigned count;

	(void)state;
	frames_add(&frames, MIB(1), GIB(3) - MIB(1) - 0x10000);
	assert_int_equal(frames_alloc_guest(&frames, GIB(1), piece, 8, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(piece[0].base, GIB(1));
	assert_int_equal(piece[0].size, GIB(1));
	/* The next has no whole GiB left. */
	assert_int_equal(frames_alloc_guest(&frames, GIB(1) + MIB(200) + 0x3000, piece, 8, &count), 0);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(piece[i].base % (piece[i].size >= MIB(2) ? MIB(2) : 4096), 0);
	assert_int_equal(piece[count - 1].size, 0x3000);
	check();
}

static void test_guest_several_gib(void **state)
{
	struct frame_piece piece[8];
	unsigned count;

	(void)state;
	frames_add(&frames, MIB(1), GIB(3) - MIB(1));
	frames_add(&frames, GIB(4), GIB(2) + MIB(64));
	assert_int_equal(frames_alloc_guest(&frames, GIB(3) + MIB(512), piece, 8, &count), 0);
	assert_int_equal(count, 3);
	assert_int_equal(piece[0].size, GIB(2)); /* two GiB side by side are one piece */
	assert_int_equal(piece[0].base % GIB(1), 0);
	assert_int_equal(piece[1].size, GIB(1));
	assert_int_equal(piece[1].base % GIB(1), 0);
	assert_int_equal(piece[2].size, MIB(512));
	assert_int_equal(piece[2].base % MIB(2), 0);
	/* The small end took the GiB that was not whole any more. */
	assert_int_equal(piece[2].base / GIB(1), 0);
	check();
}

static void test_guest_fails_whole(void **state)
{
	struct frame_piece piece[4];
	struct frames before;
	unsigned count = 7;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		frames_add(&frames, MIB(4) * (i + 1), MIB(2) + 0x1000);
	before = frames;
	assert_int_equal(frames_alloc_guest(&frames, MIB(100), piece, 4, &count), ERR_NOMEM);
	assert_int_equal(count, 0);
	assert_int_equal(frames_alloc_guest(&frames, MIB(10), piece, 4, &count), ERR_NOMEM); /* five pieces */
	assert_memory_equal(&before, &frames, sizeof(frames));
	assert_int_equal(frames_alloc_guest(&frames, MIB(8), piece, 4, &count), 0);
	assert_int_equal(count, 4);
	assert_int_equal(frames_alloc_guest(&frames, 0, piece, 4, &count), ERR_INVALID);
	assert_int_equal(frames_alloc_guest(&frames, 0x1001, piece, 4, &count), ERR_INVALID);
	check();
}

static void test_full_table(void **state)
{
	(void)state;
	for (unsigned i = 0; i < FRAMES_EXTENTS_MAX; i++)
		assert_int_equal(frames_add(&frames, MIB(2) + i * 0x8000ULL, 0x4000), 0);
	assert_int_equal(frames_add(&frames, GIB(1), 0x4000), ERR_NOMEM);
	check();
	/* A reservation in the middle of an extent keeps the larger part only; it never leaves reserved memory free. */
	frames_reserve(&frames, MIB(2) + 0x1000, 0x1000);
	assert_int_equal(frames.extent[0].base, MIB(2) + 0x2000);
	assert_int_equal(frames.extent[0].size, 0x2000);
	frames_reserve(&frames, MIB(2) + 0x8000 + 0x2000, 0x1000);
	assert_int_equal(frames.extent[1].base, MIB(2) + 0x8000);
	assert_int_equal(frames.extent[1].size, 0x2000);
	check();
	/* An allocation that would need another entry does not happen; one at an edge does, and nothing is lost. */
	assert_int_equal(frames_alloc(&frames, 0x1000, 0x1000, MIB(2) + 0x13000), MIB(2) + 0x10000);
	assert_int_equal(frames_free_bytes(&frames), FRAMES_EXTENTS_MAX * 0x4000 - 0x4000 - 0x1000);
	check();
	assert_int_not_equal(frames_alloc(&frames, 0x1000, 0x1000, 0), 0);
	assert_int_equal(frames.count, FRAMES_EXTENTS_MAX);
	assert_int_equal(frames_free(&frames, GIB(2), 0x1000), ERR_NOMEM);
	check();
}

/* Random histories against one byte a page. */
#define MODEL_PAGES 4096

/* A machine of 12 TiB in four nodes with holes and reserved ranges: the table has room, and pieces are as large as the memory allows. */
static void test_large_machine(void **state)
{
	struct frame_piece piece[8];
	unsigned count;

	(void)state;
	frames_init(&frames);
	frames_add(&frames, 0x1000, 0x9e000);
	frames_add(&frames, MIB(1), GIB(2) - MIB(1));
	for (uint64_t node = 0; node < 4; node++)
		frames_add(&frames, GIB(4) + node * GIB(4096), GIB(3072));
	for (uint64_t i = 0; i < 100; i++)
		frames_reserve(&frames, GIB(5) + i * GIB(100), i % 2 ? 0x3000 : MIB(300));
	check();
	assert_true(frames.count < 150);
	assert_in_range(frames_free_bytes(&frames), GIB(4 * 3072) - GIB(20), GIB(4 * 3072) + GIB(2));
	assert_int_equal(frames_alloc_guest(&frames, GIB(64), piece, 8, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(piece[0].base % GIB(1), 0);
	assert_int_equal(frames_alloc_guest(&frames, GIB(6000), piece, 8, &count), ERR_NOMEM); /* more pieces than there is room for */
	assert_int_equal(frames_alloc(&frames, MIB(32), MIB(2), GIB(4)) % MIB(2), 0);
	check();
}

static void test_random(void **state)
{
	static uint8_t model[MODEL_PAGES]; /* 1: free */
	static struct { uint64_t base, size; } held[256];
	unsigned holds = 0;

	(void)state;
	memset(model, 0, sizeof(model));
	srandom(1);
	for (unsigned step = 0; step < 20000; step++) {
		uint64_t page = (uint64_t)random() % MODEL_PAGES, n = 1 + (uint64_t)random() % 64, free_pages = 0;
		uint64_t align = 4096ULL << random() % 6, below = random() % 2 ? 0 : page * 4096, got;

		n = MIN(n, MODEL_PAGES - page);
		switch (step < 20 ? 0 : random() % 8) {
		case 0: /* hand over memory that nobody holds */
			for (unsigned i = 0; i < holds; i++)
				if (page * 4096 < held[i].base + held[i].size && held[i].base < (page + n) * 4096)
					n = 0;
			frames_add(&frames, page * 4096, n * 4096);
			memset(model + page, 1, n);
			model[0] = 0;
			break;
		case 1:
			if (random() % 20)
				break;
			frames_reserve(&frames, page * 4096, n * 4096);
			memset(model + page, 0, n);
			break;
		case 2: case 3: case 4:
			got = frames_alloc(&frames, n * 4096, align, below);
			if (!got) { /* then no place may exist */
				for (uint64_t at = 0; at + n * 4096 <= (below ? below : MODEL_PAGES * 4096ULL); at += align)
					assert_non_null(memchr(model + at / 4096, 0, n));
				break;
			}
			assert_int_equal(got % align, 0);
			assert_true(!below || got + n * 4096 <= below);
			assert_null(memchr(model + got / 4096, 0, n));
			memset(model + got / 4096, 0, n);
			if (holds < ARRAY_SIZE(held)) {
				held[holds].base = got;
				held[holds++].size = n * 4096;
			}
			break;
		default:
			if (!holds)
				break;
			page = (uint64_t)random() % holds;
			assert_int_equal(frames_free(&frames, held[page].base, held[page].size), 0);
			memset(model + held[page].base / 4096, 1, held[page].size / 4096);
			held[page] = held[--holds];
		}
		check();
		for (unsigned i = 0; i < MODEL_PAGES; i++)
			free_pages += model[i];
		assert_int_equal(free_pages * 4096, frames_free_bytes(&frames));
	}
	for (unsigned i = 0; i < frames.count; i++)
		assert_null(memchr(model + frames.extent[i].base / 4096, 0, frames.extent[i].size / 4096));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_add_clips_and_merges, setup),
		cmocka_unit_test_setup(test_reserve, setup),
		cmocka_unit_test_setup(test_alloc_places, setup),
		cmocka_unit_test_setup(test_first_mib, setup),
		cmocka_unit_test_setup(test_free_checks, setup),
		cmocka_unit_test_setup(test_guest_one_gib, setup),
		cmocka_unit_test_setup(test_guest_several_gib, setup),
		cmocka_unit_test_setup(test_guest_fails_whole, setup),
		cmocka_unit_test_setup(test_full_table, setup),
		cmocka_unit_test_setup(test_large_machine, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

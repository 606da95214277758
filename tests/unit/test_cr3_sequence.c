/* SOURCES: vmm/emulate/cr3_sequence.c vmm/emulate/decode.c vmm/emulate/decode_tables.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "vmm/emulate/cr3_sequence.h"
#include "vmm/emulate/decode.h"

static uint8_t code[256] __attribute__((aligned(8)));
static struct cr3_sequence found;

/* Returns the length that is found in these bytes, the rest of the page being UD2. */
static unsigned find_bytes(const char *bytes, unsigned n, unsigned reg)
{
	memset(code, 0x0b, sizeof(code));
	memcpy(code, bytes, n);
	cr3_sequence_find(&found, code, sizeof(code), reg);
	return found.length;
}
#define FIND(bytes, reg) find_bytes(bytes, sizeof(bytes) - 1, reg)

static void test_linux_entry(void **state)
{
	(void)state;
	assert_int_equal(FIND("\x0f\x20\xdc" "\x0f\x1f\x44\x00\x00" "\x48\x81\xe4\xff\xe7\xff\xff" "\x0f\x22\xdc", REG_RSP), 18);
	assert_int_equal(found.op, ALU_AND);
	assert_int_equal(found.operand, 0xffffffffffffe7ff);
	assert_int_equal(found.last, 15);
	assert_true(cr3_sequence_holds(&found, code));
	code[11] = 0;
	assert_false(cr3_sequence_holds(&found, code));
}

static void test_linux_return(void **state)
{
	(void)state;
	memset(code, 0x0b, sizeof(code));
	memcpy(code, "\x0f\x20\xdf\xeb\x34", 5);
	memcpy(code + 57, "\x48\x81\xcf\x00\x10\x00\x00\x0f\x22\xdf", 10);
	cr3_sequence_find(&found, code, sizeof(code), REG_RDI);
	assert_int_equal(found.length, 67);
	assert_int_equal(found.last, 64);
	assert_int_equal(found.op, ALU_OR);
	assert_int_equal(found.operand, 0x1000);
	assert_true(cr3_sequence_holds(&found, code));
	code[64] = 0x90;
	assert_false(cr3_sequence_holds(&found, code));
	/* It must not go on behind what may be read. */
	memcpy(code + 57, "\x48\x81\xcf\x00\x10\x00\x00\x0f\x22\xdf", 10);
	cr3_sequence_find(&found, code, 66, REG_RDI);
	assert_int_equal(found.length, 0);
	cr3_sequence_find(&found, code, 57, REG_RDI);
	assert_int_equal(found.length, 0);
	assert_true(cr3_sequence_holds(&found, code));
}

static void test_other_code(void **state)
{
	(void)state;
	assert_int_equal(FIND("\x0f\x20\xd8\x48\x25\xff\xe7\xff\xff\x0f\x22\xd8", REG_RAX), 12);
	assert_int_equal(FIND("\x0f\x20\xd8\x48\x83\xc8\x18\x0f\x22\xd8", REG_RAX), 10);
	assert_int_equal(FIND("\x41\x0f\x20\xd8\x49\x83\xc8\x18\x41\x0f\x22\xd8", 8), 12);
	/* Another register, 32 bits, memory, no change, two, a load of CR4, LOCK, a jump backwards or two of them. */
	assert_int_equal(FIND("\x0f\x20\xd8\x48\x83\xc9\x18\x0f\x22\xd8", REG_RAX), 0);
	assert_int_equal(FIND("\x0f\x20\xd8\x48\x83\xc8\x18\x0f\x22\xd9", REG_RAX), 0);
	assert_int_equal(FIND("\x0f\x20\xd8\x83\xc8\x18\x0f\x22\xd8", REG_RAX), 0);
	assert_int_equal(FIND("\x0f\x20\xd8\x48\x83\x08\x18\x0f\x22\xd8", REG_RAX), 0);
	assert_int_equal(FIND("\x0f\x20\xd8\x48\x83\xc0\x18\x0f\x22\xd8", REG_RAX), 0);
	assert_int_equal(FIND("\x0f\x20\xd8\x0f\x22\xd8", REG_RAX), 0);
	assert_int_equal(FIND("\x0f\x20\xd8\x48\x83\xc8\x18\x48\x83\xc8\x10\x0f\x22\xd8", REG_RAX), 0);
	assert_int_equal(FIND("\x0f\x20\xd8\x48\x83\xc8\x18\x0f\x22\xe0", REG_RAX), 0);
	assert_int_equal(FIND("\x0f\x20\xd8\xf0\x48\x83\xc8\x18\x0f\x22\xd8", REG_RAX), 0);
	assert_int_equal(FIND("\x0f\x20\xd8\xeb\xfb\x48\x83\xc8\x18\x0f\x22\xd8", REG_RAX), 0);
	assert_int_equal(FIND("\x0f\x20\xd8\xeb\x00\xeb\x00\x48\x83\xc8\x18\x0f\x22\xd8", REG_RAX), 0);
	assert_int_equal(FIND("\x0f\x20\xd8", REG_RAX), 0);
}

/* Whatever the bytes, nothing is read outside them, and what is found is within them. */
static void test_random_code(void **state)
{
	uint64_t random = 0x9e3779b97f4a7c13;

	(void)state;
	for (unsigned n = 0; n < 200000; n++) {
		unsigned avail = CR3_SEQUENCE_HEAD + (unsigned)(random >> 40) % 110;

		for (unsigned i = 0; i < 8; i++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			memcpy(code + 8 * i, &random, 8);
		}
		memcpy(code, "\x0f\x20\xd8\xeb\x20", 5);
		cr3_sequence_find(&found, code, avail, REG_RAX);
		assert_in_range(found.length, 0, avail);
		assert_true(!found.tail_offset || found.tail_offset + (unsigned)CR3_SEQUENCE_TAIL <= avail);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linux_entry),
		cmocka_unit_test(test_linux_return),
		cmocka_unit_test(test_other_code),
		cmocka_unit_test(test_random_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

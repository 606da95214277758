/* SOURCES: vmm/emulate/decode.c vmm/emulate/decode_tables.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "lib/x86/segment.h"
#include "vmm/emulate/decode.h"

static struct insn insn;

/* Decode from a heap copy of exactly these bytes, so that the sanitizer sees a byte too many. */
static int decode_exact(const char *bytes, unsigned n, enum decode_mode mode)
{
	uint8_t *copy = malloc(n ? n : 1);
	int err;

	memcpy(copy, bytes, n);
	err = decode(&insn, copy, n, mode);
	free(copy);
	return err;
}
#define DECODE(mode, bytes) decode_exact(bytes, sizeof(bytes) - 1, mode)

/* The whole must decode, and each shorter piece must ask for more. */
static void expect_length(const char *bytes, unsigned n, enum decode_mode mode)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(decode_exact(bytes, i, mode), ERR_RANGE);
	assert_int_equal(decode_exact(bytes, n, mode), 0);
	assert_int_equal(insn.length, n);
}
#define EXPECT(mode, bytes) expect_length(bytes, sizeof(bytes) - 1, mode)

static void test_lengths(void **state)
{
	(void)state;
	EXPECT(DECODE_64, "\x90");
	EXPECT(DECODE_64, "\x48\xb8\x11\x22\x33\x44\x55\x66\x77\x88");
	assert_int_equal(insn.imm, 0x8877665544332211);
	EXPECT(DECODE_64, "\x67\xa1\x11\x22\x33\x84");
	assert_int_equal(insn.disp, 0x84332211);
	EXPECT(DECODE_64, "\xa1\x11\x22\x33\x44\x55\x66\x77\x88");
	EXPECT(DECODE_64, "\x66\xc7\x84\x88\x78\x56\x34\x12\xcd\xab");
	EXPECT(DECODE_64, "\xc8\x10\x20\x03");
	assert_int_equal(insn.imm, 0x032010);
	EXPECT(DECODE_64, "\x66\xe8\x11\x22\x33\x44"); /* the prefix is ignored */
	assert_int_equal(insn.operand_size, 8);
	EXPECT(DECODE_32, "\x66\xe8\x11\x22");
	EXPECT(DECODE_16, "\xe8\x11\x22");
	EXPECT(DECODE_32, "\x9a\x11\x22\x33\x44\x55\x66");
	EXPECT(DECODE_16, "\x9a\x11\x22\x33\x44");
	EXPECT(DECODE_32, "\x40");
	EXPECT(DECODE_64, "\xf6\x00\x11");
	EXPECT(DECODE_64, "\xf6\x10");
	EXPECT(DECODE_64, "\xf7\x00\x11\x22\x33\x44");
	EXPECT(DECODE_64, "\x0f\x20\x04");                         /* MOV from CR: mod is ignored */
	EXPECT(DECODE_64, "\x0f\x01\xc1");
	EXPECT(DECODE_64, "\x0f\x0f\xc1\x9e");                     /* 3DNow! PFADD */
	assert_int_equal(insn.encoding, ENCODING_3DNOW);
	assert_int_equal(insn.opcode, 0x9e);
	EXPECT(DECODE_64, "\x66\x0f\x78\xc1\x10\x20");             /* EXTRQ */
	EXPECT(DECODE_64, "\x0f\x78\xc1");                         /* VMREAD */
	EXPECT(DECODE_64, "\x66\x0f\x3a\x0f\xc1\x08");
	EXPECT(DECODE_64, "\xc5\xf8\x77");
	EXPECT(DECODE_64, "\xc4\xe3\x7d\x19\x00\x01");
	EXPECT(DECODE_64, "\x62\xf1\x7c\x48\x10\x44\x24\x01");     /* VMOVUPS zmm0, [rsp+64] */
	EXPECT(DECODE_64, "\x8f\xea\x78\x12\xc0\x11\x22\x33\x44"); /* XOP map 10 */
	EXPECT(DECODE_16, "\x8f\xea\x78\x12\xc0\x11\x22\x33\x44");
	EXPECT(DECODE_64, "\x8f\x00");                             /* POP */
	EXPECT(DECODE_32, "\xc5\x00");                             /* LDS */
	EXPECT(DECODE_32, "\x62\x00");                             /* BOUND */
}

static void test_operands(void **state)
{
	(void)state;
	EXPECT(DECODE_64, "\x4c\x89\x84\xd5\xf0\xff\xff\xff"); /* mov [rbp+rdx*8-16], r8 */
	assert_int_equal(insn.operand_size, 8);
	assert_int_equal(insn.reg, 8);
	assert_int_equal(insn.base, REG_RBP);
	assert_int_equal(insn.index, REG_RDX);
	assert_int_equal(insn.scale, 3);
	assert_int_equal(insn.disp, -16);
	assert_int_equal(insn.segment, SEG_SS);
	assert_true(insn.flags & INSN_MEM);
	EXPECT(DECODE_64, "\x65\x41\x8a\x0c\x24"); /* mov cl, gs:[r12] */
	assert_int_equal(insn.base, 12);
	assert_int_equal(insn.index, REG_NONE);
	assert_int_equal(insn.segment, SEG_GS);
	assert_int_equal(insn.operand_size, 1);
	EXPECT(DECODE_64, "\x2e\x8b\x04\x24"); /* a CS prefix that means nothing here */
	assert_int_equal(insn.segment, SEG_SS);
	EXPECT(DECODE_32, "\x2e\x8b\x04\x24");
	assert_int_equal(insn.segment, SEG_CS);
	EXPECT(DECODE_64, "\x8b\x05\x00\x00\x00\x80");
	assert_int_equal(insn.base, REG_RIP);
	assert_int_equal(insn.disp, -0x80000000L);
	EXPECT(DECODE_32, "\x8b\x05\x00\x00\x00\x80");
	assert_int_equal(insn.base, REG_NONE);
	EXPECT(DECODE_64, "\x8b\x04\x25\x00\x00\x00\x80");
	assert_int_equal(insn.base, REG_NONE);
	assert_int_equal(insn.index, REG_NONE);
	EXPECT(DECODE_64, "\x42\x8b\x04\x20"); /* r12 can be an index */
	assert_int_equal(insn.index, 12);
	EXPECT(DECODE_16, "\x8b\x42\x80"); /* mov ax, [bp+si-128] */
	assert_int_equal(insn.base, REG_RBP);
	assert_int_equal(insn.index, REG_RSI);
	assert_int_equal(insn.disp, -128);
	assert_int_equal(insn.segment, SEG_SS);
	assert_int_equal(insn.operand_size, 2);
	EXPECT(DECODE_16, "\x8b\x06\x34\x12");
	assert_int_equal(insn.base, REG_NONE);
	assert_int_equal(insn.disp, 0x1234);
	EXPECT(DECODE_16, "\x67\x66\x8b\x04\x24");
	assert_int_equal(insn.operand_size, 4);
	assert_int_equal(insn.address_size, 4);
	EXPECT(DECODE_64, "\x66\x48\x89\x00"); /* REX.W beats the prefix */
	assert_int_equal(insn.operand_size, 8);
	EXPECT(DECODE_64, "\x48\x66\x89\x00"); /* REX that is not last counts for nothing */
	assert_int_equal(insn.operand_size, 2);
	assert_int_equal(insn.rex, 0);
	EXPECT(DECODE_64, "\xf3\xf2\xa4");
	assert_int_equal(insn.flags, INSN_REPNE);
	EXPECT(DECODE_64, "\x83\x00\xff");
	assert_int_equal(insn.imm, ~0ULL);
	EXPECT(DECODE_64, "\xeb\xfe");
	assert_true(insn.flags & INSN_BRANCH);
	assert_int_equal(insn.imm, -2);
	EXPECT(DECODE_64, "\xff\x10");
	assert_int_equal(insn.operand_size, 8);
	EXPECT(DECODE_64, "\x66\xff\x30");
	assert_int_equal(insn.operand_size, 2);
	EXPECT(DECODE_64, "\xc4\xe2\xfb\xf7\x00"); /* shrx rax, [rax], rax */
	assert_int_equal(insn.encoding, ENCODING_VEX);
	assert_int_equal(insn.map, MAP_0F38);
	assert_int_equal(insn.operand_size, 8);
	assert_int_equal(insn.vex_vvvv, 0);
	assert_int_equal(insn.flags, INSN_REPNE | INSN_MODRM | INSN_MEM);
}

static void expect_invalid(const char *bytes, unsigned n, enum decode_mode mode, unsigned length)
{
	assert_int_equal(decode_exact(bytes, n, mode), ERR_INVALID);
	assert_int_equal(insn.length, length);
}
#define INVALID(mode, bytes) expect_invalid(bytes, sizeof(bytes) - 1, mode, 0)

static void test_invalid(void **state)
{
	char prefixes[16];

	(void)state;
	INVALID(DECODE_64, "\x06");
	INVALID(DECODE_64, "\x82\x00\x00");
	INVALID(DECODE_64, "\x9a\x00\x00\x00\x00\x00\x00");
	INVALID(DECODE_64, "\x0f\x04");
	INVALID(DECODE_64, "\x66\xc5\xf8\x10\x00"); /* prefixes that VEX implies */
	INVALID(DECODE_64, "\xc5\xf8\x05\xc0"); /* no instruction of VEX's is where SYSCALL is */
	INVALID(DECODE_64, "\x48\xc5\xf8\x10\x00");
	INVALID(DECODE_64, "\xf0\xc5\xf8\x10\x00");
	INVALID(DECODE_64, "\xc4\xe0\x78\x10\x00"); /* map 0 */
	INVALID(DECODE_64, "\x62\xf1\x78\x48\x10\x00"); /* a fixed bit */
	/* 15 bytes are the most, whatever they are. */
	memset(prefixes, 0x66, sizeof(prefixes));
	expect_invalid(prefixes, 16, DECODE_64, 15);
	expect_invalid(prefixes, 15, DECODE_64, 15);
	assert_int_equal(decode_exact(prefixes, 14, DECODE_64), ERR_RANGE);
	prefixes[14] = (char)0x90;
	assert_int_equal(decode_exact(prefixes, 15, DECODE_64), 0);
	assert_int_equal(insn.length, 15);
	prefixes[14] = (char)0x89; /* ModRM would be the 16th */
	expect_invalid(prefixes, 16, DECODE_64, 15);
}

/* Random bytes in exactly sized pieces: no read behind them, and no length beyond them. */
static void test_random(void **state)
{
	uint64_t x = 88172645463325252;

	(void)state;
	for (unsigned n = 0; n < 300000; n++) {
		uint64_t r[2];
		unsigned avail;

		for (unsigned i = 0; i < 2; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			r[i] = x;
		}
		avail = (unsigned)(x >> 32) % 17;
		if (!decode_exact((const char *)r, avail, (enum decode_mode)(n % 3))) {
			assert_in_range(insn.length, 1, avail < 15 ? avail : 15);
			assert_true(insn.operand_size == 1 || insn.operand_size == 2 || insn.operand_size == 4 || insn.operand_size == 8);
			assert_true(insn.base < 16 || insn.base == REG_NONE || insn.base == REG_RIP);
			assert_true(insn.index < 16 || insn.index == REG_NONE);
			assert_true(insn.reg < 16 && insn.rm < 16 && insn.segment < SEG_OPERANDS);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_operands),
		cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* Emulated instructions in what only a guest's machine has: faults, segments, code that changes, hostile code, INS and OUTS. */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "tests/unit/emulate_fixture.h"
#include "vmm/emulate/execution.h"

static int emulate_at(uint64_t rip, const char *bytes, unsigned n, uint64_t fault_gpa)
{
	put_code(rip, (const uint8_t *)bytes, n);
	emu.rip = rip;
	emu.segments = 0;
	memset(&result, 0xee, sizeof(result));
	return emulate_mmio(&emu, fault_gpa, &result);
}
#define EMULATE(rip, code, gpa) emulate_at(rip, code, sizeof(code) - 1, gpa)

static void expect_fault(unsigned vector, bool has_error, uint32_t error)
{
	assert_int_equal(result.vector, vector);
	assert_int_equal(result.has_error_code, has_error);
	if (has_error)
		assert_int_equal(result.error_code, error);
}

/* One MOV makes one device access, even where its page is no longer mapped as it was: the fault says where. */
static void test_fault_address(void **state)
{
	(void)state;
	emu.fault_write = true;
	gpr[REG_RAX] = L + 0x20;
	gpr[REG_RCX] = 0x1122334455667788;
	assert_int_equal(EMULATE(CODE, "\x89\x08", MMIO_A + 0x20), EMULATE_DONE); /* mov [rax], ecx */
	assert_int_equal(mmio_writes, 1);
	assert_int_equal(mmio_reads, 0);
	assert_int_equal(*(uint32_t *)(device[0] + 0x20), 0x55667788);
	assert_int_equal(emu.rip, CODE + 2);
	/* The operand is RAM by now. */
	gpr[REG_RAX] = L + 0x2020;
	assert_int_equal(EMULATE(CODE, "\x89\x08", MMIO_A + 0x44), EMULATE_RETRY);
	assert_int_equal(emu.rip, CODE);
	/* No memory operand at all by now. */
	assert_int_equal(EMULATE(CODE, "\x89\xc8", MMIO_A + 0x44), EMULATE_RETRY);
	assert_int_equal(mmio_writes, 1);
}

/* Code that changes in place is seen to, however often its bytes were decoded before. */
static void test_self_modifying(void **state)
{
	(void)state;
	emu.fault_write = true;
	gpr[REG_RAX] = L + 0x20;
	gpr[REG_RCX] = 0x1111111111111111;
	gpr[REG_RDX] = 0x2222222222222222;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(EMULATE(CODE, "\x89\x08", MMIO_A + 0x20), EMULATE_DONE);
		assert_int_equal(*(uint32_t *)(device[0] + 0x20), 0x11111111);
		assert_int_equal(EMULATE(CODE, "\x89\x10", MMIO_A + 0x20), EMULATE_DONE);
		assert_int_equal(*(uint32_t *)(device[0] + 0x20), 0x22222222);
		assert_int_equal(EMULATE(CODE, "\x06\x00", MMIO_A + 0x20), EMULATE_EXCEPTION);
		expect_fault(VECTOR_UD, false, 0);
		/* The same bytes mean something else to 32-bit code (a prefix-less 48 is DEC EAX there). */
		assert_int_equal(EMULATE(CODE, "\x48\x89\x08", MMIO_A + 0x20), EMULATE_DONE);
		assert_int_equal(emu.rip, CODE + 3);
		emu.mode = DECODE_32;
		assert_int_equal(EMULATE(CODE, "\x48\x89\x08", MMIO_A + 0x20), EMULATE_UNSUPPORTED);
		assert_int_equal(result.length, 1);
		emu.mode = DECODE_64;
	}
}

/* A write where the fault was a read: the guest changed the instruction meanwhile, and its tables decide. */
static void test_fault_was_read(void **state)
{
	(void)state;
	emu.paging.cpl = 3;
	*pte(L) &= ~2UL;
	emu.fault_write = false;
	gpr[REG_RAX] = L + 0x20;
	assert_int_equal(EMULATE(CODE, "\x8b\x08", MMIO_A + 0x20), EMULATE_DONE);
	assert_int_equal(EMULATE(CODE, "\x89\x08", MMIO_A + 0x20), EMULATE_EXCEPTION);
	expect_fault(VECTOR_PF, true, PF_PRESENT | PF_WRITE | PF_USER);
	assert_int_equal(result.cr2, L + 0x20);
	assert_int_equal(mmio_writes, 0);
}

static void test_segments_64(void **state)
{
	(void)state;
	segments[SEG_GS].base = L;
	segments[SEG_DS].base = 0x5000; /* ignored */
	gpr[REG_RAX] = 0x30;
	*(uint32_t *)(device[0] + 0x30) = 0xcafe;
	assert_int_equal(EMULATE(CODE, "\x65\x8b\x08", MMIO_A + 0x30), EMULATE_DONE); /* mov ecx, gs:[rax] */
	assert_int_equal(gpr[REG_RCX], 0xcafe);
	/* Not canonical: #GP, or #SS with rsp as the base. */
	gpr[REG_RAX] = gpr[REG_RSP] = 0x800000000000;
	assert_int_equal(EMULATE(CODE, "\x8b\x08", MMIO_A + 0x30), EMULATE_EXCEPTION);
	expect_fault(VECTOR_GP, true, 0);
	assert_int_equal(EMULATE(CODE, "\x8b\x0c\x24", MMIO_A + 0x30), EMULATE_EXCEPTION);
	expect_fault(VECTOR_SS, true, 0);
	/* An access that wraps the address space: its second byte is at 0, which is not mapped. */
	gpr[REG_RAX] = ~0ULL;
	assert_int_equal(EMULATE(CODE, "\x8b\x08", MMIO_A + 0x30), EMULATE_EXCEPTION);
	expect_fault(VECTOR_PF, true, 0);
}

/* 32-bit code without paging. */
static void setup_32(void)
{
	emu.mode = DECODE_32;
	emu.paging.cr0 = CR0_PE;
	emu.paging.efer = 0;
}

#define PROTECTED(code, gpa) (memcpy(ram + 0x7000, code, sizeof(code) - 1), emu.rip = 0x7000, emu.segments = 0, \
			      emulate_mmio(&emu, gpa, &result))

static void test_protected_mode(void **state)
{
	(void)state;
	setup_32();
	gpr[REG_RBX] = MMIO_A + 0x100;
	gpr[REG_RCX] = 0x99aabbcc;
	emu.fault_write = true;
	assert_int_equal(PROTECTED("\x89\x0b", MMIO_A + 0x100), EMULATE_DONE);
	assert_int_equal(*(uint32_t *)(device[0] + 0x100), 0x99aabbcc);
	assert_int_equal(emu.rip, 0x7002);
	/* The same through a segment with a base, by the slow way. */
	segments[SEG_ES].base = MMIO_A;
	gpr[REG_RBX] = 0x104;
	emu.fault_write = false;
	assert_int_equal(PROTECTED("\x26\x66\x89\x0b", MMIO_A + 0x104), EMULATE_DONE);
	assert_int_equal(*(uint16_t *)(device[0] + 0x104), 0xbbcc);
	/* Limits: the last byte counts. */
	segments[SEG_ES].limit = 0x106;
	assert_int_equal(PROTECTED("\x26\x89\x0b", MMIO_A + 0x104), EMULATE_EXCEPTION);
	expect_fault(VECTOR_GP, true, 0);
	segments[SEG_ES].limit = 0x107;
	assert_int_equal(PROTECTED("\x26\x89\x0b", MMIO_A + 0x104), EMULATE_DONE);
	segments[SEG_ES].access = 0xc097; /* expand-down: above the limit only */
	assert_int_equal(PROTECTED("\x26\x89\x0b", MMIO_A + 0x104), EMULATE_EXCEPTION);
	segments[SEG_ES].limit = 0x103;
	assert_int_equal(PROTECTED("\x26\x89\x0b", MMIO_A + 0x104), EMULATE_DONE);
	segments[SEG_ES].access = 0xc091; /* read-only */
	assert_int_equal(PROTECTED("\x26\x89\x0b", MMIO_A + 0x104), EMULATE_EXCEPTION);
	segments[SEG_ES].access |= SEGMENT_UNUSABLE;
	assert_int_equal(PROTECTED("\x26\x8b\x0b", MMIO_A + 0x104), EMULATE_EXCEPTION);
	expect_fault(VECTOR_GP, true, 0);
	assert_int_equal(PROTECTED("\x2e\x89\x0b", MMIO_A + 0x104), EMULATE_EXCEPTION); /* into CS */
	segments[SEG_SS].limit = 0x1000;
	gpr[REG_RBP] = 0x1000;
	assert_int_equal(PROTECTED("\x89\x4d\x00", MMIO_A), EMULATE_EXCEPTION);
	expect_fault(VECTOR_SS, true, 0);
	/* The instruction's end lies behind the code segment's. */
	segments[SEG_CS].limit = 0x7000;
	assert_int_equal(PROTECTED("\x89\x0b", MMIO_A), EMULATE_EXCEPTION);
	expect_fault(VECTOR_GP, true, 0);
}

static void test_real_mode(void **state)
{
	(void)state;
	setup_32();
	emu.mode = DECODE_16;
	emu.paging.cr0 = 0;
	for (unsigned i = 0; i < SEG_OPERANDS; i++)
		segments[i].limit = 0xffff;
	segments[SEG_CS].base = 0;
	segments[SEG_DS].base = 0xa0000;
	segments[SEG_SS].base = 0xb0000;
	gpr[REG_RBX] = 0xffff0010;
	gpr[REG_RSI] = 0x20;
	emu.fault_write = true;
	emu.rip = 0x7000;
	/* mov [bx+si+3], al: nobody there, but an access is made at the right place. */
	assert_int_equal(PROTECTED("\x88\x40\x03", 0xa0033), EMULATE_DONE);
	assert_int_equal(mmio_writes, 1);
	/* The offset wraps at 16 bits; a word at ffff does not fit the segment. */
	gpr[REG_RBX] = 0xfff0;
	assert_int_equal(PROTECTED("\x88\x40\x03", 0xa0013), EMULATE_DONE);
	gpr[REG_RSI] = 0xf;
	assert_int_equal(PROTECTED("\x89\x00", 0xaffff), EMULATE_EXCEPTION);
	expect_fault(VECTOR_GP, true, 0);
	/* IP wraps. */
	memcpy(ram + 0xfffe, "\x88\x00", 2);
	emu.rip = 0xfffe;
	emu.segments = 0;
	assert_int_equal(emulate_mmio(&emu, 0xaffff, &result), EMULATE_DONE);
	assert_int_equal(emu.rip, 0);
}

static void test_string_faults(void **state)
{
	(void)state;
	/* rep movsb from the device into RAM whose second page is not mapped: what is moved stays moved. */
	gpr[REG_RSI] = L;
	gpr[REG_RDI] = L + 0x3ff0;
	gpr[REG_RCX] = 0x40;
	*pte(L + 0x4000) = 0;
	assert_int_equal(EMULATE(CODE, "\xf3\xa4", MMIO_A), EMULATE_EXCEPTION);
	expect_fault(VECTOR_PF, true, PF_WRITE);
	assert_int_equal(result.cr2, L + 0x4000);
	assert_int_equal(gpr[REG_RCX], 0x30);
	assert_int_equal(gpr[REG_RSI], L + 0x10);
	assert_int_equal(gpr[REG_RDI], L + 0x4000);
	assert_int_equal(emu.rip, CODE);
	assert_int_equal(mmio_reads, 0x10);
	/* Dirty as the CPU would have left it. */
	assert_true(*pte(L + 0x3000) & 0x40);
	assert_false(*pte(L) & 0x40);
	/* One call does not go on for ever. */
	gpr[REG_RDI] = L;
	gpr[REG_RCX] = ~0ULL;
	mmio_writes = 0;
	assert_int_equal(EMULATE(CODE, "\xf3\xaa", MMIO_A), EMULATE_RETRY);
	assert_int_equal(mmio_writes, EMULATE_STRING_MAX);
	assert_int_equal(gpr[REG_RDI], L + EMULATE_STRING_MAX);
	emu.rflags |= RFLAGS_TF;
	assert_int_equal(EMULATE(CODE, "\xf3\xaa", MMIO_A), EMULATE_RETRY);
	assert_int_equal(mmio_writes, EMULATE_STRING_MAX + 1);
}

/* Code that is not there, not executable, cut off, too long, or nonsense. */
static void test_hostile_code(void **state)
{
	uint8_t prefixes[16];

	(void)state;
	emu.paging.cpl = 3;
	gpr[REG_RAX] = L;
	*pte(CODE) = 0;
	assert_int_equal(EMULATE(CODE, "\x89\x08", MMIO_A), EMULATE_EXCEPTION);
	expect_fault(VECTOR_PF, true, PF_USER | PF_FETCH);
	assert_int_equal(result.cr2, CODE);
	*pte(CODE) = GPA_CODE | PTE_PWU | BIT(63);
	assert_int_equal(EMULATE(CODE, "\x89\x08", MMIO_A), EMULATE_EXCEPTION);
	expect_fault(VECTOR_PF, true, PF_PRESENT | PF_USER | PF_FETCH);
	*pte(CODE) = GPA_CODE | PTE_PWU;
	emu.rip = 0x8000000000000000;
	assert_int_equal(emulate_mmio(&emu, MMIO_A, &result), EMULATE_EXCEPTION);
	expect_fault(VECTOR_GP, true, 0);
	/* The second page is missing: needed or not. */
	*pte(CODE + 4096) = 0;
	emu.fault_write = true;
	assert_int_equal(EMULATE(CODE + 4094, "\x89\x08", MMIO_A), EMULATE_DONE);
	assert_int_equal(EMULATE(CODE + 4095, "\x89\x08", MMIO_A), EMULATE_EXCEPTION);
	expect_fault(VECTOR_PF, true, PF_USER | PF_FETCH);
	assert_int_equal(result.cr2, CODE + 4096);
	/* Code in no RAM, at its beginning or behind a page of RAM. */
	*pte(CODE + 4096) = MMIO_A | PTE_PWU;
	assert_int_equal(EMULATE(CODE + 4095, "\x89\x08", MMIO_A), EMULATE_UNSUPPORTED);
	assert_int_equal(result.byte_count, 1);
	assert_int_equal(EMULATE(CODE + 4096, "\x89\x08", MMIO_A), EMULATE_UNSUPPORTED);
	/* The last bytes of RAM. */
	*pte(CODE + 4096) = (RAM_SIZE - 4096) | PTE_PWU;
	memcpy(ram + RAM_SIZE - 2, "\x89\x08", 2);
	emu.rip = CODE + 8190;
	assert_int_equal(emulate_mmio(&emu, MMIO_A, &result), EMULATE_DONE);
	/* RAM that ends inside a page. */
	memory.region[0].size = RAM_SIZE - 4096 + 5;
	memcpy(ram + RAM_SIZE - 4096 + 3, "\x89\x08", 2);
	emu.rip = CODE + 4096 + 3;
	assert_int_equal(emulate_mmio(&emu, MMIO_A, &result), EMULATE_DONE);
	emu.rip = CODE + 4096 + 4;
	memcpy(ram + RAM_SIZE - 4096 + 4, "\x89", 1);
	assert_int_equal(emulate_mmio(&emu, MMIO_A, &result), EMULATE_UNSUPPORTED);
	memory.region[0].size = RAM_SIZE;
	/* Page tables in no RAM. */
	emu.paging.cr3 = MMIO_A;
	assert_int_equal(EMULATE(CODE, "\x89\x08", MMIO_A), EMULATE_UNSUPPORTED);
	emu.paging.cr3 = GPA_PML4;

	memset(prefixes, 0x66, sizeof(prefixes));
	memcpy(prefixes + 13, "\x89\x08", 2);
	assert_int_equal(emulate_at(CODE, (const char *)prefixes, 15, MMIO_A), EMULATE_DONE);
	prefixes[13] = 0x66;
	memcpy(prefixes + 14, "\x89\x08", 2);
	assert_int_equal(emulate_at(CODE, (const char *)prefixes, 16, MMIO_A), EMULATE_EXCEPTION);
	expect_fault(VECTOR_GP, true, 0);
	assert_int_equal(EMULATE(CODE, "\x0f\xff\x00\x06", MMIO_A), EMULATE_UNSUPPORTED);
	assert_int_equal(EMULATE(CODE, "\x06", MMIO_A), EMULATE_EXCEPTION);
	expect_fault(VECTOR_UD, false, 0);
	assert_int_equal(EMULATE(CODE, "\xf0\x89\x08", MMIO_A), EMULATE_EXCEPTION); /* lock mov */
	expect_fault(VECTOR_UD, false, 0);
	assert_int_equal(EMULATE(CODE, "\x0f\x29\x00", MMIO_A), EMULATE_UNSUPPORTED); /* movaps */
	assert_int_equal(result.length, 3);
	assert_memory_equal(result.bytes, "\x0f\x29\x00", 3);
	assert_int_equal(emu.rip, CODE);
}

/* The forms that LOCK may stand before, and no others (SDM vol. 2, "LOCK"): one-byte opcodes and those after 0F, by ModRM's reg field. */
static bool may_be_locked(bool escape, unsigned op, unsigned reg)
{
	static const uint8_t plain[] = { 0x00, 0x01, 0x08, 0x09, 0x10, 0x11, 0x18, 0x19, 0x20, 0x21, 0x28, 0x29, 0x30, 0x31, 0x86, 0x87 };
	static const uint8_t escaped[] = { 0xab, 0xb0, 0xb1, 0xb3, 0xbb, 0xc0, 0xc1 };
	/* bits of reg */
	static const struct { uint8_t op, regs; } groups[] = { { 0x80, 0x7f }, { 0x81, 0x7f }, { 0x82, 0x7f }, { 0x83, 0x7f },
							       { 0xf6, 0x0c }, { 0xf7, 0x0c }, { 0xfe, 0x03 }, { 0xff, 0x03 } };

	if (escape)
		return memchr(escaped, (int)op, sizeof(escaped)) || (op == 0xba && reg >= 5) || (op == 0xc7 && reg == 1);
	for (unsigned i = 0; i < ARRAY_SIZE(groups); i++)
		if (groups[i].op == op)
			return groups[i].regs & 1U << reg;
	return memchr(plain, (int)op, sizeof(plain));
}

static void test_lockable(void **state)
{
	unsigned locked = 0;

	(void)state;
	for (unsigned n = 0; n < 2 * 256 * 8; n++) {
		bool escape = n & 0x800;
		unsigned op = n >> 3 & 0xff, reg = n & 7;
		uint8_t bytes[16] = { 0xf0, escape ? 0x0f : (uint8_t)op, escape ? (uint8_t)op : (uint8_t)(reg << 3), (uint8_t)(reg << 3) };
		struct insn insn;

		/* Prefixes, escapes and what does not exist in this mode are no instruction of their own. */
		if (decode(&insn, bytes, sizeof(bytes), DECODE_32) || insn.map != (escape ? MAP_0F : MAP_ONE_BYTE) || insn.opcode != op ||
		    insn.encoding != ENCODING_LEGACY)
			continue;
		if (lockable(&insn) != may_be_locked(escape, op, reg))
			fail_msg("LOCK before %s%02x /%u", escape ? "0f " : "", op, reg);
		locked += lockable(&insn);
		/* Never with a register in the place of memory. */
		bytes[escape ? 3 : 2] |= 0xc0;
		if (!decode(&insn, bytes, sizeof(bytes), DECODE_32))
			assert_false(lockable(&insn));
	}
	assert_int_equal(locked, 16 * 8 + 4 * 7 + 2 * 2 + 2 * 2 + 7 * 8 + 3 + 1);
}

/* Random code and registers in every mode: nothing but a verdict may come of it, and never more than so many accesses. */
static void test_random_code(void **state)
{
	unsigned count[4] = { 0 };

	(void)state;
	for (unsigned i = 0; i < 400000; i++) {
		uint64_t r[2] = { random64(), random64() };
		uint64_t at, fault = MMIO_A + random_below(8192);
		unsigned verdict, n;

		reset();
		emu.mode = (enum decode_mode)(i % 3);
		emu.paging.cpl = i & 8 ? 3 : 0;
		emu.paging.cr4 |= random_below(2) ? CR4_SMAP | CR4_SMEP : 0;
		if (emu.mode != DECODE_64) {
			emu.paging.efer = 0;
			emu.paging.cr0 &= random_below(2) ? ~0ULL : ~CR0_PG;
			emu.paging.cr4 &= random_below(2) ? ~0ULL : ~CR4_PAE;
			for (n = 0; n < 4; n++)
				emu.paging.pdpte[n] = random_below(2) ? GPA_PD | 1 : random64();
			for (n = 0; n < SEG_OPERANDS; n++)
				segments[n] = (struct segment_state){ .base = random64() & 0xffffff, .limit = (uint32_t)random64(), .access = (uint32_t)random64(), .selector = 0 };
			if (random_below(4))
				segments[SEG_CS] = (struct segment_state){ .base = 0, .limit = 0xffffffff, .access = SEGMENT_CODE_32, .selector = 0 };
		}
		if (!random_below(4))
			*(uint64_t *)(ram + GPA_PT + 8 * random_below(32)) = random64();
		for (n = 0; n < 16; n++)
			gpr[n] = random_below(2) ? L + random_below(DATA_PAGES * 4096) : random64() >> random_below(64);
		at = CODE + (random_below(4) ? 0 : 4096 - random_below(16));
		put_code(at, (const uint8_t *)r, 16);
		if (!(emu.paging.cr0 & CR0_PG)) {
			at = random_below(2) ? 0x7000 : RAM_SIZE - random_below(16);
			memcpy(ram + at, r, RAM_SIZE - at < 16 ? RAM_SIZE - at : 16);
		}
		emu.rip = at;
		emu.rflags = (random64() & 0xcd5) | 2;
		emu.fault_write = i & 1;
		verdict = (unsigned)emulate_mmio(&emu, fault, &result);
		assert_true(verdict <= EMULATE_UNSUPPORTED);
		count[verdict]++;
		assert_true(mmio_reads + mmio_writes <= 2 * 8 * EMULATE_STRING_MAX);
		if (verdict != EMULATE_DONE)
			assert_int_equal(emu.rip, at);
		if (verdict == EMULATE_EXCEPTION)
			assert_true(result.vector == 6 || (result.vector >= 12 && result.vector <= 14));
	}
	print_message("done %u, retry %u, exception %u, unsupported %u\n", count[0], count[1], count[2], count[3]);
	for (unsigned i = 0; i < 4; i++)
		assert_true(count[i] > 1000);
}

/* An engine asks for the operand of what it handles itself, such as LMSW. */
static void test_operand(void **state)
{
	const uint8_t bytes[] = { 0x0f, 0x01, 0x73, 0x08 }; /* lmsw [rbx+8] */
	struct insn insn;
	uint64_t value = 0;

	(void)state;
	assert_int_equal(decode(&insn, bytes, sizeof(bytes), DECODE_64), 0);
	emu.rip = CODE;
	/* In RAM, in two pages that lie apart. */
	ram[GPA_RAM_A + 0xfff] = 0x34;
	ram[GPA_RAM_B] = 0x12;
	gpr[REG_RBX] = L + 0x2ff7;
	assert_int_equal(emulate_operand(&emu, &insn, 2, &value, &result), EMULATE_DONE);
	assert_int_equal(value, 0x1234);
	/* In a device. */
	*(uint16_t *)(device[0] + 0x10) = 0xbeef;
	gpr[REG_RBX] = L + 0x08;
	assert_int_equal(emulate_operand(&emu, &insn, 2, &value, &result), EMULATE_DONE);
	assert_int_equal(value, 0xbeef);
	/* Nowhere, and at an address that is none. */
	gpr[REG_RBX] = L + 0x3ff8;
	assert_int_equal(emulate_operand(&emu, &insn, 2, &value, &result), EMULATE_EXCEPTION);
	assert_int_equal(result.vector, VECTOR_PF);
	assert_int_equal(result.cr2, L + 0x4000);
	gpr[REG_RBX] = 0x0000800000000000;
	assert_int_equal(emulate_operand(&emu, &insn, 2, &value, &result), EMULATE_EXCEPTION);
	assert_int_equal(result.vector, VECTOR_GP);
	assert_int_equal(emu.rip, CODE);
}

/* SMSW writes one, and INVLPG takes its address alone. */
static void test_operand_write_and_address(void **state)
{
	const uint8_t smsw[] = { 0x0f, 0x01, 0x63, 0x08 };         /* smsw [rbx+8] */
	const uint8_t invlpg[] = { 0x67, 0x0f, 0x01, 0x7b, 0x08 }; /* invlpg [ebx+8] */
	struct insn insn;

	(void)state;
	assert_int_equal(decode(&insn, smsw, sizeof(smsw), DECODE_64), 0);
	emu.rip = CODE;
	ram[GPA_RAM_A + 0xffe] = ram[GPA_RAM_B + 1] = 0x77;
	gpr[REG_RBX] = L + 0x2ff7;
	assert_int_equal(emulate_operand_write(&emu, &insn, 2, 0xabcd, &result), EMULATE_DONE);
	assert_int_equal(ram[GPA_RAM_A + 0xfff], 0xcd);
	assert_int_equal(ram[GPA_RAM_B], 0xab);
	assert_int_equal(ram[GPA_RAM_A + 0xffe], 0x77);
	assert_int_equal(ram[GPA_RAM_B + 1], 0x77);
	gpr[REG_RBX] = L + 0x3ff8;
	assert_int_equal(emulate_operand_write(&emu, &insn, 2, 0xabcd, &result), EMULATE_EXCEPTION);
	assert_int_equal(result.vector, VECTOR_PF);
	assert_int_equal(result.cr2, L + 0x4000);
	assert_int_equal(emulate_linear(&emu, &insn), L + 0x4000);
	/* No page need be there, nor the address be canonical; the address size counts. */
	gpr[REG_RBX] = 0x0000900000000000;
	assert_int_equal(emulate_linear(&emu, &insn), 0x0000900000000008);
	assert_int_equal(decode(&insn, invlpg, sizeof(invlpg), DECODE_64), 0);
	gpr[REG_RBX] = 0x12345678fffffffc;
	assert_int_equal(emulate_linear(&emu, &insn), 4);
	assert_int_equal(emu.rip, CODE);
}

/* ---- INS and OUTS ---- */

static void test_outs(void **state)
{
	struct string_io io = { .port = 0x3f8, .size = 1, .rep = true, .address_size = 8, .segment = SEG_DS, .length = 2 };
	uint32_t sum = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		ram[GPA_RAM_A + 0xff0 + i - (i < 16 ? 0 : 0x1000 - (GPA_RAM_B - GPA_RAM_A))] = (uint8_t)(i * 7);
		sum = sum * 31 + (uint8_t)(i * 7);
	}
	port_sum = 0;
	gpr[REG_RSI] = L + 0x2ff0;
	gpr[REG_RCX] = 100;
	emu.rip = CODE;
	assert_int_equal(emulate_string_io(&emu, &io, &result), EMULATE_RETRY);
	assert_int_equal(port_accesses, EMULATE_IO_MAX);
	assert_int_equal(gpr[REG_RCX], 100 - EMULATE_IO_MAX);
	assert_int_equal(emu.rip, CODE);
	assert_int_equal(emulate_string_io(&emu, &io, &result), EMULATE_DONE);
	assert_int_equal(port_accesses, 100);
	assert_int_equal(port_sum, sum);
	assert_int_equal(gpr[REG_RSI], L + 0x2ff0 + 100);
	assert_int_equal(gpr[REG_RCX], 0);
	assert_int_equal(emu.rip, CODE + 2);
	/* Nothing to do. */
	assert_int_equal(emulate_string_io(&emu, &io, &result), EMULATE_DONE);
	assert_int_equal(port_accesses, 100);
	/* Downwards, once, 4 bytes, 32-bit addresses. */
	io = (struct string_io){ .port = 0x80, .size = 4, .address_size = 4, .segment = SEG_GS, .length = 3 };
	segments[SEG_GS].base = L;
	emu.rflags |= RFLAGS_DF;
	gpr[REG_RSI] = 0xffffffff00002004;
	assert_int_equal(emulate_string_io(&emu, &io, &result), EMULATE_DONE);
	assert_int_equal(gpr[REG_RSI], 0x2000);
}

static void test_ins(void **state)
{
	struct string_io io = { .port = 0x1f0, .size = 2, .in = true, .rep = true, .address_size = 0 };

	(void)state;
	/* The exit tells no address size: a 16-bit one here, by prefix. */
	put_code(CODE, (const uint8_t *)"\xf3\x66\x6d", 3);
	emu.rip = CODE;
	gpr[REG_RDI] = L + 0x2ffe;
	gpr[REG_RCX] = 3;
	*pte(L + 0x3000) &= ~1UL;
	assert_int_equal(emulate_string_io(&emu, &io, &result), EMULATE_EXCEPTION);
	expect_fault(VECTOR_PF, true, PF_WRITE);
	assert_int_equal(result.cr2, L + 0x3000);
	assert_int_equal(port_accesses, 1); /* none for the element that found no memory */
	assert_int_equal(gpr[REG_RCX], 2);
	*pte(L + 0x3000) |= 1;
	assert_int_equal(emulate_string_io(&emu, &io, &result), EMULATE_DONE);
	assert_int_equal(port_accesses, 3);
	assert_int_equal(*(uint16_t *)(ram + GPA_RAM_A + 0xffe), 0x1f0);
	assert_int_equal(*(uint16_t *)(ram + GPA_RAM_B), 0x1f1);
	assert_int_equal(*(uint16_t *)(ram + GPA_RAM_B + 2), 0x1f2);
	assert_int_equal(emu.rip, CODE + 3);
	/* Changed since the exit. */
	put_code(CODE, (const uint8_t *)"\x90", 1);
	emu.rip = CODE;
	gpr[REG_RCX] = 3;
	assert_int_equal(emulate_string_io(&emu, &io, &result), EMULATE_RETRY);
	assert_int_equal(port_accesses, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_operand, setup),
		cmocka_unit_test_setup(test_operand_write_and_address, setup),
		cmocka_unit_test_setup(test_fault_address, setup),
		cmocka_unit_test_setup(test_self_modifying, setup),
		cmocka_unit_test_setup(test_fault_was_read, setup),
		cmocka_unit_test_setup(test_segments_64, setup),
		cmocka_unit_test_setup(test_protected_mode, setup),
		cmocka_unit_test_setup(test_real_mode, setup),
		cmocka_unit_test_setup(test_string_faults, setup),
		cmocka_unit_test_setup(test_hostile_code, setup),
		cmocka_unit_test_setup(test_lockable, setup),
		cmocka_unit_test_setup(test_random_code, setup),
		cmocka_unit_test_setup(test_outs, setup),
		cmocka_unit_test_setup(test_ins, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

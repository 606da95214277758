/* SOURCES: tests/unit/step_machine.c vmm/emulate/step.c vmm/emulate/step_alu.c vmm/emulate/step_bits.c vmm/emulate/step_control.c vmm/emulate/step_descriptor.c vmm/emulate/step_far.c vmm/emulate/step_fpu.c vmm/emulate/step_interrupt.c vmm/emulate/step_io.c vmm/emulate/step_memory.c vmm/emulate/step_muldiv.c vmm/emulate/step_shift.c vmm/emulate/step_stack.c vmm/emulate/step_state.c vmm/emulate/step_system.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* What the emulator checks before it does something: ports, gates and far returns, descriptors, control registers and MSRs, and whether the CPU
 * could take over. Each refusal is by a guest that may be hostile. */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "tests/unit/step_machine.h"

static struct { uint16_t port; unsigned size, count; uint32_t value; } io;

static uint32_t port_read(void *ctx, uint16_t port, unsigned size)
{
	(void)ctx;
	io.port = port;
	io.size = size;
	io.count++;
	return 0x89abcdef & (size == 4 ? 0xffffffff : (1U << 8 * size) - 1);
}

static void port_write(void *ctx, uint16_t port, unsigned size, uint32_t value)
{
	(void)ctx;
	io.port = port;
	io.size = size;
	io.value = value;
	io.count++;
}

static void gdt(unsigned selector, uint64_t descriptor)
{
	memcpy(ram + GDT_AT + (selector & ~7U), &descriptor, 8);
}

#define REFUSED(bytes, vector, error) \
	do { \
		assert_int_equal(STEP(bytes), EMULATE_DONE); \
		expect_delivered(vector, true, error); \
	} while (0)

#define WELL(bytes) \
	do { \
		assert_int_equal(STEP(bytes), EMULATE_DONE); \
		assert_false(result.delivered); \
	} while (0)

/* ---- Ports ---- */

static void with_ports(void)
{
	emu.port_read = port_read;
	emu.port_write = port_write;
	memset(&io, 0, sizeof(io));
	gpr[REG_RAX] = 0x1122334455667788;
	gpr[REG_RDX] = 0xffffcfc;
}

static void test_ports(void **state)
{
	static const struct { const char *bytes; unsigned n, size; bool dx, out; } all[] = {
		{ "\xe4\x71", 2, 1, false, false }, { "\xe5\x71", 2, 4, false, false }, { "\x66\xe5\x71", 3, 2, false, false },
		{ "\xe6\x71", 2, 1, false, true }, { "\xe7\x71", 2, 4, false, true }, { "\x66\xe7\x71", 3, 2, false, true },
		{ "\xec", 1, 1, true, false }, { "\xed", 1, 4, true, false }, { "\x66\xed", 2, 2, true, false },
		{ "\xee", 1, 1, true, true }, { "\xef", 1, 4, true, true }, { "\x66\xef", 2, 2, true, true },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		uint64_t mask = all[i].size == 4 ? 0xffffffff : (1ULL << 8 * all[i].size) - 1;
		uint64_t keep = all[i].size == 4 ? 0 : 0x1122334455667788 & ~mask;

		protected_mode_setup();
		with_ports();
		assert_int_equal(step_bytes(all[i].bytes, all[i].n), EMULATE_DONE);
		assert_false(result.delivered);
		assert_true(io.count == 1 && io.size == all[i].size && io.port == (all[i].dx ? 0xfcfc : 0x71));
		if (all[i].out)
			assert_int_equal(io.value, 0x55667788 & mask);
		else
			assert_int_equal(gpr[REG_RAX], keep | (0x89abcdef & mask));
	}
}

/* Each of an access's ports must have its bit clear, and both of the bitmap's bytes lie in the TSS. */
static void test_port_bitmap(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 8; bit++) {
		user_mode_setup();
		with_ports();
		segments[SEG_TR].limit = 0x67 + 0x20;
		ram[TSS_AT + 102] = 0x68;
		ram[TSS_AT + 0x68 + 0x71 / 8] = (uint8_t)(1U << bit);
		assert_int_equal(STEP("\xe5\x71"), EMULATE_DONE); /* ports 71h to 74h: bits 1 to 4 */
		assert_int_equal(result.delivered, bit >= 1 && bit <= 4);
		assert_int_equal(io.count, !result.delivered);
	}
	/* Ports 7fh and 80h: in two bytes. */
	user_mode_setup();
	with_ports();
	segments[SEG_TR].limit = 0x67 + 0x20;
	ram[TSS_AT + 102] = 0x68;
	ram[TSS_AT + 0x68 + 0x10] = 1;
	REFUSED("\x66\xe5\x7f", VECTOR_GP, 0);
	for (unsigned more = 0; more < 2; more++) {
		user_mode_setup();
		with_ports();
		ram[TSS_AT + 102] = 0x68;
		segments[SEG_TR].limit = 0x68 + 0x71 / 8 + more;
		assert_int_equal(STEP("\xe4\x71"), EMULATE_DONE);
		assert_int_equal(result.delivered, !more);
	}
	/* A 16-bit TSS has none, nor has a TSS that ends before its pointer. */
	user_mode_setup();
	with_ports();
	segments[SEG_TR].access = 0x83;
	segments[SEG_TR].limit = 0xff;
	set_dword(TSS_AT + 2, 0x00106000); /* ss0:sp0 */
	REFUSED("\xe4\x71", VECTOR_GP, 0);
	user_mode_setup();
	segments[SEG_TR].limit = 102;
	REFUSED("\xe4\x71", VECTOR_GP, 0);
	/* IOPL 3 asks nobody. */
	user_mode_setup();
	with_ports();
	segments[SEG_TR].limit = 0;
	emu.rflags |= 0x3000;
	WELL("\xe4\x71");
	assert_int_equal(io.count, 1);
}

/* ---- Far transfers ---- */

#define CALL_48 "\x9a\x00\x00\x00\x00\x48\x00"
#define JMP_48 "\xea\x00\x00\x00\x00\x48\x00"

static void test_gates(void **state)
{
	(void)state;
	/* At the same level: nothing but the return address is pushed. */
	protected_mode_setup();
	WELL(CALL_48);
	assert_true(emu.rip == 0x500 && gpr[REG_RSP] == 0x7000 - 8 && emu.seg[SEG_CS].selector == 8);
	assert_true(dword(0x6ffc) == 8 && dword(0x6ff8) == PROGRAM_AT + 7);
	protected_mode_setup();
	WELL(JMP_48);
	assert_true(emu.rip == 0x500 && gpr[REG_RSP] == 0x7000);
	/* A gate of 16 bits has 16 bits of offset, and pushes words. */
	protected_mode_setup();
	gdt(0x48, 0x5678e40000080500);
	WELL(CALL_48);
	assert_true(emu.rip == 0x500 && gpr[REG_RSP] == 0x7000 - 4);
	assert_int_equal(dword(0x6ffc), 8U << 16 | (PROGRAM_AT + 7));
	/* The upper half of the other's. */
	protected_mode_setup();
	gdt(0x48, 0x0012ec0000080500);
	WELL(JMP_48);
	assert_int_equal(emu.rip, 0x120500);
	/* A jump does not change the level. */
	user_mode_setup();
	REFUSED("\xea\x00\x00\x00\x00\x4b\x00", VECTOR_GP, 8);
	/* The gate's own level. */
	user_mode_setup();
	gdt(0x48, 0x00008c0200080500);
	REFUSED(CALL_48, VECTOR_GP, 0x48);
	protected_mode_setup();
	gdt(0x48, 0x00008c0200080500);
	REFUSED("\x9a\x00\x00\x00\x00\x4b\x00", VECTOR_GP, 0x48);
	/* What is not present, or is no code, or lies outside of the table. */
	static const struct { uint64_t gate; unsigned vector, error; } bad[] = {
		{ 0x00006c0200080500, VECTOR_NP, 0x48 }, { 0x0000ec0200100500, VECTOR_GP, 0x10 }, { 0x0000ec0200400500, VECTOR_GP, 0x40 },
		{ 0x0000ec0200680500, VECTOR_GP, 0x68 }, { 0x0000ec0200000500, VECTOR_GP, 0 }, { 0x0000ec0200300500, VECTOR_GP, 0x30 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		protected_mode_setup();
		gdt(0x48, bad[i].gate);
		assert_int_equal(STEP(CALL_48), EMULATE_DONE);
		expect_delivered(bad[i].vector, true, bad[i].error);
	}
	protected_mode_setup();
	gdt(0x18, 0x00cf1a000000ffff);
	gdt(0x48, 0x0000ec0000180500);
	REFUSED(CALL_48, VECTOR_NP, 0x18);
	/* An offset behind the segment's limit. */
	protected_mode_setup();
	gdt(0x18, 0x00409a000000ffff);
	gdt(0x48, 0x0001ec0000180000);
	REFUSED(CALL_48, VECTOR_GP, 0);
}

static void test_far_code(void **state)
{
	static const struct { uint64_t descriptor; bool user; unsigned vector; } all[] = {
		{ 0x00cf9a000000ffff, false, 0 }, { 0x00cf1a000000ffff, false, VECTOR_NP }, { 0x00cf92000000ffff, false, VECTOR_GP },
		{ 0x00cffa000000ffff, false, VECTOR_GP }, { 0x00cf9e000000ffff, true, 0 }, { 0x00cf9a000000ffff, true, VECTOR_GP },
		{ 0x00cffe000000ffff, false, VECTOR_GP }, { 0x000082000000ffff, false, VECTOR_GP }, { 0x00008e000000ffff, false, VECTOR_GP },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		all[i].user ? user_mode_setup() : protected_mode_setup();
		gdt(0x18, all[i].descriptor);
		assert_int_equal(STEP("\xea\x00\x10\x00\x00\x18\x00"), EMULATE_DONE);
		if (all[i].vector) {
			expect_delivered(all[i].vector, true, 0x18);
		} else {
			assert_false(result.delivered);
			assert_int_equal(emu.rip, 0x1000);
			assert_int_equal(emu.seg[SEG_CS].selector, all[i].user ? 0x1b : 0x18);
			assert_int_equal(ram[GDT_AT + 0x1d] & 1, 1); /* accessed */
		}
	}
	/* RPL above the level. */
	protected_mode_setup();
	REFUSED("\xea\x00\x10\x00\x00\x1b\x00", VECTOR_GP, 0x18);
	protected_mode_setup();
	REFUSED("\xea\x00\x10\x00\x00\x00\x00", VECTOR_GP, 0);
}

/* RETF to a selector that the stack names. */
static void test_far_returns(void **state)
{
	static const struct { uint16_t cs, ss; unsigned vector, error; } all[] = {
		{ 0x08, 0, 0, 0 }, { 0x33, 0x3b, 0, 0 }, { 0x00, 0, VECTOR_GP, 0 }, { 0x10, 0, VECTOR_GP, 0x10 }, { 0x0b, 0x3b, VECTOR_GP, 8 },
		{ 0x30, 0, VECTOR_GP, 0x30 }, { 0x40, 0, VECTOR_GP, 0x40 }, { 0x70, 0, VECTOR_GP, 0x70 }, { 0x33, 0, VECTOR_GP, 0 },
		{ 0x33, 0x10, VECTOR_GP, 0x10 }, { 0x33, 0x33, VECTOR_GP, 0x30 }, { 0x33, 0x38, VECTOR_GP, 0x38 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		protected_mode_setup();
		set_dword(0x7000, 0x1234);
		set_dword(0x7004, all[i].cs);
		set_dword(0x7008, 0x5000);
		set_dword(0x700c, all[i].ss);
		assert_int_equal(STEP("\xcb"), EMULATE_DONE);
		if (all[i].vector) {
			expect_delivered(all[i].vector, true, all[i].error);
			assert_int_equal(gpr[REG_RSP], 0x7000 - 16);
		} else {
			assert_false(result.delivered);
			assert_int_equal(emu.rip, 0x1234);
			assert_int_equal(gpr[REG_RSP], all[i].cs & 3 ? 0x5000 : 0x7008);
			assert_int_equal(emu.paging.cpl, all[i].cs & 3);
		}
	}
	protected_mode_setup();
	gdt(0x30, 0x00cf7a000000ffff);
	set_dword(0x7004, 0x33);
	REFUSED("\xcb", VECTOR_NP, 0x30);
	protected_mode_setup();
	gdt(0x38, 0x00cf72000000ffff);
	set_dword(0x7004, 0x33);
	set_dword(0x700c, 0x3b);
	REFUSED("\xcb", VECTOR_SS, 0x38);
}

/* ---- Descriptors ---- */

static void test_system_segments(void **state)
{
	(void)state;
	/* LLDT: a null selector leaves none; no other type, none that is not present, none of the LDT's own. */
	protected_mode_setup();
	WELL("\x0f\x00\xd0");
	assert_true(emu.seg[SEG_LDTR].access & SEGMENT_UNUSABLE);
	gpr[REG_RAX] = 0x5c;
	REFUSED("\x0f\x00\xd0", VECTOR_GP, 0x5c);
	protected_mode_setup();
	gpr[REG_RAX] = 0x40;
	REFUSED("\x0f\x00\xd0", VECTOR_GP, 0x40);
	protected_mode_setup();
	gpr[REG_RAX] = 0x70;
	REFUSED("\x0f\x00\xd0", VECTOR_GP, 0x70);
	protected_mode_setup();
	gdt(0x58, 0x000002002000001f);
	gpr[REG_RAX] = 0x58;
	REFUSED("\x0f\x00\xd0", VECTOR_NP, 0x58);
	/* LTR likewise, and not null. */
	protected_mode_setup();
	REFUSED("\x0f\x00\xd8", VECTOR_GP, 0);
	protected_mode_setup();
	gpr[REG_RAX] = 0x44;
	REFUSED("\x0f\x00\xd8", VECTOR_GP, 0x44);
	protected_mode_setup();
	gpr[REG_RAX] = 0x58;
	REFUSED("\x0f\x00\xd8", VECTOR_GP, 0x58);
	protected_mode_setup();
	gpr[REG_RAX] = 0x70;
	REFUSED("\x0f\x00\xd8", VECTOR_GP, 0x70);
	protected_mode_setup();
	gdt(0x40, 0x0000090030000067);
	gpr[REG_RAX] = 0x40;
	REFUSED("\x0f\x00\xd8", VECTOR_NP, 0x40);
	protected_mode_setup();
	gdt(0x40, 0x000081003000002b);
	gpr[REG_RAX] = 0x40;
	WELL("\x0f\x00\xd8");
	assert_int_equal(emu.seg[SEG_TR].access, 0x83);
	/* Neither for user code; SLDT and STR are, but for UMIP; none in real mode. */
	user_mode_setup();
	gpr[REG_RAX] = 0x40;
	REFUSED("\x0f\x00\xd8", VECTOR_GP, 0);
	user_mode_setup();
	REFUSED("\x0f\x00\xd0", VECTOR_GP, 0);
	user_mode_setup();
	WELL("\x0f\x00\xc8"); /* str eax */
	assert_int_equal(gpr[REG_RAX], 0x40);
	emu.paging.cr4 |= CR4_UMIP;
	REFUSED("\x0f\x00\xc8", VECTOR_GP, 0);
	user_mode_setup();
	emu.paging.cr4 |= CR4_UMIP;
	REFUSED("\x0f\x01\x05\x00\x50\x00\x00", VECTOR_GP, 0); /* sgdt */
	user_mode_setup();
	emu.paging.cr4 |= CR4_UMIP;
	REFUSED("\x0f\x01\xe0", VECTOR_GP, 0); /* smsw */
	user_mode_setup();
	WELL("\x0f\x01\xe0");
	user_mode_setup();
	REFUSED("\x0f\x01\x15\x00\x50\x00\x00", VECTOR_GP, 0); /* lgdt */
}

/* LAR and LSL of each system type, as the manual's tables have them (SDM vol. 2). */
static void test_lar_lsl(void **state)
{
	static const uint16_t lar = 0x1a3e, lsl = 0x0a0e;

	(void)state;
	for (unsigned type = 0; type < 16; type++) {
		protected_mode_setup();
		gdt(0x58, 0x000080002000001f | (uint64_t)type << 40);
		gpr[REG_RAX] = 0x58;
		WELL("\x0f\x02\xc8");
		assert_int_equal(!!(emu.rflags & RFLAGS_ZF), lar >> type & 1);
		assert_int_equal(gpr[REG_RCX], lar >> type & 1 ? 0x8000U | type << 8 : 0);
		gpr[REG_RCX] = 0;
		WELL("\x0f\x03\xc8");
		assert_int_equal(!!(emu.rflags & RFLAGS_ZF), lsl >> type & 1);
		assert_int_equal(gpr[REG_RCX], lsl >> type & 1 ? 0x1f : 0);
	}
	/* Not of an inner level, unless the code is conforming. */
	user_mode_setup();
	gpr[REG_RAX] = 0x08;
	WELL("\x0f\x02\xc8");
	assert_false(emu.rflags & RFLAGS_ZF);
	gdt(0x08, 0x00cf9e000000ffff);
	WELL("\x0f\x02\xc8");
	assert_true(emu.rflags & RFLAGS_ZF);
	gpr[REG_RAX] = 0x3b;
	WELL("\x0f\x03\xc8");
	assert_int_equal(gpr[REG_RCX], 0xffffffff);
	/* An RPL above the segment's level. */
	protected_mode_setup();
	gpr[REG_RAX] = 0x13;
	WELL("\x0f\x02\xc8");
	assert_false(emu.rflags & RFLAGS_ZF);
	/* ARPL */
	gpr[REG_RAX] = 0x10;
	gpr[REG_RCX] = 0x3;
	WELL("\x63\xc8");
	assert_true(gpr[REG_RAX] == 0x13 && emu.rflags & RFLAGS_ZF);
	gpr[REG_RCX] = 0x2;
	WELL("\x63\xc8");
	assert_true(gpr[REG_RAX] == 0x13 && !(emu.rflags & RFLAGS_ZF));
}

/* ---- Control registers, MSRs, flags ---- */

static void test_control(void **state)
{
	(void)state;
	for (unsigned cr = 0; cr < 8; cr++) {
		const char bytes[] = { 0x0f, 0x20, (char)(0xc1 | cr << 3) };

		protected_mode_setup();
		emu.paging.cr3 = 0x3000;
		emu.paging.cr4 = 0x40;
		step.cr2 = 0x2222;
		assert_int_equal(step_bytes(bytes, 3), EMULATE_DONE);
		if (cr == 1 || cr > 4)
			expect_delivered(VECTOR_UD, false, 0);
		else
			assert_int_equal(gpr[REG_RCX], cr == 0 ? emu.paging.cr0 : cr == 2 ? 0x2222 : cr == 3 ? 0x3000 : 0x40);
	}
	user_mode_setup();
	REFUSED("\x0f\x20\xc0", VECTOR_GP, 0);
	user_mode_setup();
	REFUSED("\x0f\x21\xc0", VECTOR_GP, 0);
	protected_mode_setup();
	gpr[REG_RAX] = 0x4444;
	WELL("\x0f\x22\xd0");
	assert_int_equal(step.cr2, 0x4444);
	assert_true(step.changed & STEP_CHANGED_CR2);
	/* Without long mode no PCIDs. */
	gpr[REG_RAX] = CR4_PCIDE | CR4_PAE;
	REFUSED("\x0f\x22\xe0", VECTOR_GP, 0);
	/* 32-bit code has 32 bits of the register, whatever is above them. */
	protected_mode_setup();
	gpr[REG_RAX] = 0xffffffff00005000;
	WELL("\x0f\x22\xd8");
	assert_int_equal(emu.paging.cr3, 0x5000);
	WELL("\x0f\x20\xd9");
	assert_int_equal(gpr[REG_RCX], 0x5000);
	/* Breakpoint registers likewise. */
	protected_mode_setup();
	gpr[REG_RAX] = 0xffffffff00000455;
	WELL("\x0f\x23\xf8");
	assert_int_equal(dr[7], 0x455);
	protected_mode_setup();
	dr[7] = 0x455;
	WELL("\x0f\x21\xf9");
	assert_int_equal(gpr[REG_RCX], 0x455);
}

static void test_msrs(void **state)
{
	(void)state;
	protected_mode_setup();
	gpr[REG_RCX] = 0xc0000100;
	gpr[REG_RAX] = 0x5000;
	gpr[REG_RDX] = 0x1;
	WELL("\x0f\x30");
	assert_int_equal(emu.seg[SEG_FS].base, 0x100005000);
	assert_true(step.changed & 1U << SEG_FS);
	assert_false(step.changed & 1U << SEG_GS);
	gpr[REG_RCX] = 0xc0000101;
	gpr[REG_RAX] = 0x6000;
	WELL("\x0f\x30");
	assert_int_equal(emu.seg[SEG_GS].base, 0x100006000);
	WELL("\x0f\x32");
	assert_int_equal(gpr[REG_RAX], 0x6000);
	gpr[REG_RCX] = 0xc0000100;
	WELL("\x0f\x32");
	assert_true(gpr[REG_RAX] == 0x5000 && gpr[REG_RDX] == 1);
	gpr[REG_RCX] = 0x20;
	WELL("\x0f\x32");
	assert_true(gpr[REG_RAX] == 0x55667788 && gpr[REG_RDX] == 0x11223344);
	gpr[REG_RCX] = 0x1000;
	REFUSED("\x0f\x32", VECTOR_GP, 0);
	protected_mode_setup();
	gpr[REG_RCX] = 0x1000;
	REFUSED("\x0f\x30", VECTOR_GP, 0);
	user_mode_setup();
	REFUSED("\x0f\x32", VECTOR_GP, 0);
	/* EFER: LME not while paging is on, LMA never. */
	protected_mode_setup();
	gpr[REG_RCX] = 0xc0000080;
	gpr[REG_RAX] = EFER_LME | EFER_LMA;
	WELL("\x0f\x30");
	assert_int_equal(emu.paging.efer, EFER_LME);
	assert_true(step.changed & STEP_CHANGED_CONTROL);
	WELL("\x0f\x32");
	assert_int_equal(gpr[REG_RAX], EFER_LME);
	/* RDTSC: CR4.TSD keeps it from user code; RDTSCP has the number too. */
	user_mode_setup();
	WELL("\x0f\x31");
	emu.paging.cr4 = CR4_TSD;
	REFUSED("\x0f\x31", VECTOR_GP, 0);
	protected_mode_setup();
	emu.paging.cr4 = CR4_TSD;
	WELL("\x0f\x31");
}

static void test_fpu(void **state)
{
	(void)state;
	/* Only the stores of control and status words, and only to memory. */
	protected_mode_setup();
	gpr[REG_RDI] = 0x5000;
	WELL("\xdd\x3f");
	WELL("\xd9\x3f");
	assert_int_equal(word(0x5000), 0x37f);
	assert_int_equal(STEP("\xd9\xff"), EMULATE_UNSUPPORTED);
	assert_int_equal(STEP("\xdd\xff"), EMULATE_UNSUPPORTED);
	assert_int_equal(STEP("\xd9\x37"), EMULATE_UNSUPPORTED);
	assert_int_equal(STEP("\xdb\x3f"), EMULATE_UNSUPPORTED);
	/* FWAIT heeds TS with MP alone. */
	for (unsigned i = 0; i < 4; i++) {
		protected_mode_setup();
		emu.paging.cr0 |= (i & 1 ? CR0_TS : 0) | (i & 2 ? CR0_MP : 0);
		assert_int_equal(STEP("\x9b"), EMULATE_DONE);
		assert_int_equal(result.delivered, i == 3);
	}
	protected_mode_setup();
	emu.paging.cr0 |= CR0_EM;
	assert_int_equal(STEP("\xdb\xe3"), EMULATE_DONE);
	expect_delivered(VECTOR_NM, false, 0);
}

/* Hints do nothing but end; what is beside them is no instruction that start-up code has. */
static void test_hints(void **state)
{
	(void)state;
	protected_mode_setup();
	WELL("\x0f\x0d\x08");
	assert_int_equal(emu.rip, PROGRAM_AT + 3);
	for (unsigned op = 0x18; op <= 0x1f; op++) {
		const char bytes[] = { 0x0f, (char)op, 0 };

		protected_mode_setup();
		assert_int_equal(step_bytes(bytes, 3), EMULATE_DONE);
		assert_false(result.delivered);
		assert_int_equal(emu.rip, PROGRAM_AT + 3);
	}
	for (unsigned op = 0; op < 3; op++) { /* UD2, UD1, UD0 */
		static const char bytes[][3] = { { 0x0f, 0x0b, 0 }, { 0x0f, (char)0xb9, 0 }, { 0x0f, (char)0xff, 0 } };

		protected_mode_setup();
		assert_int_equal(step_bytes(bytes[op], 3), EMULATE_DONE);
		expect_delivered(VECTOR_UD, false, 0);
	}
	protected_mode_setup();
	assert_int_equal(STEP("\x0f\xb8\xc8"), EMULATE_DONE); /* POPCNT without its prefix */
	expect_delivered(VECTOR_UD, false, 0);
}

/* What the manual leaves undefined, as Intel's CPUs have it: a product's ZF is clear. */
static void test_multiply_flags(void **state)
{
	(void)state;
	protected_mode_setup();
	emu.rflags |= RFLAGS_ZF | RFLAGS_CF | RFLAGS_OF;
	WELL("\xf7\xe1"); /* 0 * 0 */
	assert_int_equal(emu.rflags & (RFLAGS_ZF | RFLAGS_CF | RFLAGS_OF), 0);
	gpr[REG_RAX] = 0x80000000;
	gpr[REG_RCX] = 2;
	WELL("\xf7\xe1");
	assert_int_equal(emu.rflags & (RFLAGS_ZF | RFLAGS_CF | RFLAGS_OF), RFLAGS_CF | RFLAGS_OF);
	assert_true(gpr[REG_RAX] == 0 && gpr[REG_RDX] == 1);
}

/* ---- Whether the CPU could take over ---- */

static void test_enterable(void **state)
{
	static const struct { enum segment_register which; uint32_t limit, access; uint16_t selector; uint64_t base; bool enterable; } all[] = {
		{ SEG_DS, 0xffffffff, 0xc093, 0x10, 0, true }, { SEG_DS, 0xfffff, 0x4093, 0x10, 0, true },
		{ SEG_DS, 0x100000, 0x4093, 0x10, 0, false }, { SEG_DS, 0xfffff000, 0xc093, 0x10, 0, false },
		{ SEG_DS, 0xffffffff, 0xc092, 0x10, 0, false }, { SEG_DS, 0xffffffff, 0xc013, 0x10, 0, false },
		{ SEG_DS, 0xffffffff, 0xc083, 0x10, 0, false }, { SEG_DS, 0xffffffff, 0xc099, 0x10, 0, false },
		{ SEG_DS, 0xffffffff, 0xc09b, 0x10, 0, true }, { SEG_DS, 0xffffffff, 0xc093, 0x13, 0, false },
		{ SEG_DS, 0xffffffff, 0xc09f, 0x13, 0, true }, { SEG_DS, 5, 0x10000, 0, 0, true }, { SEG_DS, 0xffffffff, 0xc093, 0x10, 1ULL << 32, false },
		{ SEG_FS, 0xffffffff, 0xc093, 0x10, 1ULL << 32, true }, { SEG_SS, 0xffffffff, 0xc093, 0x10, 0, true },
		{ SEG_SS, 0xffffffff, 0xc097, 0x10, 0, true }, { SEG_SS, 0xffffffff, 0xc091, 0x10, 0, false },
		{ SEG_SS, 0xffffffff, 0xc093, 0x11, 0, false }, { SEG_SS, 0xffffffff, 0xc0b3, 0x10, 0, false },
		{ SEG_CS, 0xffffffff, 0xc09b, 8, 0, true }, { SEG_CS, 0xffffffff, 0xc09a, 8, 0, false }, { SEG_CS, 0xffffffff, 0xc093, 8, 0, false },
		{ SEG_CS, 0xffffffff, 0xc01b, 8, 0, false }, { SEG_CS, 0xffffffff, 0xc08b, 8, 0, false }, { SEG_CS, 0xffff0000, 0xc09b, 8, 0, false },
		{ SEG_CS, 0xffffffff, 0xc0fb, 8, 0, false }, { SEG_CS, 0xffffffff, 0xc09f, 8, 0, true }, { SEG_CS, 0xffffffff, 0xc0ff, 8, 0, false },
		{ SEG_CS, 0xffffffff, 0x1c09b, 8, 0, false }, { SEG_TR, 0x67, 0x8b, 0x40, 0, true }, { SEG_TR, 0x67, 0x83, 0x40, 0, true },
		{ SEG_TR, 0x67, 0x8b, 0x43, 0, true }, { SEG_LDTR, 0x1f, 0x82, 0x5b, 0, true },
		{ SEG_TR, 0x67, 0x89, 0x40, 0, false }, { SEG_TR, 0x67, 0x81, 0x40, 0, false }, { SEG_TR, 0x67, 0x0b, 0x40, 0, false },
		{ SEG_TR, 0x67, 0x9b, 0x40, 0, false }, { SEG_TR, 0x67, 0x8b, 0x44, 0, false }, { SEG_TR, 0x67, 0x1008b, 0x40, 0, false },
		{ SEG_TR, 0x100000, 0x8b, 0x40, 0, false }, { SEG_LDTR, 0x1f, 0x82, 0x58, 0, true }, { SEG_LDTR, 0x1f, 0x82, 0x5c, 0, false },
		{ SEG_LDTR, 0x1f, 0x02, 0x58, 0, false }, { SEG_LDTR, 0x1f, 0x92, 0x58, 0, false }, { SEG_LDTR, 0x1f, 0x83, 0x58, 0, false },
		{ SEG_LDTR, 0x100000, 0x82, 0x58, 0, false }, { SEG_LDTR, 0x100000, 0x10082, 0x5c, 0, true },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		protected_mode_setup();
		segments[all[i].which] = (struct segment_state){ all[i].selector, all[i].limit, all[i].access, all[i].base };
		if (emulate_enterable(&emu) != all[i].enterable)
			fail_msg("case %u", i);
	}
	protected_mode_setup();
	emu.paging.cr0 &= ~(uint64_t)CR0_PE;
	assert_false(emulate_enterable(&emu));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_ports, setup), cmocka_unit_test_setup(test_port_bitmap, setup),
		cmocka_unit_test_setup(test_gates, setup), cmocka_unit_test_setup(test_far_code, setup),
		cmocka_unit_test_setup(test_far_returns, setup), cmocka_unit_test_setup(test_system_segments, setup),
		cmocka_unit_test_setup(test_lar_lsl, setup), cmocka_unit_test_setup(test_control, setup),
		cmocka_unit_test_setup(test_msrs, setup), cmocka_unit_test_setup(test_fpu, setup),
		cmocka_unit_test_setup(test_hints, setup), cmocka_unit_test_setup(test_multiply_flags, setup),
		cmocka_unit_test_setup(test_enterable, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

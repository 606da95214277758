/* SOURCES: tests/unit/step_machine.c vmm/emulate/step.c vmm/emulate/step_alu.c vmm/emulate/step_bits.c vmm/emulate/step_control.c vmm/emulate/step_descriptor.c vmm/emulate/step_far.c vmm/emulate/step_fpu.c vmm/emulate/step_interrupt.c vmm/emulate/step_io.c vmm/emulate/step_memory.c vmm/emulate/step_muldiv.c vmm/emulate/step_shift.c vmm/emulate/step_stack.c vmm/emulate/step_state.c vmm/emulate/step_system.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* Protected and virtual-8086 mode: segments, privilege, interrupts, control registers. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "tests/unit/step_machine.h"

static void test_segment_loads(void **state)
{
	(void)state;
	static const struct {
		uint16_t selector;
		bool stack;
		uint8_t vector; /* 0: none */
	} load_case[] = {
		{ 0x10, false, 0 }, { 0x00, false, 0 }, { 0x03, false, 0 }, { 0x3b, false, 0 }, { 0x13, false, VECTOR_GP }, { 0x50, false, VECTOR_NP },
		{ 0x40, false, VECTOR_GP }, { 0x68, false, VECTOR_GP }, { 0x14, false, VECTOR_GP }, { 0x10, true, 0 }, { 0x00, true, VECTOR_GP },
		{ 0x3b, true, VECTOR_GP }, { 0x08, true, VECTOR_GP }, { 0x50, true, VECTOR_SS }, { 0x08, false, 0 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(load_case); i++) {
		uint16_t selector = load_case[i].selector;

		protected_mode_setup();
		gpr[REG_RAX] = selector;
		assert_int_equal(load_case[i].stack ? STEP("\x8e\xd0") : STEP("\x8e\xd8"), EMULATE_DONE);
		if (load_case[i].vector) {
			expect_delivered(load_case[i].vector, true, selector & 0xfffc);
			assert_int_equal(dword((unsigned)gpr[REG_RSP] + 4), PROGRAM_AT);
			assert_int_equal(segment_of(&emu, SEG_DS)->selector, 0x10);
		} else {
			assert_false(result.delivered);
			assert_int_equal(emu.seg[load_case[i].stack ? SEG_SS : SEG_DS].selector, selector);
			if (!(selector & ~3))
				assert_true(emu.seg[SEG_DS].access & SEGMENT_UNUSABLE);
		}
	}
	/* A null DS cannot be used. */
	protected_mode_setup();
	assert_int_equal(STEP("\x8e\xd8"), EMULATE_DONE);
	assert_int_equal(STEP("\xa1\x00\x00\x00\x00"), EMULATE_DONE);
	expect_delivered(VECTOR_GP, true, 0);
	/* LTR marks the TSS busy, and only once; LLDT; what they refuse. */
	protected_mode_setup();
	gpr[REG_RAX] = 0x40;
	assert_int_equal(STEP("\x0f\x00\xd8"), EMULATE_DONE);
	assert_int_equal(ram[GDT_AT + 0x45], 0x8b);
	assert_int_equal(emu.seg[SEG_TR].access, 0x8b);
	assert_int_equal(STEP("\x0f\x00\xd8"), EMULATE_DONE);
	expect_delivered(VECTOR_GP, true, 0x40);
	protected_mode_setup();
	gpr[REG_RAX] = 0x58;
	assert_int_equal(STEP("\x0f\x00\xd0"), EMULATE_DONE);
	assert_int_equal(emu.seg[SEG_LDTR].base, 0x2000);
	/* ... and through it. */
	memcpy(ram + 0x2008, ram + GDT_AT + 0x10, 8);
	gpr[REG_RAX] = 0xc;
	assert_int_equal(STEP("\x8e\xc0"), EMULATE_DONE);
	assert_false(result.delivered);
	assert_int_equal(emu.seg[SEG_ES].selector, 0xc);
	/* LAR, LSL, VERR, VERW */
	gpr[REG_RAX] = 0x10;
	assert_int_equal(STEP("\x0f\x02\xc8"), EMULATE_DONE);
	assert_int_equal(gpr[REG_RCX], 0xcf9200 & 0xffff00);
	assert_true(emu.rflags & RFLAGS_ZF);
	assert_int_equal(STEP("\x0f\x03\xc8"), EMULATE_DONE);
	assert_int_equal(gpr[REG_RCX], 0xffffffff);
	gpr[REG_RAX] = 8;
	assert_int_equal(STEP("\x0f\x00\xe8"), EMULATE_DONE); /* verw code */
	assert_false(emu.rflags & RFLAGS_ZF);
	assert_int_equal(STEP("\x0f\x00\xe0"), EMULATE_DONE); /* verr */
	assert_true(emu.rflags & RFLAGS_ZF);
	gpr[REG_RAX] = 0x400;
	assert_int_equal(STEP("\x0f\x03\xc8"), EMULATE_DONE);
	assert_false(emu.rflags & RFLAGS_ZF);
}

/* SGDT and SIDT store, LGDT and LIDT load; with a prefix the base has 24 bits. */
static void test_table_registers(void **state)
{
	(void)state;
	protected_mode_setup();
	assert_int_equal(STEP("\x0f\x01\x05\x00\x50\x00\x00"), EMULATE_DONE);
	assert_true(word(0x5000) == step.gdtr.limit && dword(0x5002) == GDT_AT);
	assert_int_equal(STEP("\x0f\x01\x0d\x10\x50\x00\x00"), EMULATE_DONE);
	assert_true(word(0x5010) == 256 * 8 - 1 && dword(0x5012) == IDT_AT);
	assert_true(step.gdtr.base == GDT_AT && step.idtr.base == IDT_AT);
	assert_int_equal(step.changed & (STEP_CHANGED_GDTR | STEP_CHANGED_IDTR), 0);
	set_dword(0x5000, 0x56780123);
	set_dword(0x5004, 0x1234);
	assert_int_equal(STEP("\x0f\x01\x1d\x00\x50\x00\x00"), EMULATE_DONE);
	assert_true(step.idtr.limit == 0x123 && step.idtr.base == 0x12345678);
	assert_int_equal(step.changed & (STEP_CHANGED_GDTR | STEP_CHANGED_IDTR), STEP_CHANGED_IDTR);
	assert_int_equal(STEP("\x66\x0f\x01\x15\x00\x50\x00\x00"), EMULATE_DONE);
	assert_true(step.gdtr.limit == 0x123 && step.gdtr.base == 0x345678);
	assert_true(step.changed & STEP_CHANGED_GDTR);
}

static void test_privilege(void **state)
{
	uint64_t esp;

	(void)state;
	/* From user mode: a privileged instruction gives #GP on the inner stack. */
	user_mode_setup();
	assert_int_equal(STEP("\x0f\x06"), EMULATE_DONE); /* clts */
	expect_delivered(VECTOR_GP, true, 0);
	assert_int_equal(gpr[REG_RSP], 0x6000 - 6 * 4);
	esp = gpr[REG_RSP];
	assert_int_equal(dword((unsigned)esp + 4), PROGRAM_AT);
	assert_int_equal(dword((unsigned)esp + 8), 0x33);
	assert_int_equal(dword((unsigned)esp + 16), 0x7000);
	assert_int_equal(dword((unsigned)esp + 20), 0x3b);
	assert_int_equal(emu.seg[SEG_SS].selector, 0x10);
	assert_int_equal(emu.paging.cpl, 0);
	assert_true(emulate_enterable(&emu));
	/* ... and IRET goes back. */
	gpr[REG_RSP] += 4;
	set_dword((unsigned)gpr[REG_RSP], 0x4444);
	assert_int_equal(STEP("\xcf"), EMULATE_DONE);
	assert_true(result.iret);
	assert_int_equal(emu.rip, 0x4444);
	assert_int_equal(emu.seg[SEG_CS].selector, 0x33);
	assert_int_equal(emu.seg[SEG_SS].selector, 0x3b);
	assert_int_equal(gpr[REG_RSP], 0x7000);
	assert_int_equal(emu.paging.cpl, 3);
	/* INT n needs the gate's DPL. */
	assert_int_equal(STEP("\xcd\x40"), EMULATE_DONE);
	expect_delivered(VECTOR_GP, true, 0x40 * 8 + 2);
	user_mode_setup();
	idt_entry(0x40, 8, 0x10400, 0xef);
	emu.rflags |= RFLAGS_IF;
	assert_int_equal(STEP("\xcd\x40"), EMULATE_DONE);
	expect_delivered(0x40, false, 0);
	assert_true(emu.rflags & RFLAGS_IF); /* a trap gate */
	assert_int_equal(dword((unsigned)gpr[REG_RSP]), PROGRAM_AT + 2);
	/* Call gate with two parameters, and RETF that releases them. */
	user_mode_setup();
	set_dword(0x7000, 0xaaaa);
	set_dword(0x7004, 0xbbbb);
	assert_int_equal(STEP("\x9a\x00\x00\x00\x00\x4b\x00"), EMULATE_DONE);
	assert_false(result.delivered);
	assert_int_equal(emu.rip, 0x500);
	assert_int_equal(emu.seg[SEG_CS].selector, 8);
	assert_int_equal(gpr[REG_RSP], 0x6000 - 6 * 4);
	assert_int_equal(dword(0x6000 - 4), 0x3b);
	assert_int_equal(dword(0x6000 - 8), 0x7000);
	assert_int_equal(dword(0x6000 - 12), 0xbbbb);
	assert_int_equal(dword(0x6000 - 16), 0xaaaa);
	assert_int_equal(dword(0x6000 - 20), 0x33);
	assert_int_equal(dword(0x6000 - 24), PROGRAM_AT + 7);
	gpr[REG_RAX] = 0x10;
	assert_int_equal(STEP("\x8e\xc0"), EMULATE_DONE); /* an inner segment that user code may not keep */
	assert_int_equal(STEP("\xca\x08\x00"), EMULATE_DONE);
	assert_false(result.delivered);
	assert_int_equal(emu.rip, PROGRAM_AT + 7);
	assert_int_equal(gpr[REG_RSP], 0x7008);
	assert_int_equal(emu.seg[SEG_CS].selector, 0x33);
	assert_true(emu.seg[SEG_ES].access & SEGMENT_UNUSABLE);
	assert_int_equal(emu.seg[SEG_DS].selector, 0x3b);
	/* Task gates and TSSs are refused, and nothing has happened. */
	protected_mode_setup();
	assert_int_equal(STEP("\xea\x00\x00\x00\x00\x40\x00"), EMULATE_UNSUPPORTED);
	assert_int_equal(emu.rip, PROGRAM_AT);
	idt_entry(0x50, 0x40, 0, 0x85);
	assert_int_equal(STEP("\xcd\x50"), EMULATE_UNSUPPORTED);
	/* I/O at CPL 3 asks the bitmap. */
	user_mode_setup();
	segments[SEG_TR].limit = 0x67 + 0x20;
	memcpy(ram + TSS_AT + 102, "\x68\x00", 2);
	memset(ram + TSS_AT + 0x68, 0xff, 0x20);
	ram[TSS_AT + 0x68 + 0x10] = 0xfe; /* port 80 */
	assert_int_equal(STEP("\xe6\x80"), EMULATE_DONE);
	assert_false(result.delivered);
	assert_int_equal(port80_count, 1);
	assert_int_equal(STEP("\xe7\x80"), EMULATE_DONE);
	expect_delivered(VECTOR_GP, true, 0);
	user_mode_setup();
	memcpy(ram + TSS_AT + 102, "\x68\x00", 2); /* no bitmap */
	assert_int_equal(STEP("\xec"), EMULATE_DONE);
	expect_delivered(VECTOR_GP, true, 0);
	/* A broken stack in the TSS: #TS, which user code's inner stack cannot take either. */
	user_mode_setup();
	set_dword(TSS_AT + 8, 0);
	assert_int_equal(STEP("\x0f\x06"), EMULATE_SHUTDOWN);
	assert_int_equal(emu.seg[SEG_CS].selector, 0x33);
	assert_int_equal(gpr[REG_RSP], 0x7000);
}

static void test_interrupts(void **state)
{
	(void)state;
	protected_mode_setup();
	emu.rip = 0x1234;
	emu.rflags |= RFLAGS_IF;
	assert_int_equal(emulate_interrupt(&emu, 0x30, true, -1, &result), EMULATE_DONE);
	expect_delivered(0x30, false, 0);
	assert_int_equal(dword((unsigned)gpr[REG_RSP]), 0x1234);
	assert_int_equal(dword((unsigned)gpr[REG_RSP] + 8) & RFLAGS_IF, RFLAGS_IF);
	assert_false(emu.rflags & RFLAGS_IF);
	/* A gate that is not there: #NP with EXT. */
	idt_entry(0x31, 8, 0, 0x0e);
	assert_int_equal(emulate_interrupt(&emu, 0x31, true, -1, &result), EMULATE_DONE);
	expect_delivered(VECTOR_NP, true, 0x31 * 8 + 3);
	/* Into the IVT while in real mode; shadow and HLT are over. */
	setup(NULL);
	set_dword(8 * 4, 0x12340056);
	gpr[REG_RSP] = 0x7000;
	emu.rflags |= RFLAGS_IF;
	assert_int_equal(STEP("\xf4"), EMULATE_DONE);
	assert_true(result.halted);
	assert_int_equal(emulate_interrupt(&emu, 8, true, -1, &result), EMULATE_DONE);
	assert_false(result.halted);
	assert_int_equal(emu.rip, 0x56);
	assert_int_equal(emu.seg[SEG_CS].base, 0x12340);
	assert_int_equal(word(0x6ffa), PROGRAM_AT + 1);
	/* STI's shadow is there only where IF was clear. */
	emu.seg[SEG_CS].base = 0;
	assert_int_equal(STEP("\xfb"), EMULATE_DONE);
	assert_int_equal(step.shadow, STEP_SHADOW_STI);
	assert_int_equal(STEP("\xfb"), EMULATE_DONE);
	assert_int_equal(step.shadow, 0);
}

/* ---- Virtual-8086 mode ---- */

static void test_v86(void **state)
{
	unsigned sp = 0x6fdc;

	(void)state;
	protected_mode_setup();
	gpr[REG_RSP] = sp;
	set_dword(sp, 0x100);                             /* ip */
	set_dword(sp + 4, 0x2000);                        /* cs */
	set_dword(sp + 8, RFLAGS_VM | RFLAGS_IF | 2);     /* IOPL 0 */
	set_dword(sp + 12, 0xfff0);                       /* sp */
	set_dword(sp + 16, 0x3000);                       /* ss, es, ds, fs, gs */
	set_dword(sp + 20, 0x3100);
	set_dword(sp + 24, 0x3200);
	set_dword(sp + 28, 0x3300);
	set_dword(sp + 32, 0x3400);
	assert_int_equal(STEP("\xcf"), EMULATE_DONE);
	assert_false(result.delivered);
	assert_int_equal(emu.rip, 0x100);
	assert_int_equal(emu.mode, DECODE_16);
	assert_int_equal(emu.paging.cpl, 3);
	assert_int_equal(emu.seg[SEG_SS].base, 0x30000);
	assert_int_equal(emu.seg[SEG_GS].base, 0x34000);
	assert_int_equal(emu.seg[SEG_CS].access, 0xf3);
	assert_int_equal(gpr[REG_RSP], 0xfff0);
	assert_true(emulate_enterable(&emu));
	/* mov ax, 4000h; mov ds, ax; push ax; int 21h */
	memcpy(ram + 0x20100, "\xb8\x00\x40\x8e\xd8\x50\xcd\x21", 8);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(emulate_step(&emu, &result), EMULATE_DONE);
	assert_int_equal(emu.seg[SEG_DS].base, 0x40000);
	assert_int_equal(word(0x3ffee), 0x4000);
	/* INT n with IOPL 0 is #GP to the monitor, with the segments on its stack. */
	assert_int_equal(emulate_step(&emu, &result), EMULATE_DONE);
	expect_delivered(VECTOR_GP, true, 0);
	assert_int_equal(gpr[REG_RSP], 0x6000 - 10 * 4);
	assert_int_equal(dword(0x6000 - 4), 0x3400);
	assert_int_equal(dword(0x6000 - 12), 0x4000);
	assert_int_equal(dword(0x6000 - 20), 0x3000);
	assert_int_equal(dword(0x6000 - 24), 0xffee);
	assert_int_equal(dword(0x6000 - 28) & (RFLAGS_VM | RFLAGS_IF), RFLAGS_VM | RFLAGS_IF);
	assert_int_equal(dword(0x6000 - 32), 0x2000);
	assert_int_equal(dword(0x6000 - 36), 0x106);
	assert_true(emu.seg[SEG_DS].access & SEGMENT_UNUSABLE);
	assert_false(emu.rflags & RFLAGS_VM);
	assert_int_equal(emu.paging.cpl, 0);
}

/* ---- Control registers ---- */

static void test_control_registers(void **state)
{
	(void)state;
	static const struct {
		uint32_t cr0, vector;
	} cr0_case[] = {
		{ 0x11, 0 }, { 0x60000011, 0 }, { 0x20000011, VECTOR_GP }, { 0x80000010, VECTOR_GP }, { 0x80000011, 0 }, { 0x1, 0 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cr0_case); i++) {
		protected_mode_setup();
		gpr[REG_RAX] = cr0_case[i].cr0;
		assert_int_equal(STEP("\x0f\x22\xc0"), EMULATE_DONE);
		if (cr0_case[i].vector) {
			expect_delivered(VECTOR_GP, true, 0);
			assert_int_equal(cr_writes, 0);
		} else {
			assert_false(result.delivered);
			assert_int_equal(emu.paging.cr0, cr0_case[i].cr0 | 0x10);
			assert_int_equal(cr_writes, 1);
		}
	}
	/* The callback's refusal. */
	protected_mode_setup();
	gpr[REG_RAX] = CR4_RESERVED;
	assert_int_equal(STEP("\x0f\x22\xe0"), EMULATE_DONE);
	expect_delivered(VECTOR_GP, true, 0);
	assert_int_equal(emu.paging.cr4, 0);
	/* LMSW sets PE and never clears it. */
	setup(NULL);
	gpr[REG_RAX] = 0x3;
	assert_int_equal(STEP("\x0f\x01\xf0"), EMULATE_DONE);
	assert_int_equal(emu.paging.cr0 & 0xf, 3);
	gpr[REG_RAX] = 0x8;
	assert_int_equal(STEP("\x0f\x01\xf0"), EMULATE_DONE);
	assert_int_equal(emu.paging.cr0 & 0xf, 9);
	assert_int_equal(STEP("\x0f\x06"), EMULATE_DONE);
	assert_int_equal(emu.paging.cr0 & 0xf, 1);
	assert_int_equal(STEP("\x0f\x01\xe1"), EMULATE_DONE); /* smsw cx */
	assert_int_equal(gpr[REG_RCX], emu.paging.cr0 & 0xffff);
	/* PAE: the entries are loaded, and checked. */
	protected_mode_setup();
	emu.paging.cr3 = 0x8000;
	emu.paging.cr4 = CR4_PAE;
	set_dword(0x8008, 0x9001);
	gpr[REG_RAX] = 0x80000011;
	assert_int_equal(STEP("\x0f\x22\xc0"), EMULATE_DONE);
	assert_int_equal(emu.paging.pdpte[1], 0x9001);
	protected_mode_setup();
	emu.paging.cr3 = 0x8000;
	emu.paging.cr4 = CR4_PAE;
	set_dword(0x8000, 0x9003);
	gpr[REG_RAX] = 0x80000011;
	assert_int_equal(STEP("\x0f\x22\xc0"), EMULATE_DONE);
	expect_delivered(VECTOR_GP, true, 0);
	assert_int_equal(emu.paging.cr0 >> 31, 0);
	/* Long mode without PAE; LME while paging. */
	protected_mode_setup();
	emu.paging.efer = EFER_LME;
	assert_int_equal(STEP("\x0f\x22\xc0"), EMULATE_DONE);
	gpr[REG_RAX] = 0x80000011;
	protected_mode_setup();
	emu.paging.efer = EFER_LME;
	gpr[REG_RAX] = 0x80000011;
	assert_int_equal(STEP("\x0f\x22\xc0"), EMULATE_DONE);
	expect_delivered(VECTOR_GP, true, 0);
	/* A page fault: CR2 and the error code. */
	protected_mode_setup();
	emu.paging.cr0 |= CR0_PG;
	emu.paging.cr3 = 0x9000;
	emu.paging.cr4 = CR4_PSE;
	set_dword(0x9000, 0x83);
	assert_int_equal(STEP("\xa3\x04\x00\x40\x00"), EMULATE_DONE);
	expect_delivered(VECTOR_PF, true, PF_WRITE);
	assert_int_equal(step.cr2, 0x400004);
	assert_true(step.changed & STEP_CHANGED_CR2);
	/* CPUID, RDTSC, INVLPG, WBINVD, MOV DR, the FPU's presence. */
	protected_mode_setup();
	gpr[REG_RAX] = 0x1234;
	gpr[REG_RBX] = 0x5678;
	assert_int_equal(STEP("\x0f\x01\x3b"), EMULATE_DONE);
	assert_int_equal(last_invlpg, 0x5678);
	assert_int_equal(STEP("\x0f\x09"), EMULATE_DONE);
	assert_int_equal(wbinvds, 1);
	assert_int_equal(STEP("\x0f\xa2"), EMULATE_DONE);
	assert_int_equal(gpr[REG_RCX], 0x22222222);
	gpr[REG_RAX] = 0xffff0ff0;
	assert_int_equal(STEP("\x0f\x23\xe0"), EMULATE_DONE); /* mov dr4, eax: dr6 */
	assert_int_equal(dr[6], 0xffff0ff0);
	emu.paging.cr4 |= BIT(3);
	assert_int_equal(STEP("\x0f\x23\xe0"), EMULATE_DONE);
	expect_delivered(VECTOR_UD, false, 0);
	assert_int_equal(STEP("\xdb\xe3"), EMULATE_DONE);
	gpr[REG_RAX] = 0x5a5a;
	assert_int_equal(STEP("\xdf\xe0"), EMULATE_DONE);
	assert_int_equal(gpr[REG_RAX], 0);
	assert_int_equal(STEP("\xd9\x3d\x00\x05\x00\x00"), EMULATE_DONE);
	assert_int_equal(word(0x500), 0x37f);
	assert_int_equal(STEP("\xd9\xe8"), EMULATE_UNSUPPORTED); /* fld1 */
	assert_int_equal(STEP("\x0f\x28\xc1"), EMULATE_UNSUPPORTED); /* movaps */
	assert_int_equal(STEP("\x0f\xae\xf0"), EMULATE_DONE); /* mfence */
	assert_int_equal(STEP("\x0f\xae\x00"), EMULATE_UNSUPPORTED); /* fxsave */
	emu.paging.cr0 |= BIT(3);
	assert_int_equal(STEP("\xdb\xe3"), EMULATE_DONE);
	expect_delivered(VECTOR_NM, false, 0);
}

/* ---- Jumps, calls, loops ---- */

static void begin(void)
{
	protected_mode_setup();
	segments[SEG_CS].limit = 0xffff;
	segments[SEG_CS].access &= ~(uint32_t)SEGMENT_G;
	gpr[REG_RCX] = 0x5000;
	set_dword(0x5000, 0x4321);
	set_dword(0x5004, 8);
}

/* FF /2 to /5, C2 and what lies behind the segment's end, where nothing may have happened. */
static void test_indirect(void **state)
{
	(void)state;
	begin();
	assert_int_equal(STEP("\xff\x11"), EMULATE_DONE); /* call (ecx) */
	assert_true(emu.rip == 0x4321 && gpr[REG_RSP] == 0x6ffc && dword(0x6ffc) == PROGRAM_AT + 2);
	begin();
	assert_int_equal(STEP("\xff\x21"), EMULATE_DONE); /* jmp (ecx) */
	assert_true(emu.rip == 0x4321 && gpr[REG_RSP] == 0x7000);
	begin();
	assert_int_equal(STEP("\xff\xe1"), EMULATE_DONE); /* jmp ecx */
	assert_int_equal(emu.rip, 0x5000);
	begin();
	assert_int_equal(STEP("\x66\xff\x11"), EMULATE_DONE); /* a word of it */
	assert_true(emu.rip == 0x4321 && gpr[REG_RSP] == 0x6ffe && word(0x6ffe) == PROGRAM_AT + 3);
	begin();
	assert_int_equal(STEP("\xff\x19"), EMULATE_DONE); /* call far (ecx) */
	assert_true(emu.rip == 0x4321 && gpr[REG_RSP] == 0x6ff8 && dword(0x6ff8) == PROGRAM_AT + 2 && dword(0x6ffc) == 8);
	begin();
	assert_int_equal(STEP("\xff\x29"), EMULATE_DONE); /* jmp far (ecx) */
	assert_true(emu.rip == 0x4321 && gpr[REG_RSP] == 0x7000);
	begin();
	assert_int_equal(STEP("\xff\xd9"), EMULATE_DONE); /* a far pointer in a register */
	expect_delivered(VECTOR_UD, false, 0);
	begin();
	set_dword(0x7000, 0x1234);
	assert_int_equal(STEP("\xc2\x10\x00"), EMULATE_DONE);
	assert_true(emu.rip == 0x1234 && gpr[REG_RSP] == 0x7014);
	begin();
	set_dword(0x5000, 0x10000);
	assert_int_equal(STEP("\xff\x11"), EMULATE_DONE);
	expect_delivered(VECTOR_GP, true, 0);
	assert_int_equal(dword((unsigned)gpr[REG_RSP] + 4), PROGRAM_AT);
	assert_int_equal(gpr[REG_RSP], 0x7000 - 16);
	begin();
	set_dword(0x5000, 0xffff);
	assert_int_equal(STEP("\xff\x21"), EMULATE_DONE);
	assert_false(result.delivered);
}

static void test_loops(void **state)
{
	static const struct { uint8_t op; uint32_t count; bool zf, jumps; } all[] = {
		{ 0xe2, 2, false, true }, { 0xe2, 1, false, false }, { 0xe2, 0, true, true }, { 0xe1, 2, true, true }, { 0xe1, 2, false, false },
		{ 0xe1, 1, true, false }, { 0xe0, 2, false, true }, { 0xe0, 2, true, false }, { 0xe0, 1, false, false },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		const char bytes[] = { (char)all[i].op, 0x10 };

		begin();
		gpr[REG_RCX] = all[i].count;
		emu.rflags |= all[i].zf ? RFLAGS_ZF : 0;
		assert_int_equal(step_bytes(bytes, 2), EMULATE_DONE);
		assert_int_equal(gpr[REG_RCX], all[i].count - 1U);
		assert_int_equal(emu.rip, PROGRAM_AT + 2 + (all[i].jumps ? 0x10 : 0));
	}
	for (unsigned count = 0; count < 2; count++) { /* JECXZ */
		begin();
		gpr[REG_RCX] = count;
		assert_int_equal(STEP("\xe3\x10"), EMULATE_DONE);
		assert_int_equal(emu.rip, PROGRAM_AT + 2 + (count ? 0 : 0x10));
		assert_int_equal(gpr[REG_RCX], count);
	}
	/* A jump that faults leaves the count. */
	begin();
	segments[SEG_CS].limit = PROGRAM_AT + 0x10;
	gpr[REG_RCX] = 5;
	assert_int_equal(STEP("\xe2\x40"), EMULATE_DONE);
	expect_delivered(VECTOR_GP, true, 0);
	assert_int_equal(gpr[REG_RCX], 5);
}

static void test_bound_and_overflow(void **state)
{
	static const struct { uint32_t index; bool raises; } all[] = { { 10, false }, { 20, false }, { 9, true }, { 21, true }, { 0xffffffff, true } };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		begin();
		set_dword(0x5000, 10);
		set_dword(0x5004, 20);
		gpr[REG_RDX] = all[i].index;
		assert_int_equal(STEP("\x62\x11"), EMULATE_DONE);
		assert_int_equal(result.delivered, all[i].raises);
		if (all[i].raises)
			expect_delivered(VECTOR_BR, false, 0);
	}
	begin();
	assert_int_equal(STEP("\xce"), EMULATE_DONE);
	assert_false(result.delivered);
	emu.rflags |= RFLAGS_OF;
	assert_int_equal(STEP("\xce"), EMULATE_DONE);
	expect_delivered(VECTOR_OF, false, 0);
	assert_int_equal(dword((unsigned)gpr[REG_RSP]), PROGRAM_AT + 1);
	begin();
	assert_int_equal(STEP("\xcc"), EMULATE_DONE);
	expect_delivered(VECTOR_BP, false, 0);
	begin();
	assert_int_equal(STEP("\xf1"), EMULATE_DONE);
	expect_delivered(VECTOR_DB, false, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_segment_loads, setup),
		cmocka_unit_test_setup(test_table_registers, setup),
		cmocka_unit_test_setup(test_privilege, setup),
		cmocka_unit_test_setup(test_interrupts, setup),
		cmocka_unit_test_setup(test_v86, setup),
		cmocka_unit_test_setup(test_control_registers, setup),
		cmocka_unit_test_setup(test_indirect, setup),
		cmocka_unit_test_setup(test_loops, setup),
		cmocka_unit_test_setup(test_bound_and_overflow, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: tests/unit/step_machine.c vmm/emulate/step.c vmm/emulate/step_alu.c vmm/emulate/step_bits.c vmm/emulate/step_control.c vmm/emulate/step_descriptor.c vmm/emulate/step_far.c vmm/emulate/step_fpu.c vmm/emulate/step_interrupt.c vmm/emulate/step_io.c vmm/emulate/step_memory.c vmm/emulate/step_muldiv.c vmm/emulate/step_shift.c vmm/emulate/step_stack.c vmm/emulate/step_state.c vmm/emulate/step_system.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* Real mode, big real mode and the switches to protected and long mode, by programs and by guests' own start-up code. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "tests/unit/step_machine.h"

/* A program: assembled here, to run at PROGRAM_AT. Its labels are relative to its own start. */
#define PROGRAM(name, text) \
	extern const uint8_t name##_program[], name##_program_end[]; \
	__asm__(".section .rodata\n.intel_syntax noprefix\n.code16\n" #name "_program:\n" \
		".set base_" #name ", " #name "_program - 0x7c00\n" text "\n" #name "_program_end:\n.code64\n.att_syntax\n.text\n")

static void load(const uint8_t *program, const uint8_t *end)
{
	memcpy(ram + PROGRAM_AT, program, (size_t)(end - program));
	emu.rip = PROGRAM_AT;
	gpr[REG_RSP] = 0x7000;
}
#define LOAD(name) load(name##_program, name##_program_end)

/* ---- Real mode ---- */

PROGRAM(basics,
	"	xor ax, ax\n	mov es, ax\n	mov ss, ax\n	mov sp, 0x6000\n"
	"	mov ax, 0x1000\n	mov ds, ax\n"
	"	mov word ptr [0x10], 0x1234\n"          /* 0x10010 */
	"	push cs\n	call near ptr far_proc\n"       /* a far call by hand */
	"	.byte 0x9a\n	.word far_proc - base_basics, 0\n" /* and a real one */
	"	mov word ptr es:[0x21 * 4], offset handler - base_basics\n	mov word ptr es:[0x21 * 4 + 2], 0\n"
	"	stc\n	sti\n	int 0x21\n"
	"	jnc bad\n"                             /* the handler's flags are its own */
	"	pushf\n	pop dx\n"
	"	mov cx, 3\n"
	"again:	inc word ptr [0x20]\n	loop again\n"
	"	mov al, 0x7f\n	out 0x80, al\n"
	"	cli\n	hlt\n"
	"bad:	ud2\n"
	"far_proc:	inc word ptr [0x30]\n	retf\n"
	"handler:	pushf\n	pop word ptr [0x40]\n	clc\n	iret\n");

static void test_basics(void **state)
{
	(void)state;
	LOAD(basics);
	assert_int_equal(run(100), EMULATE_DONE);
	assert_int_equal(word(0x10010), 0x1234);
	assert_int_equal(word(0x10030), 2);
	assert_int_equal(word(0x10020), 3);
	assert_int_equal(word(0x10040) & (RFLAGS_IF | RFLAGS_CF), RFLAGS_CF);
	assert_int_equal(gpr[REG_RDX] & (RFLAGS_IF | RFLAGS_CF), RFLAGS_IF | RFLAGS_CF);
	assert_int_equal(gpr[REG_RSP] & 0xffff, 0x6000);
	assert_int_equal(port80_count, 1);
	assert_int_equal(port80[0], 0x7f);
	assert_int_equal(emu.seg[SEG_DS].base, 0x10000);
	assert_int_equal(emu.seg[SEG_DS].limit, 0xffff);
	assert_true(step.changed & 1 << SEG_DS);
	assert_false(emulate_enterable(&emu));
}

/* Exceptions reach the IVT with IP at the instruction; traps behind it. */
static void test_exceptions(void **state)
{
	(void)state;
	for (unsigned v = 0; v < 32; v++)
		set_dword(4 * v, 0x20000000 | (0x100 + v)); /* 2000:01vv */
	gpr[REG_RSP] = 0x7000;
	emu.rflags |= RFLAGS_IF | RFLAGS_TF | RFLAGS_CF;
	assert_int_equal(STEP("\xf7\xf1"), EMULATE_DONE); /* div cx, by zero */
	assert_true(result.delivered);
	assert_int_equal(result.vector, VECTOR_DE);
	assert_int_equal(emu.rip, 0x100);
	assert_int_equal(emu.seg[SEG_CS].base, 0x20000);
	assert_int_equal(gpr[REG_RSP], 0x6ffa);
	assert_int_equal(word(0x6ffa), PROGRAM_AT);
	assert_int_equal(word(0x6ffc), 0);
	assert_int_equal(word(0x6ffe) & 0x3ff, RFLAGS_IF | RFLAGS_TF | RFLAGS_CF | 2);
	assert_int_equal(emu.rflags & (RFLAGS_IF | RFLAGS_TF | RFLAGS_RF), 0);

	/* Single step: the trap comes after the instruction, but not after MOV SS. */
	setup(NULL);
	set_dword(4, 0x0500);
	gpr[REG_RSP] = 0x7000;
	emu.rflags |= RFLAGS_TF;
	assert_int_equal(STEP("\x40"), EMULATE_DONE); /* inc ax */
	assert_true(result.delivered);
	assert_int_equal(result.vector, VECTOR_DB);
	assert_int_equal(word(0x6ffa), PROGRAM_AT + 1);
	assert_int_equal(gpr[REG_RAX], 1);
	assert_true(dr[6] & BIT(14));
	reset();
	gpr[REG_RSP] = 0x7000;
	emu.rflags |= RFLAGS_TF;
	assert_int_equal(STEP("\x8e\xd0"), EMULATE_DONE);
	assert_false(result.delivered);
	assert_int_equal(step.shadow, STEP_SHADOW_MOV_SS);
	assert_int_equal(STEP("\x90"), EMULATE_DONE);
	assert_true(result.delivered);
	assert_int_equal(step.shadow, 0);

	/* INTO, INT3, BOUND, undefined opcodes, an instruction too long. */
	static const struct {
		const char *bytes;
		uint8_t length, vector, trap;
	} fault[] = {
		{ "\xce", 1, VECTOR_OF, 1 }, { "\xcc", 1, VECTOR_BP, 1 }, { "\xf1", 1, VECTOR_DB, 1 }, { "\x62\x06\x00\x05", 4, VECTOR_BR, 0 },
		{ "\x0f\x0b", 2, VECTOR_UD, 0 }, { "\xf0\x90", 2, VECTOR_UD, 0 }, { "\x0f\x00\xd0", 3, VECTOR_UD, 0 },
		{ "\x8e\xc8", 2, VECTOR_UD, 0 }, { "\x63\xc0", 2, VECTOR_UD, 0 }, { "\xfe\xd0", 2, VECTOR_UD, 0 },
		{ "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90", 15, 0xff, 0 },
		{ "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90", 16, VECTOR_GP, 0 },
		{ "\xd4\x00", 2, VECTOR_DE, 0 }, { "\xc5\xf8\x77", 3, VECTOR_UD, 0 }, { "\x0f\x20\xc8", 3, VECTOR_UD, 0 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(fault); i++) {
		setup(NULL);
		for (unsigned v = 0; v < 32; v++)
			set_dword(4 * v, 0x100 + v);
		gpr[REG_RSP] = 0x7000;
		gpr[REG_RAX] = 0x10;
		emu.rflags |= RFLAGS_OF;
		assert_int_equal(step_bytes(fault[i].bytes, fault[i].length), EMULATE_DONE);
		assert_int_equal(result.delivered, fault[i].vector != 0xff);
		if (!result.delivered)
			continue;
		assert_int_equal(emu.rip, 0x100 + fault[i].vector);
		assert_int_equal(word(0x6ffa), PROGRAM_AT + (fault[i].trap ? fault[i].length : 0));
	}

	/* IDIV: the quotient may be -128 but not 128; -2^31 but not 2^31; and -2^63 / -1 does not reach the host's divider. */
	static const struct {
		uint32_t eax, edx, ecx;
		bool wide, faults;
	} division[] = {
		{ 0xff80, 0, 1, false, false }, { 0x0080, 0, 1, false, true }, { 0x0080, 0, 0xff, false, false }, { 0xff80, 0, 0xff, false, true },
		{ 0x80000000, 0xffffffff, 1, true, false }, { 0x80000000, 0, 1, true, true }, { 0, 0x80000000, 0xffffffff, true, true },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(division); i++) {
		setup(NULL);
		gpr[REG_RSP] = 0x7000;
		gpr[REG_RAX] = division[i].eax;
		gpr[REG_RDX] = division[i].edx;
		gpr[REG_RCX] = division[i].ecx;
		assert_int_equal(division[i].wide ? STEP("\x66\xf7\xf9") : STEP("\xf6\xf9"), EMULATE_DONE);
		assert_int_equal(result.delivered, division[i].faults);
		if (!division[i].faults)
			assert_int_equal(gpr[REG_RAX], division[i].wide ? 0x80000000 : 0x80);
	}

	/* No room in the IVT: #GP's entry neither, nor #DF's. */
	setup(NULL);
	step.idtr.limit = 0x1f;
	gpr[REG_RSP] = 0x7000;
	assert_int_equal(STEP("\xcd\x08"), EMULATE_SHUTDOWN);
	step.idtr.limit = 0x37;
	set_dword(13 * 4, 0x123);
	assert_int_equal(STEP("\xcd\x20"), EMULATE_DONE);
	assert_int_equal(result.vector, VECTOR_GP);
	assert_int_equal(emu.rip, 0x123);
	/* An odd stack pointer at the segment's start leaves no room either: #SS and all that follows fault. */
	gpr[REG_RSP] = 1;
	emu.seg[SEG_CS].base = 0;
	assert_int_equal(STEP("\x50"), EMULATE_SHUTDOWN);
}

/* Limits of 64 KiB, and addresses that wrap before they meet them. */
static void test_limits(void **state)
{
	(void)state;
	for (unsigned v = 0; v < 32; v++)
		set_dword(4 * v, 0x100 + v);
	gpr[REG_RSP] = 0x7000;
	gpr[REG_RBX] = 0xffff;
	ram[0xffff] = 0x5a;
	assert_int_equal(STEP("\x8a\x07"), EMULATE_DONE); /* mov al, [bx] */
	assert_false(result.delivered);
	assert_int_equal(gpr[REG_RAX], 0x5a);
	assert_int_equal(STEP("\x8b\x07"), EMULATE_DONE); /* mov ax, [bx] */
	assert_int_equal(result.vector, VECTOR_GP);
	assert_true(result.delivered);
	emu.seg[SEG_CS].base = 0;
	/* 32-bit addresses end at 64 KiB too. */
	gpr[REG_RBX] = 0x10000;
	assert_int_equal(STEP("\x67\x8a\x03"), EMULATE_DONE); /* mov al, [ebx] */
	assert_true(result.delivered);
	assert_int_equal(emu.rip, 0x10d);
	emu.seg[SEG_CS].base = 0;
	/* bp: #SS */
	gpr[REG_RBP] = 0xffff;
	assert_int_equal(STEP("\x8b\x46\x00"), EMULATE_DONE);
	assert_int_equal(emu.rip, 0x10c);
	/* The stack wraps at 16 bits: sp 0 is followed by fffe; sp 2 popped from ffff.. */
	emu.seg[SEG_CS].base = 0;
	gpr[REG_RSP] = 0xabcd0000;
	gpr[REG_RAX] = 0x1357;
	assert_int_equal(STEP("\x50"), EMULATE_DONE);
	assert_int_equal(gpr[REG_RSP], 0xabcdfffe);
	assert_int_equal(word(0xfffe), 0x1357);
	assert_int_equal(STEP("\x5a"), EMULATE_DONE);
	assert_int_equal(gpr[REG_RSP], 0xabcd0000);
	assert_int_equal(gpr[REG_RDX], 0x1357);
	/* FFFF:FFFF is above the first MiB: there is no A20 gate here. */
	emu.seg[SEG_DS].base = 0xffff0;
	emu.seg[SEG_DS].selector = 0xffff;
	ram[0x10ffef] = 0x77;
	gpr[REG_RBX] = 0xffff;
	assert_int_equal(STEP("\x8a\x07"), EMULATE_DONE);
	assert_int_equal(gpr[REG_RAX] & 0xff, 0x77);
	/* A string that wraps in its segment, and one whose word does not fit at the end. */
	emu.seg[SEG_DS].base = 0;
	for (unsigned i = 0; i < 0x20; i++)
		ram[(0x8ff0 + i) & 0xffff] = (uint8_t)i;
	segments[SEG_ES].base = 0x20000;
	gpr[REG_RSI] = 0x8ff0;
	gpr[REG_RDI] = 0xfff0;
	gpr[REG_RCX] = 0x20;
	assert_int_equal(STEP("\xf3\xa4"), EMULATE_DONE);
	assert_int_equal(gpr[REG_RDI], 0x10);
	assert_int_equal(ram[0x2ffff], 15);
	assert_int_equal(ram[0x20000], 16);
	assert_int_equal(ram[0x30000], 0);
	gpr[REG_RSP] = 0x7000;
	gpr[REG_RDI] = 0xfffb;
	gpr[REG_RCX] = 4;
	assert_int_equal(STEP("\xf3\xab"), EMULATE_DONE);
	assert_int_equal(result.vector, VECTOR_GP);
	assert_int_equal(gpr[REG_RCX], 2);
	assert_int_equal(gpr[REG_RDI], 0xffff);
	assert_int_equal(word(0x6ffa), PROGRAM_AT);
	/* A jump behind the segment's end. */
	emu.seg[SEG_CS].base = 0;
	assert_int_equal(STEP("\x66\xe9\x00\x00\x01\x00"), EMULATE_DONE);
	assert_int_equal(result.vector, VECTOR_GP);
	/* An instruction across the segment's end. */
	emu.seg[SEG_CS].base = 0;
	ram[0xffff] = 0xb0;
	emu.rip = 0xffff;
	gpr[REG_RSP] = 0x7000;
	assert_int_equal(emulate_step(&emu, &result), EMULATE_DONE);
	assert_int_equal(result.vector, VECTOR_GP);
	assert_int_equal(word(0x6ffa), 0xffff);
}

/* ---- Mode switches ---- */

#define GDT(name) \
	"	.balign 8\n" \
	"gdt_" name ":	.quad 0\n" \
	"	.quad 0x00cf9a000000ffff\n" /* 08: 32-bit code */ \
	"	.quad 0x00cf92000000ffff\n" /* 10: data, 4 GiB */ \
	"	.quad 0x00009a000000ffff\n" /* 18: 16-bit code */ \
	"	.quad 0x000092000000ffff\n" /* 20: data, 64 KiB */ \
	"	.quad 0x00209a0000000000\n" /* 28: 64-bit code */ \
	"	.quad 0x00cffa000000ffff\n" /* 30: user code */ \
	"	.quad 0x00cff2000000ffff\n" /* 38: user data */ \
	"	.quad 0x0000890030000067\n" /* 40: TSS at 3000 */ \
	"	.quad 0x0000ec0000080500\n" /* 48: call gate to 8:500 */ \
	"	.quad 0x00cf12000000ffff\n" /* 50: not present */ \
	"	.quad 0x000082002000001f\n" /* 58: LDT at 2000 */ \
	"gdt_end_" name ":\n" \
	"gdtr_" name ":	.word gdt_end_" name " - gdt_" name " - 1\n	.long gdt_" name " - base_" name "\n"

PROGRAM(modes,
	"	cli\n	xor ax, ax\n	mov ds, ax\n	mov ss, ax\n	mov es, ax\n	mov sp, 0x7000\n"
	"	.byte 0x66\n	lgdt [gdtr_modes - base_modes]\n"
	"	mov eax, cr0\n	or al, 1\n	mov cr0, eax\n"
	"	.byte 0x66, 0xea\n	.long pm32 - base_modes\n	.word 8\n"
	"	.code32\n"
	"pm32:	mov eax, 0x10\n	mov ds, eax\n	mov es, eax\n	mov ss, eax\n	mov esp, 0x6800\n"
	"	mov dword ptr [0x300000], 0x11111111\n"
	"	call sub32\n"
	"	.byte 0xea\n	.long pm16 - base_modes\n	.word 0x18\n"
	"sub32:	push 0x12345678\n	pop dword ptr [0x300004]\n	ret\n"
	"	.code16\n"
	"pm16:	mov ax, 0x20\n	mov ss, ax\n	mov es, ax\n"           /* DS stays big */
	"	mov eax, cr0\n	and al, 0xfe\n	mov cr0, eax\n"
	"	.byte 0xea\n	.word real - base_modes, 0\n"
	"real:	xor ax, ax\n	mov ss, ax\n	mov sp, 0x7000\n	mov ax, 0x1000\n	mov ds, ax\n	mov es, ax\n"
	"	mov ebx, 0x2f0000\n	mov dword ptr [ebx + 8], 0x22222222\n" /* DS:2f0008 = 300008: big real mode */
	"	mov ax, word ptr [ebx + 8]\n	mov word ptr [0], ax\n"
	"	push 0\n	pop ds\n"
	/* once more, now on to long mode */
	"	mov eax, cr0\n	or eax, 1\n	mov cr0, eax\n"
	"	.byte 0x66, 0xea\n	.long again32 - base_modes\n	.word 8\n"
	"	.code32\n"
	"again32:	mov ax, 0x10\n	mov ds, ax\n	mov ss, ax\n"
	"	mov dword ptr [0x9000], 0xa003\n	mov dword ptr [0xa000], 0x83\n" /* 1 GiB, identity */
	"	mov eax, cr4\n	or eax, 0x20\n	mov cr4, eax\n"
	"	mov eax, 0x9000\n	mov cr3, eax\n"
	"	mov ecx, 0xc0000080\n	rdmsr\n	or eax, 0x100\n	wrmsr\n"
	"	mov eax, cr0\n	or eax, 0x80000000\n	mov cr0, eax\n"
	"	rdmsr\n	mov [0x300010], eax\n"
	"	.byte 0xea\n	.long lm64 - base_modes\n	.word 0x28\n"
	"	.code64\n"
	"lm64:	mov rax, 0x1122334455667788\n	mov [0x300018], rax\n	mov r9, rax\n	push r9\n	pop [0x300020]\n	hlt\n"
	"	.code16\n"
	GDT("modes"));

static void test_modes(void **state)
{
	(void)state;
	LOAD(modes);
	assert_int_equal(run(200), EMULATE_DONE);
	assert_int_equal(dword(0x300000), 0x11111111);
	assert_int_equal(dword(0x300004), 0x12345678);
	assert_int_equal(dword(0x300008), 0x22222222);
	assert_int_equal(word(0x10000), 0x2222);
	assert_int_equal(dword(0x300010), 0x500);
	assert_int_equal(dword(0x300018), 0x55667788);
	assert_int_equal(dword(0x300020), 0x55667788);
	assert_int_equal(emu.mode, DECODE_64);
	assert_int_equal(emu.paging.efer, 0x500);
	assert_true(step.changed & STEP_CHANGED_CONTROL && step.changed & STEP_CHANGED_GDTR);
	assert_false(step.changed & STEP_CHANGED_IDTR);
}

/* The hidden parts at each stage of the same program. */
static void test_hidden_state(void **state)
{
	unsigned seen = 0;

	(void)state;
	LOAD(modes);
	for (unsigned i = 0; i < 200; i++) {
		uint64_t before = emu.paging.cr0 & CR0_PE;

		assert_int_equal(emulate_step(&emu, &result), EMULATE_DONE);
		if (result.halted)
			break;
		if (!before && emu.paging.cr0 & CR0_PE) {
			/* Just switched: still 16-bit code with real-mode bases. */
			assert_int_equal(emu.mode, DECODE_16);
			assert_int_equal(emu.seg[SEG_CS].selector, 0);
			assert_int_equal(emu.paging.cpl, 0);
			seen |= 1;
		} else if (before && !(emu.paging.cr0 & CR0_PE)) {
			assert_int_equal(emu.seg[SEG_DS].limit, 0xffffffff);
			assert_int_equal(emu.seg[SEG_DS].selector, 0x10);
			assert_int_equal(emu.seg[SEG_CS].selector, 0x18);
			assert_int_equal(emu.seg[SEG_CS].limit, 0xffff);
			seen |= 2;
		}
		if (emu.mode == DECODE_32 && emu.seg[SEG_CS].selector == 8 && emu.seg[SEG_DS].selector == 0x10 &&
		    emu.seg[SEG_SS].selector == 0x10 && emu.seg[SEG_ES].selector == 0x10) {
			assert_true(emulate_enterable(&emu));
			seen |= 4;
		}
	}
	assert_int_equal(seen, 7);
	/* The accessed bits are set in the tables. */
	assert_true(ram[emu.step->gdtr.base + 8 + 5] & 1);
	assert_true(ram[emu.step->gdtr.base + 0x28 + 5] & 1);
	assert_false(ram[emu.step->gdtr.base + 0x30 + 5] & 1);
}

/* ---- Start-up code as guests have it ---- */

/* A secondary CPU's way from SIPI to 64-bit code, as Linux's real-mode trampoline goes it. */
PROGRAM(trampoline,
	"	cli\n	wbinvd\n"
	"	mov ax, cs\n	mov ds, ax\n	mov es, ax\n	mov ss, ax\n"
	"lock_it:	lock bts dword ptr [tr_lock - base_trampoline], 0\n	jnc locked\n	pause\n	jmp lock_it\n"
	"locked:	mov esp, offset 0x7000\n"
	"	call verify\n	test eax, eax\n	jnz no_longmode\n"
	"	mov edx, offset 0x10\n"
	"	.byte 0x66\n	lidt [tr_idt - base_trampoline]\n	.byte 0x66\n	lgdt [gdtr_trampoline - base_trampoline]\n"
	"	smsw ax\n	or ax, 1\n	lmsw ax\n"
	"	.byte 0x66, 0xea\n	.long startup_32 - base_trampoline\n	.word 8\n"
	"no_longmode:	hlt\n	jmp no_longmode\n"
	"verify:	pushfd\n	pushd 0\n	popfd\n	pushfd\n	pop eax\n	mov ecx, eax\n	xor eax, 0x200000\n	push eax\n	popfd\n	pushfd\n"
	"	pop eax\n	cmp eax, ecx\n	jz none\n"
	"	mov eax, 0\n	cpuid\n	cmp eax, 0x1\n"
	"	popfd\n	xor eax, eax\n	ret\n"
	"none:	popfd\n	mov eax, 1\n	ret\n"
	"	.code32\n"
	"startup_32:	mov ss, edx\n	add esp, 0\n	mov ds, edx\n	mov es, edx\n	mov fs, edx\n	mov gs, edx\n"
	"	mov eax, 0xa0\n	mov cr4, eax\n"
	"	mov dword ptr [0x9000], 0xa003\n	mov dword ptr [0xa000], 0x83\n	mov eax, 0x9000\n	mov cr3, eax\n"
	"	mov eax, 0x100\n	xor edx, edx\n	mov ecx, 0xc0000080\n	wrmsr\n"
	"	mov eax, 0x80050033\n	mov cr0, eax\n"
	"	.byte 0xea\n	.long startup_64 - base_trampoline\n	.word 0x28\n"
	"	.code64\n"
	"startup_64:	lock btr dword ptr [tr_lock - base_trampoline], 0\n	jmp qword ptr [where - base_trampoline]\n"
	"end:	hlt\n"
	"	.code16\n"
	"	.balign 8\n"
	"where:	.quad end - base_trampoline\n"
	"tr_lock:	.long 0\n"
	"tr_idt:	.word 0\n	.long 0\n"
	GDT("trampoline"));

static void test_trampoline(void **state)
{
	(void)state;
	LOAD(trampoline);
	gpr[REG_RSP] = 0;
	assert_int_equal(run(200), EMULATE_DONE);
	assert_int_equal(emu.mode, DECODE_64);
	assert_int_equal(emu.paging.cr0, 0x80050033);
	assert_int_equal(step.idtr.limit, 0);
	assert_int_equal(wbinvds, 1);
	assert_true(emulate_enterable(&emu) || segments[SEG_TR].access == 0x8b);
}

/* memtest86+'s own 16-bit code, from its boot image, up to its 32-bit entry. The BIOS is one IRET. */
static void test_memtest(void **state)
{
	FILE *f = fopen("build/guests/memtest86+x64.bin", "rb");
	unsigned steps = 0;

	(void)state;
	if (!f)
		skip();
	assert_int_equal(fread(ram + 0x90000, 1, 0x600, f), 0x600);
	fclose(f);
	for (unsigned v = 0; v < 256; v++)
		set_dword(4 * v, 0xf0000000);
	memcpy(ram + 0xf0000, "\xf9\xca\x02\x00", 4); /* stc, retf 2: no such function */
	for (unsigned i = 0; i < SEG_OPERANDS; i++)
		segments[i].selector = 0x9000, segments[i].base = 0x90000;
	segments[SEG_CS].selector = 0x9020;
	segments[SEG_CS].base = 0x90200;
	gpr[REG_RSP] = 0xfff0;
	emu.rip = 0;
	while (!(emu.paging.cr0 & CR0_PE) || emu.seg[SEG_CS].selector == 0x9020) {
		assert_int_equal(emulate_step(&emu, &result) & ~EMULATE_RETRY, EMULATE_DONE);
		assert_false(result.delivered && result.vector < 0x10);
		assert_true(steps++ < 200000);
	}
	assert_int_equal(emu.mode, DECODE_32);
	assert_int_equal(emu.rip, 0x100000);
	assert_int_equal(emu.seg[SEG_CS].selector, 0x10);
	assert_int_equal(emu.seg[SEG_SS].limit, 0x7ffffff);
	assert_int_equal(gpr[REG_RSI], 0x90200 + 0x400);
	assert_true(emulate_enterable(&emu));
	print_message("%u instructions\n", steps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_basics, setup),
		cmocka_unit_test_setup(test_exceptions, setup),
		cmocka_unit_test_setup(test_limits, setup),
		cmocka_unit_test_setup(test_modes, setup),
		cmocka_unit_test_setup(test_hidden_state, setup),
		cmocka_unit_test_setup(test_trampoline, setup),
		cmocka_unit_test_setup(test_memtest, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

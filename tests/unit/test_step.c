/* SOURCES: vmm/emulate/step.c vmm/emulate/step_alu.c vmm/emulate/step_bits.c vmm/emulate/step_control.c vmm/emulate/step_descriptor.c vmm/emulate/step_far.c vmm/emulate/step_fpu.c vmm/emulate/step_interrupt.c vmm/emulate/step_io.c vmm/emulate/step_memory.c vmm/emulate/step_muldiv.c vmm/emulate/step_shift.c vmm/emulate/step_stack.c vmm/emulate/step_state.c vmm/emulate/step_system.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/guest_walk.c vmm/guest_memory.c */
/* Programs for real mode, big real mode, protected mode and virtual-8086 mode, and the switches between them, on a model machine. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "vmm/emulate/access.h"
#include "vmm/emulate/step.h"

#define RAM_SIZE 0x400000UL
#define EFER_LME BIT(8)
#define CR4_RESERVED BIT(31)

static uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
static struct guest_memory memory;
static struct emulator emu;
static struct step_state step;
static struct emulate_result result;
static uint64_t gpr[16];
static struct emu_segment segments[SEG_ALL];

/* What the machine saw. */
static unsigned cr_writes, port_accesses, flushes, wbinvds;
static uint64_t last_invlpg, dr[8], tsc;
static uint8_t port80[64];
static unsigned port80_count;

static void segment(void *ctx, enum segment_register which, struct emu_segment *seg)
{
	assert_ptr_equal(ctx, &emu);
	*seg = segments[which];
}

static uint64_t mmio_read(void *ctx, uint64_t gpa, unsigned size)
{
	(void)ctx;
	(void)gpa;
	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	return ~0ULL;
}

static void mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	(void)ctx;
	(void)gpa;
	assert_true(size == 8 || value >> (8 * size) == 0);
}

static uint32_t port_read(void *ctx, uint16_t port, unsigned size)
{
	(void)ctx;
	port_accesses++;
	if (port == 0x92)
		return 0;
	if (port == 0x64)
		return 0; /* an idle keyboard controller */
	return size == 4 ? 0xffffffff : (1U << (8 * size)) - 1;
}

static void port_write(void *ctx, uint16_t port, unsigned size, uint32_t value)
{
	(void)ctx;
	assert_true(size == 4 || value >> (8 * size) == 0);
	port_accesses++;
	if (port == 0x80 && port80_count < sizeof(port80))
		port80[port80_count++] = (uint8_t)value;
}

static int write_cr(void *ctx, unsigned cr, uint64_t value)
{
	(void)ctx;
	cr_writes++;
	return cr == 4 && (value & CR4_RESERVED) ? VECTOR_GP : 0;
}

static uint64_t read_cr8(void *ctx)
{
	(void)ctx;
	return 5;
}

static uint64_t read_dr(void *ctx, unsigned n)
{
	(void)ctx;
	return dr[n];
}

static int write_dr(void *ctx, unsigned n, uint64_t value)
{
	(void)ctx;
	dr[n] = value;
	return 0;
}

static int read_msr(void *ctx, uint32_t msr, uint64_t *value)
{
	(void)ctx;
	*value = msr == 0x10 ? tsc++ : 0x1122334455667788;
	return msr < 0x1000 ? 0 : VECTOR_GP;
}

static int write_msr(void *ctx, uint32_t msr, uint64_t value)
{
	(void)ctx;
	return msr == 0xc0000080 ? value & 0xf2fe ? VECTOR_GP : 0 : msr == 0xc0000100 || msr == 0xc0000101 || msr < 0x1000 ? 0 : VECTOR_GP;
}

static void cpuid(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	(void)ctx;
	out[0] = leaf;
	out[1] = subleaf;
	out[2] = 0x22222222;
	out[3] = 0x33333333;
}

static void invlpg(void *ctx, uint64_t linear)
{
	(void)ctx;
	flushes++;
	last_invlpg = linear;
}

static void write_back_caches(void *ctx)
{
	(void)ctx;
	wbinvds++;
}

static void fpu_init(void *ctx)
{
	(void)ctx;
}

static uint16_t fpu_status(void *ctx)
{
	(void)ctx;
	return 0;
}

static uint16_t fpu_control(void *ctx)
{
	(void)ctx;
	return 0x37f;
}

/* RESET, but for CS:IP. */
static void reset(void)
{
	memset(&emu, 0, sizeof(emu));
	memset(&step, 0, sizeof(step));
	memset(&memory, 0, sizeof(memory));
	memset(gpr, 0, sizeof(gpr));
	memset(dr, 0, sizeof(dr));
	assert_int_equal(guest_memory_add(&memory, 0, RAM_SIZE, ram), 0);
	for (unsigned i = 0; i < SEG_ALL; i++)
		segments[i] = (struct emu_segment){ .limit = 0xffff, .ar = i == SEG_CS ? 0x9b : i == SEG_LDTR ? 0x82 : i == SEG_TR ? 0x8b : 0x93 };
	emu.gpr = gpr;
	emu.mem = &memory;
	emu.ctx = &emu;
	emu.rflags = RFLAGS_FIXED;
	emu.segment = segment;
	emu.mmio_read = mmio_read;
	emu.mmio_write = mmio_write;
	emu.port_read = port_read;
	emu.port_write = port_write;
	emu.paging.cr0 = BIT(4) | BIT(29) | BIT(30);
	emu.paging.maxphyaddr = 36;
	emu.step = &step;
	step.idtr.limit = 0x3ff;
	step.gdtr.limit = 0xffff;
	step.write_cr = write_cr;
	step.read_cr8 = read_cr8;
	step.read_dr = read_dr;
	step.write_dr = write_dr;
	step.read_msr = read_msr;
	step.write_msr = write_msr;
	step.cpuid = cpuid;
	step.invlpg = invlpg;
	step.write_back_caches = write_back_caches;
	step.fpu_init = fpu_init;
	step.fpu_status = fpu_status;
	step.fpu_control = fpu_control;
	cr_writes = port_accesses = flushes = wbinvds = port80_count = 0;
}

static int setup(void **state)
{
	(void)state;
	memset(ram, 0, sizeof(ram));
	reset();
	return 0;
}

/* Step until HLT; the first `max` instructions. Returns the last verdict. */
static int run(unsigned max)
{
	for (unsigned i = 0; i < max; i++) {
		int verdict = emulate_step(&emu, &result);

		if (verdict != EMULATE_DONE && verdict != EMULATE_RETRY)
			return verdict;
		if (verdict == EMULATE_DONE && result.halted)
			return EMULATE_DONE;
	}
	fprintf(stderr, "no end at %x:%lx\n", emu.seg[SEG_CS].selector, (unsigned long)emu.rip);
	return EMULATE_RETRY;
}

#define PROGRAM_AT 0x7c00
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

static uint16_t word(unsigned at)
{
	uint16_t v;

	memcpy(&v, ram + at, 2);
	return v;
}

static uint32_t dword(unsigned at)
{
	uint32_t v;

	memcpy(&v, ram + at, 4);
	return v;
}

static void set_dword(unsigned at, uint32_t v)
{
	memcpy(ram + at, &v, 4);
}

/* One instruction at the present CS:IP. */
static int step_bytes(const char *bytes, unsigned n)
{
	memcpy(ram + PROGRAM_AT, bytes, n);
	emu.rip = PROGRAM_AT;
	return emulate_step(&emu, &result);
}
#define STEP(bytes) step_bytes(bytes, sizeof(bytes) - 1)

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
		uint64_t before = emu.paging.cr0 & GUEST_CR0_PE;

		assert_int_equal(emulate_step(&emu, &result), EMULATE_DONE);
		if (result.halted)
			break;
		if (!before && emu.paging.cr0 & GUEST_CR0_PE) {
			/* Just switched: still 16-bit code with real-mode bases. */
			assert_int_equal(emu.mode, DECODE_16);
			assert_int_equal(emu.seg[SEG_CS].selector, 0);
			assert_int_equal(emu.paging.cpl, 0);
			seen |= 1;
		} else if (before && !(emu.paging.cr0 & GUEST_CR0_PE)) {
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

/* ---- Protected mode ---- */

#define GDT_AT 0x1000
#define IDT_AT 0x1800
#define TSS_AT 0x3000

static void idt_entry(unsigned vector, uint16_t selector, uint32_t offset, unsigned type)
{
	uint64_t gate = (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)type << 40 | (uint64_t)(offset >> 16) << 48;

	memcpy(ram + IDT_AT + 8 * vector, &gate, 8);
}

/* Flat 32-bit code at CPL 0 with the GDT above, a TSS, and an IDT of interrupt gates to 8:10vv0. */
static void protected_mode_setup(void)
{
	static const uint64_t gdt[] = {
		0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0x00009a000000ffff, 0x000092000000ffff, 0x00209a0000000000, 0x00cffa000000ffff,
		0x00cff2000000ffff, 0x0000890030000067, 0x0000ec0200080500, 0x00cf12000000ffff, 0x000082002000001f, 0x0000850000400000,
	};

	setup(NULL);
	memcpy(ram + GDT_AT, gdt, sizeof(gdt));
	step.gdtr.base = GDT_AT;
	step.gdtr.limit = sizeof(gdt) - 1;
	step.idtr.base = IDT_AT;
	step.idtr.limit = 256 * 8 - 1;
	for (unsigned v = 0; v < 256; v++)
		idt_entry(v, 8, 0x10000 + v * 16, 0x8e);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		segments[i] = (struct emu_segment){ 0, 0xffffffff, i == SEG_CS ? 0xc09b : 0xc093, i == SEG_CS ? 8 : 0x10 };
	segments[SEG_TR] = (struct emu_segment){ TSS_AT, 0x67, 0x8b, 0x40 };
	set_dword(TSS_AT + 4, 0x6000); /* esp0 */
	set_dword(TSS_AT + 8, 0x10);   /* ss0 */
	segments[SEG_LDTR].ar |= SEGMENT_AR_UNUSABLE;
	emu.paging.cr0 |= GUEST_CR0_PE;
	gpr[REG_RSP] = 0x7000;
}

static void user_mode_setup(void)
{
	protected_mode_setup();
	for (unsigned i = 0; i < SEG_COUNT; i++) {
		segments[i].ar |= 0x60;
		segments[i].selector = i == SEG_CS ? 0x33 : 0x3b;
	}
}

static void expect_delivered(unsigned vector, bool has_error, uint32_t error)
{
	assert_true(result.delivered);
	assert_int_equal(result.vector, vector);
	assert_int_equal(emu.rip, 0x10000 + vector * 16);
	assert_int_equal(emu.seg[SEG_CS].selector, 8);
	if (has_error)
		assert_int_equal(dword((unsigned)gpr[REG_RSP]), error);
}

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
				assert_true(emu.seg[SEG_DS].ar & SEGMENT_AR_UNUSABLE);
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
	assert_int_equal(emu.seg[SEG_TR].ar, 0x8b);
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
	assert_true(emu.seg[SEG_ES].ar & SEGMENT_AR_UNUSABLE);
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
	assert_int_equal(emu.seg[SEG_CS].ar, 0xf3);
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
	assert_true(emu.seg[SEG_DS].ar & SEGMENT_AR_UNUSABLE);
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
	emu.paging.cr4 = GUEST_CR4_PAE;
	set_dword(0x8008, 0x9001);
	gpr[REG_RAX] = 0x80000011;
	assert_int_equal(STEP("\x0f\x22\xc0"), EMULATE_DONE);
	assert_int_equal(emu.paging.pdpte[1], 0x9001);
	protected_mode_setup();
	emu.paging.cr3 = 0x8000;
	emu.paging.cr4 = GUEST_CR4_PAE;
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
	emu.paging.cr0 |= GUEST_CR0_PG;
	emu.paging.cr3 = 0x9000;
	emu.paging.cr4 = GUEST_CR4_PSE;
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
	emu.paging.cr0 |= BIT(3);
	assert_int_equal(STEP("\xdb\xe3"), EMULATE_DONE);
	expect_delivered(VECTOR_NM, false, 0);
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
	assert_true(emulate_enterable(&emu) || segments[SEG_TR].ar == 0x8b);
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
	for (unsigned i = 0; i < SEG_COUNT; i++)
		segments[i].selector = 0x9000, segments[i].base = 0x90000;
	segments[SEG_CS].selector = 0x9020;
	segments[SEG_CS].base = 0x90200;
	gpr[REG_RSP] = 0xfff0;
	emu.rip = 0;
	while (!(emu.paging.cr0 & GUEST_CR0_PE) || emu.seg[SEG_CS].selector == 0x9020) {
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

/* ---- Hostile guests ---- */

static uint64_t random_state = 0x9e3779b97f4a7c13;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static unsigned random_below(unsigned n)
{
	return (unsigned)((random64() >> 20) % n);
}

/* Random code and state in every mode: a verdict and nothing else; what is refused has changed nothing. */
static void test_random(void **state)
{
	unsigned count[5] = { 0 };

	(void)state;
	protected_mode_setup();
	for (unsigned i = 0; i < 300000; i++) {
		uint64_t at, before[16], rip, flags, r[2] = { random64(), random64() };
		unsigned n, kind = random_below(5), verdict;

		if (!(i & 0x1ff)) {
			protected_mode_setup();
			for (n = 0; n < 0x10000; n += 8)
				if (random_below(16) == 0)
					memcpy(ram + n, &(uint64_t){ random64() }, 8);
		}
		reset();
		step.gdtr = (struct step_table){ GDT_AT, (uint16_t)random_below(0x200) };
		step.idtr = (struct step_table){ IDT_AT, (uint16_t)random_below(0x800) };
		for (n = 0; n < SEG_ALL; n++) {
			segments[n] = (struct emu_segment){ random_below(4) ? 0 : random64() & 0xffffff, random_below(4) ? 0xffffffff : (uint32_t)random64(),
							    (n == SEG_CS ? 0x9b : 0x93) | (kind == 2 ? 0x60 : 0), (uint16_t)random_below(0x80) };
			if (random_below(8) == 0)
				segments[n].ar ^= 1U << random_below(17);
			if (kind == 1 || random_below(2))
				segments[n].ar |= 0x4000;
		}
		segments[SEG_TR] = (struct emu_segment){ TSS_AT, random_below(0x100), random_below(2) ? 0x8b : 0x83, 0x40 };
		emu.paging.cr0 |= kind ? GUEST_CR0_PE : 0;
		emu.rflags = (random64() & 0x277fd5) | 2;
		if (kind == 3)
			emu.rflags |= RFLAGS_VM;
		if (kind == 4) {
			emu.paging.efer = GUEST_EFER_LMA | EFER_LME;
			segments[SEG_CS].ar |= 0x2000;
		}
		if (kind && (kind == 4 || random_below(4) == 0)) {
			emu.paging.cr0 |= GUEST_CR0_PG;
			emu.paging.cr3 = 0x9000;
			emu.paging.cr4 = random64() & 0x3000bf;
			if (kind == 4) {
				emu.paging.cr4 |= GUEST_CR4_PAE;
				set_dword(0x9000, 0xa007);
				set_dword(0xa000, 0x87);
			}
		}
		for (n = 0; n < 16; n++)
			gpr[n] = random_below(2) ? random_below(0x10000) : random64() >> random_below(64);
		at = 0x4000 + random_below(0x1000);
		memcpy(ram + at, r, 16);
		if (random_below(3) == 0)
			ram[at] = 0x0f;
		emu.rip = rip = at - (segments[SEG_CS].base < at ? segments[SEG_CS].base : 0);
		memcpy(before, gpr, sizeof(gpr));
		flags = emu.rflags;
		verdict = random_below(16) ? (unsigned)emulate_step(&emu, &result) :
					     (unsigned)emulate_interrupt(&emu, (uint8_t)random64(), random_below(2), -1, &result);
		assert_true(verdict <= EMULATE_SHUTDOWN);
		count[verdict]++;
		(void)emulate_enterable(&emu);
		/* But for what led to a trap or fault whose gate is a task gate: the instruction, or some of its repetitions. */
		if (verdict == EMULATE_UNSUPPORTED && !(flags & RFLAGS_TF)) {
			before[REG_RCX] = gpr[REG_RCX];
			before[REG_RSI] = gpr[REG_RSI];
			before[REG_RDI] = gpr[REG_RDI];
			assert_memory_equal(gpr, before, sizeof(gpr));
			assert_int_equal(emu.rip, rip);
		}
		if (verdict == EMULATE_EXCEPTION)
			assert_true(emu.paging.efer & GUEST_EFER_LMA);
	}
	print_message("done %u, retry %u, exception %u, unsupported %u, shutdown %u\n", count[0], count[1], count[2], count[3], count[4]);
	for (unsigned i = 0; i < 5; i++)
		assert_true(count[i] > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_basics, setup),
		cmocka_unit_test_setup(test_exceptions, setup),
		cmocka_unit_test_setup(test_limits, setup),
		cmocka_unit_test_setup(test_modes, setup),
		cmocka_unit_test_setup(test_hidden_state, setup),
		cmocka_unit_test_setup(test_segment_loads, setup),
		cmocka_unit_test_setup(test_privilege, setup),
		cmocka_unit_test_setup(test_interrupts, setup),
		cmocka_unit_test_setup(test_v86, setup),
		cmocka_unit_test_setup(test_control_registers, setup),
		cmocka_unit_test_setup(test_trampoline, setup),
		cmocka_unit_test_setup(test_memtest, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

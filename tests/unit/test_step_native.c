/* SOURCES: vmm/emulate/step.c vmm/emulate/step_alu.c vmm/emulate/step_bits.c vmm/emulate/step_control.c vmm/emulate/step_descriptor.c vmm/emulate/step_far.c vmm/emulate/step_fpu.c vmm/emulate/step_interrupt.c vmm/emulate/step_io.c vmm/emulate/step_memory.c vmm/emulate/step_muldiv.c vmm/emulate/step_shift.c vmm/emulate/step_stack.c vmm/emulate/step_state.c vmm/emulate/step_system.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/guest_walk.c vmm/guest_memory.c */
/* Emulated instructions against the same bytes on the host's CPU, as 64-bit code, and as 32-bit and 16-bit code in segments of a
 * local descriptor table where the host's kernel grants one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <asm/ldt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/emulate/access.h"
#include "vmm/emulate/alu.h"
#include "vmm/emulate/step.h"

/* One window of memory at the same linear addresses in the host process and in the guest. */
#define L 0x20000000UL
#define DATA_SIZE 0x4000UL
#define STACK_SIZE 0x4000UL
#define SHARED_SIZE (DATA_SIZE + STACK_SIZE)
#define HOST_STATE (L + 0x8000) /* the host's only; the assembly below knows it */
#define HOST_STUB (L + 0x9000)
#define CODE (L + 0x10000)
#define WINDOW 0x20000UL
#define TABLES WINDOW           /* the guest's only: PML4, PDPT, PD */
#define RAM_SIZE (WINDOW + 0x3000)

#define PTE_PW 3
#define PTE_PS BIT(7)

static uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
static uint8_t *const host = (uint8_t *)L;
static struct guest_memory memory;
static struct emulator emu;
static struct step_state step;
static struct emulate_result result;
static uint64_t gpr[16];
static bool have_ldt;

static uint64_t random_state = 0x2545f4914f6cdd1d;

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

/* ---- The host's CPU ---- */

struct host_state {
	uint64_t gpr[16];
	uint64_t flags;
	uint64_t back;
	uint64_t rsp;
	struct {
		uint32_t offset;
		uint16_t selector;
	} far;
	uint16_t data, stack;
};

_Static_assert(offsetof(struct host_state, flags) == 128, "the assembly below");
_Static_assert(offsetof(struct host_state, back) == 136, "the assembly below");
_Static_assert(offsetof(struct host_state, rsp) == 144, "the assembly below");
_Static_assert(offsetof(struct host_state, far) == 152, "the assembly below");
_Static_assert(offsetof(struct host_state, data) == 160 && offsetof(struct host_state, stack) == 162, "the assembly below");

#define state ((struct host_state *)HOST_STATE)

void host_run(void);
void host_back(void);

/* Load registers, flags and data segments, jump to the code, which jumps back by the stub, and store them. */
__asm__(".text\n"
	".globl host_run, host_back\n"
	"host_run:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	mov %rsp, 0x20008090\n"
	"	lea host_back(%rip), %rax\n	mov %rax, 0x20008088\n"
	"	movzwl 0x200080a0, %eax\n	mov %eax, %ds\n	mov %eax, %es\n"
	"	pushq 0x20008080\n	popfq\n"
	"	mov 0x20008000, %rax\n	mov 0x20008008, %rcx\n	mov 0x20008010, %rdx\n	mov 0x20008018, %rbx\n"
	"	mov 0x20008028, %rbp\n	mov 0x20008030, %rsi\n	mov 0x20008038, %rdi\n"
	"	mov 0x20008040, %r8\n	mov 0x20008048, %r9\n	mov 0x20008050, %r10\n	mov 0x20008058, %r11\n"
	"	mov 0x20008060, %r12\n	mov 0x20008068, %r13\n	mov 0x20008070, %r14\n	mov 0x20008078, %r15\n"
	"	mov 0x200080a2, %ss\n"
	"	mov 0x20008020, %rsp\n"
	"	ljmp *0x20008098\n"
	"host_back:\n"
	"	mov %rsp, 0x20008020\n"
	"	mov 0x20008090, %rsp\n"
	"	mov %rax, 0x20008000\n	mov %rcx, 0x20008008\n	mov %rdx, 0x20008010\n	mov %rbx, 0x20008018\n"
	"	mov %rbp, 0x20008028\n	mov %rsi, 0x20008030\n	mov %rdi, 0x20008038\n"
	"	mov %r8, 0x20008040\n	mov %r9, 0x20008048\n	mov %r10, 0x20008050\n	mov %r11, 0x20008058\n"
	"	mov %r12, 0x20008060\n	mov %r13, 0x20008068\n	mov %r14, 0x20008070\n	mov %r15, 0x20008078\n"
	"	mov $0x2b, %eax\n	mov %eax, %ss\n"
	"	pushfq\n	popq 0x20008080\n"
	"	cld\n"
	"	mov %eax, %ds\n	mov %eax, %es\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n");

enum { LDT_CODE32, LDT_CODE16, LDT_DATA16 };
#define LDT_SELECTOR(n) ((n) << 3 | 7)

static bool ldt_entry(unsigned n, uint32_t base, uint32_t limit, bool wide, bool code)
{
	struct user_desc d = {
		.entry_number = n, .base_addr = base, .limit = limit, .seg_32bit = wide, .contents = code ? MODIFY_LDT_CONTENTS_CODE : 0,
		.limit_in_pages = wide, .useable = 1,
	};

	return !syscall(SYS_modify_ldt, 1, &d, sizeof(d));
}

static int group_setup(void **unused)
{
	static const uint8_t stub[] = { 0xff, 0x24, 0x25, 0x88, 0x80, 0x00, 0x20 }; /* jmp [state->back] */
	void *window = mmap((void *)L, WINDOW, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	(void)unused;
	if (window != (void *)L)
		return -1;
	memcpy((void *)HOST_STUB, stub, sizeof(stub));
	have_ldt = ldt_entry(LDT_CODE32, 0, 0xfffff, true, true) && ldt_entry(LDT_CODE16, CODE, 0xffff, false, true) &&
		   ldt_entry(LDT_DATA16, L, 0xffff, false, false);
	return 0;
}

/* ---- The guest's machine: flat, or for 16-bit code segments of 64 KiB at L and CODE ---- */

static struct emu_segment segments[SEG_ALL];

static void segment(void *ctx, enum segment_register which, struct emu_segment *seg)
{
	assert_ptr_equal(ctx, &emu);
	*seg = segments[which];
}

static uint64_t mmio_read(void *ctx, uint64_t gpa, unsigned size)
{
	(void)ctx;
	(void)gpa;
	(void)size;
	return ~0ULL;
}

static void mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	(void)ctx;
	(void)gpa;
	(void)size;
	(void)value;
}

static void cpuid(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	(void)ctx;
	__asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(subleaf));
}

static void reset(enum decode_mode mode)
{
	uint64_t *table = (uint64_t *)(ram + TABLES);

	memset(&emu, 0, sizeof(emu));
	memset(&step, 0, sizeof(step));
	memset(&memory, 0, sizeof(memory));
	assert_int_equal(guest_memory_add(&memory, L, RAM_SIZE, ram), 0);
	memset(table, 0, 0x3000);
	table[0] = (L + TABLES + 0x1000) | PTE_PW;
	table[512] = (L + TABLES + 0x2000) | PTE_PW;
	table[1024 + (L >> 21)] = L | PTE_PW | PTE_PS;
	for (unsigned i = 0; i < SEG_ALL; i++)
		segments[i] = (struct emu_segment){ .limit = 0xffffffff, .ar = i == SEG_CS ? 0xc09b : 0xc093 };
	if (mode == DECODE_16)
		for (unsigned i = 0; i < SEG_ALL; i++)
			segments[i] = (struct emu_segment){ i == SEG_CS ? CODE : L, 0xffff, i == SEG_CS ? 0x9b : 0x93, 0 };
	if (mode == DECODE_64)
		segments[SEG_CS].ar = 0xa09b;
	emu.gpr = gpr;
	emu.mem = &memory;
	emu.ctx = &emu;
	emu.segment = segment;
	emu.mmio_read = mmio_read;
	emu.mmio_write = mmio_write;
	emu.step = &step;
	step.cpuid = cpuid;
	emu.paging.maxphyaddr = 40;
	emu.paging.cr0 = GUEST_CR0_PE;
	if (mode == DECODE_64) {
		emu.paging.cr0 |= GUEST_CR0_PG;
		emu.paging.cr3 = L + TABLES;
		emu.paging.cr4 = GUEST_CR4_PAE;
		emu.paging.efer = GUEST_EFER_LMA;
	}
}

static void show(enum decode_mode mode, const uint8_t *bytes, unsigned n)
{
	fprintf(stderr, " mode %d:", 16 << mode);
	for (unsigned i = 0; i < n; i++)
		fprintf(stderr, " %02x", bytes[i]);
	fprintf(stderr, "\n");
}

/* Jump back from the host's code at `p`. */
static void put_return(uint8_t *p, enum decode_mode mode)
{
	const uint32_t stub = HOST_STUB;

	if (mode == DECODE_64) {
		memcpy(p, (const uint8_t *)HOST_STUB, 7);
		return;
	}
	if (mode == DECODE_16)
		*p++ = 0x66;
	*p++ = 0xea;
	memcpy(p, &stub, 4);
	memcpy(p + 4, "\x33\x00", 2);
}

static bool all_flags; /* in the environment: undefined flags are compared too */
static unsigned faults;

/* Run one instruction here and there with the registers in `gpr`; compare all that it leaves. Returns false where it faults. */
static bool run_both(enum decode_mode mode, const uint8_t *bytes, unsigned length, uint64_t flags, uint64_t defined)
{
	uint64_t at = CODE + 0x100 + random_below(0x800), rip = mode == DECODE_16 ? at - CODE : at, before[16];
	uint64_t mask = mode == DECODE_64 ? ~0ULL : 0xffffffff, flags_mask = (all_flags ? RFLAGS_STATUS : defined) | RFLAGS_DF;
	unsigned verdict, calls = 0;

	for (unsigned i = 0; i < SHARED_SIZE; i += 8) {
		uint64_t v = random64();

		if (!(v & 0x700))
			v = 0;
		memcpy(host + i, &v, 8);
		memcpy(ram + i, &v, 8);
	}
	memcpy(before, gpr, sizeof(gpr));
	memcpy(ram + (at - L), bytes, length);
	memcpy((void *)at, bytes, length);
	put_return((uint8_t *)at + length, mode);
	emu.rip = rip;
	emu.rflags = flags;
	do {
		verdict = (unsigned)emulate_step(&emu, &result);
	} while (verdict == EMULATE_RETRY && ++calls < 50);
	if (verdict == EMULATE_SHUTDOWN || verdict == EMULATE_EXCEPTION) {
		assert_memory_equal(gpr, before, sizeof(gpr));
		assert_int_equal(emu.rip, rip);
		faults++;
		return false;
	}
	if (verdict != EMULATE_DONE || emu.rip != rip + length) {
		fprintf(stderr, "verdict %u, rip %lx from %lx:", verdict, (unsigned long)emu.rip, (unsigned long)rip);
		show(mode, bytes, length);
		fail();
	}
	memcpy(state->gpr, before, sizeof(gpr));
	state->flags = flags | RFLAGS_IF;
	state->far.offset = (uint32_t)rip;
	state->far.selector = mode == DECODE_64 ? 0x33 : LDT_SELECTOR(mode == DECODE_32 ? LDT_CODE32 : LDT_CODE16);
	state->data = state->stack = mode == DECODE_16 ? LDT_SELECTOR(LDT_DATA16) : 0x2b;
	host_run();
	if (((emu.rflags ^ state->flags) & flags_mask)) {
		fprintf(stderr, "flags %lx, should be %lx, were %lx; rax %lx rcx %lx:", (unsigned long)(emu.rflags & flags_mask),
			(unsigned long)(state->flags & flags_mask), (unsigned long)flags, (unsigned long)before[0], (unsigned long)before[1]);
		show(mode, bytes, length);
		fail();
	}
	for (unsigned i = 0; i < (mode == DECODE_64 ? 16 : 8); i++) {
		if ((gpr[i] ^ state->gpr[i]) & (i == REG_RSP && mode == DECODE_16 ? 0xffff : mask)) {
			fprintf(stderr, "register %u is %lx, should be %lx, was %lx:", i, (unsigned long)gpr[i],
				(unsigned long)state->gpr[i], (unsigned long)before[i]);
			show(mode, bytes, length);
			fail();
		}
	}
	if (memcmp(host, ram, SHARED_SIZE) != 0) {
		unsigned i = 0;

		while (host[i] == ram[i])
			i++;
		fprintf(stderr, "memory differs at %x:", i);
		show(mode, bytes, length);
		fail();
	}
	return true;
}

/* ---- The generator ---- */

enum {
	F_GROUP = 1 << 0,  /* ModRM.reg is `group` */
	F_BIT = 1 << 1,    /* a register's bit index moves a memory operand */
	F_NO_MODRM = 1 << 2,
	F_NO_64 = 1 << 3,
	F_MEM = 1 << 4,    /* memory operands only */
	F_REG = 1 << 5,
	F_NO_66 = 1 << 6,
	F_NO_RSP = 1 << 7, /* rsp is the stack pointer: not an operand */
	F_STRING = 1 << 8,
	F_NO_67 = 1 << 9,
	F_REP = 1 << 10,   /* F3 is part of the opcode */
};

struct form {
	uint8_t opcode[3];
	uint8_t opcode_length;
	uint8_t group;
	uint16_t how;
	uint16_t flags; /* that the manual defines */
};

#define ALL RFLAGS_STATUS
#define LOGIC (RFLAGS_STATUS & ~RFLAGS_AF)

/* Make the memory operand come out at `target`, a linear address. Returns false where these bytes cannot. */
static bool aim(enum decode_mode mode, uint8_t *bytes, const struct insn *insn, uint64_t target)
{
	uint64_t offset = mode == DECODE_16 ? target - L : target, mask = size_mask(insn->address_size);
	unsigned at = insn->length - insn->imm_size - insn->disp_size;

	if (insn->address_size == 2 && mode == DECODE_32)
		return false; /* the flat segments' first 64 KiB are not there */
	if (insn->segment >= SEG_FS || insn->segment == SEG_CS || insn->base == REG_RIP)
		return false;
	if (insn->index != REG_NONE) {
		gpr[insn->index] &= 0xfff;
		if (insn->base == insn->index || insn->index == REG_RSP)
			return false;
		offset -= gpr[insn->index] << insn->scale;
	}
	if (insn->base == REG_NONE) {
		if (insn->disp_size < (mode == DECODE_16 ? 2U : 4U))
			return false;
		memcpy(bytes + at, &offset, insn->disp_size);
	} else {
		gpr[insn->base] = ((offset - (uint64_t)insn->disp) & mask) | (mode == DECODE_64 ? 0 : gpr[insn->base] & ~mask);
		if (insn->base == REG_RSP && insn->address_size == 4 && mode == DECODE_16)
			return false;
	}
	return true;
}

static void run_mode(enum decode_mode mode, const struct form *f, unsigned times)
{
	unsigned attempts = times * 400;

	while (times) {
		uint64_t flags = (random64() & RFLAGS_STATUS) | RFLAGS_FIXED, target = L + 0x100 + random_below(DATA_SIZE - 0x200);
		uint8_t bytes[32];
		unsigned n = 0;
		struct insn insn;

		assert_true(attempts--);
		for (unsigned i = 0; i < 16; i++)
			gpr[i] = random64() >> (random_below(5) * 14);
		gpr[REG_RSP] = (mode == DECODE_16 ? 0 : L) + DATA_SIZE + STACK_SIZE / 2 + random_below(64);
		if (mode != DECODE_64)
			for (unsigned i = 0; i < 16; i++)
				gpr[i] &= 0xffffffff;
		if (!(f->how & F_NO_66) && random_below(2))
			bytes[n++] = 0x66;
		if (!(f->how & F_NO_67) && !random_below(4))
			bytes[n++] = 0x67;
		if (f->how & F_REP)
			bytes[n++] = 0xf3;
		if (mode == DECODE_64 && random_below(2))
			bytes[n++] = (uint8_t)(0x40 | random_below(16));
		memcpy(bytes + n, f->opcode, f->opcode_length);
		n += f->opcode_length;
		for (unsigned i = n; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)random64();
		if (!(f->how & F_NO_MODRM)) {
			if ((f->how & F_REG) || (!(f->how & F_MEM) && random_below(2)))
				bytes[n] |= 0xc0;
			else if (bytes[n] >= 0xc0)
				bytes[n] &= 0x7f;
			if (f->how & F_GROUP)
				bytes[n] = (uint8_t)((bytes[n] & 0xc7) | f->group << 3);
		}
		if (decode(&insn, bytes, 15, mode))
			continue;
		if (f->how & F_NO_RSP && ((insn.flags & INSN_MODRM && insn.mod == 3 && insn.rm == REG_RSP) || insn.base == REG_RSP))
			continue;
		if (insn.flags & INSN_MEM) {
			int64_t bit = 0;

			if (f->how & F_BIT) {
				if (insn.reg == insn.base || insn.reg == insn.index)
					continue;
				bit = (int64_t)random_below(0x4000) - 0x2000;
				target = L + 0x1000 + random_below(0x800);
			}
			if (!aim(mode, bytes, &insn, target))
				continue;
			if (f->how & F_BIT)
				gpr[insn.reg] = ((uint64_t)bit & size_mask(insn.operand_size)) |
						(mode == DECODE_64 || insn.operand_size != 2 ? 0 : random64() & 0xffff0000);
		}
		run_both(mode, bytes, insn.length, flags, f->flags);
		times--;
	}
}

static void run_form(const struct form *f, unsigned times)
{
	for (int mode = DECODE_16; mode <= DECODE_64; mode++) {
		if ((mode == DECODE_64 && (f->how & F_NO_64)) || (mode != DECODE_64 && !have_ldt))
			continue;
		reset((enum decode_mode)mode);
		run_mode((enum decode_mode)mode, f, times);
	}
}

static void run_forms(const struct form *form, unsigned count, unsigned times)
{
	for (unsigned i = 0; i < count; i++)
		run_form(&form[i], times);
}

static void test_mov(void **unused)
{
	static const struct form form[] = {
		{ { 0x88 }, 1, 0, 0, ALL }, { { 0x89 }, 1, 0, 0, ALL }, { { 0x8a }, 1, 0, 0, ALL }, { { 0x8b }, 1, 0, 0, ALL },
		{ { 0xc6 }, 1, 0, F_GROUP, ALL }, { { 0xc7 }, 1, 0, F_GROUP, ALL }, { { 0x8d }, 1, 0, F_MEM, ALL },
		{ { 0xa0 }, 1, 0, F_NO_MODRM, ALL }, { { 0xa1 }, 1, 0, F_NO_MODRM, ALL }, { { 0xa2 }, 1, 0, F_NO_MODRM, ALL },
		{ { 0xa3 }, 1, 0, F_NO_MODRM, ALL }, { { 0x0f, 0xb6 }, 2, 0, 0, ALL }, { { 0x0f, 0xb7 }, 2, 0, 0, ALL },
		{ { 0x0f, 0xbe }, 2, 0, 0, ALL }, { { 0x0f, 0xbf }, 2, 0, 0, ALL }, { { 0x86 }, 1, 0, 0, ALL }, { { 0x87 }, 1, 0, 0, ALL },
		{ { 0x98 }, 1, 0, F_NO_MODRM, ALL }, { { 0x99 }, 1, 0, F_NO_MODRM, ALL }, { { 0x0f, 0x1f }, 2, 0, 0, ALL },
		{ { 0x9e }, 1, 0, F_NO_MODRM, ALL }, { { 0x9f }, 1, 0, F_NO_MODRM, ALL }, { { 0xd6 }, 1, 0, F_NO_MODRM | F_NO_64, ALL },
	};

	(void)unused;
	run_forms(form, ARRAY_SIZE(form), 120);
	for (unsigned i = 0; i < 16; i++) {
		run_form(&(struct form){ { (uint8_t)(0xb0 + i) }, 1, 0, F_NO_MODRM, ALL }, 40);
		run_form(&(struct form){ { 0x0f, (uint8_t)(0x40 + i) }, 2, 0, 0, ALL }, 60);
		run_form(&(struct form){ { 0x0f, (uint8_t)(0x90 + i) }, 2, 0, 0, ALL }, 40);
		if (i < 8)
			run_form(&(struct form){ { (uint8_t)(0x90 + i) }, 1, 0, F_NO_MODRM, ALL }, 40);
		if (i < 8)
			run_form(&(struct form){ { 0x0f, (uint8_t)(0xc8 + i) }, 2, 0, F_NO_MODRM | F_NO_66, ALL }, 40);
	}
}

static void test_arithmetic(void **unused)
{
	(void)unused;
	for (unsigned op = 0; op < 8; op++) {
		uint16_t flags = op == ALU_OR || op == ALU_AND || op == ALU_XOR ? LOGIC : ALL;

		for (unsigned low = 0; low < 4; low++)
			run_form(&(struct form){ { (uint8_t)(op << 3 | low) }, 1, 0, 0, flags }, 100);
		run_form(&(struct form){ { (uint8_t)(op << 3 | 4) }, 1, 0, F_NO_MODRM, flags }, 60);
		run_form(&(struct form){ { (uint8_t)(op << 3 | 5) }, 1, 0, F_NO_MODRM, flags }, 60);
		run_form(&(struct form){ { 0x80 }, 1, (uint8_t)op, F_GROUP, flags }, 80);
		run_form(&(struct form){ { 0x81 }, 1, (uint8_t)op, F_GROUP, flags }, 80);
		run_form(&(struct form){ { 0x82 }, 1, (uint8_t)op, F_GROUP | F_NO_64, flags }, 40);
		run_form(&(struct form){ { 0x83 }, 1, (uint8_t)op, F_GROUP, flags }, 80);
		run_form(&(struct form){ { (uint8_t)(0x40 + op) }, 1, 0, F_NO_MODRM | F_NO_64, ALL }, 60);
		run_form(&(struct form){ { (uint8_t)(0x48 + op) }, 1, 0, F_NO_MODRM | F_NO_64, ALL }, 60);
	}
	for (unsigned wide = 0; wide < 2; wide++) {
		const struct form form[] = {
			{ { (uint8_t)(0x84 + wide) }, 1, 0, 0, LOGIC }, { { (uint8_t)(0xa8 + wide) }, 1, 0, F_NO_MODRM, LOGIC },
			{ { (uint8_t)(0xf6 + wide) }, 1, 0, F_GROUP, LOGIC }, { { (uint8_t)(0xf6 + wide) }, 1, 2, F_GROUP, ALL },
			{ { (uint8_t)(0xf6 + wide) }, 1, 3, F_GROUP, ALL }, { { (uint8_t)(0xfe + wide) }, 1, 0, F_GROUP, ALL },
			{ { (uint8_t)(0xfe + wide) }, 1, 1, F_GROUP, ALL }, { { 0x0f, (uint8_t)(0xc0 + wide) }, 2, 0, 0, ALL },
			{ { 0x0f, (uint8_t)(0xb0 + wide) }, 2, 0, 0, ALL },
			{ { 0xf0, 0x0f, (uint8_t)(0xc0 + wide) }, 3, 0, F_MEM | F_NO_64, ALL },
			{ { 0xf0, (uint8_t)(0x00 + wide) }, 2, 0, F_MEM | F_NO_64, ALL },
		};

		run_forms(form, ARRAY_SIZE(form), 150);
	}
	run_form(&(struct form){ { 0x0f, 0xc7 }, 2, 1, F_GROUP | F_MEM | F_NO_64, ALL }, 150);
	run_form(&(struct form){ { 0x0f, 0x38, 0xf0 }, 3, 0, F_MEM, ALL }, __builtin_cpu_supports("movbe") ? 80 : 0);
}

static void test_multiply(void **unused)
{
	static const struct form form[] = {
		{ { 0xf6 }, 1, 4, F_GROUP, 0x801 }, { { 0xf6 }, 1, 5, F_GROUP, 0x801 }, { { 0xf7 }, 1, 4, F_GROUP, 0x801 },
		{ { 0xf7 }, 1, 5, F_GROUP, 0x801 }, { { 0x69 }, 1, 0, 0, 0x801 }, { { 0x6b }, 1, 0, 0, 0x801 },
		{ { 0x0f, 0xaf }, 2, 0, 0, 0x801 },
	};
	static const struct form divisions[] = {
		{ { 0xf6 }, 1, 6, F_GROUP, 0 }, { { 0xf6 }, 1, 7, F_GROUP, 0 }, { { 0xf7 }, 1, 6, F_GROUP, 0 }, { { 0xf7 }, 1, 7, F_GROUP, 0 },
	};

	(void)unused;
	run_forms(form, ARRAY_SIZE(form), 400);
	faults = 0;
	run_forms(divisions, ARRAY_SIZE(divisions), 1500);
	assert_in_range(faults, 100, 11000);
}

static void test_shifts(void **unused)
{
	(void)unused;
	for (unsigned op = 0; op < 8; op++) {
		/* OF is defined for counts of 1 only; CF for SHL and SHR not beyond the operand. */
		uint16_t one = op < 4 ? ALL : LOGIC, many = op < 4 ? ALL & ~RFLAGS_OF : LOGIC & ~(RFLAGS_OF | RFLAGS_CF);

		run_form(&(struct form){ { 0xd0 }, 1, (uint8_t)op, F_GROUP, one }, 150);
		run_form(&(struct form){ { 0xd1 }, 1, (uint8_t)op, F_GROUP, one }, 150);
		run_form(&(struct form){ { 0xc0 }, 1, (uint8_t)op, F_GROUP, many }, 300);
		run_form(&(struct form){ { 0xc1 }, 1, (uint8_t)op, F_GROUP, many }, 300);
		run_form(&(struct form){ { 0xd2 }, 1, (uint8_t)op, F_GROUP, many }, 300);
		run_form(&(struct form){ { 0xd3 }, 1, (uint8_t)op, F_GROUP, many }, 300);
	}
}

static void test_double_shifts(void **unused)
{
	static const uint8_t opcode[] = { 0xa4, 0xa5, 0xac, 0xad };

	(void)unused;
	for (unsigned i = 0; i < 4; i++)
		run_form(&(struct form){ { 0x0f, opcode[i] }, 2, 0, 0, LOGIC & ~(RFLAGS_OF | RFLAGS_CF) }, 500);
}

static void test_bits(void **unused)
{
	(void)unused;
	for (unsigned i = 0; i < 4; i++) {
		run_form(&(struct form){ { 0x0f, (uint8_t)(0xa3 + 8 * i) }, 2, 0, F_BIT, RFLAGS_CF | RFLAGS_ZF }, 300);
		run_form(&(struct form){ { 0x0f, 0xba }, 2, (uint8_t)(4 + i), F_GROUP, RFLAGS_CF | RFLAGS_ZF }, 200);
	}
	run_form(&(struct form){ { 0x0f, 0xbc }, 2, 0, 0, RFLAGS_ZF }, 300);
	run_form(&(struct form){ { 0x0f, 0xbd }, 2, 0, 0, RFLAGS_ZF }, 300);
	run_form(&(struct form){ { 0x0f, 0xbc }, 2, 0, F_REP, RFLAGS_ZF }, 300);
	run_form(&(struct form){ { 0x0f, 0xbd }, 2, 0, F_REP, RFLAGS_ZF }, 300);
	run_form(&(struct form){ { 0x0f, 0xb8 }, 2, 0, F_REP, ALL }, __builtin_cpu_supports("popcnt") ? 300 : 0);
}

static void test_decimal(void **unused)
{
	static const struct form form[] = {
		{ { 0x27 }, 1, 0, F_NO_MODRM | F_NO_64, ALL & ~RFLAGS_OF }, { { 0x2f }, 1, 0, F_NO_MODRM | F_NO_64, ALL & ~RFLAGS_OF },
		{ { 0x37 }, 1, 0, F_NO_MODRM | F_NO_64, RFLAGS_AF | RFLAGS_CF }, { { 0x3f }, 1, 0, F_NO_MODRM | F_NO_64, RFLAGS_AF | RFLAGS_CF },
		{ { 0xd4 }, 1, 0, F_NO_MODRM | F_NO_64, 0xc4 }, { { 0xd5 }, 1, 0, F_NO_MODRM | F_NO_64, 0xc4 },
	};

	(void)unused;
	run_forms(form, ARRAY_SIZE(form), 1500);
}

static void test_flag_instructions(void **unused)
{
	static const uint8_t opcode[] = { 0xf5, 0xf8, 0xf9, 0xfd };

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(opcode); i++)
		run_form(&(struct form){ { opcode[i] }, 1, 0, F_NO_MODRM, ALL }, 20);
}

static void test_stack(void **unused)
{
	static const struct form form[] = {
		{ { 0x50 }, 1, 0, F_NO_MODRM, ALL }, { { 0x53 }, 1, 0, F_NO_MODRM, ALL }, { { 0x54 }, 1, 0, F_NO_MODRM, ALL },
		{ { 0x58 }, 1, 0, F_NO_MODRM, ALL }, { { 0x5c }, 1, 0, F_NO_MODRM, ALL }, { { 0x5f }, 1, 0, F_NO_MODRM, ALL },
		{ { 0x60 }, 1, 0, F_NO_MODRM | F_NO_64, ALL }, { { 0x61 }, 1, 0, F_NO_MODRM | F_NO_64, ALL },
		{ { 0x68 }, 1, 0, F_NO_MODRM, ALL }, { { 0x6a }, 1, 0, F_NO_MODRM, ALL }, { { 0x8f }, 1, 0, F_GROUP | F_NO_RSP, ALL },
		{ { 0xff }, 1, 6, F_GROUP | F_NO_RSP, ALL },
	};

	(void)unused;
	run_forms(form, ARRAY_SIZE(form), 200);
}

/* ENTER and LEAVE need frames to follow, and POP through rsp an address that is known. */
static void test_frames(void **unused)
{
	(void)unused;
	for (int mode = DECODE_16; mode <= DECODE_64; mode++) {
		uint64_t stack = (mode == DECODE_16 ? 0 : L) + DATA_SIZE + STACK_SIZE / 2;

		if (mode != DECODE_64 && !have_ldt)
			continue;
		reset((enum decode_mode)mode);
		for (unsigned i = 0; i < 400; i++) {
			uint8_t bytes[8];
			unsigned n = 0;

			for (unsigned r = 0; r < 16; r++)
				gpr[r] = mode == DECODE_64 ? random64() : (uint32_t)random64();
			gpr[REG_RSP] = stack + 4 * random_below(64);
			gpr[REG_RBP] = stack + 4 * random_below(64);
			if (random_below(2))
				bytes[n++] = 0x66;
			switch (i % 3) {
			case 0:
				bytes[n++] = 0xc8;
				bytes[n++] = (uint8_t)random64();
				bytes[n++] = 0;
				bytes[n++] = (uint8_t)(random_below(2) ? random_below(8) : random64());
				break;
			case 1:
				bytes[n++] = 0xc9;
				break;
			default: /* pop [esp + 8] */
				if (mode == DECODE_16)
					bytes[n++] = 0x67;
				memcpy(bytes + n, "\x8f\x44\x24\x08", 4);
				n += 4;
				gpr[REG_RSP] &= 0xffffffff;
				break;
			}
			run_both((enum decode_mode)mode, bytes, n, RFLAGS_FIXED, ALL);
		}
	}
}

static void test_strings(void **unused)
{
	static const uint8_t opcode[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };

	(void)unused;
	for (int mode = DECODE_16; mode <= DECODE_64; mode++) {
		if (mode != DECODE_64 && !have_ldt)
			continue;
		reset((enum decode_mode)mode);
		for (unsigned i = 0; i < 800; i++) {
			uint64_t flags = (random64() & RFLAGS_STATUS) | RFLAGS_FIXED | (random_below(3) ? 0 : RFLAGS_DF);
			uint64_t base = mode == DECODE_16 ? 0 : L, start;
			unsigned which = random_below(5), count = random_below(8) ? random_below(500) : 0, span;
			uint8_t bytes[8];
			unsigned n = 0;
			struct insn insn;

			for (unsigned r = 0; r < 16; r++)
				gpr[r] = mode == DECODE_64 ? random64() : (uint32_t)random64();
			if (random_below(2))
				bytes[n++] = 0x66;
			if (random_below(3))
				bytes[n++] = random_below(2) ? 0xf3 : 0xf2;
			if (mode == DECODE_64 && !random_below(3))
				bytes[n++] = 0x48;
			bytes[n++] = (uint8_t)(opcode[which] | random_below(2));
			assert_int_equal(decode(&insn, bytes, n, (enum decode_mode)mode), 0);
			span = (count ? count : 1) * insn.operand_size;
			start = base + (flags & RFLAGS_DF ? span - insn.operand_size : 0);
			gpr[REG_RSI] = start + random_below(DATA_SIZE - span);
			gpr[REG_RDI] = start + random_below(DATA_SIZE - span);
			gpr[REG_RCX] = count | (mode == DECODE_16 ? random64() & 0xffff0000 : 0);
			if (which == 4 && random_below(2))
				gpr[REG_RAX] = 0;
			if (which == 1 && random_below(2))
				gpr[REG_RDI] = gpr[REG_RSI];
			run_both((enum decode_mode)mode, bytes, n, flags, ALL);
		}
	}
}

static int setup(void **unused)
{
	(void)unused;
	all_flags = getenv("STEP_ALL_FLAGS") != NULL;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_mov, setup),
		cmocka_unit_test_setup(test_arithmetic, setup),
		cmocka_unit_test_setup(test_multiply, setup),
		cmocka_unit_test_setup(test_shifts, setup),
		cmocka_unit_test_setup(test_double_shifts, setup),
		cmocka_unit_test_setup(test_bits, setup),
		cmocka_unit_test_setup(test_decimal, setup),
		cmocka_unit_test_setup(test_flag_instructions, setup),
		cmocka_unit_test_setup(test_stack, setup),
		cmocka_unit_test_setup(test_frames, setup),
		cmocka_unit_test_setup(test_strings, setup),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}

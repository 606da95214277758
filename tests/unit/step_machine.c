#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/step_machine.h"

#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"

uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
static struct guest_memory memory;
struct emulator emu;
struct step_state step;
struct emulate_result result;
uint64_t gpr[16];
struct segment_state segments[SEG_COUNT];

/* What the machine saw. */
unsigned cr_writes, wbinvds, port80_count;
uint64_t last_invlpg, dr[8];
static uint64_t tsc;
uint8_t port80[PORT80_MAX];

static void segment(void *ctx, enum segment_register which, struct segment_state *seg)
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
void reset(void)
{
	memset(&emu, 0, sizeof(emu));
	memset(&step, 0, sizeof(step));
	memset(&memory, 0, sizeof(memory));
	memset(gpr, 0, sizeof(gpr));
	memset(dr, 0, sizeof(dr));
	assert_int_equal(guest_memory_add(&memory, 0, RAM_SIZE, ram), 0);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		segments[i] = (struct segment_state){ .limit = 0xffff, .access = SEGMENT_DATA_16 };
	segments[SEG_CS].access = SEGMENT_CODE_16;
	segments[SEG_LDTR].access = SEGMENT_LDT;
	segments[SEG_TR].access = SEGMENT_TSS_32;
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
	cr_writes = wbinvds = port80_count = 0;
}

int setup(void **state)
{
	(void)state;
	memset(ram, 0, sizeof(ram));
	reset();
	return 0;
}

/* Step until HLT; the first `max` instructions. Returns the last verdict. */
int run(unsigned max)
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

uint16_t word(unsigned at)
{
	uint16_t v;

	memcpy(&v, ram + at, 2);
	return v;
}

uint32_t dword(unsigned at)
{
	uint32_t v;

	memcpy(&v, ram + at, 4);
	return v;
}

void set_dword(unsigned at, uint32_t v)
{
	memcpy(ram + at, &v, 4);
}

/* One instruction at the present CS:IP. */
int step_bytes(const char *bytes, unsigned n)
{
	memcpy(ram + PROGRAM_AT, bytes, n);
	emu.rip = PROGRAM_AT;
	return emulate_step(&emu, &result);
}
void idt_entry(unsigned vector, uint16_t selector, uint32_t offset, unsigned type)
{
	uint64_t gate = (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)type << 40 | (uint64_t)(offset >> 16) << 48;

	memcpy(ram + IDT_AT + 8 * vector, &gate, 8);
}

/* Flat 32-bit code at CPL 0 with the GDT above, a TSS, and an IDT of interrupt gates to 8:10vv0. */
void protected_mode_setup(void)
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
	for (unsigned i = 0; i < SEG_OPERANDS; i++)
		segments[i] = (struct segment_state){ .limit = 0xffffffff, .access = i == SEG_CS ? SEGMENT_CODE_32 : SEGMENT_DATA_32,
						      .selector = i == SEG_CS ? 8 : 0x10 };
	segments[SEG_TR] = (struct segment_state){ .base = TSS_AT, .limit = 0x67, .access = SEGMENT_TSS_32, .selector = 0x40 };
	set_dword(TSS_AT + 4, 0x6000); /* esp0 */
	set_dword(TSS_AT + 8, 0x10);   /* ss0 */
	segments[SEG_LDTR].access |= SEGMENT_UNUSABLE;
	emu.paging.cr0 |= CR0_PE;
	gpr[REG_RSP] = 0x7000;
}

void user_mode_setup(void)
{
	protected_mode_setup();
	for (unsigned i = 0; i < SEG_OPERANDS; i++) {
		segments[i].access |= 0x60;
		segments[i].selector = i == SEG_CS ? 0x33 : 0x3b;
	}
}

void expect_delivered(unsigned vector, bool has_error, uint32_t error)
{
	assert_true(result.delivered);
	assert_int_equal(result.vector, vector);
	assert_int_equal(emu.rip, 0x10000 + vector * 16);
	assert_int_equal(emu.seg[SEG_CS].selector, 8);
	if (has_error)
		assert_int_equal(dword((unsigned)gpr[REG_RSP]), error);
}

static uint64_t random_state = 0x9e3779b97f4a7c13;

uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

unsigned random_below(unsigned n)
{
	return (unsigned)((random64() >> 20) % n);
}


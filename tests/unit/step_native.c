#include "tests/unit/unit.h"

#include <asm/ldt.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/unit/step_native.h"

#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"

#define SHARED_SIZE (DATA_SIZE + STACK_SIZE)
#define HOST_STATE (L + 0x8000) /* the host's only; the assembly below knows it */
#define HOST_STUB (L + 0x9000)
#define CODE (L + 0x10000)
#define WINDOW 0x20000UL
#define TABLES WINDOW           /* the guest's only: PML4, PDPT, PD */
#define RAM_SIZE (WINDOW + 0x3000)

#define PTE_PW 3

static uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
static uint8_t *const host = (uint8_t *)L;
static struct guest_memory memory;
static struct emulator emu;
static struct step_state step;
static struct emulate_result result;
uint64_t native_gpr[16];
bool native_have_ldt;

static uint64_t random_state = 0x2545f4914f6cdd1d;

uint64_t (*native_random_source)(void);

void native_seed(uint64_t seed)
{
	random_state = seed;
}

/* Of the generator's own, whatever the source is. */
static uint64_t noise64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

uint64_t native_random64(void)
{
	return native_random_source ? native_random_source() : noise64();
}

unsigned native_random_below(unsigned n)
{
	return (unsigned)((native_random64() >> 20) % n);
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

int native_setup(void **unused)
{
	static const uint8_t stub[] = { 0xff, 0x24, 0x25, 0x88, 0x80, 0x00, 0x20 }; /* jmp [state->back] */
	void *window = mmap((void *)L, WINDOW, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	(void)unused;
	if (window != (void *)L)
		return -1;
	memcpy((void *)HOST_STUB, stub, sizeof(stub));
	native_have_ldt = ldt_entry(LDT_CODE32, 0, 0xfffff, true, true) && ldt_entry(LDT_CODE16, CODE, 0xffff, false, true) &&
		   ldt_entry(LDT_DATA16, L, 0xffff, false, false);
	return 0;
}

/* ---- The guest's machine: flat, or for 16-bit code segments of 64 KiB at L and CODE ---- */

static struct segment_state segments[SEG_COUNT];

static void segment(void *ctx, enum segment_register which, struct segment_state *seg)
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

void native_reset(enum decode_mode mode)
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
	for (unsigned i = 0; i < SEG_COUNT; i++)
		segments[i] = (struct segment_state){ .limit = 0xffffffff, .access = i == SEG_CS ? SEGMENT_CODE_32 : SEGMENT_DATA_32 };
	if (mode == DECODE_16)
		for (unsigned i = 0; i < SEG_COUNT; i++)
			segments[i] = (struct segment_state){ .base = i == SEG_CS ? CODE : L, .limit = 0xffff,
							      .access = i == SEG_CS ? SEGMENT_CODE_16 : SEGMENT_DATA_16 };
	if (mode == DECODE_64)
		segments[SEG_CS].access = SEGMENT_CODE_64;
	emu.gpr = native_gpr;
	emu.mem = &memory;
	emu.ctx = &emu;
	emu.segment = segment;
	emu.mmio_read = mmio_read;
	emu.mmio_write = mmio_write;
	emu.step = &step;
	step.cpuid = cpuid;
	emu.paging.maxphyaddr = 40;
	emu.paging.cr0 = CR0_PE;
	if (mode == DECODE_64) {
		emu.paging.cr0 |= CR0_PG;
		emu.paging.cr3 = L + TABLES;
		emu.paging.cr4 = CR4_PAE;
		emu.paging.efer = EFER_LMA;
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

bool native_all_flags; /* in the environment: undefined flags are compared too */
unsigned native_faults;

bool native_run_both(enum decode_mode mode, const uint8_t *bytes, unsigned length, uint64_t flags, uint64_t defined)
{
	uint64_t at = CODE + 0x100 + native_random_below(0x800), rip = mode == DECODE_16 ? at - CODE : at, before[16];
	uint64_t mask = mode == DECODE_64 ? ~0ULL : 0xffffffff, flags_mask = (native_all_flags ? RFLAGS_STATUS : defined) | RFLAGS_DF;
	unsigned verdict, calls = 0;

	for (unsigned i = 0; i < SHARED_SIZE; i += 8) {
		uint64_t v = noise64();

		if (!(v & 0x700))
			v = 0;
		memcpy(host + i, &v, 8);
		memcpy(ram + i, &v, 8);
	}
	memcpy(before, native_gpr, sizeof(native_gpr));
	memcpy(ram + (at - L), bytes, length);
	memcpy((void *)at, bytes, length);
	put_return((uint8_t *)at + length, mode);
	emu.rip = rip;
	emu.rflags = flags;
	do {
		verdict = (unsigned)emulate_step(&emu, &result);
	} while (verdict == EMULATE_RETRY && ++calls < 50);
	if (verdict == EMULATE_SHUTDOWN || verdict == EMULATE_EXCEPTION) {
		assert_memory_equal(native_gpr, before, sizeof(native_gpr));
		assert_int_equal(emu.rip, rip);
		native_faults++;
		return false;
	}
	if (verdict != EMULATE_DONE || emu.rip != rip + length) {
		fprintf(stderr, "verdict %u, rip %lx from %lx:", verdict, (unsigned long)emu.rip, (unsigned long)rip);
		show(mode, bytes, length);
		fail();
	}
	memcpy(state->gpr, before, sizeof(native_gpr));
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
		if ((native_gpr[i] ^ state->gpr[i]) & (i == REG_RSP && mode == DECODE_16 ? 0xffff : mask)) {
			fprintf(stderr, "register %u is %lx, should be %lx, was %lx:", i, (unsigned long)native_gpr[i],
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


/* SOURCES: vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/guest_walk.c vmm/guest_memory.c */
/* Emulated instructions against the same instructions on the host's CPU, and against hostile guests. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/emulate/access.h"
#include "vmm/emulate/alu.h"
#include "vmm/emulate/emulate.h"

/* Linear addresses, the same in the host process and in the guest: two device pages, two RAM pages, then code. */
#define L 0x20000000UL
#define DATA_PAGES 4
#define CODE (L + 0x10000)
#define CODE_PAGES 2
#define MMIO_A 0xfed00000UL
#define MMIO_B 0xfed02000UL

/* Guest-physical layout of the RAM behind the guest's tables. */
#define RAM_SIZE 0x80000UL
#define GPA_PML4 0x1000
#define GPA_PDPT 0x2000
#define GPA_PD 0x3000
#define GPA_PT 0x4000
#define GPA_RAM_A 0x50000
#define GPA_RAM_B 0x52000
#define GPA_CODE 0x60000
#define GPA_CODE_2 0x63000

#define PTE_PWU 7

static uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
static uint8_t device[2][4096];
static struct guest_memory memory;
static struct emulator emu;
static struct emulate_result result;
static uint64_t gpr[16];
static unsigned mmio_reads, mmio_writes, port_accesses;
static struct emu_segment segments[SEG_COUNT];
static uint8_t *const host = (uint8_t *)L;

static uint64_t random_state = 0x123456789abcdef;

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

/* ---- The guest's machine ---- */

static uint8_t *device_at(uint64_t gpa, unsigned size)
{
	unsigned which = (gpa & ~0xfffUL) == MMIO_A ? 0 : 1;

	if ((gpa & ~0xfffUL) != MMIO_A && (gpa & ~0xfffUL) != MMIO_B)
		return NULL;
	assert_true((gpa & 0xfff) + size <= 4096);
	return &device[which][gpa & 0xfff];
}

static uint64_t mmio_read(void *ctx, uint64_t gpa, unsigned size)
{
	uint64_t value = 0xa5a5a5a5a5a5a5a5;
	uint8_t *p = device_at(gpa, size);

	assert_ptr_equal(ctx, &emu);
	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	mmio_reads++;
	if (p)
		memcpy(&value, p, size);
	return value; /* with garbage above the size */
}

static void mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	uint8_t *p = device_at(gpa, size);

	assert_ptr_equal(ctx, &emu);
	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	assert_true(size == 8 || value >> (8 * size) == 0);
	mmio_writes++;
	if (p)
		memcpy(p, &value, size);
}

static uint32_t port_read(void *ctx, uint16_t port, unsigned size)
{
	assert_ptr_equal(ctx, &emu);
	assert_true(size == 1 || size == 2 || size == 4);
	return port * 0x10001U + port_accesses++;
}

static uint32_t port_sum;

static void port_write(void *ctx, uint16_t port, unsigned size, uint32_t value)
{
	(void)port;
	assert_ptr_equal(ctx, &emu);
	assert_true(size == 4 || value >> (8 * size) == 0);
	port_accesses++;
	port_sum = port_sum * 31 + value;
}

static void segment(void *ctx, enum segment_register which, struct emu_segment *seg)
{
	assert_ptr_equal(ctx, &emu);
	*seg = segments[which];
}

static uint64_t *pte(uint64_t linear)
{
	return (uint64_t *)(ram + GPA_PT + ((linear >> 12) & 0x1ff) * 8);
}

static void reset(void)
{
	static const uint32_t data_gpa[DATA_PAGES] = { MMIO_A, MMIO_B, GPA_RAM_A, GPA_RAM_B };

	memset(ram + GPA_PML4, 0, GPA_PT + 4096 - GPA_PML4);
	memset(&emu, 0, sizeof(emu));
	memset(gpr, 0, sizeof(gpr));
	memset(&memory, 0, sizeof(memory));
	assert_int_equal(guest_memory_add(&memory, 0, RAM_SIZE, ram), 0);
	*(uint64_t *)(ram + GPA_PML4) = GPA_PDPT | PTE_PWU;
	*(uint64_t *)(ram + GPA_PDPT) = GPA_PD | PTE_PWU;
	*(uint64_t *)(ram + GPA_PD + (L >> 21) * 8) = GPA_PT | PTE_PWU;
	for (unsigned i = 0; i < DATA_PAGES; i++)
		*pte(L + i * 4096) = data_gpa[i] | PTE_PWU;
	*pte(CODE) = GPA_CODE | PTE_PWU;
	*pte(CODE + 4096) = GPA_CODE_2 | PTE_PWU;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		segments[i] = (struct emu_segment){ .limit = 0xffffffff, .ar = i == SEG_CS ? 0xc09b : 0xc093 };
	emu.gpr = gpr;
	emu.mode = DECODE_64;
	emu.rflags = 2;
	emu.mem = &memory;
	emu.paging = (struct guest_paging){ .cr0 = GUEST_CR0_PE | GUEST_CR0_PG | GUEST_CR0_WP, .cr3 = GPA_PML4, .cr4 = GUEST_CR4_PAE,
					    .efer = GUEST_EFER_LMA | GUEST_EFER_NXE, .maxphyaddr = 40 };
	emu.ctx = &emu;
	emu.segment = segment;
	emu.mmio_read = mmio_read;
	emu.mmio_write = mmio_write;
	emu.port_read = port_read;
	emu.port_write = port_write;
	mmio_reads = mmio_writes = port_accesses = 0;
}

static int setup(void **state)
{
	(void)state;
	memset(ram, 0, sizeof(ram));
	reset();
	return 0;
}

static uint64_t gpa_of(uint64_t linear)
{
	static const uint64_t page[DATA_PAGES] = { MMIO_A, MMIO_B, GPA_RAM_A, GPA_RAM_B };

	assert_true(linear >= L && linear < L + DATA_PAGES * 4096);
	return page[(linear - L) >> 12] | (linear & 0xfff);
}

/* The guest's view of the data page `i`. */
static uint8_t *guest_page(unsigned i)
{
	return i < 2 ? device[i] : ram + (i == 2 ? GPA_RAM_A : GPA_RAM_B);
}

static void put_code(uint64_t linear, const uint8_t *bytes, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t at = linear + i - CODE;

		ram[(at < 4096 ? GPA_CODE : GPA_CODE_2 - 4096) + at] = bytes[i];
	}
}

/* ---- The host's CPU ---- */

struct host_state {
	uint64_t gpr[16];
	uint64_t flags;
	uint64_t code;
};

struct host_state host_state;
void host_run(void);

/* Load registers and flags, call the code, store them. rsp stays the host's. */
__asm__(".text\n"
	".globl host_run\n"
	"host_run:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	pushq host_state+128(%rip)\n	popfq\n"
	"	mov host_state+0(%rip), %rax\n	mov host_state+8(%rip), %rcx\n	mov host_state+16(%rip), %rdx\n"
	"	mov host_state+24(%rip), %rbx\n	mov host_state+40(%rip), %rbp\n	mov host_state+48(%rip), %rsi\n"
	"	mov host_state+56(%rip), %rdi\n	mov host_state+64(%rip), %r8\n	mov host_state+72(%rip), %r9\n"
	"	mov host_state+80(%rip), %r10\n	mov host_state+88(%rip), %r11\n	mov host_state+96(%rip), %r12\n"
	"	mov host_state+104(%rip), %r13\n	mov host_state+112(%rip), %r14\n	mov host_state+120(%rip), %r15\n"
	"	call *host_state+136(%rip)\n"
	"	mov %rax, host_state+0(%rip)\n	mov %rcx, host_state+8(%rip)\n	mov %rdx, host_state+16(%rip)\n"
	"	mov %rbx, host_state+24(%rip)\n	mov %rbp, host_state+40(%rip)\n	mov %rsi, host_state+48(%rip)\n"
	"	mov %rdi, host_state+56(%rip)\n	mov %r8, host_state+64(%rip)\n	mov %r9, host_state+72(%rip)\n"
	"	mov %r10, host_state+80(%rip)\n	mov %r11, host_state+88(%rip)\n	mov %r12, host_state+96(%rip)\n"
	"	mov %r13, host_state+104(%rip)\n	mov %r14, host_state+112(%rip)\n	mov %r15, host_state+120(%rip)\n"
	"	pushfq\n	popq host_state+128(%rip)\n"
	"	cld\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n");

static int group_setup(void **state)
{
	void *data = mmap((void *)L, DATA_PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	void *code = mmap((void *)CODE, CODE_PAGES * 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	(void)state;
	return data == (void *)L && code == (void *)CODE ? 0 : -1;
}

#define STATUS 0x8d5UL /* CF, PF, AF, ZF, SF, OF */

static void show(const uint8_t *bytes, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fprintf(stderr, " %02x", bytes[i]);
	fprintf(stderr, "\n");
}

/* Run one instruction of `length` bytes here and there with the registers in `gpr` and compare all that it leaves.
 * `target` is the operand's linear address; `flags_mask` the flags that the instruction defines. */
static void run_both(const uint8_t *bytes, unsigned length, uint64_t flags, uint64_t flags_mask, uint64_t target)
{
	uint64_t at = CODE + (random_below(8) ? random_below(2048) : 4096 - random_below(length + 1));
	unsigned verdict, calls = 0;

	for (unsigned i = 0; i < DATA_PAGES * 4096; i += 8) {
		uint64_t v = random64();

		if (!(v & 0x700))
			v = 0;
		memcpy(host + i, &v, 8);
		memcpy(guest_page(i / 4096) + i % 4096, &v, 8);
	}
	memcpy((void *)at, bytes, length);
	*(uint8_t *)(at + length) = 0xc3;
	put_code(at, bytes, length);

	memcpy(host_state.gpr, gpr, sizeof(gpr));
	host_state.flags = flags;
	host_state.code = at;
	host_run();

	emu.rip = at;
	emu.rflags = flags;
	do {
		emu.fault_write = random_below(2);
		emu.segments = 0;
		verdict = (unsigned)emulate_mmio(&emu, gpa_of(target), &result);
	} while (verdict == EMULATE_RETRY && ++calls < 20);
	if (verdict != EMULATE_DONE || emu.rip != at + length || ((emu.rflags ^ host_state.flags) & flags_mask)) {
		fprintf(stderr, "verdict %u, flags before %lx, after %lx, should be %lx:", verdict, (unsigned long)flags,
			(unsigned long)emu.rflags, (unsigned long)host_state.flags);
		show(bytes, length);
	}
	assert_int_equal(verdict, EMULATE_DONE);
	assert_int_equal(emu.rip, at + length);
	assert_int_equal(emu.rflags & flags_mask, host_state.flags & flags_mask);
	for (unsigned i = 0; i < 16; i++) {
		if (i != REG_RSP && gpr[i] != host_state.gpr[i]) {
			fprintf(stderr, "register %u is %lx, should be %lx:", i, (unsigned long)gpr[i], (unsigned long)host_state.gpr[i]);
			show(bytes, length);
			fail();
		}
	}
	for (unsigned i = 0; i < DATA_PAGES; i++) {
		if (memcmp(host + i * 4096, guest_page(i), 4096) != 0) {
			fprintf(stderr, "memory differs, page %u:", i);
			show(bytes, length);
			fail();
		}
	}
}

/* How a form takes its operands, for the generator. */
enum {
	F_GROUP = 1 << 0,   /* ModRM.reg is `group` */
	F_BIT = 1 << 1,     /* a register's bit index moves the operand */
	F_NO_MODRM = 1 << 2,
	F_NO_66 = 1 << 3,
	F_NO_W = 1 << 4,
};

struct form {
	uint8_t opcode[3];
	uint8_t opcode_length;
	uint8_t group;
	uint16_t how;
	uint16_t flags;
};

#define LOGIC (STATUS & ~0x10UL)

/* Build and run random instances of a form. */
static void run_form(const struct form *f, unsigned times)
{
	unsigned attempts = times * 50;

	while (times) {
		uint64_t flags = (random64() & STATUS) | 2, target = L + random_below(0x2000), spread = 0;
		uint8_t bytes[32];
		unsigned n = 0, size;
		struct insn insn;

		assert_true(attempts--);
		for (unsigned i = 0; i < 16; i++)
			gpr[i] = random64() >> (random_below(4) * 16);
		if (!(f->how & F_NO_66) && !random_below(4))
			bytes[n++] = 0x66;
		if (!random_below(8))
			bytes[n++] = 0x67;
		if (!random_below(8))
			bytes[n++] = 0x3e;
		if (random_below(2)) {
			bytes[n] = (uint8_t)(0x40 | random_below(16));
			if (f->how & F_NO_W)
				bytes[n] &= 0xf7;
			n++;
		}
		memcpy(bytes + n, f->opcode, f->opcode_length);
		n += f->opcode_length;
		for (unsigned i = n; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)random64();
		if (!(f->how & F_NO_MODRM)) {
			if (bytes[n] >= 0xc0)
				bytes[n] &= 0x7f;
			if (f->how & F_GROUP)
				bytes[n] = (uint8_t)((bytes[n] & 0xc7) | f->group << 3);
		}
		if (decode(&insn, bytes, 15, DECODE_64))
			continue;
		size = insn.operand_size;
		if (insn.base == REG_RSP || (insn.base == insn.index && insn.base != REG_NONE))
			continue;
		if (!(f->how & (F_GROUP | F_NO_MODRM)) && insn.reg == REG_RSP && (size != 1 || insn.rex))
			continue;
		if (f->how & F_BIT) {
			int64_t bit = (int64_t)random_below(0x4000) - 0x2000;

			if (insn.reg == insn.base || insn.reg == insn.index)
				continue;
			target = L + 0x800 + random_below(0x800);
			gpr[insn.reg] = (uint64_t)bit & size_mask(size);
			gpr[insn.reg] |= size == 8 ? 0 : random64() & ~size_mask(size);
			spread = (uint64_t)((bit >> 3) & -(int64_t)size);
		}
		/* Make the address come out. */
		if (insn.base == REG_RIP || insn.base == REG_NONE) {
			uint64_t disp = target;
			unsigned at = insn.length - insn.imm_size - insn.disp_size;

			if (insn.base == REG_RIP)
				continue; /* run_both chooses where the code goes: see test_rip_relative */
			if (insn.index != REG_NONE) {
				gpr[insn.index] &= 0xffff;
				disp -= gpr[insn.index] << insn.scale;
			}
			memcpy(bytes + at, &disp, insn.disp_size);
		} else {
			gpr[insn.base] = target - (uint64_t)insn.disp;
			if (insn.index != REG_NONE)
				gpr[insn.base] -= gpr[insn.index] << insn.scale;
		}
		run_both(bytes, insn.length, flags, f->flags, target + spread);
		times--;
	}
}

static void test_mov(void **state)
{
	static const struct form form[] = {
		{ { 0x88 }, 1, 0, 0, STATUS }, { { 0x89 }, 1, 0, 0, STATUS }, { { 0x8a }, 1, 0, 0, STATUS }, { { 0x8b }, 1, 0, 0, STATUS },
		{ { 0xc6 }, 1, 0, F_GROUP, STATUS }, { { 0xc7 }, 1, 0, F_GROUP, STATUS }, { { 0xa0 }, 1, 0, F_NO_MODRM, STATUS },
		{ { 0xa1 }, 1, 0, F_NO_MODRM, STATUS }, { { 0xa2 }, 1, 0, F_NO_MODRM, STATUS }, { { 0xa3 }, 1, 0, F_NO_MODRM, STATUS },
		{ { 0x63 }, 1, 0, 0, STATUS }, { { 0x0f, 0xb6 }, 2, 0, 0, STATUS }, { { 0x0f, 0xb7 }, 2, 0, 0, STATUS },
		{ { 0x0f, 0xbe }, 2, 0, 0, STATUS }, { { 0x0f, 0xbf }, 2, 0, 0, STATUS }, { { 0x0f, 0xc3 }, 2, 0, F_NO_66, STATUS },
	};
	static const struct form movbe[] = {
		{ { 0x0f, 0x38, 0xf0 }, 3, 0, 0, STATUS }, { { 0x0f, 0x38, 0xf1 }, 3, 0, 0, STATUS },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(form); i++)
		run_form(&form[i], 300);
	for (unsigned i = 0; i < ARRAY_SIZE(movbe) && __builtin_cpu_supports("movbe"); i++)
		run_form(&movbe[i], 300);
	for (unsigned cc = 0; cc < 16; cc++) {
		run_form(&(struct form){ { 0x0f, (uint8_t)(0x40 + cc) }, 2, 0, 0, STATUS }, 60);
		run_form(&(struct form){ { 0x0f, (uint8_t)(0x90 + cc) }, 2, 0, 0, STATUS }, 60);
	}
}

static void test_arithmetic(void **state)
{
	(void)state;
	for (unsigned op = 0; op < 8; op++) {
		uint16_t flags = op == ALU_OR || op == ALU_AND || op == ALU_XOR ? LOGIC : STATUS;

		for (unsigned low = 0; low < 4; low++)
			run_form(&(struct form){ { (uint8_t)(op << 3 | low) }, 1, 0, 0, flags }, 250);
		run_form(&(struct form){ { 0x80 }, 1, (uint8_t)op, F_GROUP, flags }, 250);
		run_form(&(struct form){ { 0x81 }, 1, (uint8_t)op, F_GROUP, flags }, 250);
		run_form(&(struct form){ { 0x83 }, 1, (uint8_t)op, F_GROUP, flags }, 250);
	}
	for (unsigned wide = 0; wide < 2; wide++) {
		run_form(&(struct form){ { (uint8_t)(0x84 + wide) }, 1, 0, 0, LOGIC }, 250);
		run_form(&(struct form){ { (uint8_t)(0xf6 + wide) }, 1, 0, F_GROUP, LOGIC }, 250);
		run_form(&(struct form){ { (uint8_t)(0xf6 + wide) }, 1, 2, F_GROUP, STATUS }, 250);
		run_form(&(struct form){ { (uint8_t)(0xf6 + wide) }, 1, 3, F_GROUP, STATUS }, 250);
		run_form(&(struct form){ { (uint8_t)(0xfe + wide) }, 1, 0, F_GROUP, STATUS }, 250);
		run_form(&(struct form){ { (uint8_t)(0xfe + wide) }, 1, 1, F_GROUP, STATUS }, 250);
		run_form(&(struct form){ { (uint8_t)(0x86 + wide) }, 1, 0, 0, STATUS }, 250);
		run_form(&(struct form){ { 0x0f, (uint8_t)(0xc0 + wide) }, 2, 0, 0, STATUS }, 250);
		run_form(&(struct form){ { 0x0f, (uint8_t)(0xb0 + wide) }, 2, 0, 0, STATUS }, 1500);
	}
	run_form(&(struct form){ { 0x0f, 0xc7 }, 2, 1, F_GROUP | F_NO_W, STATUS }, 250);
}

static void test_bits(void **state)
{
	static const uint8_t opcode[] = { 0xa3, 0xab, 0xb3, 0xbb };

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		run_form(&(struct form){ { 0x0f, opcode[i] }, 2, 0, F_BIT, 1 }, 400);
		run_form(&(struct form){ { 0x0f, 0xba }, 2, (uint8_t)(4 + i), F_GROUP, 1 }, 400);
	}
}

/* CMPXCHG that finds its value, with and without LOCK. */
static void test_compare_exchange_equal(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		uint64_t value = random64();
		uint8_t bytes[] = { 0xf0, 0x0f, 0xb1, 0x0b }, *mem = device[0] + 0x80; /* lock cmpxchg [rbx], ecx */

		memcpy(mem, &value, 8);
		put_code(CODE, bytes, sizeof(bytes));
		emu.rip = CODE;
		emu.rflags = 2;
		emu.fault_write = i & 1;
		gpr[REG_RAX] = 0xdead00000000 | (uint32_t)value;
		gpr[REG_RBX] = L + 0x80;
		gpr[REG_RCX] = ~value;
		assert_int_equal(emulate_mmio(&emu, MMIO_A + 0x80, &result), EMULATE_DONE);
		assert_int_equal(emu.rflags, 2 | RFLAGS_ZF | RFLAGS_PF);
		assert_int_equal(gpr[REG_RAX], 0xdead00000000 | (uint32_t)value);
		assert_int_equal(*(uint32_t *)mem, (uint32_t)~value);
		assert_int_equal(*(uint32_t *)(mem + 4), value >> 32);
	}
}

static void test_rip_relative(void **state)
{
	uint8_t bytes[] = { 0x81, 0x05, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x12 }; /* add dword [rip+disp], imm32 */
	uint32_t disp = (uint32_t)(L + 0x10 - (CODE + sizeof(bytes)));

	(void)state;
	memcpy(bytes + 2, &disp, 4);
	put_code(CODE, bytes, sizeof(bytes));
	*(uint32_t *)(device[0] + 0x10) = 0x11111111;
	emu.rip = CODE;
	emu.fault_write = true;
	assert_int_equal(emulate_mmio(&emu, MMIO_A + 0x10, &result), EMULATE_DONE);
	assert_int_equal(*(uint32_t *)(device[0] + 0x10), 0x23456789);
	assert_int_equal(result.length, sizeof(bytes));
}

static void test_strings(void **state)
{
	static const uint8_t opcode[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };

	(void)state;
	for (unsigned i = 0; i < 2500; i++) {
		uint8_t bytes[8];
		unsigned n = 0, size = 4, which = random_below(5), span, count;
		uint64_t flags = (random64() & STATUS) | 2 | (random_below(3) ? 0 : RFLAGS_DF);
		uint64_t room = DATA_PAGES * 4096;

		if (!random_below(3))
			bytes[n++] = 0x66, size = 2;
		if (random_below(3))
			bytes[n++] = random_below(2) ? 0xf3 : 0xf2;
		if (!random_below(4))
			bytes[n++] = 0x67;
		if (!random_below(3))
			bytes[n++] = 0x48, size = 8;
		bytes[n] = (uint8_t)(opcode[which] | random_below(2));
		if (!(bytes[n] & 1))
			size = 1;
		n++;
		count = random_below(8) ? random_below(700) : 0;
		span = (count ? count : 1) * size;
		for (unsigned r = 0; r < 16; r++)
			gpr[r] = random64();
		gpr[REG_RSI] = L + random_below((unsigned)room - span) + (flags & RFLAGS_DF ? span - size : 0);
		gpr[REG_RDI] = L + random_below((unsigned)room - span) + (flags & RFLAGS_DF ? span - size : 0);
		gpr[REG_RCX] = count;
		if (which == 4 && random_below(2))
			gpr[REG_RAX] = 0;
		if (which == 1 && random_below(2))
			gpr[REG_RDI] = gpr[REG_RSI];
		run_both(bytes, n, flags, STATUS | RFLAGS_DF, L);
	}
}

/* ---- What only the guest's machine has ---- */

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
	emu.paging.cr0 = GUEST_CR0_PE;
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
	segments[SEG_ES].ar = 0xc097; /* expand-down: above the limit only */
	assert_int_equal(PROTECTED("\x26\x89\x0b", MMIO_A + 0x104), EMULATE_EXCEPTION);
	segments[SEG_ES].limit = 0x103;
	assert_int_equal(PROTECTED("\x26\x89\x0b", MMIO_A + 0x104), EMULATE_DONE);
	segments[SEG_ES].ar = 0xc091; /* read-only */
	assert_int_equal(PROTECTED("\x26\x89\x0b", MMIO_A + 0x104), EMULATE_EXCEPTION);
	segments[SEG_ES].ar |= SEGMENT_AR_UNUSABLE;
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
	for (unsigned i = 0; i < SEG_COUNT; i++)
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
		emu.paging.cr4 |= random_below(2) ? GUEST_CR4_SMAP | GUEST_CR4_SMEP : 0;
		if (emu.mode != DECODE_64) {
			emu.paging.efer = 0;
			emu.paging.cr0 &= random_below(2) ? ~0ULL : ~GUEST_CR0_PG;
			emu.paging.cr4 &= random_below(2) ? ~0ULL : ~GUEST_CR4_PAE;
			for (n = 0; n < 4; n++)
				emu.paging.pdpte[n] = random_below(2) ? GPA_PD | 1 : random64();
			for (n = 0; n < SEG_COUNT; n++)
				segments[n] = (struct emu_segment){ random64() & 0xffffff, (uint32_t)random64(), (uint32_t)random64(), 0 };
			if (random_below(4))
				segments[SEG_CS] = (struct emu_segment){ 0, 0xffffffff, 0xc09b, 0 };
		}
		if (!random_below(4))
			*(uint64_t *)(ram + GPA_PT + 8 * random_below(32)) = random64();
		for (n = 0; n < 16; n++)
			gpr[n] = random_below(2) ? L + random_below(DATA_PAGES * 4096) : random64() >> random_below(64);
		at = CODE + (random_below(4) ? 0 : 4096 - random_below(16));
		put_code(at, (const uint8_t *)r, 16);
		if (!(emu.paging.cr0 & GUEST_CR0_PG)) {
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
		cmocka_unit_test_setup(test_mov, setup),
		cmocka_unit_test_setup(test_operand, setup),
		cmocka_unit_test_setup(test_operand_write_and_address, setup),
		cmocka_unit_test_setup(test_arithmetic, setup),
		cmocka_unit_test_setup(test_bits, setup),
		cmocka_unit_test_setup(test_compare_exchange_equal, setup),
		cmocka_unit_test_setup(test_rip_relative, setup),
		cmocka_unit_test_setup(test_strings, setup),
		cmocka_unit_test_setup(test_fault_address, setup),
		cmocka_unit_test_setup(test_self_modifying, setup),
		cmocka_unit_test_setup(test_fault_was_read, setup),
		cmocka_unit_test_setup(test_segments_64, setup),
		cmocka_unit_test_setup(test_protected_mode, setup),
		cmocka_unit_test_setup(test_real_mode, setup),
		cmocka_unit_test_setup(test_string_faults, setup),
		cmocka_unit_test_setup(test_hostile_code, setup),
		cmocka_unit_test_setup(test_random_code, setup),
		cmocka_unit_test_setup(test_outs, setup),
		cmocka_unit_test_setup(test_ins, setup),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}

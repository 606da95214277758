/* SOURCES: vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* Emulated instructions against the same instructions on the host's CPU. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/x86/registers.h"
#include "tests/unit/emulate_fixture.h"

static uint8_t *const host = (uint8_t *)L;

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_mov, setup),
		cmocka_unit_test_setup(test_arithmetic, setup),
		cmocka_unit_test_setup(test_bits, setup),
		cmocka_unit_test_setup(test_compare_exchange_equal, setup),
		cmocka_unit_test_setup(test_rip_relative, setup),
		cmocka_unit_test_setup(test_strings, setup),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}

/* SOURCES: vmm/emulate/code_memory.c vmm/exits/exit_instruction.c vmm/vcpu/vcpu_emulator.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_memory.c */
/* What a vCPU remembers of the guest's code: when it may be believed, and that it is what was decoded, whatever other vCPUs do meanwhile. */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/segment.h"
#include "tests/unit/fakes.h"
#include "vmm/emulate/access.h"
#include "vmm/emulate/code_memory.h"
#include "vmm/exits/exit_instruction.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/vcpu_emulator.h"
#include "vmm/vm/vm_vcpu.h"

#define RIP 0x1100
#define SPACE 0x5000

static struct vm vm;
static struct vcpu v;
static _Alignas(4096) uint8_t ram[0x4000];
static struct vcpu_context context;
static unsigned walks;
static void (*on_walk)(void);

/* ---- Around it ---- */

static void read_context(struct vcpu *of, struct vcpu_context *c) { (void)of; *c = context; }
static void read_segment(struct vcpu *of, enum segment_register seg, struct segment_state *s)
{
	(void)of; (void)seg;
	*s = (struct segment_state){ 8, 0xffffffff, 0xc09b, 0 };
}
static void write_register(struct vcpu *of, enum vcpu_register reg, uint64_t value) { (void)of; (void)reg; (void)value; }
static const struct engine engine = { .read_context = read_context, .read_segment = read_segment, .write = write_register };

/* Guest-physical is linear. */
int guest_walk(const struct guest_memory *mem, const struct guest_paging *paging, uint64_t linear, unsigned access, uint64_t *gpa,
	       uint32_t *pf_error, uint64_t *page_size)
{
	(void)mem; (void)paging; (void)access; (void)pf_error; (void)page_size;
	walks++;
	*gpa = linear;
	if (on_walk)
		on_walk();
	return 0;
}
bool shadow_rewritten(struct shadow_mmu *m, uint64_t gpa) { (void)m; (void)gpa; return false; }
void virtual_mmu_written(struct vcpu *of, uint64_t gpa, unsigned size) { (void)of; (void)gpa; (void)size; }
uint64_t lapic_mmio_read(struct lapic *l, unsigned offset, unsigned size) { (void)l; (void)offset; (void)size; return 0; }
void lapic_mmio_write(struct lapic *l, unsigned offset, unsigned size, uint64_t value) { (void)l; (void)offset; (void)size; (void)value; }
uint64_t io_space_read(struct io_space *space, uint64_t addr, unsigned size) { (void)space; (void)addr; (void)size; return 0; }
void io_space_write(struct io_space *space, uint64_t addr, unsigned size, uint64_t value) { (void)space; (void)addr; (void)size; (void)value; }
void vcpu_inject_exception(struct vcpu *of, uint8_t vector, uint32_t error) { (void)of; (void)vector; (void)error; }
int vcpu_read_pdptes(struct vcpu *of, uint64_t cr3, uint64_t pdpte[4]) { (void)of; (void)cr3; (void)pdpte; return 0; }
void exit_turn_is_over(struct vcpu *of) { (void)of; }

static int setup(void **state)
{
	(void)state;
	memset(&vm, 0, sizeof(vm));
	memset(&v, 0, sizeof(v));
	memset(ram, 0x90, sizeof(ram));
	assert_int_equal(guest_memory_add(&vm.memory, 0, sizeof(ram), ram), 0);
	context = (struct vcpu_context){ .rip = RIP, .cr0 = 0x80000011, .cr3 = SPACE, .cr4 = 0x20, .efer = 0x500, .rflags = 2,
					 .cs_access = 0xa09b, .ss_access = 0xc093 };
	vm_attach_vcpu(&vm, &v);
	v.engine = &engine;
	vcpu_emulator_init(&v);
	walks = 0;
	on_walk = NULL;
	return 0;
}

/* Code at `rip`, decoded into the slot for it. */
static struct insn_memo *decoded(uint64_t rip, const char *bytes, unsigned n)
{
	struct insn_memo *memo = insn_memo_at(&v.emulator.code, rip);
	const struct insn *insn;

	memcpy(ram + rip, bytes, n);
	context.rip = rip;
	insn = exit_instruction(&v, memo, SPACE);
	assert_ptr_equal(insn, &memo->insn);
	assert_int_equal(insn->length, n);
	return memo;
}
#define DECODED(rip, bytes) decoded(rip, bytes, sizeof(bytes) - 1)

/* ---- When it may be believed ---- */

/* 64-bit code at address 0, with CR3 0, is possible. */
static void test_nothing_at_first(void **state)
{
	struct code_memory *m = &v.emulator.code;

	(void)state;
	for (uint64_t rip = 0; rip < 2 * CODE_INSNS; rip++) {
		assert_false(insn_memo_holds(insn_memo_at(m, rip), rip, 0));
		assert_false(insn_memo_holds(insn_memo_in_space(m, rip, SPACE), rip, SPACE));
		assert_int_not_equal(sequence_memo_at(m, rip)->place.rip, rip);
	}
	assert_false(insn_memo_holds(insn_memo_at(m, CODE_NOWHERE), CODE_NOWHERE, CODE_NOWHERE - 1));
	memset(m, 0xff, sizeof(*m));
	code_memory_init(m);
	assert_false(insn_memo_at(m, RIP)->whole);
	assert_false(insn_memo_holds(insn_memo_at(m, RIP), RIP, SPACE));
}

static void test_same_code(void **state)
{
	struct insn_memo *memo = DECODED(RIP, "\x0f\xa2");

	(void)state;
	assert_true(insn_memo_holds(memo, RIP, SPACE));
	assert_int_equal(walks, 1);
	assert_false(insn_memo_holds(memo, RIP + CODE_INSNS, SPACE));
	assert_false(insn_memo_holds(memo, RIP, SPACE + 0x1000));
	for (unsigned i = 0; i < CODE_COMPARED; i++) {
		ram[RIP + i] ^= 0x40;
		assert_false(insn_memo_holds(memo, RIP, SPACE));
		ram[RIP + i] ^= 0x40;
		assert_true(insn_memo_holds(memo, RIP, SPACE));
	}
}

/* All of an instruction must be among the bytes that are compared, in one page, and in RAM. */
static void test_what_gets_no_place(void **state)
{
	struct insn_memo *memo;

	(void)state;
	memo = DECODED(RIP, "\x0f\x22\xd8");
	assert_true(insn_memo_holds(memo, RIP, SPACE));
	memo = DECODED(RIP, "\x44\x0f\x22\xc0");
	assert_true(insn_memo_holds(memo, RIP, SPACE));
	memo = DECODED(RIP, "\x66\x44\x0f\x22\xc0");
	assert_false(insn_memo_holds(memo, RIP, SPACE));
	memo = DECODED(0x1ffc, "\x0f\xa2");
	assert_true(insn_memo_holds(memo, 0x1ffc, SPACE));
	memo = DECODED(0x1ffd, "\x0f\xa2");
	assert_false(insn_memo_holds(memo, 0x1ffd, SPACE));
	/* It goes on in the next page, which may be mapped anywhere. */
	memo = DECODED(0x1ffd, "\x44\x0f\x22\xc0");
	assert_false(insn_memo_holds(memo, 0x1ffd, SPACE));
	/* The last page of RAM: the bytes there are enough. */
	memo = DECODED(sizeof(ram) - 4, "\x0f\xa2");
	assert_true(insn_memo_holds(memo, sizeof(ram) - 4, SPACE));
	/* RAM ends in the page: nothing can be compared later. */
	memset(&vm.memory, 0, sizeof(vm.memory));
	assert_int_equal(guest_memory_add(&vm.memory, 0, 0x1000, ram), 0);
	vm.memory.region[0].size = 0x808;
	memo = DECODED(0x800, "\x0f\xa2");
	assert_false(insn_memo_holds(memo, 0x800, SPACE));
	/* 32-bit code: its address would need the segment. */
	assert_int_equal(setup(NULL), 0);
	memo = DECODED(RIP, "\x0f\xa2");
	assert_true(insn_memo_holds(memo, RIP, SPACE));
	context.cs_access = 0xc09b;
	memo = DECODED(RIP, "\x0f\xa2");
	assert_false(insn_memo_holds(memo, RIP, SPACE));
	assert_false(memo->whole);
}

static void test_few_bytes(void **state)
{
	struct insn_memo *memo = DECODED(RIP, "\x0f\xa2");
	struct insn_memo other = *memo;

	(void)state;
	other.place.rip = CODE_NOWHERE;
	insn_memo_place(&other, RIP, SPACE, ram + RIP, CODE_COMPARED - 1);
	assert_int_equal(other.place.rip, CODE_NOWHERE);
	insn_memo_place(&other, RIP, SPACE, ram + RIP, CODE_COMPARED);
	assert_int_equal(other.place.rip, RIP);
}

/* Other code in the same slot takes it, the same bytes elsewhere too, though their decoding is known. */
static void test_slot_taken(void **state)
{
	struct insn_memo *memo = DECODED(RIP, "\x0f\xa2");

	(void)state;
	assert_ptr_equal(DECODED(RIP + CODE_INSNS, "\x0f\xa2"), memo);
	assert_true(insn_memo_holds(memo, RIP + CODE_INSNS, SPACE));
	assert_false(insn_memo_holds(memo, RIP, SPACE));
	ram[RIP] ^= 1; /* it is the new place that counts */
	assert_true(insn_memo_holds(memo, RIP + CODE_INSNS, SPACE));
	DECODED(RIP + 2 * CODE_INSNS, "\xf4");
	assert_false(insn_memo_holds(memo, RIP + CODE_INSNS, SPACE));
	assert_true(insn_memo_holds(memo, RIP + 2 * CODE_INSNS, SPACE));
	/* The emulator's use of the slot leaves no place that is not the code's. */
	memcpy(ram + RIP, "\x89\x03", 2);
	context.rip = RIP;
	vcpu_emulator_load(&v);
	assert_int_equal(emulate_mmio(&v.emulator, 0x800, &v.emulated), EMULATE_RETRY);
	assert_false(insn_memo_holds(memo, RIP, SPACE));
	assert_false(insn_memo_holds(memo, RIP + 2 * CODE_INSNS, SPACE));
}

static void test_spaces(void **state)
{
	struct code_memory *m = &v.emulator.code;

	(void)state;
	assert_ptr_not_equal(insn_memo_in_space(m, RIP, 0x5000), insn_memo_in_space(m, RIP, 0x6000));
	assert_ptr_equal(insn_memo_in_space(m, RIP, 0x5000), insn_memo_in_space(m, RIP, 0x5000 | 0x801)); /* PCID */
	for (uint64_t x = 0; x < 4096; x++) {
		assert_in_range((uintptr_t)insn_memo_in_space(m, x, x << 14), (uintptr_t)m->insn, (uintptr_t)&m->insn[CODE_INSNS - 1]);
		assert_in_range((uintptr_t)sequence_memo_at(m, x), (uintptr_t)m->sequence, (uintptr_t)&m->sequence[CODE_SEQUENCES - 1]);
	}
}

/* ---- Another vCPU changes the code ---- */

static void rewrite(void)
{
	memcpy(ram + RIP, "\x0f\x20\xc3", 3);
}

/* As soon as the first byte could be read again, it is another. What is remembered is what was decoded, and it holds no longer. */
static void test_changed_meanwhile(void **state)
{
	struct insn_memo *memo = insn_memo_at(&v.emulator.code, RIP);
	const struct insn *insn;

	(void)state;
	memcpy(ram + RIP, "\x0f\x20\xc0", 3);
	insn = exit_instruction(&v, memo, SPACE);
	assert_non_null(insn);
	assert_int_equal(walks, 1); /* nothing is looked up or read again */
	assert_int_equal(insn->rm, 0);
	assert_true(insn_memo_holds(memo, RIP, SPACE));
	rewrite();
	assert_false(insn_memo_holds(memo, RIP, SPACE));
	assert_int_equal(memo->bytes[0] & 0xffffff, 0xc0200f);
	/* Known by its bytes, and changed between the walk and the comparison: decoded anew. */
	memcpy(ram + RIP, "\x0f\x20\xc0", 3);
	on_walk = rewrite;
	insn = exit_instruction(&v, memo, SPACE);
	assert_non_null(insn);
	assert_int_equal(insn->rm, 3);
	assert_true(insn_memo_holds(memo, RIP, SPACE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nothing_at_first, setup),
		cmocka_unit_test_setup(test_same_code, setup),
		cmocka_unit_test_setup(test_what_gets_no_place, setup),
		cmocka_unit_test_setup(test_few_bytes, setup),
		cmocka_unit_test_setup(test_slot_taken, setup),
		cmocka_unit_test_setup(test_spaces, setup),
		cmocka_unit_test_setup(test_changed_meanwhile, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

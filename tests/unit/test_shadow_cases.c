/* SOURCES: tests/unit/shadow_model.c vmm/shadow/shadow.c vmm/shadow/shadow_vcpu.c vmm/shadow/shadow_fault.c vmm/shadow/shadow_sync.c vmm/shadow/shadow_page.c vmm/shadow/shadow_entry.c vmm/shadow/shadow_flush.c vmm/shadow/shadow_check.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "tests/unit/shadow_model.h"

/* Directed cases: one vCPU in 4-level paging; tables 0 to 3 map linear 0 to 2 MiB, entry by entry of table 3. */
static struct model_vcpu *const cpu = &model_vcpu[0];

static void put(unsigned table, unsigned slot, uint64_t value)
{
	assert_int_equal(guest_write(&model_memory, model_table[table] + slot * 8, &value, 8), 0);
}

/* As the guest would, through the emulator. */
static void guest_puts(unsigned table, unsigned slot, uint64_t value)
{
	put(table, slot, value);
	shadow_written(&model_mmu, &cpu->sv, model_table[table] + slot * 8, 8);
}

static uint64_t hpa_of(uint64_t gpa)
{
	return MODEL_HPA + gpa;
}

static void expect(uint64_t linear, unsigned access, enum model_result result, uint64_t value)
{
	struct model_access r = model_access(cpu, linear, access);

	assert_int_equal(r.result, result);
	assert_int_equal(result == MODEL_OK ? r.hpa : result == MODEL_FAULT ? r.error : r.gpa, value);
}

static int setup(void **state)
{
	(void)state;
	model_init(SHADOW_PAGES_MIN + 3 * MODEL_VCPUS, true);
	put(0, 0, model_table[1] | P | W | U);
	put(1, 0, model_table[2] | P | W | U);
	put(2, 0, model_table[3] | P | W | U);
	model_set_paging(cpu, &(struct guest_paging){ .cr0 = CR0_PE | CR0_PG | CR0_WP, .cr3 = model_table[0],
						      .cr4 = CR4_PAE | CR4_PGE, .efer = EFER_LMA | EFER_NXE,
						      .maxphyaddr = 40 });
	return 0;
}

static int teardown(void **state)
{
	const char *wrong = shadow_check(&model_mmu);

	(void)state;
	if (wrong)
		print_error("%s\n", wrong);
	model_free();
	return wrong ? -1 : 0;
}

static void test_leaf_table_out_of_sync(void **state)
{
	struct model_access access;
	uint64_t unsynced;

	(void)state;
	put(3, 1, 0x20000 | P | W);
	put(3, 2, model_table[3] | P | W | A | D); /* the table itself */
	expect(0x1008, WALK_READ, MODEL_OK, hpa_of(0x20008));
	/* A new leaf table may be written until the next flush point; then the first write brings one fault. */
	expect(0x2000, WALK_WRITE, MODEL_OK, hpa_of(model_table[3]));
	assert_int_equal(model_load_cr3(cpu, model_table[0]), 1);
	assert_int_equal(model_mmu.unsynced_count, 0);
	unsynced = model_mmu.stats.unsynced;
	access = model_access(cpu, 0x2000, WALK_WRITE);
	assert_int_equal(access.result, MODEL_OK);
	assert_int_equal(access.faults, 1);
	assert_int_equal(model_mmu.stats.unsynced, unsynced + 1);
	put(3, 1, 0x30000 | P | W | A);
	expect(0x1008, WALK_READ, MODEL_OK, hpa_of(0x20008)); /* not flushed: the old one */
	model_invlpg(cpu, 0x1000);
	expect(0x1008, WALK_READ, MODEL_OK, hpa_of(0x30008));
	put(3, 1, 0x40000 | P | A);
	assert_int_equal(model_load_cr3(cpu, model_table[0]), 1);
	expect(0x1008, WALK_READ, MODEL_OK, hpa_of(0x40008));
	expect(0x1008, WALK_WRITE, MODEL_FAULT, PF_PRESENT | PF_WRITE);
	/* Nothing changed: nothing to flush, and the same root. */
	model_enter(cpu);
	assert_int_equal(model_load_cr3(cpu, model_table[0] | 0x18), 1);
	assert_int_equal(cpu->cr3_flush, SHADOW_FLUSH_NONE);
	/* A change that was emulated: now there is something to flush. */
	expect(0x1008, WALK_READ, MODEL_OK, hpa_of(0x40008));
	guest_puts(3, 1, 0x50000 | P | A);
	expect(0x1008, WALK_READ, MODEL_OK, hpa_of(0x40008));
	assert_int_equal(model_load_cr3(cpu, model_table[0]), 1);
	assert_int_equal(cpu->cr3_flush, SHADOW_FLUSH_NONGLOBAL);
	expect(0x1008, WALK_READ, MODEL_OK, hpa_of(0x50008));
}

/* A leaf table that is written once between two loads of CR3, again and again, is not let out of sync any more; one that is written
 * more is. */
static void test_leaf_table_with_few_writes(void **state)
{
	uint64_t resolved;
	unsigned emulated = 0;

	(void)state;
	put(3, 1, 0x20000 | P | W | A);
	put(3, 2, model_table[3] | P | W | A | D);
	expect(0x1008, WALK_READ, MODEL_OK, hpa_of(0x20008));
	for (unsigned round = 0; round < 8; round++) {
		assert_int_equal(model_load_cr3(cpu, model_table[0]), 1);
		if (model_access(cpu, 0x2000, WALK_WRITE).result == MODEL_EMULATE) {
			emulated++;
			/* An entry that is marked as accessed is there before it is used. */
			guest_puts(3, 4, (0x30000 + round * 0x1000) | P | W | A | D);
			resolved = model_mmu.stats.resolved;
			expect(0x4000, WALK_WRITE, MODEL_OK, hpa_of(0x30000 + round * 0x1000));
			assert_int_equal(model_mmu.stats.resolved, resolved);
			guest_puts(3, 4, 0);
			model_invlpg(cpu, 0x4000);
		}
	}
	assert_in_range(emulated, 3, 7);
	assert_int_equal(model_mmu.unsynced_count, 0);
	/* Many at once: it goes out of sync after all. */
	for (unsigned n = 0; n < 8 && model_access(cpu, 0x2000, WALK_WRITE).result == MODEL_EMULATE; n++)
		guest_puts(3, 1, (0x40000 + n * 0x1000) | P | W | A);
	assert_int_equal(model_mmu.unsynced_count, 1);
}

/* A page that is cleared is a table no longer, unless a CPU walks it now. */
static void test_rewritten(void **state)
{
	(void)state;
	put(3, 1, 0x20000 | P | W);
	put(3, 2, model_table[1] | P | W | A | D);
	expect(0x1000, WALK_READ, MODEL_OK, hpa_of(0x20000));
	expect(0x2000, WALK_WRITE, MODEL_EMULATE, model_table[1]);
	assert_false(shadow_rewritten(&model_mmu, model_table[0]));
	assert_true(shadow_rewritten(&model_mmu, model_table[1] + 0x123));
	model_enter(cpu);
	expect(0x1000, WALK_READ, MODEL_OK, hpa_of(0x20000)); /* the guest did not write after all: made anew */
	assert_true(shadow_rewritten(&model_mmu, 0x20000)); /* none */
}

static void test_upper_table_is_emulated(void **state)
{
	(void)state;
	put(3, 2, model_table[2] | P | W | A | D);
	put(3, 1, 0x20000 | P | W);
	put(4, 1, 0x30000 | P | W);
	expect(0x1000, WALK_READ, MODEL_OK, hpa_of(0x20000));
	expect(0x2000, WALK_READ, MODEL_OK, hpa_of(model_table[2]));
	expect(0x2000, WALK_WRITE, MODEL_EMULATE, model_table[2]);
	guest_puts(2, 0, model_table[4] | P | W);
	model_invlpg(cpu, 0x1000);
	expect(0x1000, WALK_READ, MODEL_OK, hpa_of(0x30000));
	assert_int_equal(*(uint64_t *)guest_ptr(&model_memory, model_table[2], 8), model_table[4] | P | W | A);
}

static void test_no_memory(void **state)
{
	(void)state;
	put(3, 1, 0xfee00000 | P | W | A | D);
	expect(0x1030, WALK_READ, MODEL_MMIO, 0xfee00030);
	expect(0x1030, WALK_WRITE, MODEL_MMIO, 0xfee00030);
	assert_int_equal(model_mmu.stats.mmio, 2);
	assert_int_equal(model_mmu.stats.resolved, 0);
}

/* Whatever one INVLPG must forget of a large page goes, though the hardware has it in pieces. */
static void test_invlpg_of_pieces(void **state)
{
	(void)state;
	put(2, 1, MODEL_SCATTERED | P | W | U | PS | G);
	expect(MIB(2), WALK_WRITE, MODEL_OK, hpa_of(MODEL_SCATTERED ^ 0x5000));
	expect(MIB(2) + 0x7000, WALK_WRITE, MODEL_OK, hpa_of((MODEL_SCATTERED + 0x7000) ^ 0x5000));
	guest_puts(2, 1, MIB(4) | P | W | U | PS | G);
	model_invlpg(cpu, MIB(2));
	expect(MIB(2) + 0x7000, WALK_WRITE, MODEL_OK, hpa_of(MIB(4) + 0x7000));
	/* Now it is one page, until a table in it is traced. */
	expect(MIB(2) + 0x8000, WALK_WRITE, MODEL_OK, hpa_of(MIB(4) + 0x8000));
	assert_int_equal(model_mmu.stats.resolved, 3);
}

static void test_large_page_around_tables(void **state)
{
	uint64_t resolved;

	(void)state;
	put(1, 1, MODEL_BIG_START | P | W | U | PS);
	expect(GIB(1) + 0x123456000, WALK_READ, MODEL_FAULT, 0);
	expect(GIB(1) + MIB(64), WALK_WRITE, MODEL_OK, hpa_of(MODEL_BIG_START + MIB(64)));
	resolved = model_mmu.stats.resolved;
	expect(GIB(1) + MIB(512), WALK_WRITE, MODEL_OK, hpa_of(MODEL_BIG_START + MIB(512)));
	assert_int_equal(model_mmu.stats.resolved, resolved); /* 1 GiB in one entry */
	/* A table in it: only its 2 MiB go to pieces. */
	put(2, 3, model_table[20] | P | W | U);
	put(20, 0, 0x20000 | P | W | U);
	expect(MIB(6), WALK_READ, MODEL_OK, hpa_of(0x20000));
	assert_int_equal(model_load_cr3(cpu, model_table[0]), 1);
	expect(GIB(1) + (model_table[20] - MODEL_BIG_START), WALK_WRITE, MODEL_OK, hpa_of(model_table[20]));
	assert_int_equal(model_mmu.stats.unsynced, 1);
	expect(GIB(1) + MIB(600), WALK_WRITE, MODEL_OK, hpa_of(MODEL_BIG_START + MIB(600)));
	resolved = model_mmu.stats.resolved;
	expect(GIB(1) + MIB(600) + 0x5000, WALK_WRITE, MODEL_OK, hpa_of(MODEL_BIG_START + MIB(600) + 0x5000));
	assert_int_equal(model_mmu.stats.resolved, resolved);
}

/* CR0.WP = 0 lets a supervisor write; the hardware is tricked with a supervisor's page, and SMEP must not notice. */
static void test_wp_clear(void **state)
{
	struct guest_paging paging = cpu->paging;

	(void)state;
	put(3, 1, 0x20000 | P | U);
	put(2, 1, MODEL_SCATTERED | P | U | PS);
	paging.cr0 &= ~CR0_WP;
	paging.cr4 |= CR4_SMEP;
	model_set_paging(cpu, &paging);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t linear = i ? MIB(2) + 0x3000 : 0x1000;
		uint64_t hpa = hpa_of(i ? (MODEL_SCATTERED + 0x3000) ^ 0x5000 : 0x20000);

		expect(linear, WALK_READ, MODEL_OK, hpa);
		expect(linear, WALK_WRITE, MODEL_OK, hpa);
		expect(linear, WALK_EXEC, MODEL_FAULT, PF_PRESENT | PF_FETCH);
		cpu->paging.cpl = 3;
		expect(linear, WALK_WRITE, MODEL_FAULT, PF_PRESENT | PF_WRITE | PF_USER);
		expect(linear, WALK_EXEC, MODEL_OK, hpa);
		cpu->paging.cpl = 0;
		expect(linear, WALK_WRITE, MODEL_OK, hpa);
	}
	/* A large page in pieces, which itself may be written, below an entry that may not. */
	put(1, 1, model_table[4] | P | U);
	put(4, 0, MODEL_SCATTERED | P | W | U | A | D | PS);
	cpu->paging.cpl = 3;
	expect(GIB(1), WALK_READ, MODEL_OK, hpa_of(MODEL_SCATTERED ^ 0x5000));
	expect(GIB(1), WALK_WRITE, MODEL_FAULT, PF_PRESENT | PF_WRITE | PF_USER);
	cpu->paging.cpl = 0;
	paging.cr4 |= CR4_SMAP;
	model_set_paging(cpu, &paging);
	expect(0x1000, WALK_WRITE, MODEL_FAULT, PF_PRESENT | PF_WRITE);
	cpu->paging.rflags_ac = true;
	expect(0x1000, WALK_WRITE, MODEL_EMULATE, 0x20000);
}

/* A page of tables is not used again while another vCPU's TLB may still lead to it. */
static void test_reuse_after_flush(void **state)
{
	(void)state;
	for (unsigned i = 1; i < 512; i++) {
		put(2, i, (MODEL_BIG_START + MIB(8) + i * 0x1000) | P | U);
		*(uint64_t *)guest_ptr(&model_memory, MODEL_BIG_START + MIB(8) + i * 0x1000, 8) = 0x20000 | P | U;
	}
	for (unsigned i = 1; i < 512; i++) {
		bool due = model_mmu.retired;
		unsigned kicks = model_kicks;

		expect(MIB(2) * i, WALK_READ, MODEL_OK, hpa_of(0x20000));
		if (due)
			assert_int_equal(model_kicks, kicks + 1);
	}
	assert_true(model_mmu.stats.tables_reclaimed > 100);
	assert_true(model_kicks > 1);
}

static void change_pde(void)
{
	guest_puts(2, 0, model_table[4] | P | W | U | A);
}

/* The guest's entry changes after it was read and before its table is traced. */
static void test_change_under_the_walker(void **state)
{
	(void)state;
	put(3, 1, 0x20000 | P | W | A);
	put(4, 1, 0x30000 | P | W | A);
	model_hook = change_pde;
	expect(0x1000, WALK_READ, MODEL_OK, hpa_of(0x30000));
}

static void test_hostile_tables(void **state)
{
	struct guest_paging paging = cpu->paging;
	struct model_access r;

	(void)state;
	/* One page that is all its own tables, at every level. */
	for (unsigned i = 0; i < 512; i++)
		put(0, i, model_table[0] | P | W | U);
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t linear = (uint64_t)((int64_t)(model_random() << 16) >> 16);

		expect(linear, i & 1 ? WALK_READ : WALK_WRITE, i & 1 ? MODEL_OK : MODEL_EMULATE,
		       (i & 1 ? hpa_of(model_table[0]) : model_table[0]) | (linear & 0xfff));
	}
	assert_true(model_mmu.stats.remote_flushes < 1000);
	/* Roots where there is no memory, and beyond what the CPU can address. */
	paging.cr3 = 0xfee00000;
	model_set_paging(cpu, &paging);
	expect(0, WALK_READ, MODEL_FAULT, PF_PRESENT | PF_RESERVED);
	assert_int_equal(model_load_cr3(cpu, 0xffffffffff000), 1);
	expect(0, WALK_WRITE, MODEL_FAULT, PF_PRESENT | PF_RESERVED | PF_WRITE);
	/* 32-bit tables in MMIO read as all ones: the page at the top. */
	paging.efer = 0;
	paging.cr4 = 0;
	model_set_paging(cpu, &paging);
	r = model_access(cpu, 0x12345678, WALK_WRITE);
	assert_int_equal(r.result, MODEL_MMIO);
	assert_int_equal(r.gpa, 0xfffff678);
	/* PAE: reserved bits in PDPTEs that are present are refused, and nothing changes. */
	paging.cr4 = CR4_PAE;
	paging.cr3 = model_table[0];
	memset(paging.pdpte, 0, sizeof(paging.pdpte));
	model_set_paging(cpu, &paging);
	put(5, 0, model_table[1] | P | W);
	assert_int_equal(model_load_cr3(cpu, model_table[5]), 0);
	assert_int_equal(cpu->sv.paging.cr3, model_table[0]);
	expect(0, WALK_READ, MODEL_FAULT, 0);
	/* Not canonical: nothing to flush. */
	paging.efer = EFER_LMA;
	model_set_paging(cpu, &paging);
	assert_int_equal(shadow_invlpg(&cpu->sv, 0x8000000000000000), SHADOW_FLUSH_NONE);
}

static void test_init_refuses(void **state)
{
	static struct shadow_mmu mmu;
	struct shadow_config config = model_mmu.config;

	(void)state;
	config.table_pages = SHADOW_PAGES_MIN;
	assert_int_equal(shadow_init(&mmu, &config), ERR_INVALID);
	config = model_mmu.config;
	config.tables_phys = GIB(4) - PAGE_SIZE;
	assert_int_equal(shadow_init(&mmu, &config), ERR_RANGE);
	config = model_mmu.config;
	config.meta_size--;
	assert_int_equal(shadow_init(&mmu, &config), ERR_INVALID);
	assert_int_equal(shadow_vcpu_init(&model_vcpu[1].sv, &model_mmu, 1), ERR_INVALID);
}

/* A root that is loaded no more (its process is gone, its page not cleared) stays a table. */
static void test_dead_root(void **state)
{
	(void)state;
	put(8, 0, model_table[1] | P | W | U);
	put(3, 1, 0x20000 | P | W);
	put(3, 2, model_table[0] | P | W | A | D);
	expect(0x1000, WALK_READ, MODEL_OK, hpa_of(0x20000));
	assert_int_equal(model_load_cr3(cpu, model_table[8]), 1);
	expect(0x2000, WALK_WRITE, MODEL_EMULATE, model_table[0]);
	assert_true(shadow_rewritten(&model_mmu, model_table[0]));
	model_enter(cpu);
	expect(0x2000, WALK_WRITE, MODEL_OK, hpa_of(model_table[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_dead_root, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leaf_table_out_of_sync, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leaf_table_with_few_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rewritten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_upper_table_is_emulated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_invlpg_of_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large_page_around_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wp_clear, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reuse_after_flush, setup, teardown),
		cmocka_unit_test_setup_teardown(test_change_under_the_walker, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_init_refuses, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

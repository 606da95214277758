/* SOURCES: tests/unit/shadow_model.c vmm/shadow/shadow.c vmm/shadow/shadow_vcpu.c vmm/shadow/shadow_fault.c vmm/shadow/shadow_sync.c vmm/shadow/shadow_page.c vmm/shadow/shadow_entry.c vmm/shadow/shadow_flush.c vmm/shadow/shadow_check.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* LIBS: -lpthread */
/* shadow_lookup() takes no lock, and a vCPU that is in it is not in the guest, so that nobody waits for it: a page of tables can become a leaf
 * table's copy of the guest's entries under it. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <string.h>

#include "lib/x86/registers.h"
#include "tests/unit/shadow_model.h"

#define ROUNDS 100000
#define LINEAR (5ULL << 21) /* slot 5 of table 2 */

static struct model_vcpu *const cpu = &model_vcpu[0], *const other = &model_vcpu[1];
static bool stop;
static uint64_t found;

static void put(unsigned table, unsigned slot, uint64_t value)
{
	assert_int_equal(guest_write(&model_memory, model_table[table] + slot * 8, &value, 8), 0);
}

static void guest_puts(unsigned table, unsigned slot, uint64_t value)
{
	put(table, slot, value);
	shadow_written(&model_mmu, &other->sv, model_table[table] + slot * 8, 8);
}

static void *look_up(void *ctx)
{
	(void)ctx;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		if (shadow_lookup(&cpu->sv, LINEAR) != ~0ULL)
			__atomic_fetch_add(&found, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void paging(struct model_vcpu *v)
{
	model_set_paging(v, &(struct guest_paging){ .cr0 = CR0_PE | CR0_PG | CR0_WP, .cr3 = model_table[0],
						    .cr4 = CR4_PAE | CR4_PGE, .efer = EFER_LMA | EFER_NXE,
						    .maxphyaddr = 40 });
}

static void test_lookup(void **state)
{
	pthread_t thread;

	(void)state;
	model_init(SHADOW_PAGES_MIN + 3 * MODEL_VCPUS, true);
	put(0, 0, model_table[1] | P | W | U);
	put(1, 2, model_table[6] | P | W | U); /* the third GiB: its leaf table comes and goes */
	put(3, 0, 0x20000 | P | W);
	put(4, 0, 0x20000 | P | W);
	put(5, 0, 0x20000 | P | W);
	for (unsigned slot = 0; slot < 16; slot++)
		put(7, slot, 0x50000 | P | W | A | D);
	put(2, 5, model_table[3] | P | W | U);
	put(8, 0, model_table[4] | P | W | U);
	put(6, 1, model_table[5] | P | W | U);
	paging(cpu);
	paging(other);
	model_access(other, GIB(2) + MIB(2), 0);
	assert_int_equal(pthread_create(&thread, NULL, look_up, NULL), 0);
	for (unsigned round = 0; round < ROUNDS || !__atomic_load_n(&found, __ATOMIC_RELAXED); round++) {
		/* The first two GiB's tables are made ... */
		guest_puts(1, 0, model_table[2] | P | W | U);
		guest_puts(1, 1, model_table[8] | P | W | U);
		model_access(other, LINEAR, 0);
		model_access(other, GIB(1), 0);
		/* ... and dropped, and their pages become a leaf table, its lists and its copy. */
		guest_puts(1, 0, 0);
		guest_puts(1, 1, 0);
		guest_puts(6, 0, model_table[7] | P | W | U);
		for (unsigned slot = 0; slot < 16; slot++)
			model_access(other, GIB(2) + slot * 0x1000, 0);
		guest_puts(6, 0, 0);
		model_load_cr3(other, model_table[0]);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	model_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: tests/unit/shadow_history.c tests/unit/shadow_model.c vmm/shadow/shadow.c vmm/shadow/shadow_vcpu.c vmm/shadow/shadow_fault.c vmm/shadow/shadow_sync.c vmm/shadow/shadow_page.c vmm/shadow/shadow_entry.c vmm/shadow/shadow_flush.c vmm/shadow/shadow_check.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* Random histories of guest page tables, each access compared with what a walk of the guest's tables gives. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/shadow_history.h"

#define STEPS 60000
#define CHECK_EVERY 4096

static void histories(unsigned table_pages, bool pages_1g, uint64_t steps, uint64_t seed)
{
	model_seed(seed);
	history_begin(table_pages, pages_1g);
	for (history_steps = 0; history_steps < steps; history_steps++) {
		history_step();
		if (history_steps % CHECK_EVERY == 0 ||
		    (getenv("SHADOW_CHECK") && history_steps % (unsigned)atoi(getenv("SHADOW_CHECK")) == 0))
			history_check();
		if (history_steps % 20000 == 19999)
			history_restart();
	}
	history_check();
	if (getenv("SHADOW_VERBOSE")) {
		const struct shadow_stats *s = &model_mmu.stats;

		print_message("ok %lu fault %lu mmio %lu emulate %lu\n", history_results[0], history_results[1], history_results[2],
			      history_results[3]);
		print_message("reflected %lu resolved %lu unsynced %lu emulated %lu mmio %lu same %lu cached %lu new %lu invlpg %lu resyncs %lu "
			      "entries %lu writes %lu made %lu reclaimed %lu dropped %lu remote %lu\n",
			      s->reflected, s->resolved, s->unsynced, s->emulated, s->mmio, s->cr3_same, s->cr3_cached, s->cr3_new, s->invlpg,
			      s->resyncs, s->resynced_entries, s->writes_seen, s->tables_made, s->tables_reclaimed, s->tables_dropped,
			      s->remote_flushes);
	}
	model_free();
}

static uint64_t steps_wanted(void)
{
	const char *text = getenv("SHADOW_STEPS");

	return text ? strtoull(text, NULL, 0) : STEPS;
}

static uint64_t seed_wanted(uint64_t seed)
{
	const char *text = getenv("SHADOW_SEED");

	return text ? strtoull(text, NULL, 0) : seed;
}

static void test_histories(void **state)
{
	(void)state;
	histories(2048, true, steps_wanted() / 2, seed_wanted(1));
}

static void test_histories_little_memory(void **state)
{
	(void)state;
	histories(SHADOW_PAGES_MIN + 3 * MODEL_VCPUS, false, steps_wanted() / 2, seed_wanted(2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_histories),
		cmocka_unit_test(test_histories_little_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

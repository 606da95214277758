/* SOURCES: tests/unit/shadow_history.c tests/unit/shadow_model.c vmm/shadow/shadow.c vmm/shadow/shadow_vcpu.c vmm/shadow/shadow_fault.c vmm/shadow/shadow_sync.c vmm/shadow/shadow_page.c vmm/shadow/shadow_entry.c vmm/shadow/shadow_flush.c vmm/shadow/shadow_check.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* TEST: 150 runs of up to 4096 bytes */
/* The shadow MMU: the input is the history, each of its choices instead of a random number. All accesses are judged by a walk of the
 * guest's tables, and the shadow MMU's structures by its own check. */
#include "tests/fuzz/fuzz.h"

#include "lib/x86/paging.h"
#include "tests/unit/shadow_history.h"

#define CHECK_EVERY 64 /* steps, of one input in eight: it looks at each page of the guest's memory */

static struct input in;

/* A byte serves for a choice, and stands in an address at every place. */
static uint64_t next_choice(void)
{
	return take(&in, 1) * 0x0101010101010101;
}

static uint8_t tables[MODEL_TABLES][PAGE_SIZE];

/* The model is large: it is made once, and of the guest's memory only the tables are ever written. */
static void begin(void)
{
	if (!model_mmu.config.mem) {
		model_seed(1);
		history_begin(SHADOW_PAGES_MIN + 3 * MODEL_VCPUS, true);
		for (unsigned i = 0; i < MODEL_TABLES; i++)
			FUZZ_CHECK(!guest_read(&model_memory, model_table[i], tables[i], PAGE_SIZE));
	}
	for (unsigned i = 0; i < MODEL_TABLES; i++)
		FUZZ_CHECK(!guest_write(&model_memory, model_table[i], tables[i], PAGE_SIZE));
	for (unsigned i = 0; i < MODEL_VCPUS; i++)
		memset(model_vcpu[i].tlb, 0, sizeof(model_vcpu[i].tlb));
	history_reset();
	history_steps = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool checked;

	in = (struct input){ data, size };
	checked = (take(&in, 1) & 7) == 0;
	model_random_source = NULL;
	begin();
	model_random_source = next_choice;
	while (in.left) {
		history_step();
		if (++history_steps % CHECK_EVERY == 0 && checked)
			history_check();
	}
	if (checked)
		history_check();
	return 0;
}

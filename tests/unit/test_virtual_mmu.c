/* SOURCES: vmm/mmu/virtual_mmu.c vmm/mmu/cr3_exits.c vmm/emulate/cr3_sequence.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_memory.c vmm/memory/guest_walk.c */
/* How one vCPU's change of shadow tables waits for another vCPU, which runs guest code. The shadow MMU itself is test_shadow's. */
#include "tests/unit/unit.h"

#include <string.h>

#include "mm/page_table.h"
#include "tests/unit/fakes.h"
#include "vmm/exits/handlers.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/vm.h"

static struct vm vm;
static struct vcpu vcpu[2];
static struct shadow_config config;
static _Alignas(4096) uint8_t memory[1 << 20];
static unsigned pauses, notices;
static void (*on_pause)(void);

/* ---- Around it ---- */

int shadow_init(struct shadow_mmu *mmu, const struct shadow_config *c)
{
	(void)mmu;
	config = *c;
	return 0;
}

void *vm_alloc_pages(struct vm *of, unsigned pages) { (void)of; (void)pages; return memory; }
void *vm_alloc(struct vm *of, uint32_t size) { (void)of; (void)size; return memory; }
uint64_t vm_phys(const struct vm *of, const void *p) { (void)of; (void)p; return 0x100000; }
uint64_t shadow_meta_size(const struct guest_memory *mem, unsigned pages, unsigned vcpus) { (void)mem; (void)pages; return vcpus; }
int shadow_vcpu_init(struct shadow_vcpu *sv, struct shadow_mmu *mmu, unsigned index) { (void)sv; (void)mmu; (void)index; return 0; }
void shadow_reset(struct shadow_mmu *mmu) { (void)mmu; }
void shadow_set_paging(struct shadow_vcpu *sv, const struct guest_paging *paging) { (void)sv; (void)paging; }
int shadow_load_cr3(struct shadow_vcpu *sv, uint64_t cr3) { (void)sv; (void)cr3; return 0; }
int shadow_read_pdptes(const struct shadow_mmu *mmu, uint64_t cr3, unsigned width, uint64_t pdpte[4])
{
	(void)mmu; (void)cr3; (void)width; (void)pdpte;
	return 0;
}
enum shadow_verdict shadow_page_fault(struct shadow_vcpu *sv, uint64_t linear, uint32_t error, bool ac, struct shadow_fault *fault)
{
	(void)sv; (void)linear; (void)error; (void)ac; (void)fault;
	return SHADOW_RESOLVED;
}
enum shadow_flush shadow_invlpg(struct shadow_vcpu *sv, uint64_t linear) { (void)sv; (void)linear; return SHADOW_FLUSH_NONE; }
void shadow_written(struct shadow_mmu *mmu, struct shadow_vcpu *sv, uint64_t gpa, uint64_t size) { (void)mmu; (void)sv; (void)gpa; (void)size; }
uint64_t shadow_lookup(const struct shadow_vcpu *sv, uint64_t linear) { (void)sv; (void)linear; return 0; }
int page_table_lookup(const struct page_table *pt, uint64_t va, uint64_t *pa, uint32_t *attrs, unsigned *level)
{
	(void)pt; (void)va; (void)pa; (void)attrs; (void)level;
	return ERR_NOENT;
}
enum verdict handle_nested_fault(struct vcpu *v, struct vm_exit *exit) { (void)v; (void)exit; return VERDICT_RESUME; }
void vcpu_inject_exception(struct vcpu *v, uint8_t vector, uint32_t error) { (void)v; (void)vector; (void)error; }

void vcpu_notify(struct vcpu *v, uint32_t bits)
{
	v->pending |= bits;
	notices++;
}

void core_pause(void)
{
	assert_true(++pauses < 100); /* it would wait for ever */
	if (on_pause)
		on_pause();
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&vm, 0, sizeof(vm));
	memset(vcpu, 0, sizeof(vcpu));
	vm.config.memsize = 256;
	vm.config.numvcpus = vm.vcpu_count = 2;
	vm.vcpu[0] = &vcpu[0];
	vm.vcpu[1] = &vcpu[1];
	pauses = notices = 0;
	on_pause = NULL;
	assert_int_equal(virtual_mmu_create(&vm), 0);
	assert_non_null(config.kick);
	return 0;
}

/* ---- The other vCPU ---- */

static void leave_guest(void)
{
	if (pauses == 10)
		vcpu[1].in_guest = false;
}

/* It leaves, takes the notice, which flushes, and is back before anybody has seen it outside. */
static void leave_and_return(void)
{
	if (pauses == 10)
		vcpu[1].pending &= ~(uint32_t)PENDING_FLUSH;
}

static void test_out_of_the_guest(void **state)
{
	(void)state;
	config.kick(config.ctx, 1);
	assert_int_equal(notices, 1);
	assert_int_equal(pauses, 0);
	assert_int_equal(vcpu[1].pending, PENDING_FLUSH);
}

static void test_until_it_leaves(void **state)
{
	(void)state;
	vcpu[1].in_guest = true;
	on_pause = leave_guest;
	config.kick(config.ctx, 1);
	assert_int_equal(pauses, 10);
}

static void test_back_again(void **state)
{
	(void)state;
	vcpu[1].in_guest = true;
	vcpu[1].pending = PENDING_TIMER;
	on_pause = leave_and_return;
	config.kick(config.ctx, 1);
	assert_int_equal(pauses, 10);
}

static void test_one_vcpu_needs_none(void **state)
{
	(void)state;
	vm.config.numvcpus = 1;
	assert_int_equal(virtual_mmu_create(&vm), 0);
	assert_null(config.kick);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_out_of_the_guest, setup),
		cmocka_unit_test_setup(test_until_it_leaves, setup),
		cmocka_unit_test_setup(test_back_again, setup),
		cmocka_unit_test_setup(test_one_vcpu_needs_none, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

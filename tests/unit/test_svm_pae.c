/* SOURCES: arch/x86_64/svm/svm_registers.c vmm/mmu/virtual_mmu.c vmm/mmu/cr3_exits.c vmm/shadow/shadow.c vmm/shadow/shadow_vcpu.c vmm/shadow/shadow_fault.c vmm/shadow/shadow_page.c vmm/shadow/shadow_entry.c vmm/shadow/shadow_sync.c vmm/shadow/shadow_flush.c vmm/emulate/cr3_sequence.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_memory.c vmm/memory/guest_walk.c */
/* AMD-V on shadow page tables in legacy mode, where the test plays a CPU that has VMCB clean bits and keeps the four PDPTEs that it loaded
 * with CR3 (APM vol. 2, "VMCB Clean Bits"; "Legacy PAE Mode"): with CLEAN_CR it loads neither. */
#include "tests/unit/unit.h"
#include "lib/x86/paging.h"

#include <string.h>

#include "arch/x86_64/features.h"
#include "arch/x86_64/svm/svm.h"
#include "mm/page_table.h"
#include "tests/unit/fakes.h"
#include "vmm/exits/handlers.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/cr3_exits.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/vm_vcpu.h"

#define PHYS 0x10000000ULL /* of the arena */
#define RAM_PHYS 0x40000000ULL
#define P PTE_P

struct cpu_features cpu_features;
struct svm_features svm_features;

static struct vm vm;
static struct vcpu v;
static struct svm_vcpu x;
static _Alignas(4096) uint8_t ram[1 << 20], arena[8 << 20];
static uint64_t used;
static const uint64_t *cpu_table; /* where the CPU's CR3 leads */
static uint64_t cpu_pdpte[4];

void *vm_alloc_pages(struct vm *of, unsigned pages)
{
	void *p = arena + used;

	(void)of;
	used += (uint64_t)pages * PAGE_SIZE;
	assert_true(used <= sizeof(arena));
	return p;
}
void *vm_alloc(struct vm *of, uint32_t size) { return vm_alloc_pages(of, (size + PAGE_SIZE - 1) / PAGE_SIZE); }
uint64_t vm_phys(const struct vm *of, const void *p) { (void)of; return PHYS + (uint64_t)((const uint8_t *)p - arena); }
int page_table_lookup(const struct page_table *pt, uint64_t va, uint64_t *pa, uint32_t *attrs, unsigned *level)
{
	(void)pt; (void)attrs;
	*pa = RAM_PHYS + va;
	*level = PT_LEVEL_4K;
	return va < sizeof(ram) ? 0 : ERR_NOENT;
}
enum verdict handle_nested_fault(struct vcpu *of, struct vm_exit *exit) { (void)of; (void)exit; return VERDICT_STOP; }
void vcpu_inject_exception(struct vcpu *of, uint8_t vector, uint32_t error) { (void)of; (void)vector; (void)error; fail(); }
void vcpu_notify(struct vcpu *of, uint32_t bits) { (void)of; (void)bits; }
void core_pause(void) {}
void svm_flush(struct vcpu *of) { vmcb_of(of)->tlb_control = TLB_FLUSH_ASID; }

static const struct engine engine = {
	.read = svm_read, .write = svm_write, .read_context = svm_read_context, .shadow_root = svm_shadow_root, .flush = svm_flush,
};

/* VMRUN and #VMEXIT. */
static void enter_and_exit(void)
{
	struct vmcb *b = &x.vmcb;

	if (!(b->clean & CLEAN_CR)) {
		cpu_table = (const uint64_t *)(arena + (b->cr3 - PHYS));
		memcpy(cpu_pdpte, cpu_table, sizeof(cpu_pdpte));
	}
	b->tlb_control = 0;
	b->clean = x.clean; /* as svm_handle_exit() does */
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&vm, 0, sizeof(vm));
	memset(&v, 0, sizeof(v));
	memset(&x, 0, sizeof(x));
	memset(ram, 0, sizeof(ram));
	memset(arena, 0, sizeof(arena));
	used = 0;
	svm_features.clean = CLEAN_ALL;
	vm.config.memsize = 1;
	vm.config.numvcpus = vm.vcpu_count = 1;
	vm.vcpu[0] = &v;
	assert_int_equal(guest_memory_add(&vm.memory, 0, sizeof(ram), ram), 0);
	vm.engine = &engine;
	v.hw = &x;
	v.emulator.paging.maxphyaddr = 36;
	assert_int_equal(virtual_mmu_create(&vm), 0);
	vm_attach_vcpu(&vm, &v);
	assert_int_equal(virtual_mmu_add_vcpu(&v), 0);
	/* Two processes: PDPTs at 0x1000 and 0x2000; 0x400000000.. of each is at 0 of their page directories. */
	*(uint64_t *)(ram + 0x1000) = 0x3000 | P;
	*(uint64_t *)(ram + 0x3000) = 0x4000 | 0x27;
	*(uint64_t *)(ram + 0x4000) = 0x5000 | 0x67;
	*(uint64_t *)(ram + 0x2000) = 0x6000 | P;
	*(uint64_t *)(ram + 0x6000) = 0x7000 | 0x27;
	*(uint64_t *)(ram + 0x7000) = 0x8000 | 0x67;
	svm_write(&v, VCPU_EFER, 0);
	svm_write(&v, VCPU_CR3, 0x1000);
	svm_write(&v, VCPU_CR4, BIT(5));
	svm_write(&v, VCPU_CR0, 0x80010011);
	virtual_mmu_update(&v);
	enter_and_exit();
	return 0;
}

static void fault(uint64_t linear)
{
	struct vm_exit exit = { .page_fault = { .linear = linear, .error = 6 } };

	assert_int_equal(handle_page_fault(&v, &exit), VERDICT_RESUME);
}

/* The first fault below a PDPTE makes it. The guest would fault there for ever. */
static void test_pdpte_made(void **state)
{
	(void)state;
	assert_int_equal(cpu_pdpte[0], 0);
	fault(0);
	assert_int_not_equal(cpu_table[0], 0);
	enter_and_exit();
	assert_int_equal(cpu_pdpte[0], cpu_table[0]);
}

/* The other process's address space: the CPU would go on with the first one's tables, which may be reclaimed. */
static void test_cr3(void **state)
{
	(void)state;
	fault(0);
	x.vmcb.clean &= ~(uint32_t)CLEAN_CR;
	enter_and_exit();
	assert_int_equal(cr3_write(&v, 0x2000), 0);
	enter_and_exit();
	fault(0);
	assert_int_not_equal(cpu_table[0], 0);
	enter_and_exit();
	assert_int_equal(cpu_pdpte[0], cpu_table[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_pdpte_made, setup),
		cmocka_unit_test_setup(test_cr3, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The virtual MMU of shadow paging: made with its VM, told of what the guest changes, asked at page faults. */
#include "vmm/mmu/virtual_mmu.h"

#include "lib/log.h"
#include "lib/string.h"
#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "mm/address_space.h"
#include "vmm/exits/handlers.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/settle.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/vm.h"

/* The number of pages for shadow tables, where the user does not set it: a table maps 2 MiB, and processes share few tables. */
static unsigned table_pages(const struct vm_config *config)
{
	if (config->shadow_memory)
		return config->shadow_memory * (unsigned)(MIB(1) / PAGE_SIZE);
	return MIN(MAX(config->memsize, 256U), 2048U);
}

/* The RAM's shape is all that the size of the book-keeping depends on. */
static uint64_t meta_size(const struct vm_config *config)
{
	struct guest_memory mem = { 0 };
	uint64_t size = MIB(config->memsize);

	(void)guest_memory_add(&mem, 0, MIN(size, GIB(3)), (uint8_t *)PAGE_SIZE);
	if (size > GIB(3))
		(void)guest_memory_add(&mem, GIB(4), size - GIB(3), (uint8_t *)PAGE_SIZE);
	return shadow_meta_size(&mem, table_pages(config), config->numvcpus);
}

void virtual_mmu_plan(struct arena_plan *plan, const struct vm_config *config)
{
	arena_plan_pages(plan, arena_pages(sizeof(struct shadow_mmu)) + table_pages(config) + arena_pages(meta_size(config)));
}

void virtual_mmu_plan_vcpu(struct arena_plan *plan)
{
	arena_plan_alloc(plan, sizeof(struct shadow_vcpu));
}

/* Nested paging's table says where the guest's memory is, also where no CPU walks it. */
static bool to_hpa(void *ctx, uint64_t gpa, uint64_t *hpa, uint64_t *size)
{
	const struct vm *vm = ctx;
	unsigned level;

	if (page_table_lookup(&vm->nested, gpa, hpa, NULL, &level))
		return false;
	*size = page_table_leaf_size(level);
	return true;
}

/* A vCPU that does not run guest code sees its flush before it runs guest code again. So it may be in the guest again when this core looks
 * next (which may be late, where another hypervisor has taken the core away meanwhile): then it has taken PENDING_FLUSH. The caller holds
 * the MMU's lock, which nobody takes while running guest code. */
static void kick(void *ctx, unsigned index)
{
	struct vcpu *v = ((struct vm *)ctx)->vcpu[index];

	vcpu_notify(v, PENDING_FLUSH);
	while (vcpu_runs_unaware(v, PENDING_FLUSH))
		core_pause();
}

int virtual_mmu_create(struct vm *vm)
{
	struct shadow_config config = {
		.mem = &vm->memory,
		.table_pages = table_pages(&vm->config),
		.meta_size = meta_size(&vm->config),
		.vcpus = vm->config.numvcpus,
		.pages_1g = vm->space.max_leaf_level >= PT_LEVEL_1G,
		.to_hpa = to_hpa,
		.kick = vm->config.numvcpus > 1 ? kick : NULL,
		.ctx = vm,
	};

	vm->shadow = vm_alloc_pages(vm, arena_pages(sizeof(*vm->shadow)));
	config.tables = vm_alloc_pages(vm, config.table_pages);
	config.meta = vm_alloc_pages(vm, arena_pages(config.meta_size));
	if (!vm->shadow || !config.tables || !config.meta)
		return ERR_NOMEM;
	config.tables_phys = vm_phys(vm, config.tables);
	if (shadow_init(vm->shadow, &config)) {
		log_line("vm %s: the shadow page tables cannot be set up at %lx", vm->config.name, config.tables_phys);
		return ERR_INVALID;
	}
	log_line("vm %s: shadow page tables: at most %u KiB, and %lu KiB to keep their books", vm->config.name, config.table_pages * 4,
		 config.meta_size >> 10);
	return 0;
}

int virtual_mmu_add_vcpu(struct vcpu *v)
{
	v->shadow = vm_alloc(v->vm, sizeof(*v->shadow));
	return v->shadow ? shadow_vcpu_init(v->shadow, v->shadow_mmu, v->index) : ERR_NOMEM;
}

void virtual_mmu_reset(struct vm *vm)
{
	if (vm->shadow)
		shadow_reset(vm->shadow);
}

void virtual_mmu_settle(struct vcpu *v)
{
	if (v->shadow)
		settle_shadow(v);
}

static void read_paging(struct vcpu *v, struct guest_paging *paging)
{
	memset(paging, 0, sizeof(*paging));
	paging->cr0 = vcpu_read(v, VCPU_CR0);
	paging->cr3 = vcpu_read(v, VCPU_CR3);
	paging->cr4 = vcpu_read(v, VCPU_CR4);
	paging->efer = vcpu_read(v, VCPU_EFER);
	paging->maxphyaddr = v->emulator.paging.maxphyaddr;
}

void virtual_mmu_update(struct vcpu *v)
{
	struct guest_paging paging;

	if (!v->shadow)
		return;
	read_paging(v, &paging);
	if (paging.cr0 & CR0_PG && paging.cr4 & CR4_PAE && !(paging.efer & EFER_LMA))
		(void)shadow_read_pdptes(v->shadow_mmu, paging.cr3, paging.maxphyaddr, paging.pdpte);
	shadow_set_paging(v->shadow, &paging);
	settle_shadow(v);
}

void virtual_mmu_written(struct vcpu *v, uint64_t gpa, unsigned size)
{
	shadow_written(v->shadow_mmu, v->shadow, gpa, size);
	settle_shadow(v);
}

void vm_memory_written(struct vm *vm, const void *p, uint64_t len)
{
	if (vm->shadow)
		shadow_written(vm->shadow, NULL, (uint64_t)p - GUEST_WINDOW_BASE, len);
}

enum verdict handle_page_fault(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t linear = exit->page_fault.linear;
	uint32_t error = exit->page_fault.error;
	struct shadow_fault fault;
	bool ac = v->shadow->paging.cr4 & CR4_SMAP && !(error & PF_USER) && vcpu_read(v, VCPU_RFLAGS) & RFLAGS_AC;

	switch (shadow_page_fault(v->shadow, linear, error, ac, &fault)) {
	case SHADOW_RESOLVED:
	case SHADOW_UNSYNCED:
		settle_shadow(v);
		return VERDICT_RESUME;
	case SHADOW_REFLECT:
		settle_shadow(v);
		vcpu_write(v, VCPU_CR2, linear);
		vcpu_inject_exception(v, VECTOR_PF, fault.error);
		return VERDICT_INJECT;
	case SHADOW_MMIO:
	case SHADOW_EMULATE:
		break;
	}
	exit->fault.gpa = fault.gpa;
	exit->fault.access = error & PF_FETCH ? ACCESS_FETCH : error & PF_WRITE ? ACCESS_WRITE : ACCESS_READ;
	exit->fault.translated = true;
	exit->fault.vectoring = exit->page_fault.vectoring;
	return handle_nested_fault(v, exit);
}

static inline __attribute__((always_inline)) void invlpg(struct vcpu *v, uint64_t linear)
{
	switch (shadow_invlpg(v->shadow, linear)) {
	case SHADOW_FLUSH_NONE:
		break;
	case SHADOW_FLUSH_ADDRESS:
		v->engine->flush_address(v, linear);
		break;
	case SHADOW_FLUSH_NONGLOBAL:
	case SHADOW_FLUSH_ALL:
		v->engine->flush(v);
		break;
	}
	carry_out_flush(v);
}

void virtual_mmu_invlpg(struct vcpu *v, uint64_t linear)
{
	invlpg(v, linear);
}

enum verdict handle_invlpg(struct vcpu *v, struct vm_exit *exit)
{
	invlpg(v, exit->page_fault.linear);
	return VERDICT_ADVANCE;
}

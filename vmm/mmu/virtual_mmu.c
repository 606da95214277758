#include "vmm/mmu/virtual_mmu.h"

#include "lib/log.h"
#include "lib/string.h"
#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "mm/address_space.h"
#include "vmm/emulate/access.h"
#include "vmm/emulate/cr3_sequence.h"
#include "vmm/exits/exit_mmio.h"
#include "vmm/interface/core.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/vm.h"

#define SEQUENCES 16 /* remembered, a power of two: a kernel has a handful */

/* Code whose first instruction read CR3, by its address; found once. */
struct cr3_memo {
	uint64_t rip, machine; /* rip 0: none */
	uint64_t changes, root; /* of the shadow tables, when it was last seen to be there */
	struct cr3_sequence sequence;
};

/* So many pages of shadow tables, where the user does not say: a table maps 2 MiB, and processes share few of them. */
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
	arena_plan_alloc(plan, SEQUENCES * sizeof(struct cr3_memo));
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

/* A vCPU that does not run guest code sees its flush before it does again. So it may be in the guest again when this core looks next (which
 * may be late, where another hypervisor has taken the core away meanwhile): then it has taken the bit. The caller holds the MMU's lock,
 * which nobody takes while running guest code. */
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
	v->cr3_memo = vm_alloc(v->vm, SEQUENCES * sizeof(*v->cr3_memo));
	return v->shadow && v->cr3_memo ? shadow_vcpu_init(v->shadow, v->vm->shadow, v->index) : ERR_NOMEM;
}

void virtual_mmu_reset(struct vm *vm)
{
	if (vm->shadow)
		shadow_reset(vm->shadow);
}

static inline void carry_out_flush(struct vcpu *v)
{
	struct shadow_vcpu *sv = v->shadow;

	if (__atomic_load_n(&sv->flush, __ATOMIC_RELAXED) && shadow_take_flush(sv) != SHADOW_FLUSH_NONE)
		v->engine->flush(v);
}

static inline void settle(struct vcpu *v)
{
	struct shadow_vcpu *sv = v->shadow;

	if (sv->root != v->shadow_root) {
		v->shadow_root = sv->root;
		v->engine->shadow_root(v, sv->root);
	}
	carry_out_flush(v);
}

void virtual_mmu_settle(struct vcpu *v)
{
	if (v->shadow)
		settle(v);
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
		(void)shadow_read_pdptes(v->vm->shadow, paging.cr3, paging.maxphyaddr, paging.pdpte);
	shadow_set_paging(v->shadow, &paging);
	settle(v);
}

static inline __attribute__((always_inline)) int set_cr3(struct vcpu *v, uint64_t value)
{
	int flush;

	if (__builtin_expect(value >> 32 != 0, 0) && v->shadow->paging.efer & EFER_LMA && value >> v->shadow->paging.maxphyaddr)
		return ERR_INVALID;
	flush = shadow_load_cr3(v->shadow, value);
	if (__builtin_expect(flush < 0, 0))
		return ERR_INVALID;
	v->cr3 = value;
	settle(v);
	if (flush != SHADOW_FLUSH_NONE)
		v->engine->flush(v);
	return 0;
}

int virtual_mmu_set_cr3(struct vcpu *v, uint64_t value)
{
	return set_cr3(v, value);
}

enum verdict exit_cr3_write(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t value = exit->cr.gpr == GPR_RSP ? vcpu_read(v, VCPU_RSP) : v->gpr[exit->cr.gpr];

	if (__builtin_expect(value >> 32 != 0, 0)) {
		v->engine->read_context(v, &v->context);
		if (!vcpu_in_64bit_code(&v->context))
			value = (uint32_t)value;
	}
	if (__builtin_expect(set_cr3(v, value) != 0, 0)) {
		vcpu_inject_exception(v, VECTOR_GP, 0);
		return VERDICT_INJECT;
	}
	return VERDICT_ADVANCE;
}

/* What is known of the code at `rip`, which begins with MOV from CR3 to `reg`; NULL where nothing can be. */
static __attribute__((noinline)) const struct cr3_sequence *look_at_code(struct vcpu *v, struct cr3_memo *memo, uint64_t rip, unsigned reg)
{
	unsigned avail = PAGE_SIZE - (unsigned)(rip & (PAGE_SIZE - 1));
	uint64_t hpa = shadow_lookup(v->shadow, rip), gpa;
	const uint8_t *code;

	memo->rip = 0;
	if (hpa == ~0ULL || avail < CR3_SEQUENCE_HEAD ||
	    guest_walk(&v->vm->memory, &v->shadow->paging, rip, WALK_EXEC, &gpa, NULL, NULL))
		return NULL;
	code = guest_ptr(&v->vm->memory, gpa, avail);
	if (!code)
		return NULL;
	cr3_sequence_find(&memo->sequence, code, avail, reg);
	memo->rip = rip;
	memo->machine = hpa;
	memo->root = 0;
	return &memo->sequence;
}

/* The code still lies where it lay: nothing in the shadow tables has changed, or not this. */
static bool same_page(struct vcpu *v, struct cr3_memo *memo)
{
	if (memo->changes == v->vm->shadow->entry_changes && memo->root == v->shadow->root)
		return true;
	memo->changes = v->vm->shadow->entry_changes;
	memo->root = v->shadow->root;
	return memo->machine == shadow_lookup(v->shadow, memo->rip);
}

/* As AND and OR leave them (SDM vol. 2); AF, which they leave undefined, is cleared. */
static inline uint64_t logic_flags(uint64_t rflags, uint64_t result)
{
	return (rflags & ~RFLAGS_STATUS) | (result ? 0 : RFLAGS_ZF) | (result >> 63 ? RFLAGS_SF : 0) |
	       (__builtin_parity((uint8_t)result) ? 0 : RFLAGS_PF);
}

/* The exit of a MOV from CR3 does what follows it too, where that is but a change of a bit and the MOV to CR3: one exit less. */
static bool run_sequence(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t rip = vcpu_read(v, VCPU_RIP), rflags, value;
	struct cr3_memo *memo = &v->cr3_memo[(rip ^ rip >> 6) & (SEQUENCES - 1)];
	const struct cr3_sequence *s = &memo->sequence;

	/* Kernels lie in the upper half, which only 64-bit code reaches. */
	if (!(rip >> 63))
		return false;
	if (__builtin_expect(memo->rip != rip || s->reg != exit->cr.gpr || !same_page(v, memo) || !cr3_sequence_holds(s), 0))
		s = look_at_code(v, memo, rip, exit->cr.gpr);
	if (!s || !s->length)
		return false;
	rflags = vcpu_read(v, VCPU_RFLAGS);
	if (rflags & RFLAGS_TF || vcpu_read(v, VCPU_DR7) & 0xff) /* single steps, breakpoints */
		return false;
	value = s->op == ALU_AND ? v->cr3 & s->operand : v->cr3 | s->operand;
	if (s->reg == GPR_RSP)
		vcpu_write(v, VCPU_RSP, value);
	else
		v->gpr[s->reg] = value;
	vcpu_write(v, VCPU_RFLAGS, logic_flags(rflags, value));
	/* What it refuses, it refuses again at the MOV itself. */
	exit->length = set_cr3(v, value) ? s->last : s->length;
	return true;
}

enum verdict exit_cr3_read(struct vcpu *v, struct vm_exit *exit)
{
	if (run_sequence(v, exit))
		return VERDICT_ADVANCE;
	if (__builtin_expect(exit->cr.gpr == GPR_RSP, 0))
		vcpu_write(v, VCPU_RSP, v->cr3);
	else
		v->gpr[exit->cr.gpr] = v->cr3;
	return VERDICT_ADVANCE;
}

void virtual_mmu_written(struct vcpu *v, uint64_t gpa, unsigned size)
{
	shadow_written(v->vm->shadow, v->shadow, gpa, size);
	settle(v);
}

void vm_memory_written(struct vm *vm, const void *p, uint64_t len)
{
	if (vm->shadow)
		shadow_written(vm->shadow, NULL, (uint64_t)p - GUEST_WINDOW_BASE, len);
}

enum verdict exit_page_fault(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t linear = exit->page_fault.linear;
	uint32_t error = exit->page_fault.error;
	struct shadow_fault fault;
	bool ac = v->shadow->paging.cr4 & CR4_SMAP && !(error & PF_USER) && vcpu_read(v, VCPU_RFLAGS) & RFLAGS_AC;

	switch (shadow_page_fault(v->shadow, linear, error, ac, &fault)) {
	case SHADOW_RESOLVED:
	case SHADOW_UNSYNCED:
		settle(v);
		return VERDICT_RESUME;
	case SHADOW_REFLECT:
		settle(v);
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
	return exit_nested_fault(v, exit);
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

enum verdict exit_invlpg(struct vcpu *v, struct vm_exit *exit)
{
	invlpg(v, exit->page_fault.linear);
	return VERDICT_ADVANCE;
}

#include "vmm/exits/exit.h"

#include "lib/log.h"
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/access.h"
#include "vmm/exits/exit_mmio.h"
#include "vmm/exits/exit_string_io.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/cr3_exits.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/vcpu/real_mode.h"
#include "vmm/vm/vm.h"

#define CPUID_LEAF_XSAVE 0xd

static const char *const names[EXIT_KINDS] = {
#define VM_EXIT_NAME(kind, name) name,
	VM_EXIT_KINDS(VM_EXIT_NAME)
#undef VM_EXIT_NAME
};

const char *vm_exit_name(enum vm_exit_kind kind)
{
	return names[kind];
}

static void look_again(struct vcpu *v, uint32_t bits)
{
	__atomic_or_fetch(&v->pending, bits, __ATOMIC_RELAXED);
}

static enum verdict general_protection(struct vcpu *v)
{
	vcpu_inject_exception(v, VECTOR_GP, 0);
	return VERDICT_INJECT;
}

static enum verdict handle_external_interrupt(struct vcpu *v, struct vm_exit *exit)
{
	if (exit->vector ? core_interrupt(exit->vector) : core_take_interrupts())
		look_again(v, PENDING_TIMER);
	if (__atomic_exchange_n(&v->slot->wake, 0, __ATOMIC_SEQ_CST))
		look_again(v, PENDING_INPUT | PENDING_DISK | PENDING_TIMER);
	if (sched_should_yield(v))
		look_again(v, PENDING_YIELD);
	return VERDICT_RESUME;
}

void exit_take_turn(struct vcpu *v)
{
	v->turn_start = core_ticks();
	(void)core_take_interrupts();
	__atomic_store_n(&v->slot->wake, 0, __ATOMIC_SEQ_CST);
	look_again(v, PENDING_INPUT | PENDING_DISK | PENDING_TIMER | (sched_should_yield(v) ? PENDING_YIELD : 0));
}

void exit_turn_is_over(struct vcpu *v)
{
	if (vcpu_read(v, VCPU_RFLAGS) & RFLAGS_IF)
		v->turn_start = v->exit_start;
	else
		exit_take_turn(v);
}

static enum verdict handle_time_slice(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	exit_take_turn(v);
	return VERDICT_RESUME;
}

static enum verdict handle_nmi(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	(void)exit;
	core_nmi();
	return VERDICT_RESUME;
}

/* An interrupt or NMI window opened, or the TPR sank below its threshold. */
static enum verdict handle_window(struct vcpu *v, struct vm_exit *exit)
{
	if (exit->kind == EXIT_NMI_WINDOW)
		v->engine->nmi_window(v, false);
	else if (exit->kind == EXIT_INTERRUPT_WINDOW)
		v->engine->interrupt_window(v, false);
	look_again(v, PENDING_EVALUATE);
	return VERDICT_RESUME;
}

static void answer_cpuid(struct vcpu *v, const uint32_t *row)
{
	v->gpr[GPR_RAX] = row[CPUID_EAX];
	v->gpr[GPR_RBX] = row[CPUID_EBX];
	v->gpr[GPR_RCX] = row[CPUID_ECX];
	v->gpr[GPR_RDX] = row[CPUID_EDX];
}

/* Leaves whose answer depends on the subleaf or on the vCPU's state are the rare ones. */
__attribute__((noinline)) void exit_lookup_cpuid(struct vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	const struct cpuid_state state = {
		.cr4 = cpuid_wants_cr4(leaf) ? vcpu_read(v, VCPU_CR4) : 0,
		.xcr0 = leaf == CPUID_LEAF_XSAVE ? vcpu_read(v, VCPU_XCR0) : 0,
		.apic_id = v->lapic.apic_id,
	};

	cpuid_lookup(&v->vm->cpuid, &state, leaf, subleaf, out);
	if (leaf == 1 && !v->lapic.enabled)
		out[CPUID_EDX] &= ~(uint32_t)BIT(9); /* SDM vol. 3, "Enabling or Disabling the Local APIC" */
}

__attribute__((noinline)) static enum verdict dynamic_cpuid(struct vcpu *v, uint32_t leaf)
{
	uint32_t out[4];

	exit_lookup_cpuid(v, leaf, (uint32_t)v->gpr[GPR_RCX], out);
	answer_cpuid(v, out);
	return VERDICT_ADVANCE;
}

static enum verdict handle_cpuid(struct vcpu *v, struct vm_exit *exit)
{
	uint32_t leaf = (uint32_t)v->gpr[GPR_RAX];
	const uint32_t *row = cpuid_row(&v->vm->cpuid, leaf);

	(void)exit;
	if (__builtin_expect(!row, 0))
		return dynamic_cpuid(v, leaf);
	answer_cpuid(v, row);
	return VERDICT_ADVANCE;
}

static enum verdict handle_hlt(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	/* A single-step trap ends HLT at once. */
	if (!(vcpu_read(v, VCPU_RFLAGS) & BIT(8)))
		v->state = VCPU_HALTED;
	look_again(v, PENDING_EVALUATE);
	return VERDICT_ADVANCE;
}

static enum verdict handle_io(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t *rax = &v->gpr[GPR_RAX];

	if (__builtin_expect(exit->io.string, 0))
		return exit_string_io(v, exit);
	if (!exit->io.in) {
		io_space_write(&v->vm->pio, exit->io.port, exit->io.size, *rax);
		return VERDICT_ADVANCE;
	}
	exit_device_read(v);
	write_gpr(rax, exit->io.size, io_space_read(&v->vm->pio, exit->io.port, exit->io.size));
	return VERDICT_ADVANCE;
}

static enum verdict handle_msr_read(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	if (msr_read(v, (uint32_t)v->gpr[GPR_RCX], &v->msr_value))
		return general_protection(v);
	v->gpr[GPR_RAX] = (uint32_t)v->msr_value;
	v->gpr[GPR_RDX] = v->msr_value >> 32;
	return VERDICT_ADVANCE;
}

static enum verdict handle_msr_write(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t value = v->gpr[GPR_RDX] << 32 | (uint32_t)v->gpr[GPR_RAX];

	(void)exit;
	if (msr_write(v, (uint32_t)v->gpr[GPR_RCX], value))
		return general_protection(v);
	return VERDICT_ADVANCE;
}

int exit_write_cr(struct vcpu *v, unsigned cr, uint64_t value)
{
	int refused;

	switch (cr) {
	case 3:
		return cr3_write(v, value);
	case 8:
		if (value > 15)
			return ERR_INVALID;
		lapic_set_cr8(&v->lapic, value);
		look_again(v, PENDING_EVALUATE);
		return 0;
	default:
		refused = cr ? v->engine->set_cr4(v, value) : v->engine->set_cr0(v, value);
		if (refused)
			return refused;
		virtual_mmu_update(v);
		if (!cr)
			real_mode_check(v);
		return 0;
	}
}

static enum verdict handle_cr_write(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t value = exit->cr.immediate ? exit->cr.value : vcpu_read_gpr(v, exit->cr.gpr);

	if (__builtin_expect(value >> 32 != 0, 0)) {
		struct vcpu_context context;

		v->engine->read_context(v, &context);
		if (!vcpu_in_64bit_code(&context))
			value = (uint32_t)value;
	}
	if (exit->cr.cr != 0 && exit->cr.cr != 4 && exit->cr.cr != 8) {
		vm_request(v->vm, VM_REQUEST_STOP, "write of a control register that should not exit");
		return VERDICT_STOP;
	}
	return exit_write_cr(v, exit->cr.cr, value) ? general_protection(v) : VERDICT_ADVANCE;
}

static enum verdict handle_cr_read(struct vcpu *v, struct vm_exit *exit)
{
	if (exit->cr.cr == 4) {
		vcpu_write_gpr(v, exit->cr.gpr, vcpu_read(v, VCPU_CR4));
		return VERDICT_ADVANCE;
	}
	if (exit->cr.cr == 0) {
		vcpu_write_gpr(v, exit->cr.gpr, vcpu_read(v, VCPU_CR0));
		return VERDICT_ADVANCE;
	}
	if (exit->cr.cr != 8) {
		vm_request(v->vm, VM_REQUEST_STOP, "read of a control register that should not exit");
		return VERDICT_STOP;
	}
	vcpu_write_gpr(v, exit->cr.gpr, lapic_cr8(&v->lapic));
	return VERDICT_ADVANCE;
}

static enum verdict handle_xsetbv(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t value = v->gpr[GPR_RDX] << 32 | (uint32_t)v->gpr[GPR_RAX];

	(void)exit;
	if ((uint32_t)v->gpr[GPR_RCX] != 0 || !cpuid_xcr0_valid(&v->vm->cpuid, value))
		return general_protection(v);
	v->xcr0 = value;
	core_set_xcr0(value);
	return VERDICT_ADVANCE;
}

static enum verdict handle_apic_write(struct vcpu *v, struct vm_exit *exit)
{
	lapic_write_done(&v->lapic, exit->apic.offset);
	look_again(v, PENDING_EVALUATE);
	return VERDICT_RESUME; /* trap-like: the instruction is over */
}

static enum verdict handle_eoi(struct vcpu *v, struct vm_exit *exit)
{
	lapic_eoi_vector(&v->lapic, exit->vector);
	return VERDICT_RESUME;
}

/* The engine has done what there was to do. */
static enum verdict handle_engine(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	(void)exit;
	return VERDICT_RESUME;
}

/* Guest memory is coherent and no device does DMA around the caches. */
static enum verdict handle_nothing(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	(void)exit;
	return VERDICT_ADVANCE;
}

static enum verdict handle_exception(struct vcpu *v, struct vm_exit *exit)
{
	const struct vcpu_event event = { EVENT_EXCEPTION, exit->exception.vector, exit->exception.has_error, exit->exception.error };

	v->engine->inject(v, &event);
	return VERDICT_INJECT;
}

static enum verdict handle_refused(struct vcpu *v, struct vm_exit *exit)
{
	vcpu_inject_exception(v, exit->vector, 0);
	return VERDICT_INJECT;
}

static enum verdict handle_triple_fault(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	vm_request(v->vm, VM_REQUEST_RESET, "triple fault");
	return VERDICT_RESUME;
}

static enum verdict handle_task_switch(struct vcpu *v, struct vm_exit *exit)
{
	log_line("vm %s: vcpu %u: hardware task switch to selector %04x, which Lamina does not emulate", v->vm->config.name, v->index,
		 exit->task.selector);
	vm_request(v->vm, VM_REQUEST_STOP, "hardware task switch");
	return VERDICT_STOP;
}

static enum verdict handle_machine_check(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	(void)exit;
	core_machine_check();
}

static enum verdict handle_entry_failed(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	vm_request(v->vm, VM_REQUEST_STOP, "VM entry failed");
	return VERDICT_STOP;
}

static enum verdict handle_unknown(struct vcpu *v, struct vm_exit *exit)
{
	log_line("vm %s: vcpu %u: exit reason %lu (qualification %lx) has no handler", v->vm->config.name, v->index, exit->raw.reason,
		 exit->raw.qualification);
	vm_request(v->vm, VM_REQUEST_STOP, "unexpected exit");
	return VERDICT_STOP;
}

static enum verdict (*const handlers[EXIT_KINDS])(struct vcpu *v, struct vm_exit *exit) = {
	[EXIT_EXTERNAL_INTERRUPT] = handle_external_interrupt,
	[EXIT_NMI] = handle_nmi,
	[EXIT_INTERRUPT_WINDOW] = handle_window,
	[EXIT_NMI_WINDOW] = handle_window,
	[EXIT_TPR_BELOW_THRESHOLD] = handle_window,
	[EXIT_CPUID] = handle_cpuid,
	[EXIT_HLT] = handle_hlt,
	[EXIT_IO] = handle_io,
	[EXIT_MSR_READ] = handle_msr_read,
	[EXIT_MSR_WRITE] = handle_msr_write,
	[EXIT_CR_WRITE] = handle_cr_write,
	[EXIT_CR_READ] = handle_cr_read,
	[EXIT_CR3_WRITE] = exit_cr3_write,
	[EXIT_CR3_READ] = exit_cr3_read,
	[EXIT_XSETBV] = handle_xsetbv,
	[EXIT_NESTED_FAULT] = exit_nested_fault,
	[EXIT_PAGE_FAULT] = exit_page_fault,
	[EXIT_INVLPG] = exit_invlpg,
	[EXIT_APIC_ACCESS] = exit_apic_access,
	[EXIT_APIC_WRITE] = handle_apic_write,
	[EXIT_EOI] = handle_eoi,
	[EXIT_WBINVD] = handle_nothing,
	[EXIT_PAUSE] = handle_nothing,
	[EXIT_TIME_SLICE] = handle_time_slice,
	[EXIT_EXCEPTION] = handle_exception,
	[EXIT_REFUSED] = handle_refused,
	[EXIT_TRIPLE_FAULT] = handle_triple_fault,
	[EXIT_TASK_SWITCH] = handle_task_switch,
	[EXIT_MACHINE_CHECK] = handle_machine_check,
	[EXIT_ENGINE] = handle_engine,
	[EXIT_ENTRY_FAILED] = handle_entry_failed,
	[EXIT_UNKNOWN] = handle_unknown,
};

bool vcpu_exit(struct vcpu *v)
{
	enum vm_exit_kind kind;
	enum verdict verdict;

	__atomic_store_n(&v->in_guest, false, __ATOMIC_RELEASE);
	/* In memory, not in registers that would have to be saved for it: this is the path of every exit. */
	v->exit_start = core_ticks();
	kind = v->exit.kind;
	v->exit_count[kind]++;
	verdict = handlers[kind](v, &v->exit);
	if (verdict == VERDICT_ADVANCE)
		v->engine->advance(v, v->exit.length);
	else if (__builtin_expect(verdict == VERDICT_STOP, 0))
		vcpu_dump(v);
	v->exit_ticks[v->exit.kind] += core_ticks() - v->exit_start;
	if (__builtin_expect(__atomic_load_n(&v->pending, __ATOMIC_RELAXED) == 0 && !v->kickable, 1))
		return true;
	return vcpu_may_enter(v);
}

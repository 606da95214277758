/* The dispatcher of exits, and those handlers that take a few lines. */
#include "vmm/exits/exit.h"

#include "lib/log.h"
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/access.h"
#include "vmm/exits/cpuid.h"
#include "vmm/exits/cpuid_bits.h"
#include "vmm/exits/exit_string_io.h"
#include "vmm/exits/handlers.h"
#include "vmm/exits/msr.h"
#include "vmm/interface/core.h"
#include "vmm/interface/platform.h"
#include "vmm/io/io_space.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/pending.h"

#define CPUID_LEAF_XSAVE 0xd

static const char *const names[EXIT_KINDS] = {
#define VM_EXIT_NAME(kind, cause, handler, name) name,
	VM_EXIT_KINDS(VM_EXIT_NAME)
#undef VM_EXIT_NAME
};

const char *vm_exit_name(enum vm_exit_kind kind)
{
	return names[kind];
}

enum stay_verdict handle_external_interrupt(struct vcpu *v, struct vm_exit *exit)
{
	if (exit->vector ? core_interrupt(exit->vector) : core_take_interrupts())
		vcpu_look_again(v, PENDING_TIMER);
	vcpu_take_wakeup(v);
	if (sched_should_yield(v))
		vcpu_look_again(v, PENDING_YIELD);
	return STAY_RESUME;
}

void exit_take_turn(struct vcpu *v)
{
	v->turn_start = core_ticks();
	(void)core_take_interrupts();
	vcpu_begin_turn(v);
	if (sched_should_yield(v))
		vcpu_look_again(v, PENDING_YIELD);
}

void exit_turn_is_over(struct vcpu *v)
{
	if (vcpu_read(v, VCPU_RFLAGS) & RFLAGS_IF)
		v->turn_start = v->exit_start;
	else
		exit_take_turn(v);
}

enum stay_verdict handle_time_slice(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	exit_take_turn(v);
	return STAY_RESUME;
}

enum stay_verdict handle_nmi(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	(void)exit;
	core_nmi();
	return STAY_RESUME;
}

enum stay_verdict handle_interrupt_window(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	v->engine->interrupt_window(v, false);
	vcpu_look_again(v, PENDING_EVALUATE);
	return STAY_RESUME;
}

enum stay_verdict handle_nmi_window(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	v->engine->nmi_window(v, false);
	vcpu_look_again(v, PENDING_EVALUATE);
	return STAY_RESUME;
}

enum stay_verdict handle_tpr_below_threshold(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	vcpu_look_again(v, PENDING_EVALUATE);
	return STAY_RESUME;
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

	cpuid_lookup(v->cpuid, &state, leaf, subleaf, out);
	if (leaf == 1 && !v->lapic.enabled)
		out[CPUID_EDX] &= ~(uint32_t)BIT(CPUID_1_APIC); /* SDM vol. 3, "Enabling or Disabling the Local APIC" */
}

__attribute__((noinline)) static enum verdict dynamic_cpuid(struct vcpu *v, uint32_t leaf)
{
	uint32_t out[4];

	exit_lookup_cpuid(v, leaf, (uint32_t)v->gpr[GPR_RCX], out);
	answer_cpuid(v, out);
	return VERDICT_ADVANCE;
}

enum verdict handle_cpuid(struct vcpu *v, struct vm_exit *exit)
{
	uint32_t leaf = (uint32_t)v->gpr[GPR_RAX];
	const uint32_t *row = cpuid_row(v->cpuid, leaf);

	(void)exit;
	if (__builtin_expect(!row, 0))
		return dynamic_cpuid(v, leaf);
	answer_cpuid(v, row);
	return VERDICT_ADVANCE;
}

enum verdict handle_hlt(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	/* A single-step trap ends HLT at once. */
	if (!(vcpu_read(v, VCPU_RFLAGS) & RFLAGS_TF))
		v->state = VCPU_HALTED;
	vcpu_look_again(v, PENDING_EVALUATE);
	return VERDICT_ADVANCE;
}

enum verdict handle_io(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t *rax = &v->gpr[GPR_RAX];

	if (__builtin_expect(exit->io.string, 0))
		return exit_string_io(v, exit);
	if (!exit->io.in) {
		io_space_write(v->pio, exit->io.port, exit->io.size, *rax);
		return VERDICT_ADVANCE;
	}
	exit_device_read(v);
	write_gpr(rax, exit->io.size, io_space_read(v->pio, exit->io.port, exit->io.size));
	return VERDICT_ADVANCE;
}

enum verdict handle_msr_read(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	if (msr_read(v, (uint32_t)v->gpr[GPR_RCX], &v->msr_value))
		return general_protection(v);
	v->gpr[GPR_RAX] = (uint32_t)v->msr_value;
	v->gpr[GPR_RDX] = v->msr_value >> 32;
	return VERDICT_ADVANCE;
}

enum verdict handle_msr_write(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t value = v->gpr[GPR_RDX] << 32 | (uint32_t)v->gpr[GPR_RAX];

	(void)exit;
	if (msr_write(v, (uint32_t)v->gpr[GPR_RCX], value))
		return general_protection(v);
	return VERDICT_ADVANCE;
}

enum verdict handle_rdpmc(struct vcpu *v, struct vm_exit *exit)
{
	struct vcpu_context *c = &v->context;
	uint64_t value;

	(void)exit;
	v->engine->read_context(v, c);
	/* A CPU may intercept before it checks the privilege. */
	if (c->cr0 & CR0_PE && !(c->cr4 & CR4_PCE) && c->ss_access >> 5 & 3)
		return general_protection(v);
	if (msr_read_counter(v, (uint32_t)v->gpr[GPR_RCX], &value))
		return general_protection(v);
	v->gpr[GPR_RAX] = (uint32_t)value;
	v->gpr[GPR_RDX] = value >> 32;
	return VERDICT_ADVANCE;
}

enum verdict handle_xsetbv(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t value = v->gpr[GPR_RDX] << 32 | (uint32_t)v->gpr[GPR_RAX];

	(void)exit;
	if ((uint32_t)v->gpr[GPR_RCX] != 0 || !cpuid_xcr0_valid(v->cpuid, value))
		return general_protection(v);
	v->xcr0 = value;
	core_set_xcr0(value);
	return VERDICT_ADVANCE;
}

enum stay_verdict handle_apic_write(struct vcpu *v, struct vm_exit *exit)
{
	lapic_write_done(&v->lapic, exit->apic.offset);
	vcpu_look_again(v, PENDING_EVALUATE);
	return STAY_RESUME; /* trap-like: the instruction is over */
}

enum stay_verdict handle_eoi(struct vcpu *v, struct vm_exit *exit)
{
	lapic_eoi_vector(&v->lapic, exit->vector);
	return STAY_RESUME;
}

/* The engine has done what there was to do. */
enum stay_verdict handle_engine(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	(void)exit;
	return STAY_RESUME;
}

/* Guest memory is coherent and no device does DMA around the caches. */
enum verdict handle_wbinvd(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	(void)exit;
	return VERDICT_ADVANCE;
}

enum verdict handle_pause(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	(void)exit;
	return VERDICT_ADVANCE;
}

enum stay_verdict handle_exception(struct vcpu *v, struct vm_exit *exit)
{
	const struct vcpu_event event = { EVENT_EXCEPTION, exit->exception.vector, exit->exception.has_error, exit->exception.error };

	v->engine->inject(v, &event);
	return STAY_INJECT;
}

enum stay_verdict handle_refused(struct vcpu *v, struct vm_exit *exit)
{
	vcpu_inject_exception(v, exit->vector, 0);
	return STAY_INJECT;
}

enum stay_verdict handle_triple_fault(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	vm_request(v->vm, VM_REQUEST_RESET, "triple fault");
	return STAY_RESUME;
}

enum stay_verdict handle_task_switch(struct vcpu *v, struct vm_exit *exit)
{
	log_line("vm %s: vcpu %u: hardware task switch to selector %04x, which Lamina does not emulate", v->vm_name, v->index,
		 exit->task.selector);
	vm_request(v->vm, VM_REQUEST_STOP, "hardware task switch");
	return STAY_STOP;
}

enum stay_verdict handle_machine_check(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	(void)exit;
	core_machine_check();
}

enum stay_verdict handle_entry_failed(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	vm_request(v->vm, VM_REQUEST_STOP, "VM entry failed");
	return STAY_STOP;
}

enum stay_verdict handle_unknown(struct vcpu *v, struct vm_exit *exit)
{
	log_line("vm %s: vcpu %u: exit reason %lu (qualification %lx) has no handler", v->vm_name, v->index, exit->raw.reason,
		 exit->raw.qualification);
	vm_request(v->vm, VM_REQUEST_STOP, "unexpected exit");
	return STAY_STOP;
}

/* C lets a pointer to a function that returns `unsigned` point to functions of both types of verdict, if this holds. */
_Static_assert(__builtin_types_compatible_p(enum verdict, unsigned) && __builtin_types_compatible_p(enum stay_verdict, unsigned),
	       "verdicts are unsigned");

static unsigned (*const handlers[EXIT_KINDS])(struct vcpu *v, struct vm_exit *exit) = {
#define VM_EXIT_HANDLER(kind, cause, handler, name) [EXIT_##kind] = (handler),
	VM_EXIT_KINDS(VM_EXIT_HANDLER)
#undef VM_EXIT_HANDLER
};

/* The guest does not go on. */
__attribute__((noinline)) static void stop(struct vcpu *v, unsigned verdict)
{
	if (verdict != VERDICT_STOP) {
		log_line("vm %s: vcpu %u: verdict %u on an exit (%s) is none", v->vm_name, v->index, verdict,
			 vm_exit_name(v->exit.kind));
		vm_request(v->vm, VM_REQUEST_STOP, "an exit without a verdict");
	}
	vcpu_dump(v);
}

bool vcpu_exit(struct vcpu *v)
{
	enum vm_exit_kind kind;
	unsigned verdict;

	vcpu_left_guest(v);
	/* In memory, not in registers that would have to be saved for it: this is the path of every exit. */
	v->exit_start = core_ticks();
	kind = v->exit.kind;
	v->exit_count[kind]++;
	verdict = handlers[kind](v, &v->exit);
	if (verdict == VERDICT_ADVANCE)
		v->engine->advance(v, v->exit.length);
	else if (__builtin_expect(verdict >= VERDICT_STOP, 0))
		stop(v, verdict);
	v->exit_ticks[v->exit.kind] += core_ticks() - v->exit_start;
	if (__builtin_expect(!vcpu_has_pending(v) && !v->kickable, 1))
		return true;
	return vcpu_may_enter(v);
}

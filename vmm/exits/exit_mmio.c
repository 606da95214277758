/* The exits of accesses to memory-mapped registers, which the emulator carries out. */
#include "lib/log.h"
#include "lib/x86/registers.h"
#include "vmm/exits/cpuid.h"
#include "vmm/exits/handlers.h"
#include "vmm/interface/platform.h"
#include "vmm/io/io_space.h"
#include "vmm/memory/layout.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/vcpu_emulator.h"

/* With shadow paging: a page that was a page table is written in a way that cannot be emulated (SSE, PUSH, an event's delivery). Unless a
 * vCPU has it as root, its shadow tables are dropped and the CPU does the write. That does not help where CR0.WP = 0 alone allows the
 * write. */
__attribute__((noinline)) static bool no_table_any_more(struct vcpu *v, uint64_t gpa)
{
	return v->shadow_mmu && v->shadow->paging.cr0 & CR0_WP && guest_ptr(v->memory, gpa, 1) &&
	       shadow_rewritten(v->shadow_mmu, gpa);
}

static inline __attribute__((always_inline)) enum verdict emulate_at(struct vcpu *v, struct vm_exit *exit, uint64_t gpa, unsigned access)
{
	int result;

	vcpu_emulator_load(v);
	v->emulator.fault_write = access & ACCESS_WRITE;
	result = emulate_mmio(&v->emulator, gpa, &v->emulated);
	/* The exit's own length is not defined for faults (SDM vol. 3, "Information for VM Exits Due to Instruction Execution"). */
	exit->length = v->emulated.length;
	if (__builtin_expect(result == EMULATE_UNSUPPORTED, 0) && no_table_any_more(v, gpa))
		result = EMULATE_RETRY;
	return vcpu_emulator_conclude(v, result, gpa);
}

/* A fault that is not at the operand of an instruction: there is nothing to emulate. */
__attribute__((noinline)) static enum verdict no_operand(struct vcpu *v, struct vm_exit *exit)
{
	if (exit->fault.translated && no_table_any_more(v, exit->fault.gpa))
		return VERDICT_RESUME; /* the engine has queued the event again */
	log_line("vm %s: vcpu %u: %s at guest-physical address %lx, where there is no memory", v->vm_name, v->index,
		 exit->fault.vectoring ? "the stack or table for an interrupt or exception is" : "page tables are", exit->fault.gpa);
	vm_request(v->vm, VM_REQUEST_STOP, "a table or stack outside memory");
	return VERDICT_STOP;
}

enum verdict handle_nested_fault(struct vcpu *v, struct vm_exit *exit)
{
	if (__builtin_expect(exit->fault.access & ACCESS_FETCH, 0)) {
		log_line("vm %s: vcpu %u: runs code at guest-physical address %lx, where there is no memory", v->vm_name, v->index,
			 exit->fault.gpa);
		vm_request(v->vm, VM_REQUEST_STOP, "code outside memory");
		return VERDICT_STOP;
	}
	if (__builtin_expect(!exit->fault.translated || exit->fault.vectoring, 0))
		return no_operand(v, exit);
	return emulate_at(v, exit, exit->fault.gpa, exit->fault.access);
}

enum verdict handle_apic_access(struct vcpu *v, struct vm_exit *exit)
{
	if (!exit->apic.linear) {
		vm_request(v->vm, VM_REQUEST_STOP, "code, a table or a stack in the local APIC's registers");
		return VERDICT_STOP;
	}
	return emulate_at(v, exit, LAYOUT_LAPIC + exit->apic.offset, exit->apic.access);
}

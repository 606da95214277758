/* Events for the guest, and the ways to hear when it can take them. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/vmx/vmx.h"
#include "lib/x86/registers.h"

bool vmx_can_inject(struct vcpu *v, enum vcpu_event_type type)
{
	uint32_t blocking;

	(void)v;
	if (vmread32(VMCS_ENTRY_INTERRUPTION) & EVENT_VALID)
		return false;
	blocking = vmread32(VMCS_GUEST_INTERRUPTIBILITY);
	if (type == EVENT_NMI)
		return !(blocking & (INTERRUPTIBILITY_NMI | INTERRUPTIBILITY_MOV_SS | INTERRUPTIBILITY_STI));
	return !(blocking & (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)) && vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF;
}

static bool contributory(uint8_t vector)
{
	return vector == 0 || (vector >= 10 && vector <= 13);
}

void vmx_inject(struct vcpu *v, const struct vcpu_event *event)
{
	uint32_t queued = vmread32(VMCS_ENTRY_INTERRUPTION);
	uint32_t info = event->vector | EVENT_VALID;
	uint32_t error = event->error;

	if (event->type == EVENT_NMI) {
		info |= EVENT_KIND_NMI << EVENT_KIND_SHIFT;
	} else if (event->type == EVENT_EXCEPTION) {
		info |= EVENT_KIND_EXCEPTION << EVENT_KIND_SHIFT;
		if (event->has_error)
			info |= EVENT_HAS_ERROR;
		/* An exception during the delivery of another one (SDM vol. 3, "Double Fault Exception"). */
		if (queued & EVENT_VALID && (queued >> EVENT_KIND_SHIFT & 7) == EVENT_KIND_EXCEPTION) {
			uint8_t first = (uint8_t)queued;

			if (first == 8) {
				vm_request(v->vm, VM_REQUEST_RESET, "triple fault");
				return;
			}
			if ((contributory(first) && contributory(event->vector)) ||
			    (first == 14 && (contributory(event->vector) || event->vector == 14))) {
				info = 8 | EVENT_VALID | EVENT_HAS_ERROR | EVENT_KIND_EXCEPTION << EVENT_KIND_SHIFT;
				error = 0;
			}
		}
		/* A fault's saved RFLAGS has RF set (SDM vol. 3, "Exceptions and RF"); #DB may be a trap and was reflected with the right value. */
		if (event->vector != 1)
			vmwrite(VMCS_GUEST_RFLAGS, vmread(VMCS_GUEST_RFLAGS) | RFLAGS_RF);
	}
	if (info & EVENT_HAS_ERROR) {
		vmwrite32(VMCS_ENTRY_ERROR_CODE, error);
		/* Real mode has no error codes (SDM vol. 3, checks on VM-entry controls). PE is never the guest's own. */
		if (!(vmread(VMCS_CR0_SHADOW) & CR0_PE))
			info &= ~(uint32_t)EVENT_HAS_ERROR;
	}
	vmwrite32(VMCS_ENTRY_INTERRUPTION, info);
}

bool vmx_nmi_in_service(struct vcpu *v)
{
	uint32_t queued = vmread32(VMCS_ENTRY_INTERRUPTION);

	(void)v;
	return (queued & EVENT_VALID && (queued >> EVENT_KIND_SHIFT & 7) == EVENT_KIND_NMI) ||
	       vmread32(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_NMI;
}

bool vmx_take_event(struct vcpu *v, struct vcpu_event *event)
{
	uint32_t info = vmread32(VMCS_ENTRY_INTERRUPTION), type = info >> EVENT_KIND_SHIFT & 7;

	(void)v;
	if (!(info & EVENT_VALID))
		return false;
	vmwrite32(VMCS_ENTRY_INTERRUPTION, 0);
	event->type = type == EVENT_KIND_INTERRUPT ? EVENT_INTERRUPT : type == EVENT_KIND_NMI ? EVENT_NMI : EVENT_EXCEPTION;
	event->vector = (uint8_t)info;
	event->has_error = info & EVENT_HAS_ERROR;
	event->error = event->has_error ? vmread32(VMCS_ENTRY_ERROR_CODE) : 0;
	return true;
}

void vmx_requeue_vectoring(void)
{
	uint32_t info = vmread32(VMCS_IDT_VECTORING);
	uint32_t type = info >> EVENT_KIND_SHIFT & 7;

	if (!(info & EVENT_VALID))
		return;
	if (info & EVENT_HAS_ERROR)
		vmwrite32(VMCS_ENTRY_ERROR_CODE, vmread32(VMCS_IDT_VECTORING_ERROR));
	if (type >= EVENT_KIND_SOFT_INTERRUPT)
		vmwrite32(VMCS_ENTRY_INSTRUCTION_LENGTH, vmread32(VMCS_EXIT_INSTRUCTION_LENGTH));
	if (type == EVENT_KIND_NMI) /* its delivery set the blocking, and begins again */
		vmwrite32(VMCS_GUEST_INTERRUPTIBILITY, vmread32(VMCS_GUEST_INTERRUPTIBILITY) & ~(uint32_t)INTERRUPTIBILITY_NMI);
	vmwrite32(VMCS_ENTRY_INTERRUPTION, info & ~EVENT_NMI_UNBLOCKING);
}

static void set_proc(struct vcpu *v, uint32_t bit, bool on)
{
	struct vmx_vcpu *x = vmx_of(v);
	uint32_t proc = on ? x->proc | bit : x->proc & ~bit;

	if (proc == x->proc)
		return;
	x->proc = proc;
	vmwrite32(VMCS_PROCESSOR_CONTROLS, proc);
}

void vmx_interrupt_window(struct vcpu *v, bool on)
{
	set_proc(v, PROC_INTERRUPT_WINDOW, on);
}

void vmx_nmi_window(struct vcpu *v, bool on)
{
	/* A CPU need not hold the NMI window back for STI's shadow; the interrupt window opens after it, since IF is 1 then. */
	if (on && vmread32(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_STI)
		set_proc(v, PROC_INTERRUPT_WINDOW, true);
	else
		set_proc(v, PROC_NMI_WINDOW, on);
}

void vmx_tpr_threshold(struct vcpu *v, unsigned threshold)
{
	if (!v->hw_delivery)
		vmwrite32(VMCS_TPR_THRESHOLD, threshold);
}

void vmx_virtual_interrupts(struct vcpu *v, uint8_t highest_irr, uint8_t highest_isr)
{
	(void)v;
	vmwrite16(VMCS_GUEST_INTERRUPT_STATUS, (uint16_t)(highest_isr << 8 | highest_irr));
}

void vmx_eoi_exits(struct vcpu *v, const uint64_t bitmap[4])
{
	(void)v;
	vmwrite64(VMCS_EOI_EXIT_0, bitmap[0]);
	vmwrite64(VMCS_EOI_EXIT_1, bitmap[1]);
	vmwrite64(VMCS_EOI_EXIT_2, bitmap[2]);
	vmwrite64(VMCS_EOI_EXIT_3, bitmap[3]);
}

void vmx_apic_mode(struct vcpu *v, enum vcpu_apic_mode mode)
{
	struct vmx_vcpu *x = vmx_of(v);
	const struct vmx_vm *vm = v->engine_vm->hw;
	uint32_t proc2 = x->proc2 & ~(uint32_t)(PROC2_APIC_ACCESSES | PROC2_X2APIC_MODE | PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY);

	if (mode != APIC_MODE_DISABLED)
		proc2 |= PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY | (mode == APIC_MODE_X2APIC ? PROC2_X2APIC_MODE : PROC2_APIC_ACCESSES);
	vmwrite64(VMCS_MSR_BITMAP, mode == APIC_MODE_X2APIC ? vm->msr_bitmap_x2apic : vm->msr_bitmap);
	if (proc2 == x->proc2)
		return;
	x->proc2 = proc2;
	vmwrite32(VMCS_SECONDARY_CONTROLS, proc2);
	/* Translations of the APIC-access page may be cached with the other mode's meaning (SDM vol. 3, "Virtualizing APIC Accesses"). */
	vmx_flush(v);
}

/* From the VMCS's exit information to the neutral struct vm_exit (SDM vol. 3, "VM-Exit Information Fields"). */
#include "arch/x86_64/vmx/vmx.h"
#include "lib/log.h"
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "vmm/exits/exit.h"

/* SDM vol. 3, appendix C, "VMX Basic Exit Reasons". */
enum {
	REASON_EXCEPTION_NMI = 0,
	REASON_EXTERNAL_INTERRUPT = 1,
	REASON_TRIPLE_FAULT = 2,
	REASON_INTERRUPT_WINDOW = 7,
	REASON_NMI_WINDOW = 8,
	REASON_TASK_SWITCH = 9,
	REASON_CPUID = 10,
	REASON_GETSEC = 11,
	REASON_HLT = 12,
	REASON_INVD = 13,
	REASON_INVLPG = 14,
	REASON_RDPMC = 15,
	REASON_VMCALL = 18,
	REASON_VMXON = 27,
	REASON_CR_ACCESS = 28,
	REASON_IO = 30,
	REASON_RDMSR = 31,
	REASON_WRMSR = 32,
	REASON_MWAIT = 36,
	REASON_MONITOR = 39,
	REASON_PAUSE = 40,
	REASON_ENTRY_MACHINE_CHECK = 41,
	REASON_TPR_BELOW_THRESHOLD = 43,
	REASON_APIC_ACCESS = 44,
	REASON_VIRTUALIZED_EOI = 45,
	REASON_PREEMPTION_TIMER = 52,
	REASON_EPT_VIOLATION = 48,
	REASON_EPT_MISCONFIGURATION = 49,
	REASON_INVEPT = 50,
	REASON_INVVPID = 53,
	REASON_WBINVD = 54,
	REASON_XSETBV = 55,
	REASON_APIC_WRITE = 56,
	REASON_VMFUNC = 59,
};

#define REASON_ENTRY_FAILED BIT(31)

/* Most exits happen outside the delivery of an event. */
static inline bool requeue_vectoring(void)
{
	bool vectoring = vmread32(VMCS_IDT_VECTORING) & EVENT_VALID;

	if (__builtin_expect(vectoring, 0))
		vmx_requeue_vectoring();
	return vectoring;
}

/* What the delivery of a #DB finds done. */
static __attribute__((noinline)) void prepare_debug_exception(struct vcpu *v, uint32_t length, uint32_t info)
{
	uint64_t dr6 = vmx_read(v, VCPU_DR6);

	/* The CPU leaves DR6 and DR7.GD as they were: the exit comes first (SDM vol. 3, "Architectural State Before a VM Exit"). */
	vmx_write(v, VCPU_DR6, (dr6 & ~0xfUL) | (vmread(VMCS_EXIT_QUALIFICATION) & 0x600f));
	vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~BIT(13));
	/* INT1 is a trap: its #DB finds RIP behind it. Here, as DR6 above, this is part of the state that the exception is
	 * delivered with, which the CPU leaves to do; no instruction is found carried out. */
	if ((info >> EVENT_KIND_SHIFT & 7) == EVENT_KIND_PRIVILEGED)
		vmwrite(VMCS_GUEST_RIP, vmread(VMCS_GUEST_RIP) + length);
	/* The delivery ends the shadow of STI or MOV SS; with it, VM entry would want a pending single step. */
	vmwrite32(VMCS_GUEST_INTERRUPTIBILITY,
		  vmread32(VMCS_GUEST_INTERRUPTIBILITY) & ~(uint32_t)(INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS));
}

static enum vm_exit_kind decode_exception(struct vcpu *v, struct vm_exit *exit)
{
	uint32_t info = vmread32(VMCS_EXIT_INTERRUPTION);

	if ((info >> EVENT_KIND_SHIFT & 7) == EVENT_KIND_NMI) {
		vmx_unblock_nmi();
		return EXIT_NMI;
	}
	if ((uint8_t)info == VECTOR_PF) { /* intercepted with shadow paging only */
		exit->page_fault.linear = vmread(VMCS_EXIT_QUALIFICATION);
		exit->page_fault.error = vmread32(VMCS_EXIT_ERROR_CODE);
		exit->page_fault.vectoring = requeue_vectoring();
		/* As in decode_ept_violation(). */
		if (__builtin_expect(info & EVENT_NMI_UNBLOCKING && !exit->page_fault.vectoring, 0))
			vmwrite32(VMCS_GUEST_INTERRUPTIBILITY, vmread32(VMCS_GUEST_INTERRUPTIBILITY) | INTERRUPTIBILITY_NMI);
		return EXIT_PAGE_FAULT;
	}
	exit->exception.vector = (uint8_t)info;
	exit->exception.has_error = info & EVENT_HAS_ERROR;
	exit->exception.error = exit->exception.has_error ? vmread32(VMCS_EXIT_ERROR_CODE) : 0;
	if (exit->exception.vector == VECTOR_MC)
		return EXIT_MACHINE_CHECK;
	if (exit->exception.vector == VECTOR_DB)
		prepare_debug_exception(v, exit->length, info);
	requeue_vectoring();
	return EXIT_EXCEPTION;
}

/* SDM vol. 3, table "Exit Qualification for I/O Instructions". */
static enum vm_exit_kind decode_io(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t q = vmread(VMCS_EXIT_QUALIFICATION);

	exit->io.size = (uint8_t)((q & 7) + 1);
	exit->io.in = q & BIT(3);
	exit->io.string = q & BIT(4);
	exit->io.rep = q & BIT(5);
	exit->io.port = (uint16_t)(q >> 16);
	(void)v;
	if (__builtin_expect(exit->io.string, 0)) {
		uint32_t info = vmread32(VMCS_EXIT_INSTRUCTION_INFO);

		exit->io.address_size = (uint8_t)(2U << (info >> 7 & 7));
		exit->io.segment = info >> 15 & 7;
	}
	return EXIT_IO;
}

static __attribute__((noinline)) enum vm_exit_kind decode_other_cr(struct vm_exit *exit, uint64_t q)
{
	exit->cr.cr = q & 15;
	switch (q >> 4 & 3) {
	case 0:
		return EXIT_CR_WRITE;
	case 1:
		return EXIT_CR_READ;
	case 2:
		return EXIT_CLTS;
	default:
		exit->cr.operand = MSW_VALUE;
		exit->cr.value = (uint16_t)(q >> 16);
		return EXIT_LMSW;
	}
}

/* SDM vol. 3, table "Exit Qualification for Control-Register Accesses". A kernel with page-table isolation reads and writes CR3 twice a
 * system call. */
static enum vm_exit_kind decode_cr(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t q = vmread(VMCS_EXIT_QUALIFICATION);

	(void)v;
	exit->cr.gpr = q >> 8 & 15;
	if ((q & 0x2f) == 3)
		return q & 0x10 ? EXIT_CR3_READ : EXIT_CR3_WRITE;
	return decode_other_cr(exit, q);
}

/* SDM vol. 3, table "Exit Qualification for EPT Violations". */
static enum vm_exit_kind decode_ept_violation(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t q = vmread(VMCS_EXIT_QUALIFICATION);

	exit->fault.gpa = vmread64(VMCS_GUEST_PHYSICAL_ADDRESS);
	exit->fault.access = (uint8_t)(q & 7);
	exit->fault.translated = (q & (BIT(7) | BIT(8))) == (BIT(7) | BIT(8));
	/* An IRET that faulted had unblocked NMIs already; without this they would be lost to the guest until its next IRET. */
	if (__builtin_expect(q & BIT(12) && !(vmread32(VMCS_IDT_VECTORING) & EVENT_VALID), 0))
		vmwrite32(VMCS_GUEST_INTERRUPTIBILITY, vmread32(VMCS_GUEST_INTERRUPTIBILITY) | INTERRUPTIBILITY_NMI);
	(void)v;
	exit->fault.vectoring = requeue_vectoring();
	return EXIT_NESTED_FAULT;
}

static enum vm_exit_kind decode_apic_access(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t q = vmread(VMCS_EXIT_QUALIFICATION);
	unsigned type = q >> 12 & 15;

	exit->apic.offset = q & 0xfff;
	exit->apic.access = type == 1 ? ACCESS_WRITE : type == 2 ? ACCESS_FETCH : ACCESS_READ;
	(void)v;
	exit->apic.linear = !requeue_vectoring() && type <= 1;
	return EXIT_APIC_ACCESS;
}

static enum vm_exit_kind decode_external_interrupt(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	exit->vector = (uint8_t)vmread32(VMCS_EXIT_INTERRUPTION);
	return EXIT_EXTERNAL_INTERRUPT;
}

static enum vm_exit_kind decode_task_switch(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	exit->task.selector = (uint16_t)vmread(VMCS_EXIT_QUALIFICATION);
	return EXIT_TASK_SWITCH;
}

static enum vm_exit_kind decode_eoi(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	exit->vector = (uint8_t)vmread(VMCS_EXIT_QUALIFICATION);
	return EXIT_EOI;
}

static enum vm_exit_kind decode_apic_write(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	exit->apic.offset = vmread(VMCS_EXIT_QUALIFICATION) & 0xfff;
	return EXIT_APIC_WRITE;
}

static enum vm_exit_kind decode_invlpg(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	exit->page_fault.linear = vmread(VMCS_EXIT_QUALIFICATION);
	return EXIT_INVLPG;
}

/* The instruction that lowered the TPR is over, and with it the shadow of the one before: VM entry itself never causes this exit, as the
 * threshold is not above the TPR then. (Bochs 2.7 reports a MOV SS before a MOV to CR8 as still blocking.) */
static enum vm_exit_kind decode_tpr(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	(void)exit;
	vmwrite32(VMCS_GUEST_INTERRUPTIBILITY,
		  vmread32(VMCS_GUEST_INTERRUPTIBILITY) & ~(uint32_t)(INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS));
	return EXIT_TPR_BELOW_THRESHOLD;
}

static enum vm_exit_kind decode_undefined(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	exit->vector = VECTOR_UD;
	return EXIT_REFUSED;
}

static enum vm_exit_kind decode_unknown(struct vcpu *v, struct vm_exit *exit)
{
	(void)v;
	exit->raw.reason = vmread32(VMCS_EXIT_REASON);
	exit->raw.qualification = vmread(VMCS_EXIT_QUALIFICATION);
	return EXIT_UNKNOWN;
}

static enum vm_exit_kind decode_entry_failure(struct vcpu *v, struct vm_exit *exit)
{
	exit->raw.reason = vmread32(VMCS_EXIT_REASON) & 0xffff;
	exit->raw.qualification = vmread(VMCS_EXIT_QUALIFICATION);
	log_line("vm %s: vcpu %u: VM entry failed, exit reason %lu, qualification %lu", v->vm_name, v->index, exit->raw.reason,
		 exit->raw.qualification);
	vmx_explain_entry_failure(v);
	return EXIT_ENTRY_FAILED;
}

/* For each reason the kind, or the function that reads the rest of the exit information and returns the kind; a reason that has neither is
 * unknown. */
struct decoder {
	enum vm_exit_kind (*decode)(struct vcpu *v, struct vm_exit *exit);
	enum vm_exit_kind kind;
};

#define REASONS 64
#define FAILED REASONS        /* VM entry failed */
#define UNKNOWN (REASONS + 1) /* a reason of a CPU that is newer than this table */

static const struct decoder decoders[REASONS + 2] = {
	[REASON_EXCEPTION_NMI] = { .decode = decode_exception },
	[REASON_EXTERNAL_INTERRUPT] = { .decode = decode_external_interrupt },
	[REASON_TRIPLE_FAULT] = { .kind = EXIT_TRIPLE_FAULT },
	[REASON_INTERRUPT_WINDOW] = { .kind = EXIT_INTERRUPT_WINDOW },
	[REASON_NMI_WINDOW] = { .kind = EXIT_NMI_WINDOW },
	[REASON_TASK_SWITCH] = { .decode = decode_task_switch },
	[REASON_CPUID] = { .kind = EXIT_CPUID },
	[REASON_GETSEC] = { .decode = decode_undefined },
	[REASON_HLT] = { .kind = EXIT_HLT },
	[REASON_INVD] = { .kind = EXIT_WBINVD },
	[REASON_INVLPG] = { .decode = decode_invlpg },
	[REASON_RDPMC] = { .kind = EXIT_RDPMC },
	[REASON_VMCALL ... REASON_VMXON] = { .decode = decode_undefined },
	[REASON_CR_ACCESS] = { .decode = decode_cr },
	[REASON_IO] = { .decode = decode_io },
	[REASON_RDMSR] = { .kind = EXIT_MSR_READ },
	[REASON_WRMSR] = { .kind = EXIT_MSR_WRITE },
	[REASON_MWAIT] = { .decode = decode_undefined },
	[REASON_MONITOR] = { .decode = decode_undefined },
	[REASON_PAUSE] = { .kind = EXIT_PAUSE },
	[REASON_ENTRY_MACHINE_CHECK] = { .kind = EXIT_MACHINE_CHECK },
	[REASON_TPR_BELOW_THRESHOLD] = { .decode = decode_tpr },
	[REASON_APIC_ACCESS] = { .decode = decode_apic_access },
	[REASON_VIRTUALIZED_EOI] = { .decode = decode_eoi },
	[REASON_EPT_VIOLATION] = { .decode = decode_ept_violation },
	[REASON_INVEPT] = { .decode = decode_undefined },
	[REASON_PREEMPTION_TIMER] = { .kind = EXIT_TIME_SLICE },
	[REASON_INVVPID] = { .decode = decode_undefined },
	[REASON_WBINVD] = { .kind = EXIT_WBINVD },
	[REASON_XSETBV] = { .kind = EXIT_XSETBV },
	[REASON_APIC_WRITE] = { .decode = decode_apic_write },
	[REASON_VMFUNC] = { .decode = decode_undefined },
	[FAILED] = { .decode = decode_entry_failure },
};

bool vmx_handle_exit(struct vcpu *v)
{
	uint32_t reason = vmread32(VMCS_EXIT_REASON);
	const struct decoder *decoder = &decoders[reason < REASONS ? reason : reason & REASON_ENTRY_FAILED ? FAILED : UNKNOWN];
	enum vm_exit_kind kind = decoder->kind;

	/* The length is undefined where no instruction caused the exit; no handler looks at it then. */
	v->exit.length = vmread32(VMCS_EXIT_INSTRUCTION_LENGTH);
	if (kind == EXIT_UNKNOWN)
		kind = decoder->decode ? decoder->decode(v, &v->exit) : decode_unknown(v, &v->exit);
	v->exit.kind = kind;
	return vcpu_exit(v);
}

/* From the VMCB's exit information to the neutral struct vm_exit (APM vol. 2, "#VMEXIT", "Instruction Intercepts", "Exception
 * Intercepts"). */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/svm/svm.h"
#include "arch/x86_64/traps.h"
#include "lib/log.h"
#include "lib/x86/msr.h"
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/decode.h"
#include "vmm/exits/exit.h"
#include "vmm/exits/exit_instruction.h"
#include "vmm/vcpu/pending.h"

/* APM vol. 2, appendix C, "SVM Intercept Exit Codes". */
enum {
	CODE_CR_READ = 0x00,
	CODE_CR_WRITE = 0x10,
	CODE_EXCEPTION = 0x40,
	CODE_INTR = 0x60,
	CODE_NMI = 0x61,
	CODE_VINTR = 0x64,
	CODE_CR0_SELECTIVE_WRITE = 0x65,
	CODE_RDPMC = 0x6f,
	CODE_CPUID = 0x72,
	CODE_IRET = 0x74,
	CODE_INVD = 0x76,
	CODE_HLT = 0x78,
	CODE_INVLPG = 0x79,
	CODE_INVLPGA = 0x7a,
	CODE_IOIO = 0x7b,
	CODE_MSR = 0x7c,
	CODE_TASK_SWITCH = 0x7d,
	CODE_SHUTDOWN = 0x7f,
	CODE_VMRUN = 0x80,
	CODE_SKINIT = 0x86,
	CODE_WBINVD = 0x89,
	CODE_MONITOR = 0x8a,
	CODE_MWAIT_ARMED = 0x8c,
	CODE_XSETBV = 0x8d,
	CODE_RDPRU = 0x8e,
	CODE_INVPCID = 0xa2,
	CODE_MCOMMIT = 0xa3,
	CODE_NESTED_FAULT = 0x400,
};

#define CODE_INVALID 0xffffffffU /* VMRUN refused the state. 64 bits of ones; some leave the upper half 0 */

#define MCG_STATUS_MCIP BIT(2)

static inline bool hand_on(struct vcpu *v, enum vm_exit_kind kind)
{
	v->exit.kind = kind;
	return vcpu_exit(v);
}

/* Whether the exit came in the middle of an event's delivery. An exit that an instruction causes cannot. */
static inline bool delivering(const struct vmcb *b)
{
	return b->exit_interrupt_info & EVENT_VALID;
}

static enum vm_exit_kind decode_unknown(struct vcpu *v, struct vm_exit *exit)
{
	exit->raw.reason = vmcb_of(v)->exit_code;
	exit->raw.qualification = vmcb_of(v)->exit_info1;
	return EXIT_UNKNOWN;
}

static enum vm_exit_kind decode_refused(struct vcpu *v, uint8_t vector)
{
	v->exit.vector = vector;
	return EXIT_REFUSED;
}

static enum vm_exit_kind decode_exception(struct vcpu *v, struct vm_exit *exit)
{
	struct svm_vcpu *x = svm_of(v);
	struct vmcb *b = &x->vmcb;

	exit->exception.vector = (uint8_t)(b->exit_code - CODE_EXCEPTION);
	exit->exception.has_error = vector_has_error_code(exit->exception.vector);
	exit->exception.error = exit->exception.has_error ? (uint32_t)b->exit_info1 : 0;
	if (exit->exception.vector == VECTOR_MC)
		return EXIT_MACHINE_CHECK;
	if (exit->exception.vector == VECTOR_DB) {
		if (__builtin_expect(svm_step_done(v), 0)) {
			b->dr6 &= ~DR6_BS;
			svm_changed(b, CLEAN_DR);
			if (!(b->dr6 & 0xf))
				return EXIT_NMI_WINDOW;
		}
		/* DR6 is up to date; the delivery would have cleared DR7.GD and ended the shadow of STI or MOV SS. */
		b->dr7 &= ~DR7_GD;
		b->interrupt_shadow = 0;
		svm_changed(b, CLEAN_DR);
	}
	return EXIT_EXCEPTION;
}

/* APM vol. 2, "IOIO Intercept": EXITINFO1, and the next RIP in EXITINFO2. */
static inline void decode_io(const struct vmcb *b, struct vm_exit *exit)
{
	uint64_t q = b->exit_info1;

	exit->io.size = q >> 4 & 7;
	exit->io.in = q & BIT(0);
	exit->io.string = q & BIT(2);
	exit->io.rep = q & BIT(3);
	exit->io.port = (uint16_t)(q >> 16);
	exit->length = (uint32_t)(b->exit_info2 - b->rip);
	if (__builtin_expect(exit->io.string, 0)) {
		/* Without decode assists the segment is not there: 0 has the instruction read. */
		exit->io.address_size = svm_features.decode_assists ? (uint8_t)((q >> 7 & 7) << 1) : 0;
		exit->io.segment = q >> 10 & 7;
	}
}

static enum vm_exit_kind cr_kind(const struct vm_exit *exit, bool read)
{
	if (exit->cr.cr == 3)
		return read ? EXIT_CR3_READ : EXIT_CR3_WRITE;
	return read ? EXIT_CR_READ : EXIT_CR_WRITE;
}

/* The instruction, by memory where it has no memory operand: for one, the emulator must be loaded. */
static const struct insn *cr_instruction(struct vcpu *v, const struct vmcb *b)
{
	struct insn_memo *memo = insn_memo_in_space(&v->emulator.code, b->rip, b->cr3);

	if (insn_memo_holds(memo, b->rip, b->cr3) && !(memo->insn.flags & INSN_MEM))
		return &memo->insn;
	return exit_instruction(v, memo, b->cr3);
}

/* LMSW and SMSW: ModRM has the operand. */
static enum vm_exit_kind decode_msw(struct vm_exit *exit, const struct insn *insn)
{
	exit->cr.operand = insn->flags & INSN_MEM ? MSW_MEMORY : MSW_GPR;
	exit->cr.insn = insn;
	exit->cr.size = insn->operand_size;
	switch (insn->modrm >> 3 & 7) {
	case 4:
		return EXIT_SMSW;
	case 6:
		return EXIT_LMSW;
	default:
		return EXIT_ENGINE;
	}
}

/* Control-register accesses. Decode assists name the register of a MOV; CLTS, LMSW and SMSW, and CPUs without them, are for the decoder. */
static enum vm_exit_kind decode_cr(struct vcpu *v, struct vm_exit *exit)
{
	struct vmcb *b = vmcb_of(v);
	const struct insn *insn;

	exit->cr.cr = b->exit_code == CODE_CR0_SELECTIVE_WRITE ? 0 : b->exit_code & 15;
	if (svm_features.decode_assists && b->exit_info1 & BIT(63)) {
		exit->cr.gpr = b->exit_info1 & 15;
		return cr_kind(exit, b->exit_code < CODE_CR_WRITE);
	}
	insn = cr_instruction(v, b);
	if (!insn || insn->map != MAP_0F)
		return EXIT_ENGINE; /* another vCPU has changed the code: look again */
	exit->length = insn->length;
	exit->cr.gpr = (insn->modrm & 7) | (insn->rex & 1) << 3; /* MOV CR ignores the mod field */
	switch (insn->opcode) {
	case 0x20:
		return cr_kind(exit, true);
	case 0x22:
		return cr_kind(exit, false);
	case 0x06:
		return EXIT_CLTS;
	case 0x01:
		return decode_msw(exit, insn);
	default:
		return EXIT_ENGINE;
	}
}

/* Intercepted with shadow paging; with nested paging only while Lamina steps the guest, whose own fault it is then. CR2 is as it was
 * (APM vol. 2, "#PF (Page Fault)"). */
static enum vm_exit_kind decode_page_fault(struct vcpu *v, struct vm_exit *exit)
{
	const struct vmcb *b = vmcb_of(v);

	if (__builtin_expect(!v->shadow, 0)) {
		svm_write(v, VCPU_CR2, b->exit_info2);
		return decode_exception(v, exit);
	}
	exit->page_fault.linear = b->exit_info2;
	exit->page_fault.error = (uint32_t)b->exit_info1;
	exit->page_fault.vectoring = delivering(b);
	return EXIT_PAGE_FAULT;
}

static enum vm_exit_kind decode_invlpg(struct vcpu *v, struct vm_exit *exit)
{
	const struct insn *insn;

	if (svm_features.decode_assists) {
		exit->page_fault.linear = vmcb_of(v)->exit_info1;
		return EXIT_INVLPG;
	}
	insn = exit_instruction(v, insn_memo_at(&v->emulator.code, vmcb_of(v)->rip), vmcb_of(v)->cr3);
	if (!insn || !(insn->flags & INSN_MEM))
		return EXIT_ENGINE; /* another vCPU has changed the code: look again */
	exit->length = insn->length;
	exit->page_fault.linear = exit_operand_linear(v, insn);
	return EXIT_INVLPG;
}

/* APM vol. 2, "Nested versus Guest Page Faults, Fault Ordering": EXITINFO1. */
static inline void decode_nested_fault(const struct vmcb *b, struct vm_exit *exit)
{
	uint64_t q = b->exit_info1;

	exit->fault.gpa = b->exit_info2;
	exit->fault.access = q & BIT(4) ? ACCESS_FETCH : q & BIT(1) ? ACCESS_WRITE : ACCESS_READ;
	exit->fault.translated = !(q & BIT(33));
	exit->fault.vectoring = b->exit_interrupt_info & EVENT_VALID;
}

/* Whether the guest is at a MOV to CR3 or CR4 of a value with reserved bits. CLTS and LMSW do not come here, and CPL 0 has been checked. */
static bool at_wrong_cr_write(struct vcpu *v, const struct vmcb *b)
{
	const struct insn *insn = exit_instruction(v, insn_memo_at(&v->emulator.code, b->rip), b->cr3);
	uint64_t value, width = v->emulator.paging.maxphyaddr;
	unsigned cr;

	if (!insn || insn->encoding != ENCODING_LEGACY || insn->map != MAP_0F || insn->opcode != 0x22)
		return false;
	cr = (insn->modrm >> 3 & 7) | (insn->rex & 4) << 1;
	value = vcpu_read_gpr(v, (insn->modrm & 7) | (insn->rex & 1) << 3);
	if (!(b->efer & EFER_LMA && b->cs.attributes & ATTRIBUTE_L))
		value = (uint32_t)value;
	if (cr == 3)
		return value >> width & ~(b->cr4 & CR4_PCIDE ? BIT(63 - width) : 0);
	return cr == 4 && value & ~svm_of(v)->cr4_offered;
}

/* QEMU 7.2 ends a MOV to CR3 or CR4 with reserved bits, where no intercept is set, in VMEXIT_INVALID at that instruction; a CPU raises #GP. An
 * intercept of every MOV would cost all others an exit. */
static enum vm_exit_kind decode_entry_failure(struct vcpu *v, struct vm_exit *exit)
{
	if (svm_explain_entry_failure(v, false) == 0 && at_wrong_cr_write(v, vmcb_of(v)))
		return decode_refused(v, VECTOR_GP);
	exit->raw.reason = vmcb_of(v)->exit_code;
	exit->raw.qualification = 0;
	log_line("vm %s: vcpu %u: VMRUN refused the guest's state (VMEXIT_INVALID)", v->vm_name, v->index);
	(void)svm_explain_entry_failure(v, true);
	return EXIT_ENTRY_FAILED;
}

/* The exits that dispatch() leaves out, because they are rare or have much to decode. */
__attribute__((noinline)) static bool decode_rest(struct vcpu *v, struct vmcb *b)
{
	uint64_t code = b->exit_code;
	enum vm_exit_kind kind;

	if (delivering(b) && (uint32_t)code != CODE_INVALID)
		svm_requeue(v);
	switch (code) {
	case CODE_INTR: /* the host's interrupt is still pending, and is taken when the handler lets it in */
		v->exit.vector = 0;
		kind = EXIT_EXTERNAL_INTERRUPT;
		break;
	case CODE_NMI:
		kind = EXIT_NMI;
		break;
	case CODE_VINTR:
		kind = EXIT_INTERRUPT_WINDOW;
		break;
	case CODE_NESTED_FAULT:
		decode_nested_fault(b, &v->exit);
		kind = EXIT_NESTED_FAULT;
		break;
	case CODE_CR_READ ... CODE_CR_WRITE + 15:
	case CODE_CR0_SELECTIVE_WRITE:
		kind = decode_cr(v, &v->exit);
		break;
	case CODE_EXCEPTION + VECTOR_PF:
		kind = decode_page_fault(v, &v->exit);
		break;
	case CODE_INVLPG:
		kind = decode_invlpg(v, &v->exit);
		break;
	case CODE_EXCEPTION ... CODE_EXCEPTION + VECTOR_PF - 1:
	case CODE_EXCEPTION + VECTOR_PF + 1 ... CODE_EXCEPTION + 31:
		kind = decode_exception(v, &v->exit);
		break;
	case CODE_RDPMC:
		kind = EXIT_RDPMC;
		break;
	case CODE_IRET:
		svm_iret(v);
		kind = EXIT_NMI_WINDOW;
		break;
	case CODE_TASK_SWITCH:
		v->exit.task.selector = (uint16_t)b->exit_info1;
		kind = EXIT_TASK_SWITCH;
		break;
	case CODE_SHUTDOWN: /* also what a machine check ends in while the guest has CR4.MCE clear */
		kind = rdmsr(MSR_MCG_STATUS) & MCG_STATUS_MCIP ? EXIT_MACHINE_CHECK : EXIT_TRIPLE_FAULT;
		break;
	case CODE_INVLPGA:
	case CODE_VMRUN ... CODE_SKINIT:
	case CODE_MONITOR ... CODE_MWAIT_ARMED:
	case CODE_RDPRU:
	case CODE_INVPCID:
	case CODE_MCOMMIT:
		kind = decode_refused(v, VECTOR_UD);
		break;
	default:
		kind = (uint32_t)code == CODE_INVALID ? decode_entry_failure(v, &v->exit) : decode_unknown(v, &v->exit);
	}
	return hand_on(v, kind);
}

/* The exits that happen often take no call on the way to vcpu_exit(). */
static inline __attribute__((always_inline)) bool dispatch(struct vcpu *v, struct vmcb *b)
{
	v->exit.length = 0; /* svm_advance() finds out, if somebody wants to know */
	switch (b->exit_code) {
	case CODE_CPUID:
		return hand_on(v, EXIT_CPUID);
	case CODE_HLT:
		return hand_on(v, EXIT_HLT);
	case CODE_IOIO:
		decode_io(b, &v->exit);
		return hand_on(v, EXIT_IO);
	case CODE_MSR:
		return hand_on(v, EXIT_MSR_READ + (b->exit_info1 & 1));
	case CODE_INVD:
	case CODE_WBINVD:
		return hand_on(v, EXIT_WBINVD);
	case CODE_XSETBV:
		if (__builtin_expect(b->cpl, 0)) /* the intercept comes before the check of the CPL */
			return hand_on(v, decode_refused(v, VECTOR_GP));
		return hand_on(v, EXIT_XSETBV);
	default: /* a case of its own would have its code far from the others, in the switch's table */
		if (__builtin_expect(b->exit_code != CODE_NESTED_FAULT || delivering(b), 0))
			return decode_rest(v, b);
		decode_nested_fault(b, &v->exit);
		return hand_on(v, EXIT_NESTED_FAULT);
	}
}

/* Do the work that is seldom due at an exit, and then dispatch the exit. */
__attribute__((noinline)) static bool look_closer(struct vcpu *v, struct vmcb *b)
{
	struct svm_vcpu *x = svm_of(v);

	b->tlb_control = 0;
	svm_virtual_changed(v);
	if (x->nmi_wanted)
		vcpu_look_again(v, PENDING_EVALUATE);
	return dispatch(v, b);
}

bool svm_handle_exit(struct vcpu *v, struct svm_vcpu *x)
{
	struct vmcb *b = &x->vmcb;

	b->clean = x->clean;
	b->event_injection = 0;
	if (__builtin_expect(svm_virtual_state(b) != x->seen, 0))
		return look_closer(v, b);
	return dispatch(v, b);
}

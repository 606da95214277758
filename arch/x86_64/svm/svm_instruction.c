/* The instruction that exited: where it ends. CPUs without NRIP save (and cases that it does not cover) leave that to the decoder. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/string.h"
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/code_memory.h"
#include "vmm/exits/exit_instruction.h"

/* By exit code, the length of the usual encoding of the instruction that causes it. */
#define CODE_FIRST 0x72
static const uint8_t usual[] = {
	[0x72 - CODE_FIRST] = 2, /* CPUID */
	[0x76 - CODE_FIRST] = 2, /* INVD */
	[0x78 - CODE_FIRST] = 1, /* HLT */
	[0x7c - CODE_FIRST] = 2, /* RDMSR, WRMSR */
	[0x89 - CODE_FIRST] = 2, /* WBINVD */
	[0x8d - CODE_FIRST] = 3, /* XSETBV */
};

static bool code_64(const struct vmcb *b)
{
	return b->cs.attributes & ATTRIBUTE_L && b->efer & EFER_LMA;
}

__attribute__((noinline)) static unsigned find_length(struct vcpu *v, struct vmcb *b)
{
	uint64_t index = b->exit_code - CODE_FIRST;
	const struct insn *insn;

	if (svm_features.next_rip && b->next_rip)
		return (unsigned)(b->next_rip - b->rip);
	insn = exit_instruction(v, insn_memo_at(&v->emulator.code, b->rip), b->cr3);
	if (insn)
		return insn->length;
	/* Where the code cannot be read any more, as another vCPU changes it, the usual encoding is the best guess. */
	return index < ARRAY_SIZE(usual) && usual[index] ? usual[index] : 1;
}

__attribute__((noinline)) static void end_step(struct vcpu *v, struct vmcb *b)
{
	const struct vcpu_event step = { EVENT_EXCEPTION, VECTOR_DB, false, 0 };

	b->rflags &= ~RFLAGS_RF;
	/* The single-step trap after an instruction that was not executed here. */
	if (!(b->rflags & RFLAGS_TF) || svm_step_done(v) || b->event_injection & EVENT_VALID)
		return;
	b->dr6 |= DR6_BS;
	svm_changed(b, CLEAN_DR);
	svm_inject(v, &step);
}

__attribute__((noinline)) static void advance_slowly(struct vcpu *v, unsigned length)
{
	struct vmcb *b = vmcb_of(v);
	uint64_t rip = b->rip + (length ? length : find_length(v, b));

	/* Outside 64-bit code RIP is EIP (or IP, whose overflow raises #GP by CS's limit at the next fetch). */
	if (!code_64(b))
		rip = (uint32_t)rip;
	b->rip = rip;
	b->interrupt_shadow = 0;
	if (b->rflags & (RFLAGS_TF | RFLAGS_RF))
		end_step(v, b);
}

void svm_advance(struct vcpu *v, unsigned length)
{
	struct vmcb *b = vmcb_of(v);
	const struct insn_memo *memo;
	uint64_t rip = b->rip;

	if (__builtin_expect(!(b->cs.attributes & ATTRIBUTE_L) || b->rflags & (RFLAGS_TF | RFLAGS_RF), 0)) {
		advance_slowly(v, length);
		return;
	}
	if (length) {
		rip += length;
	} else if (svm_features.next_rip && b->next_rip) {
		rip = b->next_rip;
	} else {
		memo = insn_memo_at(&v->emulator.code, rip);
		if (__builtin_expect(!insn_memo_holds(memo, rip, b->cr3), 0)) {
			advance_slowly(v, 0);
			return;
		}
		rip += memo->insn.length;
	}
	b->rip = rip;
	b->interrupt_shadow = 0;
}

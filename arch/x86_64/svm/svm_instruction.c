/* The instruction that exited: where it ends. CPUs without NRIP save (and cases that it does not cover) leave that to the decoder. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/string.h"
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/decode.h"
#include "vmm/exits/exit_instruction.h"
#include "vmm/vm/vm.h"

#define ATTRIBUTE_L BIT(9)

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

void svm_forget_places(struct svm_vcpu *x)
{
	static const uint16_t nothing;

	for (unsigned i = 0; i < SVM_PLACES; i++) {
		x->places.code[i] = &nothing;
		x->places.was[i].bytes = 1;
	}
}

static bool code_64(const struct vmcb *b)
{
	return b->cs.attributes & ATTRIBUTE_L && b->efer & EFER_LMA;
}

/* Fetch and decode the instruction, and remember 64-bit code. */
__attribute__((noinline)) static unsigned find_length(struct vcpu *v, struct vmcb *b)
{
	struct guest_paging *paging = &v->emulator.paging;
	struct svm_places *places = &svm_of(v)->places;
	unsigned i = b->rip % SVM_PLACES;
	const struct insn *insn;
	uint64_t index = b->exit_code - CODE_FIRST, gpa;
	const void *code;

	if (svm_features.next_rip && b->next_rip)
		return (unsigned)(b->next_rip - b->rip);
	insn = exit_instruction(v);
	/* Where the code cannot be read any more, as another vCPU changes it, the usual encoding is the best guess. */
	if (!insn)
		return index < ARRAY_SIZE(usual) && usual[index] ? usual[index] : 1;
	/* Only without prefixes: then the exit's code and two bytes say it all. */
	if (code_64(b) && index < ARRAY_SIZE(usual) && insn->length == usual[index] && v->emulated.byte_count >= 2 &&
	    (b->rip & (PAGE_SIZE - 1)) < PAGE_SIZE - 1 && !guest_walk(&v->vm->memory, paging, b->rip, WALK_EXEC, &gpa, NULL, NULL)) {
		code = guest_ptr(&v->vm->memory, gpa, 2);
		if (code) {
			places->rip[i] = b->rip;
			places->cr3[i] = b->cr3;
			places->code[i] = code;
			memcpy(&places->was[i].bytes, v->emulated.bytes, sizeof(places->was[i].bytes));
			places->was[i].length = insn->length;
		}
	}
	return insn->length;
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
	const struct svm_places *places = &svm_of(v)->places;
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
		/* The same bytes at the same address of the same address space: the translation is not looked up again. A guest that
		 * maps other code there, which happens to exit likewise but with other prefixes, and keeps the old page as it was, misleads
		 * only itself. */
		uint64_t i = rip % SVM_PLACES;

		if (__builtin_expect(places->rip[i] != rip || places->cr3[i] != b->cr3 || *places->code[i] != places->was[i].bytes, 0)) {
			advance_slowly(v, 0);
			return;
		}
		rip += places->was[i].length;
	}
	b->rip = rip;
	b->interrupt_shadow = 0;
}

/* The instruction that exited: where it ends. CPUs without NRIP save (and cases that it does not cover) leave that to the decoder. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/string.h"
#include "vmm/emulate/decode.h"
#include "vmm/exit_mmio.h"
#include "vmm/vm.h"

#define VECTOR_DB 1
#define DR6_BS BIT(14)

/* Exit codes whose instruction has one usual encoding, which is compared before anything is decoded. */
#define CODE_FIRST 0x72
static const struct {
	uint8_t length;
	uint8_t bytes[2];
} usual[] = {
	[0x72 - CODE_FIRST] = { 2, { 0x0f, 0xa2 } }, /* CPUID */
	[0x76 - CODE_FIRST] = { 2, { 0x0f, 0x08 } }, /* INVD */
	[0x78 - CODE_FIRST] = { 1, { 0xf4 } },       /* HLT */
	[0x7c - CODE_FIRST] = { 2, { 0x0f, 0x30 } }, /* WRMSR; RDMSR is 0x32 */
	[0x89 - CODE_FIRST] = { 2, { 0x0f, 0x09 } }, /* WBINVD */
	[0x8d - CODE_FIRST] = { 3, { 0x0f, 0x01 } }, /* XSETBV */
};

static unsigned decoded_length(struct vcpu *v)
{
	const struct insn *insn = exit_instruction(v);

	return insn ? insn->length : 0;
}

/* How long the instruction is that exited with this code. 64-bit code in RAM, without prefixes, is all that most guests show. */
static unsigned instruction_length(struct vcpu *v, const struct vmcb *b)
{
	struct guest_paging *paging = &v->emulator.paging;
	uint64_t index = b->exit_code - CODE_FIRST, gpa;
	const uint8_t *code;
	unsigned length, decoded;

	if (index >= ARRAY_SIZE(usual) || !usual[index].length)
		return decoded_length(v);
	length = usual[index].length;
	if (b->cs.attributes & BIT(9) && b->efer & EFER_LMA) {
		paging->cr0 = b->cr0;
		paging->cr3 = b->cr3;
		paging->cr4 = b->cr4;
		paging->efer = b->efer;
		paging->cpl = b->cpl;
		if ((b->rip & (PAGE_SIZE - 1)) <= PAGE_SIZE - 2 &&
		    !guest_walk(&v->vm->memory, paging, b->rip, WALK_EXEC, &gpa, NULL, NULL)) {
			code = guest_ptr(&v->vm->memory, gpa, 2);
			if (code && code[0] == usual[index].bytes[0] && (length == 1 || (code[1] & 0xfd) == (usual[index].bytes[1] & 0xfd)))
				return length;
		}
	}
	/* Where the guest's code cannot be read any more (another vCPU changes the tables), the usual encoding is the best guess. */
	decoded = decoded_length(v);
	return decoded ? decoded : length;
}

void svm_advance(struct vcpu *v, unsigned length)
{
	struct vmcb *b = vmcb_of(v);
	uint64_t rip;

	if (!length)
		length = instruction_length(v, b);
	rip = b->rip + length;
	/* Outside 64-bit code RIP is EIP (or IP, whose overflow raises #GP by CS's limit at the next fetch). */
	if (__builtin_expect(rip >> 32 != 0, 0) && !(b->cs.attributes & BIT(9) && b->efer & EFER_LMA))
		rip = (uint32_t)rip;
	b->rip = rip;
	b->interrupt_shadow = 0;
	if (__builtin_expect((b->rflags & (RFLAGS_TF | RFLAGS_RF)) != 0, 0)) {
		b->rflags &= ~RFLAGS_RF;
		/* The single-step trap after an instruction that was not executed here. */
		if (b->rflags & RFLAGS_TF && !svm_step_done(v) && !(b->event_injection & EVENT_VALID)) {
			const struct vcpu_event step = { EVENT_EXCEPTION, VECTOR_DB, false, 0 };

			b->dr6 |= DR6_BS;
			svm_changed(b, CLEAN_DR);
			svm_inject(v, &step);
		}
	}
}

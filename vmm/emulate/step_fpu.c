/* What firmware and start-up code ask of the FPU: whether it is there, and its initial state. */
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/step_parts.h"

int step_fpu(struct execution *x)
{
	const struct insn *insn = x->insn;
	struct emulator *e = x->e;
	uint64_t cr0 = e->paging.cr0;
	unsigned group = insn->modrm >> 3 & 7;
	bool memory = insn->flags & INSN_MEM;
	int verdict;

	if (insn->opcode == 0x9b) {
		if ((cr0 & CR0_MP) && (cr0 & CR0_TS))
			return raise_exception(x->r, VECTOR_NM, -1);
		return done(x);
	}
	if (cr0 & (CR0_EM | CR0_TS))
		return raise_exception(x->r, VECTOR_NM, -1);
	if (insn->opcode == 0xdb && insn->modrm == 0xe3) {
		e->step->fpu_init(e->ctx);
		return done(x);
	}
	if (insn->opcode == 0xdf && insn->modrm == 0xe0) {
		write_gpr(&e->gpr[REG_RAX], 2, e->step->fpu_status(e->ctx));
		return done(x);
	}
	if (!memory || group != 7 || (insn->opcode != 0xd9 && insn->opcode != 0xdd))
		return EMULATE_UNSUPPORTED;
	verdict = locate_operand(x, 2, WALK_WRITE);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	operand_write(x, 2, insn->opcode == 0xd9 ? e->step->fpu_control(e->ctx) : e->step->fpu_status(e->ctx));
	return done(x);
}

/* The instruction that exited, and its memory operand, read from the guest's memory: for engines whose CPU does not say enough of it. */
#include "vmm/exits/exit_instruction.h"

#include "vmm/emulate/access.h"
#include "vmm/vcpu/vcpu_emulator.h"

const struct insn *exit_instruction(struct vcpu *v, struct insn_memo *memo, uint64_t space)
{
	struct emulator *e = &v->emulator;
	const uint8_t *code;

	vcpu_emulator_load(v);
	if (fetch_insn_to(e, memo, &code, &v->emulated) != EMULATE_CONTINUE)
		return NULL;
	if (e->mode == DECODE_64)
		insn_memo_place(memo, e->rip, space, code, v->emulated.byte_count);
	return &memo->insn;
}

static int conclude_operand(struct vcpu *v, int verdict, const struct emulate_result *r)
{
	if (verdict == EMULATE_DONE)
		return 0;
	if (verdict == EMULATE_EXCEPTION)
		vcpu_emulator_inject(v, r);
	return ERR_BUSY;
}

int exit_operand(struct vcpu *v, const struct insn *insn, unsigned size, uint64_t *value)
{
	struct emulate_result r = { 0 };

	return conclude_operand(v, emulate_operand(&v->emulator, insn, size, value, &r), &r);
}

int exit_operand_write(struct vcpu *v, const struct insn *insn, unsigned size, uint64_t value)
{
	struct emulate_result r = { 0 };

	return conclude_operand(v, emulate_operand_write(&v->emulator, insn, size, value, &r), &r);
}

uint64_t exit_operand_linear(struct vcpu *v, const struct insn *insn)
{
	return emulate_linear(&v->emulator, insn);
}

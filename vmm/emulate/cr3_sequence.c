/* The search for the sequence: from the first MOV over NOPs, the change of a bit and forward jumps to the second MOV. */
#include "vmm/emulate/cr3_sequence.h"

#include "lib/string.h"
#include "vmm/emulate/decode.h"

#define SEQUENCE_MAX 120 /* bytes: a jump within it goes forward */
#define INSNS_MAX 6

static bool is_nop(const struct insn *insn)
{
	if (insn->map == MAP_ONE_BYTE)
		return insn->opcode == 0x90 && !(insn->flags & (INSN_LOCK | INSN_REPE | INSN_REPNE)) && !(insn->rex & 1);
	return insn->map == MAP_0F && insn->opcode == 0x1f && !(insn->flags & INSN_LOCK);
}

/* AND or OR of the whole register with an immediate. */
static bool is_change(const struct insn *insn, unsigned reg)
{
	unsigned group = insn->modrm >> 3 & 7;
	bool accumulator = insn->opcode == 0x25 || insn->opcode == 0x0d;

	if (insn->map != MAP_ONE_BYTE || insn->operand_size != 8 || insn->flags & INSN_LOCK)
		return false;
	if (accumulator)
		return reg == REG_RAX;
	return (insn->opcode == 0x81 || insn->opcode == 0x83) && !(insn->flags & INSN_MEM) && insn->rm == reg &&
	       (group == ALU_AND || group == ALU_OR);
}

static enum alu_op change_of(const struct insn *insn)
{
	if (insn->opcode == 0x25 || insn->opcode == 0x0d)
		return insn->opcode == 0x25 ? ALU_AND : ALU_OR;
	return (enum alu_op)(insn->modrm >> 3 & 7);
}

static bool is_mov_to_cr3(const struct insn *insn, unsigned reg)
{
	return insn->map == MAP_0F && insn->opcode == 0x22 && insn->reg == 3 && insn->rm == reg && !(insn->flags & INSN_LOCK);
}

/* Returns the length, or 0. */
static unsigned find(struct cr3_sequence *s, const uint8_t *code, unsigned avail, unsigned reg)
{
	unsigned at = 0;
	bool changed = false;
	struct insn insn;

	for (unsigned n = 0; n < INSNS_MAX; n++) {
		if (at >= avail || decode(&insn, code + at, avail - at, DECODE_64) || insn.encoding != ENCODING_LEGACY)
			return 0;
		if (n == 0 || is_nop(&insn)) {
			at += insn.length;
		} else if (insn.map == MAP_ONE_BYTE && insn.opcode == 0xeb && !s->tail_offset && at + insn.length <= CR3_SEQUENCE_HEAD &&
			   insn.imm < avail - at - insn.length) {
			at += insn.length + (unsigned)insn.imm;
			s->tail_offset = (uint8_t)at;
		} else if (!changed && is_change(&insn, reg)) {
			changed = true;
			s->op = (uint8_t)change_of(&insn);
			s->operand = insn.imm;
			at += insn.length;
		} else if (changed && is_mov_to_cr3(&insn, reg)) {
			s->last = (uint8_t)at;
			return at + insn.length;
		} else {
			return 0;
		}
	}
	return 0;
}

void cr3_sequence_find(struct cr3_sequence *s, const uint8_t *code, unsigned avail, unsigned reg)
{
	uint8_t copy[SEQUENCE_MAX];
	unsigned length;

	memset(s, 0, sizeof(*s));
	avail = MIN(avail, (unsigned)SEQUENCE_MAX);
	memcpy(copy, code, avail);
	length = find(s, copy, avail, reg);
	/* All of it must be among the bytes that are compared. */
	if (s->tail_offset ? (unsigned)(s->tail_offset + CR3_SEQUENCE_TAIL) > avail || length > s->tail_offset + (unsigned)CR3_SEQUENCE_TAIL
			   : length > CR3_SEQUENCE_HEAD) {
		length = 0;
		s->tail_offset = 0;
	}
	s->reg = (uint8_t)reg;
	s->length = (uint8_t)length;
	memcpy(s->head, copy, sizeof(s->head));
	memcpy(s->tail, copy + s->tail_offset, sizeof(s->tail));
}

/* One step of whole-instruction emulation: the instruction is fetched, sent to the part that knows its opcode, and followed by its
 * exceptions and traps. */
#include "vmm/emulate/step.h"

#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/step_parts.h"

static int step_one_byte(struct execution *x)
{
	const struct insn *insn = x->insn;
	unsigned op = insn->opcode, group = insn->modrm >> 3 & 7;

	switch (op) {
	case 0x06: case 0x07: case 0x0e: case 0x16: case 0x17: case 0x1e: case 0x1f:
	case 0x50 ... 0x61: case 0x68: case 0x6a: case 0x8f: case 0x9c: case 0x9d: case 0xc8: case 0xc9:
		return step_stack(x);
	case 0x04: case 0x05: case 0x0c: case 0x0d: case 0x14: case 0x15: case 0x1c: case 0x1d:
	case 0x24: case 0x25: case 0x2c: case 0x2d: case 0x34: case 0x35: case 0x3c: case 0x3d:
	case 0x27: case 0x2f: case 0x37: case 0x3f:
	case 0x40 ... 0x4f: case 0x8d: case 0x90 ... 0x99: case 0x9e: case 0x9f: case 0xa8: case 0xa9: case 0xb0 ... 0xbf:
	case 0xd4: case 0xd5: case 0xd7: case 0xf5: case 0xf8 ... 0xfd:
		return step_alu(x);
	case 0x62: case 0x70 ... 0x7f: case 0x9a: case 0xc2: case 0xc3: case 0xca ... 0xcf: case 0xe0 ... 0xe3: case 0xe8 ... 0xeb: case 0xf1:
		return step_control(x);
	case 0x63:
		return x->e->mode == DECODE_64 ? execute_common(x) : step_arpl(x);
	case 0x69:
	case 0x6b:
		return step_imul(x, true);
	case 0x6c ... 0x6f:
		return step_ins_outs(x);
	case 0x8c:
		return step_mov_from_segment(x);
	case 0x8e:
		return step_mov_to_segment(x);
	case 0x9b: case 0xd8 ... 0xdf:
		return step_fpu(x);
	case 0xc0: case 0xc1:
		return step_shift(x, (unsigned)insn->imm);
	case 0xc4:
		return step_load_far_pointer(x, SEG_ES);
	case 0xc5:
		return step_load_far_pointer(x, SEG_DS);
	case 0xc6: case 0xc7:
		return group ? undefined_opcode(x) : execute_common(x);
	case 0xd0: case 0xd1:
		return step_shift(x, 1);
	case 0xd2: case 0xd3:
		return step_shift(x, (unsigned)x->e->gpr[REG_RCX]);
	case 0xd6: /* SALC */
		write_gpr(&x->e->gpr[REG_RAX], 1, x->e->rflags & RFLAGS_CF ? 0xff : 0);
		return done(x);
	case 0xe4 ... 0xe7: case 0xec ... 0xef:
		return step_in_out(x);
	case 0xf4:
		return step_system(x);
	case 0xf6: case 0xf7:
		return group < 4 ? execute_common(x) : step_group3(x);
	case 0xfe:
		return group < 2 ? execute_common(x) : undefined_opcode(x);
	case 0xff:
		if (group < 2)
			return execute_common(x);
		return group < 6 ? step_control(x) : group == 6 ? step_stack(x) : undefined_opcode(x);
	default:
		return execute_common(x);
	}
}

/* Fences and CLFLUSH; what an access does is in memory already. */
static int fence_or_flush(struct execution *x)
{
	unsigned group = x->insn->modrm >> 3 & 7;
	int verdict;

	if (x->insn->flags & (INSN_OPSIZE | INSN_REPE | INSN_REPNE) || group < (x->insn->flags & INSN_MEM ? 7U : 5U))
		return EMULATE_UNSUPPORTED;
	verdict = locate_operand(x, 1, WALK_READ);
	return verdict == EMULATE_CONTINUE ? done(x) : verdict;
}

static int step_0f(struct execution *x)
{
	const struct insn *insn = x->insn;
	unsigned op = insn->opcode, group = insn->modrm >> 3 & 7;

	switch (op) {
	case 0x00:
		return step_group6(x);
	case 0x01:
		return step_group7(x);
	case 0x02: case 0x03:
		return step_lar_lsl(x);
	case 0x06: case 0x08: case 0x09: case 0x30 ... 0x32: case 0xa2:
		return step_system(x);
	case 0x0b: case 0xb9: case 0xff: /* UD2, UD1, UD0 */
		return undefined_opcode(x);
	case 0x0d: case 0x18 ... 0x1f: /* PREFETCHW, the hint NOPs */
		return done(x);
	case 0x20 ... 0x23:
		return step_mov_control(x);
	case 0x80 ... 0x8f:
		return step_control(x);
	case 0xa0: case 0xa1: case 0xa8: case 0xa9:
		return step_stack(x);
	case 0xa4: case 0xac:
		return step_double_shift(x, (unsigned)insn->imm);
	case 0xa5: case 0xad:
		return step_double_shift(x, (unsigned)x->e->gpr[REG_RCX]);
	case 0xae:
		return fence_or_flush(x);
	case 0xaf:
		return step_imul(x, false);
	case 0xb2:
		return step_load_far_pointer(x, SEG_SS);
	case 0xb4:
		return step_load_far_pointer(x, SEG_FS);
	case 0xb5:
		return step_load_far_pointer(x, SEG_GS);
	case 0xb8:
		return insn->flags & INSN_REPE ? step_popcnt(x) : undefined_opcode(x);
	case 0xba:
		return group < 4 ? undefined_opcode(x) : execute_common(x);
	case 0xbc: case 0xbd:
		return step_bit_scan(x);
	case 0xc8 ... 0xcf:
		return step_bswap(x);
	default:
		return execute_common(x);
	}
}

static int dispatch(struct execution *x)
{
	return x->insn->map == MAP_ONE_BYTE ? step_one_byte(x) : x->insn->map == MAP_0F ? step_0f(x) : execute_common(x);
}

/* Execute one decoded instruction; an exception has changed nothing. */
static int execute(struct execution *x)
{
	const struct insn *insn = x->insn;

	if (insn->encoding != ENCODING_LEGACY)
		/* VEX and its like need protected mode. */
		return protected_mode(x->e) || insn->encoding == ENCODING_3DNOW ? EMULATE_UNSUPPORTED : undefined_opcode(x);
	if ((insn->flags & INSN_LOCK) && !lockable(insn))
		return undefined_opcode(x);
	return is_locked(insn) ? execute_locked(x, dispatch) : dispatch(x);
}

/* The single-step trap behind the instruction. */
static int single_step(struct execution *x)
{
	struct emulator *e = x->e;
	int err = e->step->write_dr(e->ctx, 6, e->step->read_dr(e->ctx, 6) | DR6_BS);

	(void)err; /* nothing is wrong with the value */
	return raise_exception(x->r, VECTOR_DB, -1);
}

int emulate_step(struct emulator *e, struct emulate_result *r)
{
	const struct insn_memo *memo;
	struct execution x;
	uint64_t flags = e->rflags, count = e->gpr[REG_RCX];
	uint8_t shadow = e->step->shadow;
	int verdict;

	x.e = e;
	x.r = r;
	x.fault_gpa = 0;
	x.step = true;
	x.locked = false;
	x.insn = NULL;
	r->halted = r->delivered = r->iret = false;
	emulate_derive_mode(e);
	verdict = fetch_insn(e, &memo, r);
	if (verdict == EMULATE_CONTINUE) {
		x.insn = &memo->insn;
		e->step->shadow = 0;
		verdict = execute(&x);
		if (verdict == EMULATE_UNSUPPORTED || verdict == EMULATE_SHUTDOWN)
			e->step->shadow = shadow;
	}
	/* TF counts as it was before; a software interrupt has cleared it, MOV SS puts the trap off. */
	if ((flags & RFLAGS_TF) && !r->delivered && !(e->step->shadow & STEP_SHADOW_MOV_SS) &&
	    (verdict == EMULATE_DONE || (verdict == EMULATE_RETRY && e->gpr[REG_RCX] != count)))
		verdict = single_step(&x);
	if (verdict == EMULATE_DONE || verdict == EMULATE_RETRY)
		emulate_derive_mode(e);
	if (verdict != EMULATE_EXCEPTION || long_mode(e))
		return verdict;
	e->step->shadow = 0;
	return exception_deliver(&x);
}

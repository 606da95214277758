/* Descriptors and segment registers: how they are read, checked and loaded, and the instructions on descriptor tables. */
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/step_parts.h"

static void describe(struct descriptor *d, uint64_t raw)
{
	d->raw = raw;
	d->base = (raw >> 16 & 0xffffff) | (raw >> 32 & 0xff000000);
	d->limit = (uint32_t)((raw & 0xffff) | (raw >> 32 & 0xf0000));
	d->access = raw >> 40 & 0xf0ff;
	if (d->access & SEGMENT_G)
		d->limit = d->limit << 12 | 0xfff;
}

int descriptor_find(struct execution *x, uint16_t selector, struct descriptor *d, bool *found)
{
	struct emulator *e = x->e;
	uint64_t base = e->step->gdtr.base, limit = e->step->gdtr.limit, raw;
	unsigned offset = selector & 0xfff8;
	int verdict;

	*found = false;
	*d = (struct descriptor){ 0 };
	if (selector & 4) {
		const struct segment_state *ldtr = segment_of(e, SEG_LDTR);

		base = ldtr->base;
		limit = ldtr->limit;
		if (ldtr->access & SEGMENT_UNUSABLE)
			return EMULATE_CONTINUE;
	}
	if (selector_null(selector) || offset + 7 > limit)
		return EMULATE_CONTINUE;
	d->linear = base + offset;
	verdict = system_read(x, d->linear, 8, &raw);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	describe(d, raw);
	*found = true;
	return EMULATE_CONTINUE;
}

int descriptor_read(struct execution *x, uint16_t selector, uint8_t vector, unsigned ext, struct descriptor *d)
{
	bool found;
	int verdict = descriptor_find(x, selector, d, &found);

	if (verdict == EMULATE_CONTINUE && !found)
		return raise_exception(x->r, vector, (selector & 0xfffc) | ext);
	return verdict;
}

int descriptor_accessed(struct execution *x, struct descriptor *d)
{
	if (d->access & SEGMENT_TYPE_ACCESSED)
		return EMULATE_CONTINUE;
	d->access |= SEGMENT_TYPE_ACCESSED;
	d->raw |= BIT(40);
	return system_write(x, d->linear + 5, 1, d->raw >> 40 & 0xff);
}

static struct segment_state *segment_change(struct emulator *e, enum segment_register which)
{
	struct segment_state *s = segment_of(e, which);

	e->step->changed |= 1U << which;
	return s;
}

void segment_set(struct emulator *e, enum segment_register which, uint16_t selector, const struct descriptor *d)
{
	struct segment_state *s = segment_change(e, which);

	*s = (struct segment_state){ .base = d->base, .limit = d->limit, .access = d->access, .selector = selector };
}

void segment_set_real(struct emulator *e, enum segment_register which, uint16_t selector)
{
	struct segment_state *s = segment_change(e, which);

	s->selector = selector;
	s->base = (uint64_t)selector << 4;
	if (v86_mode(e)) {
		s->limit = 0xffff;
		s->access = 0xf3;
	} else {
		/* Limit and size stay what they were: big real mode. */
		s->access = (s->access & ~(uint32_t)SEGMENT_UNUSABLE) | SEGMENT_P | SEGMENT_S;
	}
}

void segment_set_null(struct emulator *e, enum segment_register which, uint16_t selector)
{
	struct segment_state *s = segment_change(e, which);

	s->access |= SEGMENT_UNUSABLE;
	if (which == SEG_SS) /* 64-bit mode only, where its DPL stays the CPL */
		s->access = (s->access & ~0x60U) | cpl(e) << 5;
	s->base = 0;
	s->selector = selector;
}

int segment_load(struct execution *x, enum segment_register which, uint16_t selector)
{
	struct emulator *e = x->e;
	unsigned rpl = selector & 3;
	uint16_t error = selector & 0xfffc;
	struct descriptor d;
	int verdict;

	if (!protected_mode(e)) {
		segment_set_real(e, which, selector);
		return EMULATE_CONTINUE;
	}
	if (selector_null(selector)) {
		if (which == SEG_SS && (e->mode != DECODE_64 || cpl(e) == 3 || rpl != cpl(e)))
			return general_protection(x, 0);
		segment_set_null(e, which, selector);
		return EMULATE_CONTINUE;
	}
	verdict = descriptor_read(x, selector, VECTOR_GP, 0, &d);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (which == SEG_SS) {
		if (rpl != cpl(e) || dpl(d.access) != cpl(e) ||
		    (d.access & (SEGMENT_S | SEGMENT_TYPE_CODE | SEGMENT_TYPE_WRITABLE)) != (SEGMENT_S | SEGMENT_TYPE_WRITABLE))
			return general_protection(x, error);
	} else {
		bool code = d.access & SEGMENT_TYPE_CODE;

		if (!(d.access & SEGMENT_S) || (code && !(d.access & SEGMENT_TYPE_WRITABLE)))
			return general_protection(x, error);
		if (!(code && (d.access & SEGMENT_TYPE_CONFORMING)) && (rpl > dpl(d.access) || cpl(e) > dpl(d.access)))
			return general_protection(x, error);
	}
	if (!(d.access & SEGMENT_P))
		return raise_exception(x->r, which == SEG_SS ? VECTOR_SS : VECTOR_NP, error);
	verdict = descriptor_accessed(x, &d);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	segment_set(e, which, selector, &d);
	return EMULATE_CONTINUE;
}

/* What MOV and POP to SS do besides: the next instruction usually loads ESP. */
static int loaded(struct execution *x, enum segment_register which)
{
	if (which == SEG_SS)
		x->e->step->shadow |= STEP_SHADOW_MOV_SS;
	return done(x);
}

int step_mov_to_segment(struct execution *x)
{
	unsigned which = x->insn->modrm >> 3 & 7;
	int verdict;

	if (which >= SEG_OPERANDS || which == SEG_CS)
		return undefined_opcode(x);
	verdict = locate_operand(x, 2, WALK_READ);
	if (verdict == EMULATE_CONTINUE)
		verdict = segment_load(x, which, (uint16_t)operand_read(x, 2));
	return verdict == EMULATE_CONTINUE ? loaded(x, which) : verdict;
}

int step_mov_from_segment(struct execution *x)
{
	unsigned which = x->insn->modrm >> 3 & 7, size = x->insn->flags & INSN_MEM ? 2 : x->insn->operand_size;
	int verdict;

	if (which >= SEG_OPERANDS)
		return undefined_opcode(x);
	verdict = locate_operand(x, size, WALK_WRITE);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	operand_write(x, size, segment_of(x->e, which)->selector);
	return done(x);
}

/* LDS, LES, LFS, LGS, LSS */
int step_load_far_pointer(struct execution *x, enum segment_register which)
{
	const struct insn *insn = x->insn;
	uint64_t at = effective_address(x->e, insn), offset, selector;
	uint64_t mask = size_mask(insn->address_size);
	int verdict;

	if (!(insn->flags & INSN_MEM))
		return undefined_opcode(x);
	verdict = memory_read(x, insn->segment, at & mask, insn->operand_size, &offset);
	if (verdict == EMULATE_CONTINUE)
		verdict = memory_read(x, insn->segment, (at + insn->operand_size) & mask, 2, &selector);
	if (verdict == EMULATE_CONTINUE)
		verdict = segment_load(x, which, (uint16_t)selector);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	write_gpr(&x->e->gpr[insn->reg], insn->operand_size, offset);
	return done(x); /* LSS casts no shadow: it loads ESP itself */
}

/* Add the upper half of a system descriptor's base in long mode. */
static int system_descriptor(struct execution *x, uint16_t selector, struct descriptor *d)
{
	const struct segment_state *ldtr = segment_of(x->e, SEG_LDTR);
	unsigned limit = selector & 4 ? ldtr->limit : x->e->step->gdtr.limit;
	uint64_t high;
	int verdict;

	if (!long_mode(x->e))
		return EMULATE_CONTINUE;
	if ((selector & 0xfff8U) + 15 > limit)
		return general_protection(x, selector & 0xfffc);
	verdict = system_read(x, d->linear + 8, 8, &high);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (high >> 40 & 0x1f)
		return general_protection(x, selector & 0xfffc);
	d->base |= high << 32;
	return EMULATE_CONTINUE;
}

static int load_ldtr(struct execution *x, uint16_t selector)
{
	struct descriptor d;
	int verdict;

	if (selector_null(selector)) {
		segment_set_null(x->e, SEG_LDTR, selector);
		return EMULATE_CONTINUE;
	}
	if (selector & 4)
		return general_protection(x, selector & 0xfffc);
	verdict = descriptor_read(x, selector, VECTOR_GP, 0, &d);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if ((d.access & 0x1f) != TYPE_LDT)
		return general_protection(x, selector & 0xfffc);
	if (!(d.access & SEGMENT_P))
		return raise_exception(x->r, VECTOR_NP, selector & 0xfffc);
	verdict = system_descriptor(x, selector, &d);
	if (verdict == EMULATE_CONTINUE)
		segment_set(x->e, SEG_LDTR, selector, &d);
	return verdict;
}

static int load_tr(struct execution *x, uint16_t selector)
{
	struct descriptor d;
	unsigned type;
	int verdict;

	if (selector_null(selector))
		return general_protection(x, 0);
	if (selector & 4)
		return general_protection(x, selector & 0xfffc);
	verdict = descriptor_read(x, selector, VECTOR_GP, 0, &d);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	type = d.access & 0x1f;
	if (type != TYPE_TSS32 && (type != TYPE_TSS16 || long_mode(x->e)))
		return general_protection(x, selector & 0xfffc);
	if (!(d.access & SEGMENT_P))
		return raise_exception(x->r, VECTOR_NP, selector & 0xfffc);
	verdict = system_descriptor(x, selector, &d);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	d.access |= 2; /* busy */
	verdict = system_write(x, d.linear + 5, 1, d.access & 0xff);
	if (verdict == EMULATE_CONTINUE)
		segment_set(x->e, SEG_TR, selector, &d);
	return verdict;
}

/* Whether the privilege rules let the present code see the segment. */
static bool visible(const struct emulator *e, uint16_t selector, uint32_t ar)
{
	if ((ar & (SEGMENT_S | SEGMENT_TYPE_CODE | SEGMENT_TYPE_CONFORMING)) == (SEGMENT_S | SEGMENT_TYPE_CODE | SEGMENT_TYPE_CONFORMING))
		return true;
	return dpl(ar) >= cpl(e) && dpl(ar) >= (selector & 3U);
}

static int verify(struct execution *x, uint16_t selector, bool write)
{
	struct descriptor d;
	bool found, ok;
	int verdict = descriptor_find(x, selector, &d, &found);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	ok = found && (d.access & SEGMENT_S) && visible(x->e, selector, d.access);
	if (ok && write)
		ok = (d.access & (SEGMENT_TYPE_CODE | SEGMENT_TYPE_WRITABLE)) == SEGMENT_TYPE_WRITABLE;
	else if (ok)
		ok = !(d.access & SEGMENT_TYPE_CODE) || (d.access & SEGMENT_TYPE_WRITABLE);
	set_flag(x->e, RFLAGS_ZF, ok);
	return done(x);
}

/* SLDT, STR, LLDT, LTR, VERR, VERW */
int step_group6(struct execution *x)
{
	struct emulator *e = x->e;
	unsigned op = x->insn->modrm >> 3 & 7, size = x->insn->operand_size;
	uint16_t selector;
	int verdict;

	if (!protected_mode(e) || op > 5)
		return undefined_opcode(x);
	if (op < 2) {
		if ((e->paging.cr4 & CR4_UMIP) && cpl(e))
			return general_protection(x, 0);
		if (x->insn->flags & INSN_MEM)
			size = 2;
		verdict = locate_operand(x, size, WALK_WRITE);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
		operand_write(x, size, segment_of(e, op ? SEG_TR : SEG_LDTR)->selector);
		return done(x);
	}
	if (op < 4 && cpl(e))
		return general_protection(x, 0);
	verdict = locate_operand(x, 2, WALK_READ);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	selector = (uint16_t)operand_read(x, 2);
	if (op >= 4)
		return verify(x, selector, op == 5);
	verdict = op == 2 ? load_ldtr(x, selector) : load_tr(x, selector);
	return verdict == EMULATE_CONTINUE ? done(x) : verdict;
}

/* Which system types LAR and LSL accept, by bit. */
#define LAR_TYPES_LEGACY 0x1a3e
#define LAR_TYPES_LONG 0x1a04
#define LSL_TYPES_LEGACY 0x0a0e
#define LSL_TYPES_LONG 0x0a04

int step_lar_lsl(struct execution *x)
{
	struct emulator *e = x->e;
	bool limit = x->insn->opcode == 3, found, ok;
	struct descriptor d;
	uint16_t selector;
	int verdict;

	if (!protected_mode(e))
		return undefined_opcode(x);
	verdict = locate_operand(x, 2, WALK_READ);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	selector = (uint16_t)operand_read(x, 2);
	verdict = descriptor_find(x, selector, &d, &found);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	ok = found && visible(e, selector, d.access);
	if (ok && !(d.access & SEGMENT_S)) {
		unsigned types = limit ? long_mode(e) ? LSL_TYPES_LONG : LSL_TYPES_LEGACY : long_mode(e) ? LAR_TYPES_LONG : LAR_TYPES_LEGACY;

		ok = types >> (d.access & 15) & 1;
	}
	set_flag(e, RFLAGS_ZF, ok);
	if (ok)
		write_gpr(&e->gpr[x->insn->reg], x->insn->operand_size, limit ? d.limit : d.raw >> 32 & 0x00ffff00);
	return done(x);
}

int step_arpl(struct execution *x)
{
	uint64_t destination;
	unsigned rpl = x->e->gpr[x->insn->reg] & 3;
	int verdict;

	if (!protected_mode(x->e))
		return undefined_opcode(x);
	verdict = locate_operand(x, 2, WALK_WRITE);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	destination = operand_read(x, 2);
	set_flag(x->e, RFLAGS_ZF, (destination & 3) < rpl);
	if ((destination & 3) < rpl)
		operand_write(x, 2, (destination & ~3ULL) | rpl);
	return done(x);
}

/* SGDT, SIDT, LGDT, LIDT: a limit of 2 bytes, then a base of 4, or of 8 in 64-bit mode. */
static int table_register(struct execution *x, struct step_table *table, bool load, unsigned changed)
{
	const struct insn *insn = x->insn;
	struct emulator *e = x->e;
	unsigned size = e->mode == DECODE_64 ? 8 : 4;
	uint64_t mask = size_mask(insn->address_size), at = effective_address(e, insn), limit, base;
	int verdict;

	if (!load) {
		if ((e->paging.cr4 & CR4_UMIP) && cpl(e))
			return general_protection(x, 0);
		verdict = memory_write(x, insn->segment, at & mask, 2, table->limit);
		if (verdict == EMULATE_CONTINUE)
			verdict = memory_write(x, insn->segment, (at + 2) & mask, size, table->base);
		return verdict == EMULATE_CONTINUE ? done(x) : verdict;
	}
	verdict = need_cpl0(x);
	if (verdict == EMULATE_CONTINUE)
		verdict = memory_read(x, insn->segment, at & mask, 2, &limit);
	if (verdict == EMULATE_CONTINUE)
		verdict = memory_read(x, insn->segment, (at + 2) & mask, size, &base);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (size == 8 && sign_extend(base, 6) != base)
		return general_protection(x, 0);
	table->limit = (uint16_t)limit;
	table->base = size == 4 && insn->operand_size == 2 ? base & 0xffffff : base;
	e->step->changed |= changed;
	return done(x);
}

/* SGDT, SIDT, LGDT, LIDT, SMSW, LMSW, INVLPG and what shares its encoding */
int step_group7(struct execution *x)
{
	const struct insn *insn = x->insn;
	struct emulator *e = x->e;
	unsigned op = insn->modrm >> 3 & 7, size = insn->operand_size;
	int verdict;

	switch (op) {
	case 4:
		if ((e->paging.cr4 & CR4_UMIP) && cpl(e))
			return general_protection(x, 0);
		if (insn->flags & INSN_MEM)
			size = 2;
		verdict = locate_operand(x, size, WALK_WRITE);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
		operand_write(x, size, e->paging.cr0);
		return done(x);
	case 6:
		verdict = need_cpl0(x);
		if (verdict == EMULATE_CONTINUE)
			verdict = locate_operand(x, 2, WALK_READ);
		return verdict == EMULATE_CONTINUE ? step_lmsw(x, (uint16_t)operand_read(x, 2)) : verdict;
	case 5:
		return undefined_opcode(x);
	default:
		break;
	}
	if (!(insn->flags & INSN_MEM)) {
		if (insn->modrm == 0xf9)
			return step_system(x); /* RDTSCP */
		return EMULATE_UNSUPPORTED; /* VMX, MONITOR, XGETBV, SWAPGS and their like */
	}
	if (op == 7) {
		verdict = need_cpl0(x);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
		e->step->invlpg(e->ctx, emulate_linear(e, insn));
		return done(x);
	}
	return op & 1 ? table_register(x, &e->step->idtr, op & 2, STEP_CHANGED_IDTR) :
			table_register(x, &e->step->gdtr, op & 2, STEP_CHANGED_GDTR);
}

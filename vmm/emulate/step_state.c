/* The mode that the guest's registers stand for, and whether the CPU itself could run the guest from here. */
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "vmm/emulate/step_parts.h"

void emulate_derive_mode(struct emulator *e)
{
	const struct segment_state *cs = segment_of(e, SEG_CS);

	/* D counts in real mode too, between MOV to CR0 and the far jump. */
	e->mode = long_mode(e) && (cs->access & SEGMENT_L) ? DECODE_64 : cs->access & SEGMENT_DB ? DECODE_32 : DECODE_16;
	if (!(e->paging.cr0 & CR0_PE))
		e->paging.cpl = 0;
	else
		e->paging.cpl = v86_mode(e) ? 3 : dpl(segment_of(e, SEG_SS)->access);
	e->paging.rflags_ac = e->rflags & RFLAGS_AC;
}

/* Granularity must be able to express the limit. */
static bool limit_expressible(const struct segment_state *s)
{
	return s->access & SEGMENT_G ? (s->limit & 0xfff) == 0xfff : s->limit <= 0xfffff;
}

static bool code_enterable(const struct emulator *e, const struct segment_state *cs, const struct segment_state *ss)
{
	unsigned level = dpl(ss->access), type = cs->access & 15;

	if ((cs->access & SEGMENT_UNUSABLE) || (type & 9) != 9 || !(cs->access & SEGMENT_S) || !(cs->access & SEGMENT_P) || !limit_expressible(cs))
		return false;
	if (long_mode(e) && (cs->access & SEGMENT_L) && (cs->access & SEGMENT_DB))
		return false;
	return type & SEGMENT_TYPE_CONFORMING ? dpl(cs->access) <= level : dpl(cs->access) == level;
}

static bool data_enterable(const struct segment_state *s, const struct segment_state *cs, enum segment_register which)
{
	unsigned type = s->access & 15;

	if (s->access & SEGMENT_UNUSABLE)
		return true;
	if (!(type & SEGMENT_TYPE_ACCESSED) || !(s->access & SEGMENT_S) || !(s->access & SEGMENT_P) || !limit_expressible(s))
		return false;
	if (which == SEG_SS)
		return (type == 3 || type == 7) && (s->selector & 3) == (cs->selector & 3) && dpl(s->access) == (s->selector & 3U);
	if ((type & SEGMENT_TYPE_CODE) && !(type & SEGMENT_TYPE_WRITABLE))
		return false;
	return type > 11 || dpl(s->access) >= (s->selector & 3U);
}

bool emulate_enterable(struct emulator *e)
{
	const struct segment_state *cs = segment_of(e, SEG_CS), *ss = segment_of(e, SEG_SS), *tr, *ldtr;

	if (!(e->paging.cr0 & CR0_PE))
		return false;
	for (unsigned which = 0; which < SEG_OPERANDS; which++) {
		const struct segment_state *s = segment_of(e, which);

		if (v86_mode(e)) {
			if (s->access != 0xf3 || s->limit != 0xffff || s->base != (uint64_t)s->selector << 4)
				return false;
		} else if (which != SEG_CS && !data_enterable(s, cs, which)) {
			return false;
		}
		if (which != SEG_FS && which != SEG_GS && !(s->access & SEGMENT_UNUSABLE) && s->base >> 32)
			return false;
	}
	if (!v86_mode(e) && !code_enterable(e, cs, ss))
		return false;
	tr = segment_of(e, SEG_TR);
	if ((tr->access & SEGMENT_UNUSABLE) || (tr->selector & 4) || !(tr->access & SEGMENT_P) || (tr->access & SEGMENT_S) ||
	    !limit_expressible(tr) ||
	    ((tr->access & 15) != TYPE_TSS32_BUSY && ((tr->access & 15) != TYPE_TSS16_BUSY || long_mode(e))))
		return false;
	ldtr = segment_of(e, SEG_LDTR);
	return (ldtr->access & SEGMENT_UNUSABLE) ||
	       (!(ldtr->selector & 4) && (ldtr->access & 0x9f) == (SEGMENT_P | TYPE_LDT) && limit_expressible(ldtr));
}

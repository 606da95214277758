#include "vmm/emulate/step_parts.h"

void emulate_derive_mode(struct emulator *e)
{
	const struct emu_segment *cs = segment_of(e, SEG_CS);

	/* D counts in real mode too, between MOV to CR0 and the far jump. */
	e->mode = long_mode(e) && (cs->ar & SEGMENT_AR_L) ? DECODE_64 : cs->ar & SEGMENT_AR_DB ? DECODE_32 : DECODE_16;
	if (!(e->paging.cr0 & GUEST_CR0_PE))
		e->paging.cpl = 0;
	else
		e->paging.cpl = v86_mode(e) ? 3 : dpl(segment_of(e, SEG_SS)->ar);
	e->paging.rflags_ac = e->rflags & RFLAGS_AC;
}

/* Granularity must be able to express the limit. */
static bool limit_expressible(const struct emu_segment *s)
{
	return s->ar & AR_G ? (s->limit & 0xfff) == 0xfff : s->limit <= 0xfffff;
}

static bool code_enterable(const struct emulator *e, const struct emu_segment *cs, const struct emu_segment *ss)
{
	unsigned level = dpl(ss->ar), type = cs->ar & 15;

	if ((cs->ar & SEGMENT_AR_UNUSABLE) || (type & 9) != 9 || !(cs->ar & AR_S) || !(cs->ar & AR_P) || !limit_expressible(cs))
		return false;
	if (long_mode(e) && (cs->ar & SEGMENT_AR_L) && (cs->ar & SEGMENT_AR_DB))
		return false;
	return type & TYPE_CONFORMING ? dpl(cs->ar) <= level : dpl(cs->ar) == level;
}

static bool data_enterable(const struct emu_segment *s, const struct emu_segment *cs, enum segment_register which)
{
	unsigned type = s->ar & 15;

	if (s->ar & SEGMENT_AR_UNUSABLE)
		return true;
	if (!(type & TYPE_ACCESSED) || !(s->ar & AR_S) || !(s->ar & AR_P) || !limit_expressible(s))
		return false;
	if (which == SEG_SS)
		return (type == 3 || type == 7) && (s->selector & 3) == (cs->selector & 3) && dpl(s->ar) == (s->selector & 3U);
	if ((type & TYPE_CODE) && !(type & TYPE_WRITABLE))
		return false;
	return type > 11 || dpl(s->ar) >= (s->selector & 3U);
}

bool emulate_enterable(struct emulator *e)
{
	const struct emu_segment *cs = segment_of(e, SEG_CS), *ss = segment_of(e, SEG_SS), *tr, *ldtr;

	if (!(e->paging.cr0 & GUEST_CR0_PE))
		return false;
	for (unsigned which = 0; which < SEG_COUNT; which++) {
		const struct emu_segment *s = segment_of(e, which);

		if (v86_mode(e)) {
			if (s->ar != 0xf3 || s->limit != 0xffff || s->base != (uint64_t)s->selector << 4)
				return false;
		} else if (which != SEG_CS && !data_enterable(s, cs, which)) {
			return false;
		}
		if (which != SEG_FS && which != SEG_GS && !(s->ar & SEGMENT_AR_UNUSABLE) && s->base >> 32)
			return false;
	}
	if (!v86_mode(e) && !code_enterable(e, cs, ss))
		return false;
	tr = segment_of(e, SEG_TR);
	if ((tr->ar & SEGMENT_AR_UNUSABLE) || (tr->selector & 4) || !(tr->ar & AR_P) || (tr->ar & AR_S) || !limit_expressible(tr) ||
	    ((tr->ar & 15) != TYPE_TSS32_BUSY && ((tr->ar & 15) != TYPE_TSS16_BUSY || long_mode(e))))
		return false;
	ldtr = segment_of(e, SEG_LDTR);
	return (ldtr->ar & SEGMENT_AR_UNUSABLE) ||
	       (!(ldtr->selector & 4) && (ldtr->ar & 0x9f) == (AR_P | TYPE_LDT) && limit_expressible(ldtr));
}

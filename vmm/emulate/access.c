/* The slow ways of fetching an instruction and of translating an operand: code that crosses a page, segments with limits, operands in two
 * pieces. The short ways are inline in access.h. */
#include "vmm/emulate/access.h"

#include "lib/string.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"

int raise_exception(struct emulate_result *r, uint8_t vector, int64_t error)
{
	r->vector = vector;
	r->has_error_code = error >= 0;
	r->error_code = error >= 0 ? (uint32_t)error : 0;
	return EMULATE_EXCEPTION;
}

struct segment_state *segment_of(struct emulator *e, enum segment_register seg)
{
	if (!(e->segments & (1U << seg))) {
		e->segment(e->ctx, seg, &e->seg[seg]);
		e->segments |= (uint8_t)(1U << seg);
	}
	return &e->seg[seg];
}

/* The verdict on a walk that failed. */
static int walk_verdict(struct emulate_result *r, int err, enum segment_register seg, uint64_t linear, uint32_t pf_error)
{
	switch (err) {
	case ERR_NOENT:
		r->cr2 = linear;
		return raise_exception(r, VECTOR_PF, pf_error);
	case ERR_INVALID:
		return raise_exception(r, seg == SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
	case ERR_BUSY:
		return EMULATE_RETRY;
	default:
		return EMULATE_UNSUPPORTED; /* page tables outside RAM */
	}
}

/* Undecodable bytes mean that the guest has changed its code since the exit: it gets the exception that the new code raises. */
static int decode_verdict(const struct insn *insn, int err, struct emulate_result *r)
{
	if (!err)
		return EMULATE_CONTINUE;
	return insn->length ? raise_exception(r, VECTOR_GP, 0) : raise_exception(r, VECTOR_UD, -1);
}

/* Append the code bytes at `linear`, up to the end of their page; *from is where they all lie (NULL: RAM ends in between). Returns
 * EMULATE_CONTINUE or a verdict. */
static int fetch_page(struct emulator *e, uint64_t linear, const uint8_t **from, struct emulate_result *r)
{
	unsigned want = sizeof(r->bytes) - r->byte_count;
	uint32_t pf_error = 0;
	const uint8_t *code;
	uint64_t gpa;
	int err;

	err = guest_walk(e->mem, &e->paging, linear, WALK_EXEC, &gpa, &pf_error, NULL);
	if (err)
		return walk_verdict(r, err, SEG_CS, linear, pf_error);
	want = MIN(want, PAGE_SIZE - (unsigned)(gpa & (PAGE_SIZE - 1)));
	code = guest_ptr(e->mem, gpa, want);
	*from = code;
	if (code) {
		if (want == sizeof(r->bytes))
			memcpy(r->bytes, code, sizeof(r->bytes));
		else
			memcpy(r->bytes + r->byte_count, code, want);
		r->byte_count = (uint8_t)(r->byte_count + want);
		return EMULATE_CONTINUE;
	}
	/* RAM may end inside the page. */
	for (unsigned i = 0; i < want && (code = guest_ptr(e->mem, gpa + i, 1)); i++)
		r->bytes[r->byte_count++] = *code;
	return EMULATE_CONTINUE;
}

/* Fetch up to the page's end, and from the next page only what the instruction needs. */
static int fetch_and_decode(struct emulator *e, struct insn *insn, const uint8_t **code, struct emulate_result *r)
{
	uint64_t linear = e->rip, next;
	const uint8_t *second;
	int verdict, err;

	if (e->mode != DECODE_64)
		linear = (uint32_t)(segment_of(e, SEG_CS)->base + linear);
	verdict = fetch_page(e, linear, code, r);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	err = decode(insn, r->bytes, r->byte_count, e->mode);
	if (err == ERR_RANGE) {
		next = linear + r->byte_count;
		if (next & (PAGE_SIZE - 1))
			return EMULATE_UNSUPPORTED; /* code outside RAM */
		if (e->mode != DECODE_64)
			next = (uint32_t)next;
		verdict = fetch_page(e, next, &second, r);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
		err = decode(insn, r->bytes, r->byte_count, e->mode);
		if (err == ERR_RANGE)
			return EMULATE_UNSUPPORTED;
	}
	return decode_verdict(insn, err, r);
}

/* Which of the shortest ways serves this 64-bit instruction. */
static enum quick_mov classify(const struct insn *insn)
{
	if (insn->encoding != ENCODING_LEGACY || insn->map != MAP_ONE_BYTE || !(insn->flags & INSN_MEM) || (insn->flags & INSN_LOCK) ||
	    insn->address_size != 8 || insn->segment >= SEG_FS)
		return QUICK_NONE;
	switch (insn->opcode) {
	case 0x88:
		return high_byte(insn, insn->reg) ? QUICK_NONE : QUICK_STORE;
	case 0x89:
		return QUICK_STORE;
	case 0x8b:
		return insn->operand_size >= 4 ? QUICK_LOAD : QUICK_NONE;
	case 0xc6:
	case 0xc7:
		return insn->modrm >> 3 & 7 ? QUICK_NONE : QUICK_STORE_IMMEDIATE;
	default:
		return QUICK_NONE;
	}
}

/* Every case that the memo does not cover. */
int fetch_slowly(struct emulator *e, struct insn_memo *memo, const uint8_t **code, struct emulate_result *r)
{
	int verdict;

	memo->place.rip = CODE_NOWHERE;
	memo->whole = false;
	memo->quick = QUICK_NONE;
	r->byte_count = 0;
	r->length = 0;
	*code = NULL;
	verdict = fetch_and_decode(e, &memo->insn, code, r);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (e->mode != DECODE_64) {
		if (e->rip + memo->insn.length - 1 > e->seg[SEG_CS].limit)
			return raise_exception(r, VECTOR_GP, 0);
	} else {
		memcpy(memo->bytes, r->bytes, sizeof(r->bytes));
		if (r->byte_count == sizeof(r->bytes)) {
			memo->whole = true;
			memo->quick = (uint8_t)classify(&memo->insn);
			memo->mask = size_mask(memo->insn.operand_size);
		}
	}
	r->length = memo->insn.length;
	return EMULATE_CONTINUE;
}

/* Type, limit and presence of a segment outside 64-bit mode (SDM vol. 3, "Limit Checking", "Type Checking"). */
static bool segment_allows(const struct emulator *e, const struct segment_state *s, uint64_t offset, unsigned size, unsigned access)
{
	uint64_t last = offset + size - 1;
	bool expand_down = false;

	if (s->access & SEGMENT_UNUSABLE)
		return false;
	if ((e->paging.cr0 & CR0_PE) && !(e->rflags & RFLAGS_VM)) {
		bool code = s->access & SEGMENT_TYPE_CODE, writable = s->access & SEGMENT_TYPE_WRITABLE;

		if (access & WALK_WRITE ? code || !writable : code && !writable)
			return false;
		expand_down = !code && (s->access & SEGMENT_TYPE_EXPAND_DOWN);
	}
	if (expand_down)
		return offset > s->limit && last <= (s->access & SEGMENT_DB ? 0xffffffffU : 0xffffU);
	return last <= s->limit;
}

int segmented_address(struct emulator *e, enum segment_register seg, uint64_t offset, unsigned size, unsigned access,
		      uint64_t *linear, struct emulate_result *r)
{
	const struct segment_state *s;

	if (e->mode == DECODE_64) {
		*linear = offset;
		if (seg >= SEG_FS)
			*linear += segment_of(e, seg)->base;
		return EMULATE_CONTINUE;
	}
	s = segment_of(e, seg);
	if (!segment_allows(e, s, offset, size, access))
		return raise_exception(r, seg == SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
	*linear = (uint32_t)(s->base + offset);
	return EMULATE_CONTINUE;
}

/* Translate one or two pages; `mask` is that of linear addresses. */
static inline int translate_masked(struct emulator *e, enum segment_register seg, uint64_t linear, uint64_t mask, unsigned size,
				   unsigned access, struct place *place, struct emulate_result *r)
{
	unsigned rest;

	place->first = PAGE_SIZE - (unsigned)(linear & (PAGE_SIZE - 1));
	if (place->first > size)
		place->first = size;
	rest = size - place->first;
	for (unsigned i = 0; i < (rest ? 2 : 1); i++) {
		uint64_t address = (linear + (i ? place->first : 0)) & mask;
		uint32_t pf_error = 0;
		int err;

		err = guest_walk(e->mem, &e->paging, address, access | WALK_SET_AD, &place->gpa[i], &pf_error, NULL);
		if (err)
			return walk_verdict(r, err, seg, address, pf_error);
		place->ram[i] = guest_ptr(e->mem, place->gpa[i], i ? rest : place->first);
	}
	return EMULATE_CONTINUE;
}

int translate(struct emulator *e, enum segment_register seg, uint64_t linear, unsigned size, unsigned access, struct place *place,
	      struct emulate_result *r)
{
	return translate_masked(e, seg, linear, e->mode == DECODE_64 ? ~0ULL : 0xffffffff, size, access, place, r);
}

int translate_system(struct emulator *e, uint64_t linear, unsigned size, unsigned access, struct place *place, struct emulate_result *r)
{
	uint64_t mask = e->paging.efer & EFER_LMA ? ~0ULL : 0xffffffff;

	return translate_masked(e, SEG_DS, linear, mask, size, access | WALK_IMPLICIT, place, r);
}

/* One piece, of which a device sees whole accesses of 1, 2, 4 or 8 bytes, or single bytes. */
static uint64_t piece_read(struct emulator *e, const struct place *place, unsigned i, unsigned size)
{
	uint64_t value = 0;

	if (place->ram[i]) {
		/* One load each, which another CPU cannot cut through. */
		switch (size) {
		case 1:
			return __atomic_load_n((uint8_t *)place->ram[i], __ATOMIC_RELAXED);
		case 2: {
			uint16_t v;

			memcpy(&v, place->ram[i], 2);
			return v;
		}
		case 4: {
			uint32_t v;

			memcpy(&v, place->ram[i], 4);
			return v;
		}
		default:
			memcpy(&value, place->ram[i], size);
			return value;
		}
	}
	if (!(size & (size - 1)))
		return e->mmio_read(e->ctx, place->gpa[i], size) & size_mask(size);
	for (unsigned n = 0; n < size; n++)
		value |= (e->mmio_read(e->ctx, place->gpa[i] + n, 1) & 0xff) << (8 * n);
	return value;
}

static void piece_write(struct emulator *e, const struct place *place, unsigned i, unsigned size, uint64_t value)
{
	if (place->ram[i]) {
		switch (size) {
		case 1:
			memcpy(place->ram[i], &value, 1);
			break;
		case 2:
			memcpy(place->ram[i], &value, 2);
			break;
		case 4:
			memcpy(place->ram[i], &value, 4);
			break;
		case 8:
			memcpy(place->ram[i], &value, 8);
			break;
		default:
			memcpy(place->ram[i], &value, size);
			break;
		}
		if (e->written)
			e->written(e->ctx, place->gpa[i], size);
	} else if (!(size & (size - 1))) {
		e->mmio_write(e->ctx, place->gpa[i], size, value & size_mask(size));
	} else {
		for (unsigned n = 0; n < size; n++)
			e->mmio_write(e->ctx, place->gpa[i] + n, 1, value >> (8 * n) & 0xff);
	}
}

uint64_t pieces_read(struct emulator *e, const struct place *place, unsigned size)
{
	uint64_t value = piece_read(e, place, 0, place->first);

	if (place->first < size)
		value |= piece_read(e, place, 1, size - place->first) << (8 * place->first);
	return value;
}

void pieces_write(struct emulator *e, const struct place *place, unsigned size, uint64_t value)
{
	piece_write(e, place, 0, place->first, value);
	if (place->first < size)
		piece_write(e, place, 1, size - place->first, value >> (8 * place->first));
}

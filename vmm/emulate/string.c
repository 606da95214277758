/* String instructions element by element. Each of the two operands remembers the translation of the page that it is in, and a repeated
 * instruction stops after a bounded number of elements. */
#include "vmm/emulate/string.h"

#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/alu.h"

/* One of the two operands of a string instruction, as it moves on. */
struct stream {
	enum segment_register seg;
	uint64_t *index;      /* rsi or rdi */
	unsigned address_size;
	unsigned access;
	bool valid;           /* `page` translates to `page_gpa` with `access` */
	uint64_t page;
	uint64_t page_gpa;
	struct place place;
};

static struct stream source_stream(struct emulator *e, unsigned seg, unsigned address_size)
{
	return (struct stream){ .seg = seg, .index = &e->gpr[REG_RSI], .address_size = address_size, .access = WALK_READ };
}

static struct stream destination_stream(struct emulator *e, unsigned address_size, unsigned access)
{
	return (struct stream){ .seg = SEG_ES, .index = &e->gpr[REG_RDI], .address_size = address_size, .access = access };
}

/* Translate the stream's next element into `place`, walking only when a page begins. Returns EMULATE_CONTINUE or a verdict. */
static int stream_next(struct emulator *e, struct stream *s, unsigned size, struct emulate_result *r)
{
	uint64_t offset = *s->index & size_mask(s->address_size), linear;
	int verdict = linear_address(e, s->seg, offset, size, s->access, &linear, r);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (s->valid && (linear & PAGE_MASK) == s->page && (linear & (PAGE_SIZE - 1)) + size <= PAGE_SIZE) {
		s->place.gpa[0] = s->page_gpa | (linear & (PAGE_SIZE - 1));
		s->place.ram[0] = guest_ptr(e->mem, s->place.gpa[0], size);
		s->place.first = size;
		return EMULATE_CONTINUE;
	}
	verdict = translate(e, s->seg, linear, size, s->access, &s->place, r);
	s->valid = verdict == EMULATE_CONTINUE;
	s->page = linear & PAGE_MASK;
	s->page_gpa = s->place.gpa[0] & PAGE_MASK;
	return verdict;
}

static void stream_advance(const struct emulator *e, struct stream *s, unsigned size)
{
	uint64_t next = e->rflags & RFLAGS_DF ? *s->index - size : *s->index + size;

	write_gpr(s->index, s->address_size, next);
}

/* rcx under REP, as wide as addresses are. */
static uint64_t repeat_count(const struct emulator *e, unsigned address_size)
{
	return e->gpr[REG_RCX] & size_mask(address_size);
}

/* Count one element. Returns true when none is left. */
static bool repeat_done(struct emulator *e, unsigned address_size)
{
	write_gpr(&e->gpr[REG_RCX], address_size, e->gpr[REG_RCX] - 1);
	return !repeat_count(e, address_size);
}

/* How many elements this call may handle; a single-stepped guest traps after each. */
static unsigned repeat_budget(const struct emulator *e, unsigned max)
{
	return e->rflags & RFLAGS_TF ? 1 : max;
}

enum { STRING_MOVS, STRING_CMPS, STRING_TEST, STRING_STOS, STRING_LODS, STRING_SCAS };

int emulate_string(struct emulator *e, const struct insn *insn, struct emulate_result *r)
{
	unsigned what = (insn->opcode - 0xa4U) >> 1, size = insn->operand_size, width = insn->address_size;
	bool rep = insn->flags & (INSN_REPE | INSN_REPNE), compares = what == STRING_CMPS || what == STRING_SCAS;
	bool reads = what == STRING_MOVS || what == STRING_CMPS || what == STRING_LODS, uses_di = what != STRING_LODS;
	struct stream src = source_stream(e, insn->segment, width);
	struct stream dst = destination_stream(e, width, compares ? WALK_READ : WALK_WRITE);
	unsigned budget = repeat_budget(e, EMULATE_STRING_MAX);
	int verdict;

	if (insn->flags & INSN_LOCK)
		return raise_exception(r, VECTOR_UD, -1);
	if (rep && !repeat_count(e, width))
		return finish(e, insn->length);
	while (budget--) {
		uint64_t value = e->gpr[REG_RAX];

		if (reads) {
			verdict = stream_next(e, &src, size, r);
			if (verdict != EMULATE_CONTINUE)
				return verdict;
		}
		/* Both operands must be accessible before a device is touched. */
		if (uses_di) {
			verdict = stream_next(e, &dst, size, r);
			if (verdict != EMULATE_CONTINUE)
				return verdict;
		}
		if (reads) {
			value = place_read(e, &src.place, size);
			stream_advance(e, &src, size);
		}
		if (compares)
			alu(ALU_CMP, value, place_read(e, &dst.place, size), size, &e->rflags);
		else if (uses_di)
			place_write(e, &dst.place, size, value);
		else
			write_gpr(&e->gpr[REG_RAX], size, value);
		if (uses_di)
			stream_advance(e, &dst, size);
		if (!rep || repeat_done(e, width))
			return finish(e, insn->length);
		if (compares && !(e->rflags & RFLAGS_ZF) == !!(insn->flags & INSN_REPE))
			return finish(e, insn->length);
	}
	return EMULATE_RETRY;
}

/* Complete what the exit does not say by reading the instruction. Returns EMULATE_CONTINUE or a verdict. */
static int read_io_insn(struct emulator *e, struct string_io *io, struct emulate_result *r)
{
	const struct insn_memo *memo;
	int verdict = fetch_insn(e, &memo, r);
	const struct insn *insn = &memo->insn;

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	/* The guest may have changed the instruction since the exit: then it runs the instruction that is there now. */
	if (insn->encoding != ENCODING_LEGACY || insn->map != MAP_ONE_BYTE || (insn->opcode & 0xfe) != (io->in ? 0x6c : 0x6e) ||
	    (insn->operand_size > 4 ? 4 : insn->operand_size) != io->size || io->rep != !!(insn->flags & (INSN_REPE | INSN_REPNE)))
		return EMULATE_RETRY;
	io->address_size = insn->address_size;
	io->segment = insn->segment;
	io->length = insn->length;
	return EMULATE_CONTINUE;
}

int emulate_string_io(struct emulator *e, const struct string_io *given, struct emulate_result *r)
{
	unsigned budget = repeat_budget(e, EMULATE_IO_MAX);
	struct string_io io = *given;
	struct stream s;
	int verdict;

	r->byte_count = 0;
	if (!io.address_size) {
		verdict = read_io_insn(e, &io, r);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
	}
	r->length = io.length;
	if (io.rep && !repeat_count(e, io.address_size))
		return finish(e, io.length);
	s = io.in ? destination_stream(e, io.address_size, WALK_WRITE) : source_stream(e, io.segment, io.address_size);
	while (budget--) {
		verdict = stream_next(e, &s, io.size, r);
		if (verdict != EMULATE_CONTINUE)
			return verdict;
		if (io.in)
			place_write(e, &s.place, io.size, e->port_read(e->ctx, io.port, io.size));
		else
			e->port_write(e->ctx, io.port, io.size, (uint32_t)place_read(e, &s.place, io.size));
		stream_advance(e, &s, io.size);
		if (!io.rep || repeat_done(e, io.address_size))
			return finish(e, io.length);
	}
	return EMULATE_RETRY;
}

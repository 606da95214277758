/* The emulator's way to the guest's instructions and operands: segmentation, paging, RAM or device. */
#ifndef VMM_EMULATE_ACCESS_H
#define VMM_EMULATE_ACCESS_H

#include "lib/string.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/emulate.h"

/* Besides the verdicts, the functions here return this where the emulation goes on. */
#define EMULATE_CONTINUE (-1)

/* An operand in memory, translated: one piece, or two where it crosses a page. */
struct place {
	uint64_t gpa[2];
	void *ram[2];   /* NULL: a device, or nothing */
	unsigned first; /* bytes in the first piece */
};

/* Fill in an exception with (error >= 0) or without an error code; returns EMULATE_EXCEPTION. */
int raise_exception(struct emulate_result *r, uint8_t vector, int64_t error);

/* Fetch and decode the instruction at CS:RIP into `memo`, with the place of its first bytes in RAM (NULL: none) in *code. Returns
 * EMULATE_CONTINUE or a verdict. */
int fetch_slowly(struct emulator *e, struct insn_memo *memo, const uint8_t **code, struct emulate_result *r);

/* The same by memory where the bytes are those that `memo` has. */
static inline __attribute__((always_inline)) int fetch_insn_to(struct emulator *e, struct insn_memo *memo, const uint8_t **code,
							       struct emulate_result *r)
{
	const struct guest_region *region;
	uint64_t gpa, offset, bytes[2];

	if (!memo->whole || e->mode != DECODE_64 || (e->rip & (PAGE_SIZE - 1)) > PAGE_SIZE - sizeof(bytes) ||
	    guest_walk(e->mem, &e->paging, e->rip, WALK_EXEC, &gpa, NULL, NULL) || !e->mem->count)
		return fetch_slowly(e, memo, code, r);
	/* As guest_ptr(), without the search: most guests' code lies in their last region. */
	region = &e->mem->region[e->mem->count - 1];
	offset = gpa - region->gpa;
	if (region->size < sizeof(bytes) || offset > region->size - sizeof(bytes))
		return fetch_slowly(e, memo, code, r);
	*code = region->base + offset;
	__builtin_memcpy(bytes, *code, sizeof(bytes));
	if (memo->bytes[0] != bytes[0] || memo->bytes[1] != bytes[1])
		return fetch_slowly(e, memo, code, r);
	__builtin_memcpy(r->bytes, bytes, sizeof(bytes));
	r->byte_count = sizeof(r->bytes);
	r->length = memo->insn.length;
	return EMULATE_CONTINUE;
}

/* The same with the memo that belongs to the instruction's address; *memo is valid until the next call. */
static inline int fetch_insn(struct emulator *e, const struct insn_memo **out, struct emulate_result *r)
{
	struct insn_memo *memo = insn_memo_at(&e->code, e->rip);
	const uint8_t *code;

	*out = memo;
	return fetch_insn_to(e, memo, &code, r);
}

/* A segment register's hidden part, which is asked of the vCPU at its first use. */
struct segment_state *segment_of(struct emulator *e, enum segment_register seg);

/* Segmentation: the linear address of `size` bytes at seg:offset, `offset` being cut to the address size by the caller. `access`
 * is WALK_READ or WALK_WRITE. Whether the address is canonical is left to translate(). Returns EMULATE_CONTINUE or a verdict. */
int segmented_address(struct emulator *e, enum segment_register seg, uint64_t offset, unsigned size, unsigned access,
		      uint64_t *linear, struct emulate_result *r);

static inline int linear_address(struct emulator *e, enum segment_register seg, uint64_t offset, unsigned size, unsigned access,
				 uint64_t *linear, struct emulate_result *r)
{
	if (e->mode == DECODE_64 && seg < SEG_FS) {
		*linear = offset;
		return EMULATE_CONTINUE;
	}
	return segmented_address(e, seg, offset, size, access, linear, r);
}

/* Paging: find [linear, linear+size), `size` at most 8, with the access's permissions checked and the accessed and dirty flags
 * set. `seg` decides the exception for an address that is not canonical. Returns EMULATE_CONTINUE or a verdict. */
int translate(struct emulator *e, enum segment_register seg, uint64_t linear, unsigned size, unsigned access, struct place *place,
	      struct emulate_result *r);

/* The same for an access of the CPU's own to a system table: supervisor-mode at any CPL, and 64 bits wide in all of long mode. */
int translate_system(struct emulator *e, uint64_t linear, unsigned size, unsigned access, struct place *place, struct emulate_result *r);

/* The mask of an operand of `size` 1, 2, 4 or 8 bytes. */
static inline uint64_t size_mask(unsigned size)
{
	return ~0ULL >> (64 - 8 * size);
}

/* Read or write a translated operand of 1, 2, 4 or 8 bytes, which is most often in a device; operands in RAM or across a page boundary are
 * rarer. */
uint64_t pieces_read(struct emulator *e, const struct place *place, unsigned size);
void pieces_write(struct emulator *e, const struct place *place, unsigned size, uint64_t value);

static inline uint64_t place_read(struct emulator *e, const struct place *place, unsigned size)
{
	if (place->first == size && !place->ram[0])
		return e->mmio_read(e->ctx, place->gpa[0], size) & size_mask(size);
	return pieces_read(e, place, size);
}

static inline void place_write(struct emulator *e, const struct place *place, unsigned size, uint64_t value)
{
	if (place->first == size && !place->ram[0])
		e->mmio_write(e->ctx, place->gpa[0], size, value & size_mask(size));
	else
		pieces_write(e, place, size, value);
}

/* Write the low `size` bytes of a register as the CPU does: 4 bytes clear the upper half, 1 and 2 leave the rest. */
static inline void write_gpr(uint64_t *gpr, unsigned size, uint64_t value)
{
	if (size == 8)
		*gpr = value;
	else if (size == 4)
		*gpr = (uint32_t)value;
	else
		*gpr = (*gpr & ~size_mask(size)) | (value & size_mask(size));
}

/* Is the byte register `reg` one of AH, CH, DH and BH (SDM vol. 2, table 3-1)? */
static inline bool high_byte(const struct insn *insn, unsigned reg)
{
	return !insn->rex && reg >= 4;
}

/* Read register operand `reg`; bits above `size` are undefined. */
static inline uint64_t read_reg(const struct emulator *e, const struct insn *insn, unsigned reg, unsigned size)
{
	if (size == 1 && high_byte(insn, reg))
		return e->gpr[reg - 4] >> 8;
	return e->gpr[reg];
}

static inline void write_reg(struct emulator *e, const struct insn *insn, unsigned reg, unsigned size, uint64_t value)
{
	if (size == 1 && high_byte(insn, reg))
		e->gpr[reg - 4] = (e->gpr[reg - 4] & ~0xff00ULL) | (value & 0xff) << 8;
	else
		write_gpr(&e->gpr[reg], size, value);
}

/* The instruction is complete. Returns EMULATE_DONE. */
static inline int finish(struct emulator *e, unsigned length)
{
	e->rip += length;
	if (e->mode != DECODE_64)
		e->rip &= e->mode == DECODE_32 ? 0xffffffff : 0xffff;
	e->rflags &= ~RFLAGS_RF;
	return EMULATE_DONE;
}

#endif

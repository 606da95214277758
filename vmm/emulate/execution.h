/* One instruction being executed, and its operand in ModRM's r/m or in memory. */
#ifndef VMM_EMULATE_EXECUTION_H
#define VMM_EMULATE_EXECUTION_H

#include "vmm/emulate/access.h"

/* What the handlers share: the instruction, where it faulted, where its memory operand is. */
struct execution {
	struct emulator *e;
	struct emulate_result *r;
	uint64_t fault_gpa;    /* emulate_mmio() only */
	const struct insn *insn;
	struct place place;
	bool step;             /* emulate_step(): operands may be registers and RAM */
	bool locked;           /* emulate_step() only: LOCK, or XCHG with memory */
	bool torn;             /* a locked operand changed between read and write: the instruction must start again */
	uint64_t old;          /* what operand_read() gave last */
};

static inline uint64_t effective_address(const struct emulator *e, const struct insn *insn)
{
	uint64_t ea = (uint64_t)insn->disp;

	if (insn->base < REG_RIP)
		ea += e->gpr[insn->base];
	else if (insn->base == REG_RIP)
		ea += e->rip + insn->length;
	if (insn->index != REG_NONE)
		ea += e->gpr[insn->index] << insn->scale;
	return ea;
}

/* Find the r/m operand for an access of WALK_READ or WALK_WRITE (which allows reading too); before operand_read() and
 * operand_write(). Returns EMULATE_CONTINUE or a verdict. */
int locate_operand(struct execution *x, unsigned size, unsigned access);

static inline uint64_t operand_read(struct execution *x, unsigned size)
{
	if (x->insn->flags & INSN_MEM)
		return x->old = place_read(x->e, &x->place, size);
	return read_reg(x->e, x->insn, x->insn->rm, size) & size_mask(size);
}

/* Replace the locked operand if it is still what was read. */
void operand_exchange(struct execution *x, unsigned size, uint64_t value);

static inline void operand_write(struct execution *x, unsigned size, uint64_t value)
{
	if (x->locked)
		operand_exchange(x, size, value);
	else if (x->insn->flags & INSN_MEM)
		place_write(x->e, &x->place, size, value);
	else
		write_reg(x->e, x->insn, x->insn->rm, size, value);
}

static inline uint64_t sign_extend(uint64_t value, unsigned size)
{
	unsigned spare = 64 - 8 * size;

	return (uint64_t)((int64_t)(value << spare) >> spare);
}

/* May LOCK stand before this form? It goes with read-modify-write instructions only, else #UD (SDM vol. 2, "LOCK"). */
bool lockable(const struct insn *insn);

/* XCHG with memory needs no prefix to be locked. */
bool is_locked(const struct insn *insn);

/* Execute a locked instruction by `instruction`, atomically for the guest's other CPUs where its operand is RAM. An instruction that finds
 * its operand changed has had no effect: EMULATE_RETRY. */
int execute_locked(struct execution *x, int (*instruction)(struct execution *x));

/* The instructions that emulate_mmio() and emulate_step() share: instructions with one operand in r/m that programs use on memory, and the
 * string instructions. Returns an enum emulate_verdict, EMULATE_UNSUPPORTED for all others. */
int execute_common(struct execution *x);

#endif

/* What the parts of emulate_step() offer each other. Handlers return EMULATE_DONE (finished, rip moved) or another verdict. */
#ifndef VMM_EMULATE_STEP_PARTS_H
#define VMM_EMULATE_STEP_PARTS_H

#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/alu.h"
#include "vmm/emulate/execution.h"
#include "vmm/emulate/step.h"

static inline bool protected_mode(const struct emulator *e)
{
	return (e->paging.cr0 & CR0_PE) && !(e->rflags & RFLAGS_VM);
}

static inline bool v86_mode(const struct emulator *e)
{
	return e->rflags & RFLAGS_VM;
}

static inline bool long_mode(const struct emulator *e)
{
	return e->paging.efer & EFER_LMA;
}

static inline unsigned cpl(const struct emulator *e)
{
	return e->paging.cpl;
}

static inline unsigned iopl(const struct emulator *e)
{
	return e->rflags >> 12 & 3;
}

static inline unsigned dpl(uint32_t ar)
{
	return ar >> SEGMENT_DPL_SHIFT & 3;
}

static inline int undefined_opcode(struct execution *x)
{
	return raise_exception(x->r, VECTOR_UD, -1);
}

static inline int general_protection(struct execution *x, uint32_t error)
{
	return raise_exception(x->r, VECTOR_GP, error);
}

static inline int done(struct execution *x)
{
	return finish(x->e, x->insn->length);
}

/* The address behind the instruction. */
static inline uint64_t next_rip(const struct execution *x)
{
	uint64_t next = x->e->rip + x->insn->length;

	return x->e->mode == DECODE_64 ? next : x->e->mode == DECODE_32 ? (uint32_t)next : (uint16_t)next;
}

/* SF, ZF and PF of a result; CF, OF and AF are cleared. */
static inline void result_flags(struct emulator *e, uint64_t result, unsigned size)
{
	alu(ALU_OR, result, 0, size, &e->rflags);
}

static inline void set_flag(struct emulator *e, uint64_t flag, bool on)
{
	e->rflags = on ? e->rflags | flag : e->rflags & ~flag;
}

/* The privileged instructions' check: CPL 0, #GP(0) otherwise; virtual-8086 mode is CPL 3. Returns EMULATE_CONTINUE or a verdict. */
static inline int need_cpl0(struct execution *x)
{
	return cpl(x->e) ? general_protection(x, 0) : EMULATE_CONTINUE;
}

/* ---- step_memory.c ---- */

/* Read or write `size` bytes (1, 2, 4, 8) at seg:offset. Return EMULATE_CONTINUE or a verdict. */
int memory_read(struct execution *x, enum segment_register seg, uint64_t offset, unsigned size, uint64_t *value);
int memory_write(struct execution *x, enum segment_register seg, uint64_t offset, unsigned size, uint64_t value);
/* The same for a descriptor table or TSS at a linear address. */
int system_read(struct execution *x, uint64_t linear, unsigned size, uint64_t *value);
int system_write(struct execution *x, uint64_t linear, unsigned size, uint64_t value);

/* The stack while an instruction pushes or pops several values: rsp itself changes by stack_commit() only. */
struct stack {
	uint64_t sp;
	unsigned width; /* of the stack pointer: 2, 4 or 8 bytes */
};

struct stack stack_begin(struct emulator *e);
int stack_push(struct execution *x, struct stack *stack, unsigned size, uint64_t value);
int stack_pop(struct execution *x, struct stack *stack, unsigned size, uint64_t *value);
void stack_commit(struct emulator *e, const struct stack *stack);

/* State that a control transfer changes bit by bit, to be put back where a later step of it faults. */
struct step_snapshot {
	uint64_t rip, rflags, rsp;
	uint32_t changed;
	uint8_t segments, shadow;
	struct segment_state seg[SEG_COUNT];
};

void snapshot_take(struct step_snapshot *s, const struct emulator *e);
void snapshot_restore(const struct step_snapshot *s, struct emulator *e);

/* ---- step_descriptor.c ---- */

struct descriptor {
	uint64_t raw;
	uint64_t linear; /* where it is */
	uint64_t base;
	uint32_t limit, access;
};

static inline bool selector_null(uint16_t selector)
{
	return !(selector & ~3);
}

/* Read the descriptor of `selector`. A null selector, or one outside its table, raises `vector` with the selector and `ext` (bit 0
 * of error codes). Returns EMULATE_CONTINUE or a verdict. */
int descriptor_read(struct execution *x, uint16_t selector, uint8_t vector, unsigned ext, struct descriptor *d);
/* As descriptor_read(), but *found tells whether there is one, for LAR, LSL, VERR and VERW. */
int descriptor_find(struct execution *x, uint16_t selector, struct descriptor *d, bool *found);
/* Set the accessed bit of a code or data descriptor, in memory and in `d`. */
int descriptor_accessed(struct execution *x, struct descriptor *d);
/* Make a segment register hold `d`. */
void segment_set(struct emulator *e, enum segment_register which, uint16_t selector, const struct descriptor *d);
/* What loading it in real mode does (the base changes and no more), or in virtual-8086 mode. */
void segment_set_real(struct emulator *e, enum segment_register which, uint16_t selector);
void segment_set_null(struct emulator *e, enum segment_register which, uint16_t selector);
/* MOV, POP, LDS ... to a segment register other than CS, with all checks. */
int segment_load(struct execution *x, enum segment_register which, uint16_t selector);

int step_group6(struct execution *x);  /* 0F 00 */
int step_group7(struct execution *x);  /* 0F 01 */
int step_lar_lsl(struct execution *x); /* 0F 02, 0F 03 */
int step_arpl(struct execution *x);
int step_mov_from_segment(struct execution *x);
int step_mov_to_segment(struct execution *x);
int step_load_far_pointer(struct execution *x, enum segment_register which);

/* ---- control transfers ---- */

/* Go to `offset` in the present code segment: cut to `size`, checked against limit or canonical form. EMULATE_DONE or a verdict. */
int branch_near(struct execution *x, uint64_t offset, unsigned size);
int far_transfer(struct execution *x, uint16_t selector, uint64_t offset, unsigned size, bool call);
int step_far_return(struct execution *x, unsigned release);
int step_iret(struct execution *x);
/* Deliver through IVT or IDT once. `software`: INT n, INT3 and INTO, whose gate's DPL is checked. Nothing is changed unless it
 * returns EMULATE_DONE. */
int interrupt_deliver(struct execution *x, uint8_t vector, bool software, unsigned ext, int64_t error, uint64_t return_rip);
/* Load CS with `d`, which has been checked, at privilege level `level`, and go to `offset`. EMULATE_CONTINUE or a verdict. */
int code_segment_enter(struct execution *x, uint16_t selector, struct descriptor *d, unsigned level, uint64_t offset, unsigned ext);
/* Load SS for privilege level `level`, which the CPL becomes: errors are `vector`, #SS where it is not present. */
int stack_segment_enter(struct execution *x, uint16_t selector, unsigned level, uint8_t vector, unsigned ext);
/* The same with the stack that the TSS names for `level`; *sp gets its stack pointer. */
int tss_stack_enter(struct execution *x, unsigned level, unsigned ext, uint64_t *sp);
/* After a return to an outer level: data segments that it may not use become null. */
void drop_inner_segments(struct emulator *e);

/* Deliver the exception in x->r, or what comes of it: #DF, shutdown. As emulate_interrupt(). */
int exception_deliver(struct execution *x);

int step_control(struct execution *x);     /* jumps, calls, returns, loops, INT, BOUND */
int step_stack(struct execution *x);       /* PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE */
int step_alu(struct execution *x);         /* register and accumulator forms, BCD, flags, conversions */
int step_shift(struct execution *x, unsigned count);
int step_double_shift(struct execution *x, unsigned count);
int step_group3(struct execution *x);      /* MUL, IMUL, DIV, IDIV; the rest is shared with emulate_mmio() */
int step_imul(struct execution *x, bool immediate);
int step_bit_scan(struct execution *x);
int step_popcnt(struct execution *x);
int step_bswap(struct execution *x);
int step_in_out(struct execution *x);
int step_ins_outs(struct execution *x);
int step_mov_control(struct execution *x); /* 0F 20 .. 0F 23 */
int step_lmsw(struct execution *x, uint16_t value);
int step_system(struct execution *x);      /* CLTS, WRMSR, CPUID, HLT ... */
int step_fpu(struct execution *x);

#endif

/* Memory, stack and system-table accesses for the parts of emulate_step(), and snapshots of the state that an instruction changes before it
 * can be sure to end well. */
#include "lib/x86/segment.h"
#include "vmm/emulate/step_parts.h"

int memory_read(struct execution *x, enum segment_register seg, uint64_t offset, unsigned size, uint64_t *value)
{
	uint64_t linear;
	struct place place;
	int verdict = linear_address(x->e, seg, offset, size, WALK_READ, &linear, x->r);

	if (verdict == EMULATE_CONTINUE)
		verdict = translate(x->e, seg, linear, size, WALK_READ, &place, x->r);
	if (verdict == EMULATE_CONTINUE)
		*value = place_read(x->e, &place, size);
	return verdict;
}

int memory_write(struct execution *x, enum segment_register seg, uint64_t offset, unsigned size, uint64_t value)
{
	uint64_t linear;
	struct place place;
	int verdict = linear_address(x->e, seg, offset, size, WALK_WRITE, &linear, x->r);

	if (verdict == EMULATE_CONTINUE)
		verdict = translate(x->e, seg, linear, size, WALK_WRITE, &place, x->r);
	if (verdict == EMULATE_CONTINUE)
		place_write(x->e, &place, size, value);
	return verdict;
}

int system_read(struct execution *x, uint64_t linear, unsigned size, uint64_t *value)
{
	struct place place;
	int verdict = translate_system(x->e, linear, size, WALK_READ, &place, x->r);

	if (verdict == EMULATE_CONTINUE)
		*value = place_read(x->e, &place, size);
	return verdict;
}

int system_write(struct execution *x, uint64_t linear, unsigned size, uint64_t value)
{
	struct place place;
	int verdict = translate_system(x->e, linear, size, WALK_WRITE, &place, x->r);

	if (verdict == EMULATE_CONTINUE)
		place_write(x->e, &place, size, value);
	return verdict;
}

struct stack stack_begin(struct emulator *e)
{
	unsigned width = e->mode == DECODE_64 ? 8 : segment_of(e, SEG_SS)->access & SEGMENT_DB ? 4 : 2;

	return (struct stack){ .sp = e->gpr[REG_RSP] & size_mask(width), .width = width };
}

int stack_push(struct execution *x, struct stack *stack, unsigned size, uint64_t value)
{
	uint64_t sp = (stack->sp - size) & size_mask(stack->width);
	int verdict = memory_write(x, SEG_SS, sp, size, value);

	if (verdict == EMULATE_CONTINUE)
		stack->sp = sp;
	return verdict;
}

int stack_pop(struct execution *x, struct stack *stack, unsigned size, uint64_t *value)
{
	int verdict = memory_read(x, SEG_SS, stack->sp, size, value);

	if (verdict == EMULATE_CONTINUE)
		stack->sp = (stack->sp + size) & size_mask(stack->width);
	return verdict;
}

void stack_commit(struct emulator *e, const struct stack *stack)
{
	write_gpr(&e->gpr[REG_RSP], stack->width, stack->sp);
}

void snapshot_take(struct step_snapshot *s, const struct emulator *e)
{
	s->rip = e->rip;
	s->rflags = e->rflags;
	s->rsp = e->gpr[REG_RSP];
	s->changed = e->step->changed;
	s->shadow = e->step->shadow;
	s->segments = e->segments;
	memcpy(s->seg, e->seg, sizeof(s->seg));
}

void snapshot_restore(const struct step_snapshot *s, struct emulator *e)
{
	e->rip = s->rip;
	e->rflags = s->rflags;
	e->gpr[REG_RSP] = s->rsp;
	e->step->changed = s->changed;
	e->step->shadow = s->shadow;
	e->segments = s->segments;
	memcpy(e->seg, s->seg, sizeof(s->seg));
	emulate_derive_mode(e);
}

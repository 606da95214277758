/* The exits of MOV to and from CR3 with shadow paging. They are the most frequent exits of a kernel that isolates its page tables, so that the
 * exit of a MOV from CR3 also does what such a kernel has behind it. */
#include "vmm/mmu/cr3_exits.h"

#include "lib/x86/registers.h"
#include "vmm/emulate/cr3_sequence.h"
#include "vmm/exits/handlers.h"
#include "vmm/mmu/settle.h"

static inline __attribute__((always_inline)) int set_cr3(struct vcpu *v, uint64_t value)
{
	int flush;

	if (__builtin_expect(value >> 32 != 0, 0) && v->shadow->paging.efer & EFER_LMA && value >> v->shadow->paging.maxphyaddr)
		return ERR_INVALID;
	flush = shadow_load_cr3(v->shadow, value);
	if (__builtin_expect(flush < 0, 0))
		return ERR_INVALID;
	v->cr3 = value;
	settle_shadow(v);
	if (flush != SHADOW_FLUSH_NONE)
		v->engine->flush(v);
	return 0;
}

int cr3_write(struct vcpu *v, uint64_t value)
{
	return set_cr3(v, value);
}

enum verdict handle_cr3_write(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t value = exit->cr.gpr == GPR_RSP ? vcpu_read(v, VCPU_RSP) : v->gpr[exit->cr.gpr];

	if (__builtin_expect(value >> 32 != 0, 0)) {
		v->engine->read_context(v, &v->context);
		if (!vcpu_in_64bit_code(&v->context))
			value = (uint32_t)value;
	}
	if (__builtin_expect(set_cr3(v, value) != 0, 0))
		return general_protection(v);
	return VERDICT_ADVANCE;
}

/* What is known of the code at `rip`, which begins with MOV from CR3 to `reg`; NULL where the code cannot be read. */
static __attribute__((noinline)) const struct cr3_sequence *look_at_code(struct vcpu *v, struct sequence_memo *memo, uint64_t rip, unsigned reg)
{
	unsigned avail = PAGE_SIZE - (unsigned)(rip & (PAGE_SIZE - 1));
	uint64_t hpa = shadow_lookup(v->shadow, rip), gpa;
	const uint8_t *code;

	memo->place.rip = CODE_NOWHERE;
	if (hpa == ~0ULL || avail < CR3_SEQUENCE_HEAD ||
	    guest_walk(v->memory, &v->shadow->paging, rip, WALK_EXEC, &gpa, NULL, NULL))
		return NULL;
	code = guest_ptr(v->memory, gpa, avail);
	if (!code)
		return NULL;
	cr3_sequence_find(&memo->sequence, code, avail, reg);
	memo->place = (struct code_place){ rip, CODE_NOWHERE, code };
	memo->machine = hpa;
	return &memo->sequence;
}

/* Whether the code still lies where it lay: nothing in the shadow tables has changed, or at least not the code's translation. */
static bool same_page(struct vcpu *v, struct sequence_memo *memo)
{
	if (memo->changes == v->shadow_mmu->entry_changes && memo->place.space == v->shadow->root)
		return true;
	memo->changes = v->shadow_mmu->entry_changes;
	memo->place.space = v->shadow->root;
	return memo->machine == shadow_lookup(v->shadow, memo->place.rip);
}

/* As AND and OR leave them (SDM vol. 2); AF, which they leave undefined, is cleared. */
static inline uint64_t logic_flags(uint64_t rflags, uint64_t result)
{
	return (rflags & ~RFLAGS_STATUS) | (result ? 0 : RFLAGS_ZF) | (result >> 63 ? RFLAGS_SF : 0) |
	       (__builtin_parity((uint8_t)result) ? 0 : RFLAGS_PF);
}

/* The exit of a MOV from CR3 does what follows it too, where that is but a change of a bit and the MOV to CR3: one exit less. */
static bool run_sequence(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t rip = vcpu_read(v, VCPU_RIP), rflags, value;
	struct sequence_memo *memo = sequence_memo_at(&v->emulator.code, rip);
	const struct cr3_sequence *s = &memo->sequence;

	/* Kernels lie in the upper half, which only 64-bit code reaches. */
	if (!(rip >> 63))
		return false;
	if (__builtin_expect(memo->place.rip != rip || s->reg != exit->cr.gpr || !same_page(v, memo) ||
			     !cr3_sequence_holds(s, memo->place.bytes), 0))
		s = look_at_code(v, memo, rip, exit->cr.gpr);
	if (!s || !s->length)
		return false;
	rflags = vcpu_read(v, VCPU_RFLAGS);
	if (rflags & RFLAGS_TF || vcpu_read(v, VCPU_DR7) & 0xff) /* single steps, breakpoints */
		return false;
	value = s->op == ALU_AND ? v->cr3 & s->operand : v->cr3 | s->operand;
	if (s->reg == GPR_RSP)
		vcpu_write(v, VCPU_RSP, value);
	else
		v->gpr[s->reg] = value;
	vcpu_write(v, VCPU_RFLAGS, logic_flags(rflags, value));
	/* A value that set_cr3() refuses here, it refuses again at the second MOV itself. */
	exit->length = set_cr3(v, value) ? s->last : s->length;
	return true;
}

enum verdict handle_cr3_read(struct vcpu *v, struct vm_exit *exit)
{
	if (run_sequence(v, exit))
		return VERDICT_ADVANCE;
	if (__builtin_expect(exit->cr.gpr == GPR_RSP, 0))
		vcpu_write(v, VCPU_RSP, v->cr3);
	else
		v->gpr[exit->cr.gpr] = v->cr3;
	return VERDICT_ADVANCE;
}

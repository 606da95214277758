/* What a vCPU remembers of the guest's code, so that code which exits again and again is decoded once. Everything is kept with its address and
 * with the very bytes that were decoded, and whoever uses it compares them first with what the guest's RAM has now: nothing here goes stale
 * when the guest changes its code. */
#ifndef VMM_EMULATE_CODE_MEMORY_H
#define VMM_EMULATE_CODE_MEMORY_H

#include "lib/types.h"
#include "vmm/emulate/cr3_sequence.h"
#include "vmm/emulate/decode.h"

#define CODE_INSNS 64     /* powers of two; a kernel has some dozens of instructions that exit often */
#define CODE_SEQUENCES 16 /* and a handful of these sequences */

/* Where code was found. An instruction at the same address of the same address space is taken for the same without a walk of the guest's
 * page tables, if the bytes that lie where it was are what they were. A guest that maps other code there, which happens to exit likewise,
 * and keeps the old page as it was, misleads only itself. */
struct code_place {
	uint64_t rip;         /* linear address, of 64-bit code; CODE_NOWHERE: there is no such code */
	uint64_t space;       /* CR3 as the CPU has it */
	const uint8_t *bytes; /* the guest's RAM there; always readable, CODE_COMPARED of them */
};

#define CODE_NOWHERE (1ULL << 62) /* neither an address nor CR3 can be that */
#define CODE_COMPARED 4

/* MOVs that emulate_mmio() does by the shortest way: 64-bit code, whole registers, no segment base. */
enum quick_mov { QUICK_NONE, QUICK_STORE, QUICK_STORE_IMMEDIATE, QUICK_LOAD };

/* One decoded instruction. */
struct insn_memo {
	struct code_place place; /* exit_instruction()'s */
	uint64_t bytes[2];       /* what was decoded, as far as it was fetched */
	bool whole;              /* all of `bytes` were, and as 64-bit code: they say by themselves what the instruction is */
	uint8_t quick;           /* enum quick_mov; only where `whole` */
	uint64_t mask;           /* of the operand size, likewise */
	struct insn insn;
	uint64_t reserved[4];
};

_Static_assert(sizeof(struct insn_memo) == 128, "an index is a shift");

/* One sequence that begins with MOV from CR3, or what is none. The page may be mapped elsewhere when the shadow tables have changed. */
struct sequence_memo {
	struct code_place place; /* `space` is the root of the shadow tables, when the code was last seen to be there */
	uint64_t machine;        /* the code's address in the machine */
	uint64_t changes;        /* of the shadow tables, when it was last seen to be there */
	struct cr3_sequence sequence;
};

/* One for each vCPU. */
struct code_memory {
	struct insn_memo insn[CODE_INSNS];
	struct sequence_memo sequence[CODE_SEQUENCES];
	struct sequence_memo *sequences; /* the array above. Through a pointer the compiler keeps a slot's address, which it would else compute
					  * again at each field: the exit of a MOV from CR3 is the most frequent with shadow paging */
};

/* Nothing is remembered. */
void code_memory_init(struct code_memory *memory);

/* The slot for the instruction at `rip`. */
static inline struct insn_memo *insn_memo_at(struct code_memory *memory, uint64_t rip)
{
	return &memory->insn[rip % CODE_INSNS];
}

/* Another one: where a kernel runs one piece of code in many address spaces in turn, each has a slot. */
static inline struct insn_memo *insn_memo_in_space(struct code_memory *memory, uint64_t rip, uint64_t space)
{
	return insn_memo_at(memory, rip ^ space >> 12);
}

static inline struct sequence_memo *sequence_memo_at(struct code_memory *memory, uint64_t rip)
{
	return &memory->sequences[(rip ^ rip >> 6) % CODE_SEQUENCES];
}

/* Whether the memo is that of the instruction at `rip` in `space`, and the guest's RAM still has its bytes. */
static inline bool insn_memo_holds(const struct insn_memo *memo, uint64_t rip, uint64_t space)
{
	uint32_t now;

	if (memo->place.rip != rip || memo->place.space != space)
		return false;
	__builtin_memcpy(&now, memo->place.bytes, CODE_COMPARED);
	return now == (uint32_t)memo->bytes[0];
}

/* Let insn_memo_holds() find the instruction, which has just been decoded as 64-bit code from `code`, with `count` bytes fetched in all. Does
 * nothing where CODE_COMPARED bytes of one page do not have all of it. */
void insn_memo_place(struct insn_memo *memo, uint64_t rip, uint64_t space, const uint8_t *code, unsigned count);

#endif

/* MOV from CR3, a bit changed, MOV to CR3: how kernels with page-table isolation enter and leave, twice a system call. With shadow paging
 * both MOVs exit, and what stands between them is so little that the first exit can do it all. */
#ifndef VMM_EMULATE_CR3_SEQUENCE_H
#define VMM_EMULATE_CR3_SEQUENCE_H

#include "lib/types.h"
#include "vmm/emulate/alu.h"

#define CR3_SEQUENCE_HEAD 24 /* bytes that are compared, at the first MOV and where the code goes on after a jump */
#define CR3_SEQUENCE_TAIL 16

/* What was found at an address. `length` 0: not this sequence. */
struct cr3_sequence {
	uint64_t head[CR3_SEQUENCE_HEAD / 8], tail[CR3_SEQUENCE_TAIL / 8];
	uint64_t operand;    /* of AND or OR with the register, which MOV to CR3 then loads */
	uint8_t op;          /* enum alu_op */
	uint8_t reg;         /* as MOV from CR3 has it */
	uint8_t tail_offset; /* 0 without a jump */
	uint8_t length;      /* bytes from the first MOV to the end of the second */
	uint8_t last;        /* bytes from the first MOV to the second */
};

/* Look for it in 64-bit code that begins with MOV from CR3 to `reg`; `avail` bytes may be read, at least CR3_SEQUENCE_HEAD. */
void cr3_sequence_find(struct cr3_sequence *s, const uint8_t *code, unsigned avail, unsigned reg);

/* Whether `code` still is what was found there. */
static inline bool cr3_sequence_holds(const struct cr3_sequence *s, const uint8_t *code)
{
	const uint64_t *head = (const uint64_t *)code, *tail = (const uint64_t *)(code + s->tail_offset);
	uint64_t differs = 0;

	for (unsigned i = 0; i < CR3_SEQUENCE_HEAD / 8; i++)
		differs |= __atomic_load_n(&head[i], __ATOMIC_RELAXED) ^ s->head[i];
	for (unsigned i = 0; i < CR3_SEQUENCE_TAIL / 8; i++)
		differs |= __atomic_load_n(&tail[i], __ATOMIC_RELAXED) ^ s->tail[i];
	return !differs;
}

#endif

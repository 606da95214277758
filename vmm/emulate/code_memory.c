/* The rare part of a vCPU's memory of the guest's code: how it begins and what gets a place in it. */
#include "vmm/emulate/code_memory.h"

static const uint8_t nothing[CODE_COMPARED];

void code_memory_init(struct code_memory *memory)
{
	const struct code_place nowhere = { CODE_NOWHERE, CODE_NOWHERE, nothing };

	for (unsigned i = 0; i < CODE_INSNS; i++) {
		memory->insn[i].place = nowhere;
		memory->insn[i].whole = false;
	}
	for (unsigned i = 0; i < CODE_SEQUENCES; i++)
		memory->sequence[i].place = nowhere;
	memory->sequences = memory->sequence;
}

void insn_memo_place(struct insn_memo *memo, uint64_t rip, uint64_t space, const uint8_t *code, unsigned count)
{
	if (code && count >= CODE_COMPARED && memo->insn.length <= CODE_COMPARED && (rip & (PAGE_SIZE - 1)) <= PAGE_SIZE - CODE_COMPARED)
		memo->place = (struct code_place){ rip, space, code };
}

/* Integer arithmetic with the flags it leaves (SDM vol. 1, "Status Flags"). */
#ifndef VMM_EMULATE_ALU_H
#define VMM_EMULATE_ALU_H

#include "lib/types.h"

/* The eight operations of opcodes 00..3F and 80..83, in encoding order. */
enum alu_op { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

/* The result of `a op b` on `size` bytes (1, 2, 4 or 8; higher bits of a and b are ignored), *rflags updated. CMP gives the
 * difference. AF, which logic operations leave undefined, is cleared. */
uint64_t alu(enum alu_op op, uint64_t a, uint64_t b, unsigned size, uint64_t *rflags);

/* Is the condition of a Jcc, SETcc or CMOVcc opcode's low four bits true? */
bool condition(unsigned cc, uint64_t rflags);

#endif

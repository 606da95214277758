/* Instructions that the emulator can be compared on with the host's CPU (step_native.h): their opcodes, and the flags that the manual
 * defines for them. What follows the opcode, and the registers, are native_random64()'s. */
#ifndef TESTS_UNIT_STEP_FORMS_H
#define TESTS_UNIT_STEP_FORMS_H

#include "lib/x86/registers.h"
#include "tests/unit/step_native.h"

enum {
	F_GROUP = 1 << 0,  /* ModRM.reg is `group` */
	F_BIT = 1 << 1,    /* a register's bit index moves a memory operand */
	F_NO_MODRM = 1 << 2,
	F_NO_64 = 1 << 3,
	F_MEM = 1 << 4,    /* memory operands only */
	F_REG = 1 << 5,
	F_NO_66 = 1 << 6,
	F_NO_RSP = 1 << 7, /* rsp is the stack pointer: not an operand */
	F_STRING = 1 << 8,
	F_NO_67 = 1 << 9,
	F_REP = 1 << 10,   /* F3 is part of the opcode */
	F_COUNT = 1 << 11, /* a count beyond the operand's size leaves all undefined, which differs between CPUs */
};

struct form {
	uint8_t opcode[3];
	uint8_t opcode_length;
	uint8_t group;
	uint16_t how;
	uint16_t flags; /* that the manual defines */
};

/* One instruction of this form in emulator and host, compared (after native_reset()). Returns false where the bytes that came up cannot be
 * run: then nothing was. */
bool step_form_try(enum decode_mode mode, const struct form *f);

/* Call `visit` for each form of a group with how often it is worth trying in each mode; 0: the host's CPU does not know it. */
typedef void step_form_visitor(const struct form *f, unsigned times);
void step_forms_mov(step_form_visitor *visit);
void step_forms_arithmetic(step_form_visitor *visit);
void step_forms_multiply(step_form_visitor *visit);
void step_forms_divide(step_form_visitor *visit);
void step_forms_shifts(step_form_visitor *visit);
void step_forms_double_shifts(step_form_visitor *visit);
void step_forms_bits(step_form_visitor *visit);
void step_forms_decimal(step_form_visitor *visit);
void step_forms_flag_instructions(step_form_visitor *visit);
void step_forms_stack(step_form_visitor *visit);

#endif

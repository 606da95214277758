/* The model machine of the test_step*.c files: RAM, a few devices, and the emulator's callbacks. */
#ifndef TESTS_UNIT_STEP_MACHINE_H
#define TESTS_UNIT_STEP_MACHINE_H

#include "lib/x86/segment.h"
#include "vmm/emulate/access.h"
#include "vmm/emulate/step.h"

#define RAM_SIZE 0x400000UL
#define PROGRAM_AT 0x7c00
#define PORT80_MAX 64
#define CR4_RESERVED BIT(31) /* write_cr refuses it */

/* Where protected_mode_setup() puts its tables. */
#define GDT_AT 0x1000
#define IDT_AT 0x1800
#define TSS_AT 0x3000

extern uint8_t ram[RAM_SIZE];
extern struct emulator emu;
extern struct step_state step;
extern struct emulate_result result;
extern uint64_t gpr[16];
extern struct segment_state segments[SEG_COUNT]; /* what the emulator reads; where it writes is emu.seg */

/* What the machine saw. */
extern unsigned cr_writes, wbinvds, port80_count;
extern uint64_t last_invlpg, dr[8];
extern uint8_t port80[PORT80_MAX];

/* The state after RESET, but for CS:IP; setup() clears RAM too. */
void reset(void);
int setup(void **state);
/* Flat 32-bit code at CPL 0 (or 3) with a GDT, a TSS, and an IDT of interrupt gates to 8:(10000 + 16 * vector). The GDT: 08 code,
 * 10 data, 18 and 20 the same for 16 bits, 28 64-bit code, 30 and 38 user code and data, 40 TSS, 48 call gate with two parameters
 * to 8:500, 50 data that is not present, 58 LDT, 60 task gate. */
void protected_mode_setup(void);
void user_mode_setup(void);
void idt_entry(unsigned vector, uint16_t selector, uint32_t offset, unsigned type);

uint16_t word(unsigned at);
uint32_t dword(unsigned at);
void set_dword(unsigned at, uint32_t v);

/* Step until HLT, `max` instructions at most. Returns the last verdict. */
int run(unsigned max);
/* One instruction at PROGRAM_AT. */
int step_bytes(const char *bytes, unsigned n);
#define STEP(bytes) step_bytes(bytes, sizeof(bytes) - 1)
/* That emulate_step() has just delivered this to protected mode's handler. */
void expect_delivered(unsigned vector, bool has_error, uint32_t error);

uint64_t random64(void);
unsigned random_below(unsigned n);

#endif

/* One instruction in the emulator and on the host's CPU. */
#ifndef TESTS_UNIT_STEP_NATIVE_H
#define TESTS_UNIT_STEP_NATIVE_H

#include "vmm/emulate/access.h"
#include "vmm/emulate/step.h"

/* One window of memory at the same linear addresses in the host process and in the guest: data, then stack. For 16-bit code it is
 * the data and the stack segment. */
#define L 0x20000000UL
#define DATA_SIZE 0x4000UL
#define STACK_SIZE 0x4000UL

extern uint64_t native_gpr[16];
extern bool native_have_ldt;   /* 16- and 32-bit code can be run */
extern bool native_all_flags;  /* undefined flags are compared too */
extern unsigned native_faults; /* instructions that the emulator found to fault, which are not run on the host */

/* For the group: map the window, ask for segments. */
int native_setup(void **unused);
/* A fresh guest for code of this mode. */
void native_reset(enum decode_mode mode);
/* Run one instruction here and there with the registers in native_gpr; compare all that it leaves, of the flags those in `defined`.
 * Returns false where it faults. */
bool native_run_both(enum decode_mode mode, const uint8_t *bytes, unsigned length, uint64_t flags, uint64_t defined);

uint64_t native_random64(void);
unsigned native_random_below(unsigned n);
/* Where not NULL: what native_random64() gives instead. What memory holds stays the generator's, which native_seed() starts anew (not
 * with 0). */
extern uint64_t (*native_random_source)(void);
void native_seed(uint64_t seed);

#endif

/* Histories of guest page tables on the model of shadow_model.h: each step, chosen by model_random(), changes tables, paging or TLBs, or
 * makes an access and compares it with what a walk of the guest's tables gives. */
#ifndef TESTS_UNIT_SHADOW_HISTORY_H
#define TESTS_UNIT_SHADOW_HISTORY_H

#include "tests/unit/shadow_model.h"

extern uint64_t history_steps;                   /* so far, for the message of a failure; the caller counts them */
extern uint64_t history_results[MODEL_LOOP + 1]; /* of the accesses, by enum model_result */

/* A new model (the caller frees it) with page tables that mostly lead somewhere. */
void history_begin(unsigned table_pages, bool pages_1g);
/* As on the VM's reset: nothing in the shadow MMU, no paging; the tables stay. */
void history_reset(void);
/* The same with new tables. */
void history_restart(void);
void history_step(void);
/* That the shadow MMU's own structures agree with each other. */
void history_check(void);

#endif

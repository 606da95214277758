/* How the bench guest measures: TSC ticks of one operation, the least of several runs of many rounds, less the empty loop. */
#ifndef TESTS_GUESTS_BENCH_BENCH_H
#define TESTS_GUESTS_BENCH_BENCH_H

#include "tests/guests/lib/cpu.h"

#define ROUNDS 100
#define RUNS 5

/* Ticks of ROUNDS rounds of nothing. */
extern uint64_t bench_empty;

/* Ticks of ROUNDS rounds of `operation`, the least of RUNS runs. `before` is C that runs before each, unmeasured; `set_up` begins each run.
 * RAX to RDI, R8 and R12 to R14 are free for both, and keep their values between rounds. */
#define MEASURE_AFTER(before, set_up, operation) \
	({ \
		uint64_t best_ = UINT64_MAX; \
		for (unsigned run_ = 0; run_ < RUNS; run_++) { \
			uint64_t start_, end_; \
			before; \
			start_ = rdtsc(); \
			__asm__ volatile(set_up "\n\tmovl %0, %%r15d\n77:\n\t" operation "\n\tdecl %%r15d\n\tjnz 77b" \
					 : : "i"(ROUNDS) \
					 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r12", "r13", "r14", "r15", "memory", "cc"); \
			end_ = rdtsc(); \
			best_ = MIN(best_, end_ - start_); \
		} \
		best_; \
	})
#define MEASURE(set_up, operation) MEASURE_AFTER((void)0, set_up, operation)

/* Print the line of an operation that took `ticks` in ROUNDS rounds. */
void report(const char *name, uint64_t ticks);

#define BENCH(name, set_up, operation) report(name, MEASURE(set_up, operation))

/* What an MMU has to do with: control registers, INVLPG, exceptions, page faults, changes in page tables (paging.c). */
void paging(void);

#endif

/* The TSC's rate, chosen from what the machine claims and from what was measured. */
#ifndef ARCH_X86_64_TSC_RATE_H
#define ARCH_X86_64_TSC_RATE_H

#include "lib/types.h"

#define TSC_HZ_LEAST 1000000

/* A stretch of time by three counters. */
struct tsc_window {
	uint64_t tsc, apic; /* ticks of the TSC and of the local APIC's timer */
	uint64_t reference; /* ticks of the clock that it is measured against */
	uint64_t slack;     /* how many of the TSC's ticks the reads at both ends took: the window is wrong by no more */
};

/* What the machine says, in Hz; 0 where it says nothing. */
struct tsc_claims {
	uint64_t hypervisor; /* leaf 40000010h of an outer hypervisor */
	uint64_t crystal;    /* leaf 15h, where it names its crystal */
	uint64_t base;       /* leaf 16h: the base frequency, which is the TSC's on these CPUs */
	uint64_t platform;   /* MSR_PLATFORM_INFO (SDM vol. 4): tsc_platform_hz() */
	bool platform_info;  /* the CPU has that MSR with a bus of 100 MHz */
};

struct tsc_rate {
	uint64_t hz;        /* 0 where nothing tells it */
	const char *source; /* what is believed, for the log; NULL: a measurement */
	uint64_t measured;  /* Hz, of the best window; 0 where there is none */
	uint64_t doubtful;  /* Hz that leaf 15h claims and that no window confirms; else 0 */
};

/* Read the claims by `cpuid`, which executes the instruction. */
void tsc_claims_read(struct tsc_claims *claims, void (*cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]));
/* The rate that MSR_PLATFORM_INFO names. */
uint64_t tsc_platform_hz(uint64_t platform_info);

/* The window whose reads took least; `count` is 1 or more. An SMI or an outer machine that is preempted makes a read long. */
const struct tsc_window *tsc_window_best(const struct tsc_window *windows, unsigned count);
/* Choose. `reference_hz` is the rate of the windows' clock; `count` may be 0. */
struct tsc_rate tsc_rate_choose(const struct tsc_claims *claims, const struct tsc_window *windows, unsigned count, uint64_t reference_hz);

#endif

/* What the monitor needs of the core that it runs on; arch/ provides it. */
#ifndef VMM_INTERFACE_CORE_H
#define VMM_INTERFACE_CORE_H

#include "lib/types.h"

/* What the tables have room for; further cores stay off, which is logged. */
#define CORES_MAX 512

/* The low half of the TSC, for statistics of the exit path: no exit takes 2^32 ticks. */
static inline uint32_t core_ticks(void)
{
	return (uint32_t)__builtin_ia32_rdtsc();
}

/* This core's number; 0 is the boot processor. */
unsigned core_index(void);
unsigned core_count(void);
/* Make another core leave guest mode or its halt. */
void core_kick(unsigned core);
/* Interrupt this core at an absolute machine time, or never; earlier where the console wants it. */
void core_timer_set(uint64_t deadline);
/* Interrupt this core at this time at the latest. */
void core_timer_by(uint64_t deadline);
/* Handle the interrupts that are pending now. Returns whether this core's timer was among them. */
bool core_take_interrupts(void);
/* Halt until an interrupt comes, and handle it. */
void core_idle(void);
/* An interrupt that a VM exit acknowledged: handle it. Returns whether it was this core's timer. */
bool core_interrupt(uint8_t vector);
/* Handle a non-maskable interrupt, or a machine check, that a VM exit reported. */
void core_nmi(void);
NORETURN void core_machine_check(void);
/* The guest's FPU, which is in the CPU while its vCPU is loaded: FNINIT, FNSTSW, FNSTCW. */
void core_fpu_init(void);
uint16_t core_fpu_status(void);
uint16_t core_fpu_control(void);
/* Tell the CPU that this is a waiting loop. */
void core_pause(void);
/* Run in this address space. */
void core_address_space(uint64_t root);
/* Load XCR0 for the guest. */
void core_set_xcr0(uint64_t value);
/* The last VM ended: power the machine off. */
NORETURN void core_power_off(void);

#endif

/* The application processors: started once, then each runs what it is given. */
#ifndef TESTS_GUESTS_SMP_CPUS_H
#define TESTS_GUESTS_SMP_CPUS_H

#include "tests/guests/lib/acpi.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/clock.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"

#define CPUS_MAX 16
#define PATIENCE 2000 /* milliseconds: the CPUs may share one core */

/* What the trampoline found in real mode. */
struct first_state {
	uint32_t cr0, cs, edx, flags;
};
_Static_assert(sizeof(struct first_state) == 16, "trampoline.asm16");

typedef void cpu_work(unsigned cpu);

/* Index 0 is the boot processor; the others are in the order in which they came up. */
struct cpu {
	volatile bool online;
	cpu_work *volatile work;
	volatile unsigned interrupts, nmis;
	volatile uint64_t value; /* what its work found */
	uint32_t apic_id;
};

extern struct cpu cpus[CPUS_MAX];
extern struct first_state first_states[CPUS_MAX];
extern unsigned cpu_count;   /* that came up, with the boot processor */
extern struct madt madt;

enum { VECTOR_IPI = 0x70 };

/* The index of the CPU that runs this. */
unsigned this_cpu(void);
/* Give a CPU (not the boot processor) work; wait until it is done. */
void cpu_start_work(unsigned cpu, cpu_work *work);
bool cpu_wait(unsigned cpu);
/* Wake every application processor by INIT, SIPI, SIPI. Returns how many came up in time. */
unsigned cpus_start(void);
/* INIT, SIPI, SIPI to one that is already known. True when it is back. */
bool cpu_restart(unsigned cpu);
/* Send and wait until the sender may send again. */
void send_ipi(uint32_t destination, uint32_t command);

#endif

/* This machine's local APICs (SDM vol. 3, "APIC"), in x2APIC mode where the CPU has it. */
#ifndef ARCH_X86_64_HOST_APIC_H
#define ARCH_X86_64_HOST_APIC_H

#include "lib/types.h"

#define APIC_ID_BROADCAST 255U /* in 8 bits: what xAPIC mode and I/O APICs can address ends before it */

/* Choose the mode, log why, and map the registers; once, on the boot processor. `phys` is where the ACPI tables say they are, `opt_out` whether
 * they ask to leave x2APIC mode alone. */
void host_apic_init(uint64_t phys, bool opt_out);
/* Enable this core's local APIC. */
void host_apic_enable(void);
uint32_t host_apic_id(void);
bool host_apic_x2apic(void);
void host_apic_eoi(void);
/* Interrupt another core. */
void host_apic_send(uint32_t apic_id, uint8_t vector);
/* Interrupt every other core. */
void host_apic_send_others(uint8_t vector);
/* INIT, and start-up at `page` << 12. */
void host_apic_send_init(uint32_t apic_id);
void host_apic_send_startup(uint32_t apic_id, uint8_t page);

/* Measure the timer: read the count now (it runs down from 2^32 - 1 after host_apic_timer_calibrate_start). */
void host_apic_timer_calibrate_start(void);
uint32_t host_apic_timer_elapsed(void);
/* `ticks` of the timer in `tsc` ticks of the TSC, as measured. */
void host_apic_timer_calibrated(uint64_t ticks, uint64_t tsc);
/* Interrupt with VECTOR_TIMER at an absolute TSC time, at once where it has passed; UINT64_MAX stops the timer. */
void host_apic_timer_set(uint64_t deadline);

#endif

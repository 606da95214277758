/* Machine time: the TSC and its rate. time_now() and time_hz() of vmm/interface/platform.h live here too. */
#ifndef ARCH_X86_64_CLOCK_H
#define ARCH_X86_64_CLOCK_H

#include "drivers/acpi/acpi.h"
#include "lib/types.h"

/* Measure the TSC and the local APIC timer against the first of HPET, ACPI PM timer and PIT that runs; once, on the boot processor. What the
 * CPU or an outer hypervisor claims is believed instead where tsc_rate.h says so. Ends in boot_fatal() where there is neither. */
void clock_calibrate(const struct acpi_info *acpi);
/* Wait by watching the TSC: for start-up sequences only. */
void clock_delay_us(uint64_t us);
/* Seconds since 1970 as the machine's CMOS clock says (taken as UTC). */
uint64_t clock_wall_seconds(void);

#endif

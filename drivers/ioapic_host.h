/* The machine's own I/O APICs (82093AA data sheet): only what routes Lamina's own device interrupts. */
#ifndef DRIVERS_IOAPIC_HOST_H
#define DRIVERS_IOAPIC_HOST_H

#include "drivers/acpi/acpi.h"
#include "lib/types.h"

/* How many pins the I/O APIC has whose registers are mapped at `registers`. */
unsigned ioapic_host_pins(volatile void *registers);
/* Mask every pin of the I/O APIC whose registers are mapped at `registers`. Returns how many pins it has. */
unsigned ioapic_host_mask_all(volatile void *registers);
/* Route pin `pin` as `vector` to the core with this APIC ID (physical mode); `flags` are the MADT's (0: ISA's edge, high). */
void ioapic_host_route(volatile void *registers, unsigned pin, uint8_t vector, uint8_t apic_id, uint16_t flags);

#endif

/* What the drivers of the machine's devices get of this machine: drivers/host.h. */
#ifndef ARCH_X86_64_HOST_DEVICES_H
#define ARCH_X86_64_HOST_DEVICES_H

#include "drivers/acpi/acpi.h"
#include "lib/types.h"

/* The tables stay the caller's, for ever. */
void host_devices_init(const struct acpi_info *acpi);
/* A vector from VECTOR_FIRST_DEVICE on: call its driver. */
void host_device_interrupt(uint8_t vector);

#endif

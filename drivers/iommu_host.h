/* The machine's IOMMUs (Intel's VT-d, AMD's IOMMU). Lamina does not use them, and firmware may leave them on ("pre-boot DMA
 * protection"): then no device reaches the memory that a driver here gives it. */
#ifndef DRIVERS_IOMMU_HOST_H
#define DRIVERS_IOMMU_HOST_H

#include "drivers/acpi/acpi.h"

/* Switch off what is on in each unit: translation, interrupt remapping, protected memory, queues. Every wait is bounded. Logs a line for each
 * unit that was on or does not obey, and one for all that were off. Once, before any driver's DMA. */
void iommu_host_off(const struct acpi_info *acpi);

/* For the tests of that: leave each VT-d unit as firmware might that lets no device reach memory, translating by an empty root table. */
void iommu_host_block(const struct acpi_info *acpi);

#endif

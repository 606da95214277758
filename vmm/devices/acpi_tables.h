/* The guest's ACPI tables. Source: ACPI Specification 6.4, chapter 5. */
#ifndef VMM_DEVICES_ACPI_TABLES_H
#define VMM_DEVICES_ACPI_TABLES_H

#include "lib/types.h"
#include "vmm/memory/guest_memory.h"

#define ACPI_TABLES_VCPUS_MAX 1024

/* Write RSDP, XSDT, RSDT, FADT, FACS, MADT and DSDT into the guest's BIOS area (LAYOUT_ACPI), for `vcpus` vCPUs whose APIC IDs are
 * 0, 1, 2 … Call it before each start of the guest. Returns 0 and the RSDP's guest-physical address; ERR_INVALID for a number of
 * vCPUs outside 1..ACPI_TABLES_VCPUS_MAX; ERR_RANGE where the VM has no memory there. */
int acpi_tables_build(const struct guest_memory *mem, unsigned vcpus, uint64_t *rsdp_gpa);

#endif

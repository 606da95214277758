/* The virtual PC's guest-physical memory map, and what else its ACPI tables and its devices must agree on. */
#ifndef VMM_MEMORY_LAYOUT_H
#define VMM_MEMORY_LAYOUT_H

#include "lib/types.h"
#include "lib/x86/apic.h"
#include "lib/x86/pc.h"
#include "lib/x86/rtc.h"

/* RAM: from 0 up to at most 3 GiB, and the rest from 4 GiB on. */
#define LAYOUT_LOW_RAM_MAX 0xc0000000ULL
#define LAYOUT_HIGH_RAM 0x100000000ULL

/* The first MiB, as a PC BIOS leaves it. The hole is RAM too, but no guest is told so. */
#define LAYOUT_BDA 0x400ULL
#define LAYOUT_BDA_SIZE 0x100ULL
#define LAYOUT_EBDA 0x9fc00ULL
#define LAYOUT_EBDA_SIZE 0x400ULL
#define LAYOUT_HOLE 0xa0000ULL
#define LAYOUT_HOLE_END 0x100000ULL
#define LAYOUT_ACPI 0xe0000ULL /* where a guest may search for the RSDP (ACPI 6.4 section 5.2.5.1) */
#define LAYOUT_ACPI_END 0x100000ULL

/* What the Linux loader puts below 640 KiB. A kernel is never placed below 1 MiB. */
#define LAYOUT_LINUX_GDT 0x6000ULL
#define LAYOUT_LINUX_BOOT_PARAMS 0x7000ULL
#define LAYOUT_LINUX_PAGE_TABLES 0x8000ULL /* PML4, PDPT and four page directories */
#define LAYOUT_LINUX_CMDLINE 0x20000ULL
#define LAYOUT_LINUX_CMDLINE_MAX 0x10000ULL

/* The window for PCI devices' BARs, then the registers with fixed addresses. */
#define LAYOUT_PCI_WINDOW 0xc0000000ULL
#define LAYOUT_PCI_WINDOW_END IOAPIC_BASE
#define LAYOUT_IOAPIC IOAPIC_BASE
#define LAYOUT_LAPIC LAPIC_BASE
#define LAYOUT_APIC_SIZE 0x1000ULL

#define LAYOUT_RESET_PORT PORT_RESET_CONTROL
#define LAYOUT_RESET_VALUE (RESET_SYSTEM | RESET_CPU)
#define LAYOUT_CMOS_CENTURY RTC_CENTURY
/* What the I/O APIC's ID register holds after reset. */
#define LAYOUT_IOAPIC_ID 0

/* The GSI of a PCI device's interrupt pin (0 is INTA#). */
#define LAYOUT_PCI_GSI(device, pin) (16 + ((device) + (pin)) % 4)

/* The parts of a VM's RAM of `memsize` bytes that lie below and above the PCI window, in bytes. */
static inline uint64_t layout_low_ram(uint64_t memsize)
{
	return MIN(memsize, LAYOUT_LOW_RAM_MAX);
}

static inline uint64_t layout_high_ram(uint64_t memsize)
{
	return memsize - layout_low_ram(memsize);
}

#endif

/* The machine's ACPI tables (ACPI 6.4, chapter 5). All of them lie below 4 GiB. */
#ifndef TESTS_GUESTS_LIB_ACPI_H
#define TESTS_GUESTS_LIB_ACPI_H

#include "lib/types.h"

struct PACKED acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	uint32_t creator_id;
	uint32_t creator_revision;
};
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 6.4, table 5.4");

struct PACKED acpi_rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length; /* from here: revision 2 */
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
};
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 6.4, table 5.3");

struct PACKED acpi_fadt {
	struct acpi_header header;
	uint32_t facs;
	uint32_t dsdt;
	uint8_t reserved;
	uint8_t preferred_profile;
	uint16_t sci_interrupt;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios, pstate;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
	uint8_t pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length;
	uint8_t gpe0_length, gpe1_length, gpe1_base, cst;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_flags;
	uint8_t reserved2;
	uint32_t flags;
};
_Static_assert(sizeof(struct acpi_fadt) == 116, "ACPI 6.4, table 5.9");

/* The root pointer, or NULL. */
const struct acpi_rsdp *acpi_root(void);
/* The index-th table of the XSDT (or RSDT), or NULL past the end. */
const struct acpi_header *acpi_table(unsigned index);
/* The table with this signature, or NULL. */
const void *acpi_find(const char *signature);
/* The sum of all bytes, which must be 0. */
uint8_t acpi_sum(const void *data, size_t length);

/* What the MADT tells (ACPI 6.4, section 5.2.12). */
#define MADT_CPUS_MAX 64
struct madt {
	unsigned cpus;
	uint32_t apic_id[MADT_CPUS_MAX];
	uint32_t local_apic;
	uint32_t io_apic;
	uint32_t io_apic_gsi;
	unsigned irq0_gsi; /* where the PIT is connected */
};

/* Returns 0, or -1 where there is no MADT or it is malformed. */
int acpi_read_madt(struct madt *madt);

/* End this machine: \_S5 by the PM1a control register. */
void power_off(void) NORETURN;

#endif

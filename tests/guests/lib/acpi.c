#include "tests/guests/lib/acpi.h"

#include "lib/string.h"
#include "tests/guests/lib/console.h"
#include "tests/guests/lib/cpu.h"

uint8_t acpi_sum(const void *data, size_t length)
{
	const uint8_t *bytes = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < length; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return sum;
}

static const struct acpi_rsdp *search(uint32_t from, uint32_t to)
{
	for (uint32_t at = from; at + sizeof(struct acpi_rsdp) <= to; at += 16) {
		const void *p = (const void *)(uint64_t)at;

		if (memcmp(p, "RSD PTR ", 8) == 0 && acpi_sum(p, 20) == 0)
			return p;
	}
	return NULL;
}

const struct acpi_rsdp *acpi_root(void)
{
	static const struct acpi_rsdp *root;

	if (!root)
		root = search(0xe0000, 0x100000);
	if (!root) /* the extended BIOS data area is in the last 128 KiB of conventional memory */
		root = search(0x80000, 0xa0000);
	return root;
}

const struct acpi_header *acpi_table(unsigned index)
{
	const struct acpi_rsdp *root = acpi_root();
	bool wide;
	const struct acpi_header *list;
	uint64_t address = 0;

	if (!root)
		return NULL;
	wide = root->revision >= 2 && root->xsdt;
	list = (const void *)(wide ? root->xsdt : (uint64_t)root->rsdt);
	if (sizeof(*list) + (index + 1) * (wide ? 8U : 4U) > list->length)
		return NULL;
	memcpy(&address, (const uint8_t *)(list + 1) + index * (wide ? 8U : 4U), wide ? 8 : 4);
	return (const void *)address;
}

const void *acpi_find(const char *signature)
{
	const struct acpi_header *table;

	for (unsigned i = 0; (table = acpi_table(i)); i++) {
		if (memcmp(table->signature, signature, 4) == 0)
			return table;
	}
	return NULL;
}

int acpi_read_madt(struct madt *madt)
{
	const struct acpi_header *table = acpi_find("APIC");
	const uint8_t *p, *end;

	memset(madt, 0, sizeof(*madt));
	if (!table || table->length < 44)
		return -1;
	memcpy(&madt->local_apic, table + 1, 4);
	end = (const uint8_t *)table + table->length;
	for (p = (const uint8_t *)table + 44; p + 2 <= end; p += p[1]) {
		uint32_t flags, id;

		if (p[1] < 2 || p + p[1] > end)
			return -1;
		switch (p[0]) {
		case 0: /* local APIC */
			memcpy(&flags, p + 4, 4);
			if ((flags & 1) && madt->cpus < MADT_CPUS_MAX)
				madt->apic_id[madt->cpus++] = p[3];
			break;
		case 1: /* I/O APIC */
			memcpy(&madt->io_apic, p + 4, 4);
			memcpy(&madt->io_apic_gsi, p + 8, 4);
			break;
		case 2: /* interrupt source override */
			if (p[3] == 0)
				madt->irq0_gsi = p[4];
			break;
		case 9: /* local x2APIC */
			memcpy(&id, p + 4, 4);
			memcpy(&flags, p + 8, 4);
			if ((flags & 1) && madt->cpus < MADT_CPUS_MAX)
				madt->apic_id[madt->cpus++] = id;
			break;
		}
	}
	return 0;
}

/* SLP_TYPa of \_S5: Name (\_S5, Package () { SLP_TYPa, ... }), as AML (ACPI 6.4, section 20.2). -1 where the DSDT has none. */
static int soft_off_type(const struct acpi_header *dsdt)
{
	const uint8_t *p = (const uint8_t *)dsdt, *end = p + dsdt->length - 8;

	for (p += sizeof(*dsdt); p < end; p++) {
		const uint8_t *q = p + 4;

		if (memcmp(p, "_S5_", 4) != 0 || q[0] != 0x12)
			continue;
		q += 2 + (q[1] >> 6) + 1; /* package length, element count */
		if (*q == 0x0a)
			q++;
		return *q & 7;
	}
	return -1;
}

void power_off(void)
{
	const struct acpi_fadt *fadt = acpi_find("FACP");
	int type = fadt && fadt->dsdt ? soft_off_type((const void *)(uint64_t)fadt->dsdt) : -1;

	irq_disable();
	console_drain();
	if (fadt && type >= 0)
		outw((uint16_t)fadt->pm1a_control, (uint16_t)(1 << 13 | type << 10));
	if (!under_lamina()) { /* Bochs's own way out */
		for (const char *p = "Shutdown"; *p; p++)
			outb(0x8900, (uint8_t)*p);
	}
	say("guest: still here after power-off\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}

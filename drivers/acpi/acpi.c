/* ACPI tables are found from the RSDP by way of the XSDT or RSDT, mapped one after the other, checked, and handed to the reader of their
 * kind. The readers of the short tables (HPET, MCFG, SPCR) are here too. */
#include "drivers/acpi/acpi.h"

#include "drivers/acpi/acpi_tables.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/x86/apic.h"

/* No table of a real machine is nearly as long: a table with a greater length is broken. */
#define TABLE_LENGTH_MAX MIB(8)

#define RSDP_OLD_SIZE offsetof(struct acpi_rsdp, length)

static bool sums_to_zero(const uint8_t *bytes, size_t size)
{
	uint8_t sum = 0;

	while (size--)
		sum = (uint8_t)(sum + *bytes++);
	return !sum;
}

/* Text of firmware's for the log: NUL-terminated, what is not printable as '?'. */
static void copy_text(char *dst, const char *src, size_t size)
{
	for (size_t i = 0; i < size; i++)
		dst[i] = (char)(src[i] >= ' ' && src[i] <= '~' ? src[i] : '?');
	dst[size] = 0;
}

struct acpi_register acpi_register_from(const struct acpi_gas *gas)
{
	return (struct acpi_register){
		.present = gas->address != 0,
		.space = gas->space,
		.bit_width = gas->bit_width,
		.bit_offset = gas->bit_offset,
		.access_size = gas->access_size,
		.address = gas->address,
	};
}

static bool rsdp_valid(const void *rsdp)
{
	return memcmp(rsdp, "RSD PTR ", 8) == 0 && sums_to_zero(rsdp, RSDP_OLD_SIZE);
}

int64_t acpi_find_rsdp(const void *area, size_t size)
{
	for (size_t at = 0; at < size && size - at >= RSDP_OLD_SIZE; at += 16)
		if (rsdp_valid((const uint8_t *)area + at))
			return (int64_t)at;
	return ERR_NOENT;
}

/* Map the table at `address` and check it. Returns its bytes, good until the next call of `map`, with its directory entry in
 * *table; NULL, logged, where it is broken. `expect` names the signature that it must have, or is NULL. */
static const uint8_t *map_table(acpi_map_fn *map, uint64_t address, const char *expect, struct acpi_table *table)
{
	const char *wrong = NULL;
	const uint8_t *bytes;
	struct acpi_header header;

	bytes = address + sizeof(header) >= sizeof(header) ? map(address, sizeof(header)) : NULL;
	if (!bytes) {
		log_line("ACPI: %s at 0x%lx cannot be read, ignored", expect ? expect : "table", (unsigned long)address);
		return NULL;
	}
	memcpy(&header, bytes, sizeof(header));
	copy_text(table->signature, header.signature, sizeof(header.signature));
	table->address = address;
	table->length = header.length;
	if (expect && memcmp(header.signature, expect, sizeof(header.signature)) != 0) {
		log_line("ACPI: %s at 0x%lx has the signature %s, ignored", expect, (unsigned long)address, table->signature);
		return NULL;
	}
	if (header.length < sizeof(header))
		wrong = "is shorter than its header";
	else if (header.length > TABLE_LENGTH_MAX || address + header.length < address)
		wrong = "has an impossible length";
	else if (!(bytes = map(address, header.length)))
		wrong = "cannot be read";
	else if (!sums_to_zero(bytes, header.length))
		wrong = "has a wrong checksum";
	if (!wrong)
		return bytes;
	log_line("ACPI: %s at 0x%lx (%u bytes) %s, ignored", table->signature, (unsigned long)address, header.length, wrong);
	return NULL;
}

/* The addresses that a root table lists, at most `max` of them; 0 where it is broken or lists none. */
static unsigned read_root(acpi_map_fn *map, uint64_t address, const char *signature, unsigned entry_size, uint64_t *entries,
			  unsigned max)
{
	struct acpi_table root;
	const uint8_t *bytes = map_table(map, address, signature, &root);
	unsigned listed, count = 0;

	if (!bytes)
		return 0;
	listed = (root.length - (unsigned)sizeof(struct acpi_header)) / entry_size;
	for (unsigned i = 0; i < listed && count < max; i++) {
		uint64_t entry = 0;

		memcpy(&entry, bytes + sizeof(struct acpi_header) + (size_t)i * entry_size, entry_size);
		if (entry == address)
			log_line("ACPI: %s lists itself, ignored", signature);
		else if (entry)
			entries[count++] = entry;
	}
	if (count == max && listed > max)
		log_line("ACPI: %s lists %u tables, only %u are read", signature, listed, max);
	return count;
}

static void read_hpet(struct acpi_info *info, const uint8_t *table, uint32_t length)
{
	struct acpi_hpet hpet;

	/* Several HPETs may exist; the first is the one that Lamina would use. */
	if (info->hpet.present)
		return;
	if (length < sizeof(hpet)) {
		log_line("ACPI: HPET: too short (%u bytes), ignored", length);
		return;
	}
	memcpy(&hpet, table, sizeof(hpet));
	info->hpet = acpi_register_from(&hpet.address);
	info->hpet_number = hpet.number;
	if (info->hpet.present && info->hpet.space != ACPI_SPACE_MEMORY) {
		log_line("ACPI: HPET: not in memory space, ignored");
		info->hpet.present = false;
	}
}

static void read_mcfg(struct acpi_info *info, const uint8_t *table, uint32_t length)
{
	struct mcfg_allocation allocation;

	if (length < sizeof(struct acpi_mcfg_table)) {
		log_line("ACPI: MCFG: too short (%u bytes), ignored", length);
		return;
	}
	for (uint32_t at = sizeof(struct acpi_mcfg_table); length - at >= sizeof(allocation); at += sizeof(allocation)) {
		memcpy(&allocation, table + at, sizeof(allocation));
		if (info->mcfg_count == ACPI_MCFG_MAX) {
			log_line("ACPI: MCFG: more than %u segments, rest ignored", ACPI_MCFG_MAX);
			return;
		}
		if (!allocation.base || allocation.last_bus < allocation.first_bus) {
			log_line("ACPI: MCFG: segment %u makes no sense, ignored", allocation.segment);
			continue;
		}
		info->mcfg[info->mcfg_count++] = (struct acpi_mcfg){
			.base = allocation.base,
			.segment = allocation.segment,
			.first_bus = allocation.first_bus,
			.last_bus = allocation.last_bus,
		};
	}
}

static uint32_t spcr_speed(uint8_t code)
{
	switch (code) {
	case 3:
		return 9600;
	case 4:
		return 19200;
	case 6:
		return 57600;
	case 7:
		return 115200;
	default:
		return 0;
	}
}

static void read_spcr(struct acpi_info *info, const uint8_t *table, uint32_t length)
{
	struct acpi_spcr spcr;

	if (info->spcr_present)
		return;
	if (length < sizeof(spcr)) {
		log_line("ACPI: SPCR: too short (%u bytes), ignored", length);
		return;
	}
	memcpy(&spcr, table, sizeof(spcr));
	info->spcr = acpi_register_from(&spcr.address);
	info->spcr_type = spcr.interface_type;
	info->spcr_present = info->spcr.present;
	info->spcr_baud = spcr_speed(spcr.baud);
	info->spcr_irq_present = spcr.interrupt_type & SPCR_IRQ;
	info->spcr_gsi_present = spcr.interrupt_type & SPCR_GSI;
	info->spcr_irq = spcr.irq;
	info->spcr_gsi = spcr.gsi;
}

static void read_table(struct acpi_info *info, const struct acpi_table *table, const uint8_t *bytes)
{
	if (!strcmp(table->signature, "APIC")) {
		acpi_read_madt(info, bytes, table->length);
	} else if (!strcmp(table->signature, "FACP")) {
		acpi_read_fadt(info, bytes, table->length);
	} else if (!strcmp(table->signature, "HPET")) {
		read_hpet(info, bytes, table->length);
	} else if (!strcmp(table->signature, "MCFG")) {
		read_mcfg(info, bytes, table->length);
	} else if (!strcmp(table->signature, "SPCR")) {
		read_spcr(info, bytes, table->length);
	} else if (!strcmp(table->signature, "IVRS")) {
		info->ivrs_present = true;
		acpi_read_ivrs(info, bytes, table->length);
	} else if (!strcmp(table->signature, "DMAR") && !info->dmar_present) {
		info->dmar_present = true;
		info->dmar_address = table->address;
		info->dmar_length = table->length;
		acpi_read_dmar(info, bytes, table->length);
	} else if (!strcmp(table->signature, "SSDT")) {
		/* An SSDT counts only where the DSDT, which is read last, has no \_S5. */
		info->s5_present = info->s5_present || acpi_find_s5(bytes + sizeof(struct acpi_header), table->length - sizeof(struct acpi_header),
								    &info->slp_typa, &info->slp_typb);
	}
}

static bool known(const struct acpi_info *info, uint64_t address)
{
	for (unsigned i = 0; i < info->table_count; i++)
		if (info->table[i].address == address)
			return true;
	return false;
}

static void read_dsdt(struct acpi_info *info, acpi_map_fn *map)
{
	struct acpi_table table;
	const uint8_t *bytes = map_table(map, info->dsdt_address, "DSDT", &table);

	if (!bytes) {
		info->dsdt_address = 0;
		return;
	}
	if (info->table_count < ACPI_TABLES_MAX && !known(info, table.address))
		info->table[info->table_count++] = table;
	if (acpi_find_s5(bytes + sizeof(struct acpi_header), table.length - sizeof(struct acpi_header), &info->slp_typa, &info->slp_typb))
		info->s5_present = true;
	if (!info->s5_present)
		log_line("ACPI: DSDT: no \\_S5 package, nor in an SSDT: power-off is not possible");
}

int acpi_read(struct acpi_info *info, const void *rsdp_bytes, size_t rsdp_size, acpi_map_fn *map)
{
	uint64_t entries[ACPI_TABLES_MAX];
	unsigned count = 0;
	struct acpi_rsdp rsdp;

	memset(info, 0, sizeof(*info));
	info->local_apic_address = LAPIC_BASE;
	if (!rsdp_bytes || rsdp_size < RSDP_OLD_SIZE) {
		log_line("ACPI: no RSDP");
		return ERR_NOENT;
	}
	memset(&rsdp, 0, sizeof(rsdp));
	memcpy(&rsdp, rsdp_bytes, MIN(rsdp_size, sizeof(rsdp)));
	if (!rsdp_valid(&rsdp)) {
		log_line("ACPI: RSDP has a wrong signature or checksum");
		return ERR_INVALID;
	}
	if (rsdp.revision >= 2 && rsdp_size >= sizeof(rsdp)) {
		/* A longer RSDP of a later revision could only be checked as a whole; its first 36 bytes are all that matters. */
		if (rsdp.length >= sizeof(rsdp) && (rsdp.length > sizeof(rsdp) || sums_to_zero((const uint8_t *)&rsdp, sizeof(rsdp))))
			count = rsdp.xsdt_address ? read_root(map, rsdp.xsdt_address, "XSDT", 8, entries, ARRAY_SIZE(entries)) : 0;
		else
			log_line("ACPI: RSDP has a wrong extended checksum or length, its XSDT is ignored");
	}
	if (!count && rsdp.rsdt_address)
		count = read_root(map, rsdp.rsdt_address, "RSDT", 4, entries, ARRAY_SIZE(entries));
	if (!count) {
		log_line("ACPI: neither XSDT nor RSDT can be used");
		return ERR_INVALID;
	}
	info->present = true;
	info->revision = rsdp.revision;
	copy_text(info->oem_id, rsdp.oem_id, sizeof(rsdp.oem_id));
	for (unsigned i = 0; i < count; i++) {
		struct acpi_table table;
		const uint8_t *bytes;

		if (known(info, entries[i]))
			continue;
		bytes = map_table(map, entries[i], NULL, &table);
		if (!bytes)
			continue;
		info->table[info->table_count++] = table;
		read_table(info, &table, bytes);
	}
	if (info->dsdt_address)
		read_dsdt(info, map);
	return 0;
}

const struct acpi_table *acpi_find_table(const struct acpi_info *info, const char *signature, unsigned n)
{
	for (unsigned i = 0; i < info->table_count; i++)
		if (!strcmp(info->table[i].signature, signature) && !n--)
			return &info->table[i];
	return NULL;
}

uint32_t acpi_irq_to_gsi(const struct acpi_info *info, uint8_t irq, uint16_t *flags)
{
	for (unsigned i = 0; i < info->override_count; i++) {
		if (info->override[i].source != irq)
			continue;
		*flags = info->override[i].flags;
		return info->override[i].gsi;
	}
	*flags = 0;
	return irq;
}

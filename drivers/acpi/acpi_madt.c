/* The reader of the MADT: local APICs, I/O APICs, interrupt overrides and NMI sources. An entry that makes no sense is left out and
 * counted. */
#include "drivers/acpi/acpi_tables.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/x86/apic.h"


/* Counts of the entries that did not fit or made no sense, which are logged once a table and not once an entry. */
struct madt_faults {
	unsigned malformed;
	unsigned dropped;
};

static void add_cpu(struct acpi_info *info, struct madt_faults *faults, uint32_t apic_id, uint32_t uid, uint32_t flags)
{
	if (!(flags & (MADT_CPU_ENABLED | MADT_CPU_ONLINE_CAPABLE))) {
		info->cpu_disabled++;
		return;
	}
	/* Firmware may list a CPU both as local APIC and as x2APIC. */
	for (unsigned i = 0; i < info->cpu_count; i++) {
		if (info->cpu[i].apic_id != apic_id)
			continue;
		if (flags & MADT_CPU_ENABLED)
			info->cpu[i].enabled = true;
		return;
	}
	if (info->cpu_count == ACPI_CPUS_MAX) {
		faults->dropped++;
		return;
	}
	info->cpu[info->cpu_count++] = (struct acpi_cpu){
		.apic_id = apic_id,
		.uid = uid,
		.enabled = flags & MADT_CPU_ENABLED,
		.online_capable = !(flags & MADT_CPU_ENABLED),
	};
}

static void add_io_apic(struct acpi_info *info, struct madt_faults *faults, const struct madt_io_apic *io_apic)
{
	if (info->io_apic_count == ACPI_IO_APICS_MAX || !io_apic->address) {
		faults->dropped++;
		return;
	}
	info->io_apic[info->io_apic_count++] = (struct acpi_io_apic){ io_apic->id, io_apic->address, io_apic->gsi_base };
}

static void add_override(struct acpi_info *info, struct madt_faults *faults, const struct madt_interrupt_override *override)
{
	if (info->override_count == ACPI_OVERRIDES_MAX || override->bus) {
		faults->dropped++;
		return;
	}
	info->override[info->override_count++] = (struct acpi_override){ override->source, override->gsi, override->flags };
}

static void add_nmi_source(struct acpi_info *info, struct madt_faults *faults, const struct madt_nmi_source *source)
{
	if (info->nmi_source_count == ACPI_NMI_SOURCES_MAX) {
		faults->dropped++;
		return;
	}
	info->nmi_source[info->nmi_source_count++] = (struct acpi_nmi_source){ source->gsi, source->flags };
}

static void add_local_nmi(struct acpi_info *info, struct madt_faults *faults, uint32_t uid, uint8_t lint, uint16_t flags)
{
	if (info->local_nmi_count == ACPI_LOCAL_NMIS_MAX || lint > 1) {
		faults->dropped++;
		return;
	}
	info->local_nmi[info->local_nmi_count++] = (struct acpi_local_nmi){ uid, lint, flags };
}

/* Any of the structures that are read, copied out of the table. */
union madt_any {
	struct madt_entry entry;
	struct madt_local_apic local_apic;
	struct madt_io_apic io_apic;
	struct madt_interrupt_override override;
	struct madt_nmi_source nmi_source;
	struct madt_local_apic_nmi local_nmi;
	struct madt_local_apic_address address;
	struct madt_local_x2apic x2apic;
	struct madt_local_x2apic_nmi x2apic_nmi;
};

/* How long a structure of this type must be; 0 where Lamina does not read it. */
static unsigned length_of(uint8_t type)
{
	switch (type) {
	case MADT_LOCAL_APIC:
		return sizeof(struct madt_local_apic);
	case MADT_IO_APIC:
		return sizeof(struct madt_io_apic);
	case MADT_INTERRUPT_OVERRIDE:
		return sizeof(struct madt_interrupt_override);
	case MADT_NMI_SOURCE:
		return sizeof(struct madt_nmi_source);
	case MADT_LOCAL_APIC_NMI:
		return sizeof(struct madt_local_apic_nmi);
	case MADT_LOCAL_APIC_ADDRESS:
		return sizeof(struct madt_local_apic_address);
	case MADT_LOCAL_X2APIC:
		return sizeof(struct madt_local_x2apic);
	case MADT_LOCAL_X2APIC_NMI:
		return sizeof(struct madt_local_x2apic_nmi);
	default:
		return 0;
	}
}

static void read_entry(struct acpi_info *info, struct madt_faults *faults, const union madt_any *any)
{
	switch (any->entry.type) {
	case MADT_LOCAL_APIC:
		/* 0xff is the broadcast id: firmware uses it for empty sockets. */
		if (any->local_apic.apic_id != 0xff)
			add_cpu(info, faults, any->local_apic.apic_id, any->local_apic.uid, any->local_apic.flags);
		break;
	case MADT_IO_APIC:
		add_io_apic(info, faults, &any->io_apic);
		break;
	case MADT_INTERRUPT_OVERRIDE:
		add_override(info, faults, &any->override);
		break;
	case MADT_NMI_SOURCE:
		add_nmi_source(info, faults, &any->nmi_source);
		break;
	case MADT_LOCAL_APIC_NMI:
		add_local_nmi(info, faults, any->local_nmi.uid == 0xff ? UINT32_MAX : any->local_nmi.uid, any->local_nmi.lint,
			      any->local_nmi.flags);
		break;
	case MADT_LOCAL_APIC_ADDRESS:
		info->local_apic_address = any->address.address;
		break;
	case MADT_LOCAL_X2APIC:
		if (any->x2apic.apic_id != UINT32_MAX)
			add_cpu(info, faults, any->x2apic.apic_id, any->x2apic.uid, any->x2apic.flags);
		break;
	case MADT_LOCAL_X2APIC_NMI:
		add_local_nmi(info, faults, any->x2apic_nmi.uid, any->x2apic_nmi.lint, any->x2apic_nmi.flags);
		break;
	}
}

void acpi_read_madt(struct acpi_info *info, const uint8_t *table, uint32_t length)
{
	struct madt_faults faults = { 0, 0 };
	struct acpi_madt madt;
	uint32_t at = sizeof(madt);

	if (info->madt_present) {
		log_line("ACPI: APIC: a second table, ignored");
		return;
	}
	if (length < sizeof(madt)) {
		log_line("ACPI: APIC: too short (%u bytes), ignored", length);
		return;
	}
	memcpy(&madt, table, sizeof(madt));
	info->madt_present = true;
	info->local_apic_address = madt.local_apic_address ? madt.local_apic_address : LAPIC_BASE;
	info->pc_at_compatible = madt.flags & 1;
	while (at < length) {
		union madt_any any;
		unsigned needed;

		if (length - at < sizeof(any.entry))
			break;
		memcpy(&any.entry, table + at, sizeof(any.entry));
		if (any.entry.length < sizeof(any.entry) || any.entry.length > length - at) {
			log_line("ACPI: APIC: entry of type %u at offset %u has length %u, rest ignored", any.entry.type, at,
				 any.entry.length);
			break;
		}
		needed = length_of(any.entry.type);
		if (any.entry.length < needed) {
			faults.malformed++;
		} else if (needed) {
			memcpy(&any, table + at, needed);
			read_entry(info, &faults, &any);
		}
		at += any.entry.length;
	}
	if (faults.malformed)
		log_line("ACPI: APIC: %u entries too short, ignored", faults.malformed);
	if (faults.dropped)
		log_line("ACPI: APIC: %u entries too many or without meaning, ignored", faults.dropped);
}

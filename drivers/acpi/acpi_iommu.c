/* The readers of the two tables that list IOMMUs: Intel's DMAR and AMD's IVRS. A structure that makes no sense is left out and counted. */
#include "drivers/acpi/acpi_tables.h"
#include "lib/log.h"
#include "lib/string.h"

#define PAGE_OFFSET_MASK 0xfffU
#define STRUCTURE_LEAST 4U /* type and length */

/* Returns whether the unit could be listed (or was already). */
static bool add_unit(struct acpi_info *info, uint64_t address, uint16_t segment, bool amd)
{
	if (!address || address & PAGE_OFFSET_MASK)
		return false;
	for (unsigned i = 0; i < info->iommu_count; i++)
		if (info->iommu[i].address == address)
			return true;
	if (info->iommu_count == ACPI_IOMMUS_MAX)
		return false;
	info->iommu[info->iommu_count++] = (struct acpi_iommu){ .address = address, .segment = segment, .amd = amd };
	return true;
}

static void report_faults(const char *table, unsigned faults)
{
	if (faults)
		log_line("ACPI: %s: %u of its structures make no sense, ignored", table, faults);
}

void acpi_read_dmar(struct acpi_info *info, const uint8_t *table, uint32_t length)
{
	struct dmar_drhd drhd;
	struct acpi_dmar dmar;
	unsigned faults = 0;
	uint32_t at;

	if (length < sizeof(dmar)) {
		log_line("ACPI: DMAR: too short (%u bytes), ignored", length);
		return;
	}
	memcpy(&dmar, table, sizeof(dmar));
	info->dmar_x2apic_opt_out = dmar.flags & DMAR_X2APIC_OPT_OUT;
	for (at = sizeof(dmar); length - at >= STRUCTURE_LEAST; at += drhd.length) {
		memset(&drhd, 0, sizeof(drhd));
		memcpy(&drhd, table + at, MIN(sizeof(drhd), length - at));
		if (drhd.length < (drhd.type == DMAR_DRHD ? sizeof(drhd) : STRUCTURE_LEAST) || drhd.length > length - at) {
			faults++;
			break; /* where the next structure begins is unknown */
		}
		if (drhd.type == DMAR_DRHD && !add_unit(info, drhd.address, drhd.segment, false))
			faults++;
	}
	report_faults("DMAR", faults);
}

void acpi_read_ivrs(struct acpi_info *info, const uint8_t *table, uint32_t length)
{
	struct ivrs_ivhd ivhd;
	unsigned faults = 0;
	uint32_t at;

	if (length < sizeof(struct acpi_ivrs)) {
		log_line("ACPI: IVRS: too short (%u bytes), ignored", length);
		return;
	}
	for (at = sizeof(struct acpi_ivrs); length - at >= STRUCTURE_LEAST; at += ivhd.length) {
		bool unit;

		memset(&ivhd, 0, sizeof(ivhd));
		memcpy(&ivhd, table + at, MIN(sizeof(ivhd), length - at));
		unit = ivhd.type == IVRS_IVHD_10 || ivhd.type == IVRS_IVHD_11 || ivhd.type == IVRS_IVHD_40;
		if (ivhd.length < (unit ? sizeof(ivhd) : STRUCTURE_LEAST) || ivhd.length > length - at) {
			faults++;
			break;
		}
		if (unit && !add_unit(info, ivhd.address, ivhd.segment, true))
			faults++;
	}
	report_faults("IVRS", faults);
}

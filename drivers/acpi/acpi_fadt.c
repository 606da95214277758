/* The reader of the FADT: power-management registers, the reset register, and the way into ACPI mode. */
#include "drivers/acpi/acpi_tables.h"
#include "lib/log.h"
#include "lib/string.h"

/* The table of ACPI 1.0 ends here; ACPI 2.0 added what follows. */
#define FADT_MIN_LENGTH offsetof(struct acpi_fadt, reset_reg)

/* A register block that the FADT describes twice: the extended description counts where there is one that makes sense (section 5.2.9),
 * else the port and its length in bytes. */
static struct acpi_register block(const struct acpi_gas *extended, uint32_t port, uint8_t length)
{
	struct acpi_register reg = acpi_register_from(extended);

	if (reg.present && (reg.space == ACPI_SPACE_MEMORY || (reg.space == ACPI_SPACE_IO && reg.address <= 0xffff)))
		return reg;
	return (struct acpi_register){
		.present = port && port <= 0xffff && length,
		.space = ACPI_SPACE_IO,
		.bit_width = (uint8_t)MIN(length * 8U, 255U),
		.address = port,
	};
}

static void read_fixed_hardware(struct acpi_info *info, const struct acpi_fadt *fadt)
{
	info->sci_irq = fadt->sci_int;
	info->smi_command = fadt->smi_cmd <= 0xffff ? fadt->smi_cmd : 0;
	info->acpi_enable = fadt->acpi_enable;
	info->pm_timer = block(&fadt->x_pm_tmr_blk, fadt->pm_tmr_blk, fadt->pm_tmr_len);
	info->pm_timer_32bit = fadt->flags & ACPI_FADT_TMR_VAL_EXT;
	info->pm1a_event = block(&fadt->x_pm1a_evt_blk, fadt->pm1a_evt_blk, fadt->pm1_evt_len);
	info->pm1b_event = block(&fadt->x_pm1b_evt_blk, fadt->pm1b_evt_blk, fadt->pm1_evt_len);
	info->pm1a_control = block(&fadt->x_pm1a_cnt_blk, fadt->pm1a_cnt_blk, fadt->pm1_cnt_len);
	info->pm1b_control = block(&fadt->x_pm1b_cnt_blk, fadt->pm1b_cnt_blk, fadt->pm1_cnt_len);
}

void acpi_read_fadt(struct acpi_info *info, const uint8_t *table, uint32_t length)
{
	struct acpi_fadt fadt;

	if (info->fadt_present) {
		log_line("ACPI: FACP: a second table, ignored");
		return;
	}
	if (length < FADT_MIN_LENGTH) {
		log_line("ACPI: FACP: too short (%u bytes), ignored", length);
		return;
	}
	memset(&fadt, 0, sizeof(fadt));
	memcpy(&fadt, table, MIN(length, sizeof(fadt)));
	/* A field that the table holds only in part is not there. */
	if (length < offsetof(struct acpi_fadt, arm_boot_arch))
		fadt.reset_reg.address = 0;
	if (length < offsetof(struct acpi_fadt, x_pm1a_evt_blk))
		fadt.x_dsdt = 0;
	if (length < offsetof(struct acpi_fadt, sleep_control_reg))
		memset(&fadt.x_pm1a_evt_blk, 0, offsetof(struct acpi_fadt, sleep_control_reg) - offsetof(struct acpi_fadt, x_pm1a_evt_blk));
	if (length < offsetof(struct acpi_fadt, sleep_status_reg))
		fadt.sleep_control_reg.address = 0;

	info->fadt_present = true;
	info->fadt_flags = fadt.flags;
	info->dsdt_address = fadt.x_dsdt ? fadt.x_dsdt : fadt.dsdt;
	if (fadt.flags & ACPI_FADT_RESET_REG_SUP) {
		info->reset = acpi_register_from(&fadt.reset_reg);
		info->reset_value = fadt.reset_value;
		/* Section 4.8.3.6: only these spaces, 8 bits wide. */
		if (info->reset.space > ACPI_SPACE_PCI_CONFIG || (info->reset.space == ACPI_SPACE_IO && info->reset.address > 0xffff))
			info->reset.present = false;
	}
	/* The fixed hardware does not exist on a hardware-reduced machine, whatever its fields say (section 4.1). */
	if (fadt.flags & ACPI_FADT_HW_REDUCED)
		info->sleep_control = acpi_register_from(&fadt.sleep_control_reg);
	else
		read_fixed_hardware(info, &fadt);
}

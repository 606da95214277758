#include "arch/x86_64/power.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/smp.h"
#include "drivers/disk.h"
#include "drivers/console.h"
#include "lib/log.h"
#include "vmm/core.h"

#define SLP_EN BIT(13)
#define SLP_TYP_SHIFT 10

static struct acpi_register control_a, control_b;
static uint8_t type_a, type_b;
static bool can_power_off;

void power_init(const struct acpi_info *acpi)
{
	control_a = acpi->pm1a_control;
	control_b = acpi->pm1b_control;
	type_a = acpi->slp_typa;
	type_b = acpi->slp_typb;
	can_power_off = acpi->s5_present && control_a.present && control_a.space == ACPI_SPACE_IO;
}

void power_halt(void)
{
	smp_halt_others();
	cli();
	for (;;)
		hlt();
}

static void sleep(const struct acpi_register *control, uint8_t type)
{
	uint16_t port = (uint16_t)control->address;

	if (control->present && control->space == ACPI_SPACE_IO)
		outw(port, (uint16_t)((inw(port) & ~(7U << SLP_TYP_SHIFT)) | (unsigned)type << SLP_TYP_SHIFT | SLP_EN));
}

void core_power_off(void)
{
	disks_shutdown();
	log_line("machine: power off%s", can_power_off ? "" : ": the ACPI tables do not say how; switch it off by hand");
	console_flush();
	if (can_power_off) {
		sleep(&control_a, type_a);
		sleep(&control_b, type_b);
	}
	power_halt();
}

/* The ACPI power-management block: PM1 events and control, and the PM timer. */
#ifndef VMM_DEVICES_ACPI_PM_H
#define VMM_DEVICES_ACPI_PM_H

#include "lib/spinlock.h"
#include "lib/types.h"
#include "lib/x86/pc.h"
#include "vmm/devices/tick_clock.h"
#include "vmm/interface/platform.h"
#include "vmm/io/io_space.h"

/* What the FADT and the DSDT must say. */
#define ACPI_PM_EVENT_PORT 0x600   /* PM1a_EVT_BLK, 4 bytes */
#define ACPI_PM_CONTROL_PORT 0x604 /* PM1a_CNT_BLK, 2 bytes */
#define ACPI_PM_TIMER_PORT 0x608   /* PM_TMR_BLK, 4 bytes, 32 bits wide (TMR_VAL_EXT) */
#define ACPI_PM_SCI 9              /* GSI: level, active high */
#define ACPI_PM_SLP_TYP_S5 5

struct acpi_pm {
	struct vm *vm;
	struct spinlock lock;
	struct tick_clock clock;
	uint16_t status;
	uint16_t enable;
	uint16_t control;    /* the bits that can be read back, without SCI_EN */
	uint64_t timer_half; /* timer value >> 31 when TMR_STS was last looked at */
	bool sci;
	struct vtimer timer;
};

/* Claim the ports and bring the power-on state; the PM timer starts at 0. (ACPI 6.4, sections 4.8.3 and 4.8.1.) Returns 0 or
 * io_space_add's error. */
int acpi_pm_init(struct acpi_pm *pm, struct vm *vm, struct io_space *pio);

/* Back to power-on, SCI low; the timer runs on. */
void acpi_pm_reset(struct acpi_pm *pm);

#endif

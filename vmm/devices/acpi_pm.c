/* The registers of the ACPI power-management block, and its timer, which is computed from machine time when it is read. */
#include "vmm/devices/acpi_pm.h"

#include "drivers/acpi/acpi.h"

#define TMR_STS 0x0001                 /* and TMR_EN */
#define ENABLE_WRITABLE 0x0721         /* TMR, GBL, PWRBTN, SLPBTN, RTC */
#define CONTROL_KEPT 0x1c02            /* BM_RLD, SLP_TYP */
#define SLP_TYP(control) ((control) >> ACPI_PM1_SLP_TYP_SHIFT & 7)

#define CONTROL_OFFSET (ACPI_PM_CONTROL_PORT - ACPI_PM_EVENT_PORT)
#define TIMER_OFFSET (ACPI_PM_TIMER_PORT - ACPI_PM_EVENT_PORT)

/* TMR_STS is set whenever the highest bit of the timer changes. */
static void sync(struct acpi_pm *pm)
{
	uint64_t half = tick_clock_now(&pm->clock) >> 31;

	if (half != pm->timer_half) {
		pm->timer_half = half;
		pm->status |= TMR_STS;
	}
}

static void update_sci(struct acpi_pm *pm)
{
	bool sci = pm->status & pm->enable;

	if (sci != pm->sci) {
		pm->sci = sci;
		vm_irq_set(pm->vm, ACPI_PM_SCI, sci);
	}
	vtimer_set(&pm->timer, (pm->enable & TMR_STS) && !sci ? tick_clock_when(&pm->clock, (pm->timer_half + 1) << 31) : TIME_NEVER);
}

static void timer_fire(void *ctx)
{
	struct acpi_pm *pm = ctx;

	spin_lock(&pm->lock);
	sync(pm);
	update_sci(pm);
	spin_unlock(&pm->lock);
}

/* The double word at `offset`, 0 or 4. */
static uint32_t block_read(struct acpi_pm *pm, uint64_t offset)
{
	if (offset == CONTROL_OFFSET)
		return pm->control | ACPI_PM1_SCI_EN;
	sync(pm);
	return pm->status | (uint32_t)pm->enable << 16;
}

static uint64_t pm_read(void *dev, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = dev;
	unsigned shift = (offset & 3) * 8;

	if (size > 4 - (offset & 3))
		return UINT64_MAX;
	if (offset >= TIMER_OFFSET)
		return (uint32_t)tick_clock_now(&pm->clock) >> shift;
	return block_read(pm, offset & ~3ULL) >> shift;
}

static void write_control(struct acpi_pm *pm, uint16_t value)
{
	pm->control = value & CONTROL_KEPT;
	if ((value & ACPI_PM1_SLP_EN) && SLP_TYP(value) == ACPI_PM_SLP_TYP_S5)
		vm_request(pm->vm, VM_REQUEST_POWER_OFF, "ACPI S5");
}

static void pm_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct acpi_pm *pm = dev;
	unsigned shift = (offset & 3) * 8;
	uint32_t mask;
	uint32_t written;

	if (size > 4 - (offset & 3) || offset >= TIMER_OFFSET)
		return;
	mask = (uint32_t)(UINT32_MAX >> (32 - 8 * size)) << shift;
	written = (uint32_t)value << shift & mask;
	if (offset >= CONTROL_OFFSET) {
		write_control(pm, (uint16_t)((pm->control & ~mask) | written));
		return;
	}
	sync(pm);
	pm->status &= (uint16_t)~written; /* write one to clear */
	pm->enable = (uint16_t)((pm->enable & ~(mask >> 16)) | (written >> 16)) & ENABLE_WRITABLE;
	update_sci(pm);
}

static const struct io_ops pm_ops = { .read = pm_read, .write = pm_write };

static void power_on(struct acpi_pm *pm)
{
	pm->status = 0;
	pm->enable = 0;
	pm->control = 0;
	pm->timer_half = tick_clock_now(&pm->clock) >> 31;
}

int acpi_pm_init(struct acpi_pm *pm, struct vm *vm, struct io_space *pio)
{
	pm->vm = vm;
	pm->lock = (struct spinlock){ 0 };
	pm->sci = false;
	tick_clock_init(&pm->clock, PM_TIMER_HZ);
	vtimer_init(&pm->timer, vm, 0, timer_fire, pm);
	power_on(pm);
	return io_space_add(pio, ACPI_PM_EVENT_PORT, TIMER_OFFSET + 4, &pm_ops, pm, &pm->lock);
}

void acpi_pm_reset(struct acpi_pm *pm)
{
	spin_lock(&pm->lock);
	power_on(pm);
	update_sci(pm);
	spin_unlock(&pm->lock);
}

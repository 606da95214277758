#include "tests/guests/lib/clock.h"

#include "tests/guests/lib/acpi.h"

uint64_t tsc_hz = 100000000;

static uint16_t pm_port;

uint32_t pm_timer(void)
{
	return pm_port ? inl(pm_port) & 0xffffff : 0;
}

uint64_t tsc_over_pm_ticks(uint32_t ticks)
{
	uint32_t start = pm_timer(), edge;
	uint64_t from;

	while ((edge = pm_timer()) == start)
		;
	from = rdtsc();
	while (((pm_timer() - edge) & 0xffffff) < ticks)
		;
	return rdtsc() - from;
}

void clock_init(void)
{
	const struct acpi_fadt *fadt = acpi_find("FACP");

	if (!fadt || !fadt->pm_timer)
		return;
	pm_port = (uint16_t)fadt->pm_timer;
	tsc_hz = tsc_over_pm_ticks(PM_TIMER_HZ / 100) * 100;
}

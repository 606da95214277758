/* Four local APICs on a bus, reset and software-enabled, for the test_lapic*.c files. */
#ifndef TESTS_UNIT_LAPIC_FIXTURE_H
#define TESTS_UNIT_LAPIC_FIXTURE_H

#include <string.h>

#include "lib/x86/msr.h"
#include "tests/unit/fakes.h"
#include "vmm/devices/lapic.h"
#include "vmm/devices/lapic_registers.h"

#define CPUS 4

static _Alignas(4096) uint8_t pages[CPUS][4096];
static struct lapic apic[CPUS];
static struct lapic_bus bus;

#define XAPIC (LAPIC_BASE | APIC_BASE_ENABLE)
#define X2APIC (XAPIC | APIC_BASE_X2APIC)

static inline uint32_t get(struct lapic *l, unsigned reg)
{
	return (uint32_t)lapic_mmio_read(l, reg * 16, 4);
}

static inline void put(struct lapic *l, unsigned reg, uint32_t value)
{
	lapic_mmio_write(l, reg * 16, 4, value);
}

static inline void build(bool hw_delivery)
{
	fake_reset();
	memset(&bus, 0, sizeof(bus));
	for (unsigned i = 0; i < CPUS; i++) {
		memset(pages[i], 0xa5, sizeof(pages[i]));
		lapic_init(&apic[i], NULL, i, i, pages[i], hw_delivery);
		lapic_bus_add(&bus, &apic[i]);
		lapic_reset(&apic[i], i == 0);
		put(&apic[i], LAPIC_SVR, 0x1ff);
		lapic_sync(&apic[i]);
		apic[i].eoi_exit_dirty = false;
	}
}

static inline int setup(void **state)
{
	(void)state;
	build(false);
	return 0;
}

static inline int setup_hw(void **state)
{
	(void)state;
	build(true);
	return 0;
}

static inline void all_x2apic(void)
{
	for (unsigned i = 0; i < CPUS; i++)
		lapic_set_base(&apic[i], X2APIC | (i == 0 ? APIC_BASE_BSP : 0));
}

/* Pseudo-random numbers with a fixed seed (xorshift64). */
static inline uint64_t random64(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#endif

/* SOURCES: vmm/devices/lapic.c vmm/devices/lapic_interrupt.c vmm/devices/lapic_timer.c vmm/devices/lapic_message.c */
#include "tests/unit/unit.h"

#include "tests/unit/lapic_fixture.h"

/* Which APICs have `vector` in the IRR, as a bit mask; everything is cleared afterwards. */
static unsigned receivers(unsigned vector)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < CPUS; i++) {
		lapic_sync(&apic[i]);
		if (lapic_highest_irr(&apic[i]) == (int)vector)
			mask |= 1U << i;
		lapic_clear_interrupts(&apic[i]);
		lapic_sync(&apic[i]);
	}
	return mask;
}

static unsigned route(uint32_t destination, bool logical, uint8_t mode)
{
	struct apic_message msg = { .destination = destination, .vector = 0x41, .delivery_mode = mode, .logical = logical, .assert = true };

	lapic_route(bus.lapic, bus.count, &msg, NULL);
	return receivers(0x41);
}

static void icr(unsigned cpu, uint32_t destination, uint32_t low)
{
	if (apic[cpu].x2apic) {
		assert_int_equal(lapic_msr_write(&apic[cpu], 0x830, (uint64_t)destination << 32 | low), 0);
	} else {
		put(&apic[cpu], LAPIC_ICR_HIGH, destination << 24);
		put(&apic[cpu], LAPIC_ICR, low);
	}
}

/* Events seen since the last call, as a mask of vCPUs; all must be of `event` and `vector`. */
static unsigned events(enum cpu_event event, uint8_t vector)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < fake.event_count; i++) {
		assert_int_equal(fake.event[i].event, event);
		assert_int_equal(fake.event[i].vector, vector);
		mask |= 1U << fake.event[i].cpu;
	}
	fake.event_count = 0;
	return mask;
}

static void physical(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(route(i, false, APIC_FIXED), 1U << i);
	assert_int_equal(route(4, false, APIC_FIXED), 0);
	assert_int_equal(route(0xff, false, APIC_FIXED), 15);
	put(&apic[1], LAPIC_SVR, 0xff);
	assert_int_equal(route(1, false, APIC_FIXED), 0);
	assert_int_equal(route(0xff, false, APIC_FIXED), 13);
	lapic_set_base(&apic[2], LAPIC_BASE);
	assert_int_equal(route(0xff, false, APIC_FIXED), 9);
	assert_int_equal(route(2, false, APIC_NMI), 0);
	assert_int_equal(events(CPU_EVENT_NMI, 0), 0);
}

static void ids_that_are_no_indices(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CPUS; i++)
		apic[i].apic_id = 3 - i;
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(route(i, false, APIC_FIXED), 8U >> i);
	apic[3].apic_id = 300;
	assert_int_equal(route(0, false, APIC_FIXED), 0);
	all_x2apic();
	assert_int_equal(route(300, false, APIC_FIXED), 8);
	assert_int_equal(route(300 & 0xff, false, APIC_FIXED), 0);
}

static void logical_flat_and_cluster(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CPUS; i++)
		put(&apic[i], LAPIC_LDR, 1U << (24 + i));
	assert_int_equal(route(0x5, true, APIC_FIXED), 5);
	assert_int_equal(route(0xff, true, APIC_FIXED), 15);
	assert_int_equal(route(0xf0, true, APIC_FIXED), 0);
	for (unsigned i = 0; i < CPUS; i++) {
		put(&apic[i], LAPIC_DFR, 0);
		put(&apic[i], LAPIC_LDR, (i / 2) << 28 | 1U << (24 + i % 2));
	}
	assert_int_equal(route(0x03, true, APIC_FIXED), 3);
	assert_int_equal(route(0x11, true, APIC_FIXED), 4);
	assert_int_equal(route(0x12, true, APIC_FIXED), 8);
	assert_int_equal(route(0x21, true, APIC_FIXED), 0);
	assert_int_equal(route(0xff, true, APIC_FIXED), 15);
}

static void x2apic_logical(void **state)
{
	(void)state;
	apic[3].apic_id = 0x21;
	all_x2apic();
	assert_int_equal(route(0x00000006, true, APIC_FIXED), 6);
	assert_int_equal(route(0x00020002, true, APIC_FIXED), 8);
	assert_int_equal(route(0x00020001, true, APIC_FIXED), 0);
	assert_int_equal(route(0xffffffff, true, APIC_FIXED), 15);
	assert_int_equal(route(0xffffffff, false, APIC_FIXED), 15);
	assert_int_equal(route(0xff, false, APIC_FIXED), 15); /* an 8-bit broadcast from a device */
	icr(0, 0xff, 0x4041); /* but a plain ID from an ICR */
	assert_int_equal(receivers(0x41), 0);
	icr(0, 0xffffffff, 0x4041);
	assert_int_equal(receivers(0x41), 15);
	icr(0, 0x21, 0x4041);
	assert_int_equal(receivers(0x41), 8);
}

static void lowest_priority_picks_one(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CPUS; i++)
		put(&apic[i], LAPIC_LDR, 1U << (24 + i));
	assert_int_equal(route(0x0f, true, APIC_LOWEST), 1);
	put(&apic[0], LAPIC_TPR, 0x20);
	put(&apic[1], LAPIC_TPR, 0x10);
	put(&apic[2], LAPIC_TPR, 0x30);
	put(&apic[3], LAPIC_SVR, 0xff); /* cannot take it */
	assert_int_equal(route(0x0f, true, APIC_LOWEST), 2);
	assert_int_equal(route(0x05, true, APIC_LOWEST), 1);
	assert_int_equal(route(0x08, true, APIC_LOWEST), 0);
	put(&apic[2], LAPIC_TPR, 0xff);
	assert_int_equal(route(0x04, true, APIC_LOWEST), 4);
}

static void special_modes(void **state)
{
	(void)state;
	assert_int_equal(route(2, false, APIC_NMI), 0);
	assert_int_equal(events(CPU_EVENT_NMI, 0), 4);
	route(1, false, APIC_INIT);
	assert_int_equal(events(CPU_EVENT_INIT, 0), 2);
	route(1, false, APIC_SIPI);
	assert_int_equal(events(CPU_EVENT_SIPI, 0x41), 2);
	route(0, false, APIC_EXTINT);
	assert_int_equal(events(CPU_EVENT_EXTINT, 0), 1);
	route(0, false, APIC_SMI);
	route(0, false, 3);
	assert_int_equal(fake.event_count, 0);
}

static void icr_modes(void **state)
{
	(void)state;
	icr(0, 1, 0x4041);
	assert_int_equal(get(&apic[0], LAPIC_ICR), 0x4041);
	assert_int_equal(receivers(0x41), 2);
	assert_int_equal(fake.kicks[1], 1);
	icr(0, 3, 0x4500); /* INIT */
	assert_int_equal(events(CPU_EVENT_INIT, 0), 8);
	icr(0, 3, 0xc500);
	assert_int_equal(events(CPU_EVENT_INIT, 0), 8);
	icr(0, 3, 0x0500); /* the level has no meaning for an edge */
	assert_int_equal(events(CPU_EVENT_INIT, 0), 8);
	icr(0, 3, 0x8500); /* INIT level de-assert */
	icr(0, 0, 0x88500);
	icr(0, 0, 0xc8500);
	assert_int_equal(fake.event_count, 0);
	icr(0, 3, 0x4699); /* SIPI */
	assert_int_equal(events(CPU_EVENT_SIPI, 0x99), 8);
	icr(0, 3, 0x44ff);
	assert_int_equal(events(CPU_EVENT_NMI, 0), 8);
	icr(0, 3, 0x4700); /* an ICR sends no ExtINT, SMI or reserved mode */
	icr(0, 3, 0x4200);
	icr(0, 3, 0x4300);
	assert_int_equal(fake.event_count, 0);
	icr(0, 3, 0xffffffff & ~0xc0700U); /* reserved bits do not stick */
	assert_int_equal(get(&apic[0], LAPIC_ICR), 0xccfff & ~0xc1700U);
	receivers(0xff);
	icr(0, 2, 0xc041); /* level-triggered fixed: an ICR's are edges */
	lapic_sync(&apic[2]);
	assert_int_equal(lapic_get(&apic[2], LAPIC_TMR + 2), 0);
}

static void shorthands(void **state)
{
	(void)state;
	icr(1, 0, 0x40041);
	assert_int_equal(receivers(0x41), 2);
	assert_int_equal(fake.kicks[1], 0); /* its own core is at work already */
	icr(1, 0, 0x80041);
	assert_int_equal(receivers(0x41), 15);
	icr(1, 0, 0xc0041);
	assert_int_equal(receivers(0x41), 13);
	icr(1, 0, 0xc0141);
	assert_int_equal(receivers(0x41), 1);
	icr(1, 0, 0xc4500);
	assert_int_equal(events(CPU_EVENT_INIT, 0), 13);
	icr(1, 0, 0xc4400);
	assert_int_equal(events(CPU_EVENT_NMI, 0), 13);
	icr(1, 0, 0x44500); /* INIT or SIPI to itself: invalid */
	icr(1, 0, 0x84600);
	assert_int_equal(fake.event_count, 0);
	icr(1, 0, 0x44400);
	assert_int_equal(events(CPU_EVENT_NMI, 0), 2);
	put(&apic[1], LAPIC_SVR, 0xff); /* a software-disabled APIC still sends, but takes nothing */
	icr(1, 0, 0x40041);
	icr(1, 0, 0x80042);
	assert_int_equal(receivers(0x42), 13);
}

static void self_ipi(void **state)
{
	(void)state;
	all_x2apic();
	assert_int_equal(lapic_msr_write(&apic[2], 0x83f, 0x77), 0);
	assert_true(lapic_sync(&apic[2]));
	assert_int_equal(receivers(0x77), 4);
	assert_int_equal(fake.kicks[2], 0);
	assert_int_equal(lapic_msr_write(&apic[2], 0x83f, 0x0f), 0);
	assert_int_equal(lapic_msr_write(&apic[2], 0x828, 0), 0);
	assert_int_equal(lapic_get(&apic[2], LAPIC_ESR), ESR_RECEIVE_ILLEGAL);
	icr(2, 2, 0x4077);
	assert_int_equal(fake.kicks[2], 0);
	assert_int_equal(receivers(0x77), 4);
}

static void illegal_vectors(void **state)
{
	(void)state;
	icr(0, 1, 0x400f);
	icr(0, 1, 0xc0003);
	put(&apic[0], LAPIC_ESR, 0);
	put(&apic[1], LAPIC_ESR, 0);
	assert_int_equal(get(&apic[0], LAPIC_ESR), ESR_SEND_ILLEGAL);
	assert_int_equal(get(&apic[1], LAPIC_ESR), 0);
	struct apic_message msg = { .destination = 1, .vector = 5 };

	lapic_route(bus.lapic, bus.count, &msg, NULL);
	put(&apic[1], LAPIC_ESR, 0);
	assert_int_equal(get(&apic[1], LAPIC_ESR), ESR_RECEIVE_ILLEGAL);
}

static void level_messages(void **state)
{
	struct apic_message msg = { .destination = 1, .vector = 0x41, .level = true, .assert = true };

	(void)state;
	lapic_route(bus.lapic, bus.count, &msg, NULL);
	lapic_sync(&apic[1]);
	assert_int_equal(get(&apic[1], LAPIC_TMR + 2), 2);
	/* Level and edge of one vector before the owner looks: the last one counts. */
	lapic_accept(&apic[2], 0x41, true);
	lapic_accept(&apic[2], 0x41, false);
	lapic_sync(&apic[2]);
	assert_int_equal(get(&apic[2], LAPIC_TMR + 2), 0);
}

static void without_a_bus(void **state)
{
	static _Alignas(4096) uint8_t page[4096];
	struct lapic alone;
	struct lapic_bus full = { .count = VM_MAX_VCPUS };

	(void)state;
	lapic_init(&alone, NULL, 0, 0, page, false);
	lapic_reset(&alone, true);
	put(&alone, LAPIC_SVR, 0x1ff);
	put(&alone, LAPIC_ICR, 0x4041);
	put(&alone, LAPIC_ICR, 0xc0042);
	lapic_sync(&alone);
	assert_int_equal(lapic_pending(&alone), 0x41);
	assert_int_equal(lapic_bus_add(&full, &alone), ERR_NOMEM);
}

static void hostile_messages(void **state)
{
	uint64_t seed = 88172645463325252;

	(void)state;
	for (unsigned i = 0; i < 50000; i++) {
		uint64_t r = random64(&seed);
		struct apic_message msg = { .destination = (uint32_t)(r >> 32) >> (r & 31), .vector = (uint8_t)(r >> 8), .delivery_mode = r >> 16 & 255,
					    .logical = r >> 5 & 1, .level = r >> 6 & 1, .assert = r >> 7 & 1 };

		lapic_route(bus.lapic, bus.count, &msg, r >> 24 & 1 ? &apic[r >> 25 & 3] : NULL);
		icr(r >> 25 & 3, (uint32_t)r, (uint32_t)(r >> 30) & 0xccfff);
		if (i == 25000)
			all_x2apic();
		lapic_sync(&apic[r >> 27 & 3]);
		for (unsigned n = 0; n < CPUS; n++)
			assert_int_equal(lapic_get(&apic[n], LAPIC_IRR) & 0xffff, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(physical, setup),
		cmocka_unit_test_setup(ids_that_are_no_indices, setup),
		cmocka_unit_test_setup(logical_flat_and_cluster, setup),
		cmocka_unit_test_setup(x2apic_logical, setup),
		cmocka_unit_test_setup(lowest_priority_picks_one, setup),
		cmocka_unit_test_setup(special_modes, setup),
		cmocka_unit_test_setup(icr_modes, setup),
		cmocka_unit_test_setup(shorthands, setup),
		cmocka_unit_test_setup(self_ipi, setup),
		cmocka_unit_test_setup(illegal_vectors, setup),
		cmocka_unit_test_setup(level_messages, setup),
		cmocka_unit_test_setup(without_a_bus, setup),
		cmocka_unit_test_setup(hostile_messages, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

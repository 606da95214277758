/* SOURCES: vmm/devices/lapic.c vmm/devices/lapic_interrupt.c vmm/devices/lapic_timer.c vmm/devices/lapic_message.c */
/* TEST: 15000 runs of up to 512 bytes */
/* Four local APICs: the input is what their vCPUs write and read, by memory and by MSR, what arrives, and how time goes on. */
#include "tests/unit/unit.h"
#include "tests/fuzz/fuzz.h"

#include "tests/unit/lapic_fixture.h"

static void registers(struct lapic *a, struct input *in, unsigned how)
{
	unsigned reg = (unsigned)take(in, 1) & 0x3f, offset;
	uint64_t value;

	switch (how) {
	case 0: case 1:
		lapic_mmio_write(a, reg * 16, 4, take(in, 4));
		break;
	case 2:
		offset = (unsigned)take(in, 2) & 0xff8;
		(void)lapic_mmio_read(a, offset, 1U << (reg & 3));
		lapic_mmio_write(a, offset, 1U << (reg & 3), take(in, 4));
		break;
	case 3: case 4:
		(void)lapic_msr_write(a, MSR_X2APIC_BASE + reg, take(in, 8));
		break;
	case 5:
		(void)lapic_msr_read(a, MSR_X2APIC_BASE + (unsigned)take(in, 1), &value);
		break;
	case 6: /* the CPU has written it already */
		if (a->enabled && (reg < 0x10 || reg >= 0x28))
			*lapic_word(a, reg) = (uint32_t)take(in, 4);
		lapic_write_done(a, reg * 16);
		break;
	default:
		lapic_set_cr8(a, reg & 15);
		FUZZ_CHECK(lapic_cr8(a) <= 15);
		break;
	}
}

static void route(struct lapic *a, struct input *in)
{
	unsigned how = (unsigned)take(in, 1);
	struct apic_message msg = { .destination = (uint32_t)take_number(in), .vector = (uint8_t)take(in, 1), .delivery_mode = how & 7,
				    .logical = how & 8, .level = how & 0x10, .assert = how & 0x20 };

	lapic_route(bus.lapic, bus.count, &msg, how & 0x40 ? a : NULL);
}

static void step(struct input *in)
{
	unsigned what = (unsigned)take(in, 1), n;
	struct lapic *a = &apic[what >> 6];
	int vector;

	switch (what & 15) {
	case 0: case 1: case 2: case 3: case 4: case 5: case 6: case 7:
		registers(a, in, what & 7);
		break;
	case 8:
		lapic_deadline_write(a, what & 0x10 ? take(in, 8) : fake.now + take(in, 2));
		(void)lapic_deadline_read(a);
		break;
	case 9:
		(void)lapic_set_base(a, LAPIC_BASE | (take(in, 2) << 8) | (what & 0x30));
		break;
	case 10:
		lapic_accept(a, (uint8_t)take(in, 1), what & 0x10);
		break;
	case 11:
		fake_advance_to(fake.now + (take(in, 1) << (4 + (what >> 4))));
		break;
	case 12:
		n = (unsigned)take(in, 1);
		if (n & 0x80)
			lapic_set_tsc_offset(a, (int64_t)take(in, 8));
		else if (n & 0x40)
			lapic_lint(a, n & 1);
		else if (n & 0x20)
			lapic_init_reset(a);
		else if (n & 0x10)
			lapic_virtual_wire(a);
		else
			lapic_local_error(a, n);
		break;
	case 13:
		route(a, in);
		break;
	case 14:
		if (lapic_highest_isr(a) >= 0 && !a->hw_delivery)
			lapic_eoi(a);
		lapic_refresh_count(a);
		break;
	default:
		(void)lapic_sync(a);
		vector = lapic_pending(a);
		FUZZ_CHECK(vector < 256 && (vector < 0 || vector >= 16));
		if (vector >= 0)
			lapic_acknowledge(a, (uint8_t)vector);
		break;
	}
}

static void check(const struct lapic *a)
{
	for (unsigned n = 0; n < 8; n++) {
		if (!a->hw_delivery) {
			FUZZ_CHECK((lapic_get(a, LAPIC_IRR + n) != 0) == (a->irr_summary >> n & 1));
			FUZZ_CHECK((lapic_get(a, LAPIC_ISR + n) != 0) == (a->isr_summary >> n & 1));
		}
		FUZZ_CHECK(lapic_get(a, LAPIC_TMR + n) == (uint32_t)(a->eoi_exit[n / 2] >> n % 2 * 32));
	}
	FUZZ_CHECK(!(lapic_get(a, LAPIC_IRR) & 0xffff) && !(lapic_get(a, LAPIC_ISR) & 0xffff));
	FUZZ_CHECK(lapic_get(a, LAPIC_ID) == (a->x2apic ? a->apic_id : a->apic_id << 24));
	FUZZ_CHECK(lapic_tpr_threshold(a) <= 15 && a->software_enabled <= a->enabled);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)take(&in, 1);

	build(how & 1);
	if (how & 2)
		all_x2apic();
	while (in.left) {
		step(&in);
		for (unsigned i = 0; i < CPUS; i++)
			check(&apic[i]);
	}
	return 0;
}

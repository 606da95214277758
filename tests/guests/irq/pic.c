/* The 8259s with the PIT and the RTC, through the virtual wire. */
#include "tests/guests/irq/irq.h"
#include "tests/guests/lib/console.h"

#define IRQ0_VECTOR PIC_VECTOR
#define IRQ8_VECTOR (PIC_VECTOR + 8)

PIC_TEST(pic_rate, "PIC: the PIT's IRQ 0 at 1 kHz comes as often as the TSC says")
{
	virtual_wire();
	count_pic(0);
	pit_set(0, 2, PIT_HZ / 1000);
	pic_unmask(0);
	irq_enable();
	delay_us(100000);
	irq_disable();
	CHECK(seen[IRQ0_VECTOR].count >= 97 && seen[IRQ0_VECTOR].count <= 103, "100 ms: %u interrupts", seen[IRQ0_VECTOR].count);
}

PIC_TEST(pic_modes, "PIC: the PIT's modes 0, 3 and 4")
{
	virtual_wire();
	count_pic(0);
	pic_unmask(0);
	irq_enable();
	delay_us(10);
	seen[IRQ0_VECTOR].count = 0;
	pit_set(0, 0, PIT_HZ / 1000);
	CHECK(seen[IRQ0_VECTOR].count == 0, "mode 0: an interrupt came at once");
	CHECK(WAIT_FOR(seen[IRQ0_VECTOR].count, 3), "mode 0: no interrupt within 3 ms");
	delay_us(3000);
	CHECK_EQUAL("mode 0: interrupts", seen[IRQ0_VECTOR].count, 1);
	pit_set(0, 3, PIT_HZ / 1000);
	delay_us(100);
	seen[IRQ0_VECTOR].count = 0;
	delay_us(20000);
	CHECK(seen[IRQ0_VECTOR].count >= 18 && seen[IRQ0_VECTOR].count <= 22, "mode 3, 20 ms: %u interrupts", seen[IRQ0_VECTOR].count);
}

PIC_TEST(pic_masked, "PIC: a masked request waits in IRR and comes when unmasked")
{
	virtual_wire();
	count_pic(0);
	pit_set(0, 2, PIT_HZ / 1000);
	irq_enable();
	delay_us(5000);
	irq_disable();
	CHECK_EQUAL("interrupts while masked", seen[IRQ0_VECTOR].count, 0);
	CHECK(pic_irr() & 1, "IRR %x does not show IRQ 0", pic_irr());
	CHECK_EQUAL("mask register", inb(PIC1 + 1), 0xff);
	irq_enable();
	pic_unmask(0);
	__asm__ volatile("nop; nop" : : : "memory");
	CHECK(WAIT_FOR(seen[IRQ0_VECTOR].count >= 1, 1), "unmasking brought no interrupt");
}

PIC_TEST(pic_eoi_needed, "PIC: no second interrupt before the EOI, ISR shows the first")
{
	virtual_wire();
	count_only(IRQ0_VECTOR);
	pit_set(0, 2, PIT_HZ / 1000);
	pic_unmask(0);
	irq_enable();
	delay_us(5000);
	CHECK_EQUAL("interrupts without EOI", seen[IRQ0_VECTOR].count, 1);
	CHECK(pic_isr() & 1, "ISR %x does not show IRQ 0", pic_isr());
	outb(PIC1, 0x20); /* non-specific EOI */
	CHECK(WAIT_FOR(seen[IRQ0_VECTOR].count == 2, 3), "after the EOI: %u interrupts", seen[IRQ0_VECTOR].count);
	irq_disable();
	pic_eoi(0);
	CHECK(!(pic_isr() & 1), "ISR %x still shows IRQ 0", pic_isr());
}

PIC_TEST(pic_aeoi, "PIC: automatic EOI")
{
	virtual_wire();
	outb(PIC1, 0x11);
	outb(PIC1 + 1, PIC_VECTOR);
	outb(PIC1 + 1, 4);
	outb(PIC1 + 1, 3);
	outb(PIC1 + 1, 0xfe);
	count_only(IRQ0_VECTOR);
	pit_set(0, 2, PIT_HZ / 1000);
	irq_enable();
	delay_us(10000);
	irq_disable();
	CHECK(seen[IRQ0_VECTOR].count >= 9 && seen[IRQ0_VECTOR].count <= 11, "10 ms: %u interrupts", seen[IRQ0_VECTOR].count);
	CHECK(!(pic_isr() & 1), "ISR %x shows IRQ 0", pic_isr());
}

PIC_TEST(pic_vector, "PIC: the vector base follows ICW2")
{
	virtual_wire();
	outb(PIC1, 0x11);
	outb(PIC1 + 1, 0x70);
	outb(PIC1 + 1, 4);
	outb(PIC1 + 1, 1);
	outb(PIC1 + 1, 0xfe);
	count_only(0x70);
	pit_set(0, 2, PIT_HZ / 1000);
	irq_enable();
	CHECK(WAIT_FOR(seen[0x70].count == 1, 3), "no interrupt at vector 0x70");
	irq_disable();
	outb(PIC1, 0x20);
}

PIC_TEST(pic_withdrawn, "PIC: a level that is withdrawn before it was taken brings at most a spurious IRQ 7")
{
	virtual_wire();
	count_only(PIC_VECTOR + 4);
	count_only(PIC_VECTOR + 7);
	console_drain();
	pic_unmask(4);
	outb(UART_MCR, 0xb);
	outb(UART_IER, 2); /* transmitter empty: at once */
	delay_us(10);
	(void)inb(UART_IIR); /* clears it */
	outb(UART_IER, 0);
	irq_enable();
	delay_us(100);
	irq_disable();
	CHECK_EQUAL("interrupts at IRQ 4", seen[PIC_VECTOR + 4].count, 0);
	CHECK(seen[PIC_VECTOR + 7].count <= 1, "%u interrupts at IRQ 7", seen[PIC_VECTOR + 7].count);
	if (seen[PIC_VECTOR + 7].count)
		CHECK(!(pic_isr() & 0x80), "the spurious interrupt is in service");
}

PIC_TEST(pic_uart, "PIC: the UART's transmitter interrupt arrives at IRQ 4")
{
	virtual_wire();
	count_pic(4);
	console_drain();
	outb(UART_MCR, 0xb);
	pic_unmask(4);
	irq_enable();
	outb(UART_IER, 2);
	CHECK(WAIT_FOR(seen[PIC_VECTOR + 4].count == 1, 3), "no interrupt when enabled with an empty transmitter");
	CHECK_EQUAL("IIR", inb(UART_IIR) & 0xf, 2);
	CHECK_EQUAL("IIR, read again", inb(UART_IIR) & 0xf, 1);
	outb(UART_IER, 0);
	irq_disable();
}

static uint8_t cmos_read(uint8_t index)
{
	outb(0x70, index);
	return inb(0x71);
}

static void cmos_write(uint8_t index, uint8_t value)
{
	outb(0x70, index);
	outb(0x71, value);
}

static volatile unsigned periods;

static void on_rtc(struct trap_frame *frame)
{
	(void)frame;
	if (cmos_read(0x0c) & 0x40)
		periods++;
	pic_eoi(8);
}

PIC_TEST(rtc_periodic, "RTC: the periodic interrupt at IRQ 8 through the second PIC")
{
	uint8_t a = cmos_read(0x0a), b = cmos_read(0x0b);

	virtual_wire();
	count_pic(8);
	cmos_write(0x0a, (uint8_t)((a & 0xf0) | 6)); /* 1024 Hz */
	cmos_write(0x0b, b | 0x40);
	(void)cmos_read(0x0c);
	pic_unmask(8);
	irq_enable();
	delay_us(10000);
	CHECK_EQUAL("interrupts without reading register C", seen[IRQ8_VECTOR].count, 1);
	periods = 0;
	trap_handle(IRQ8_VECTOR, on_rtc);
	(void)cmos_read(0x0c); /* the one that stands goes away unseen, or as an interrupt without a period */
	delay_us(100000);
	irq_disable();
	cmos_write(0x0b, b);
	cmos_write(0x0a, a);
	(void)cmos_read(0x0c);
	CHECK(periods >= 100 && periods <= 104, "100 ms at 1024 Hz: %u interrupts", periods);
}

PIC_TEST(rtc_time, "RTC: the clock shows a date and runs")
{
	static const struct { uint8_t index, min, max; } fields[] = {
		{ 0, 0, 59 }, { 2, 0, 59 }, { 4, 0, 23 }, { 7, 1, 31 }, { 8, 1, 12 }, { 9, 0, 99 },
	};
	bool binary = cmos_read(0x0b) & 4;
	uint8_t second;

	CHECK(cmos_read(0x0b) & 2, "register B %x: not in 24-hour mode", cmos_read(0x0b));
	CHECK(cmos_read(0x0d) & 0x80, "register D: no battery");
	CHECK(WAIT_FOR(!(cmos_read(0x0a) & 0x80), 10), "update in progress for 10 ms");
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		uint8_t value = cmos_read(fields[i].index);

		if (!binary) {
			CHECK((value & 0xf) <= 9 && value >> 4 <= 9, "register %u is %x, not BCD", fields[i].index, value);
			value = (uint8_t)((value >> 4) * 10 + (value & 0xf));
		}
		CHECK(value >= fields[i].min && value <= fields[i].max, "register %u shows %u", fields[i].index, value);
	}
	second = cmos_read(0);
	CHECK(WAIT_FOR(cmos_read(0) != second, 1100), "the second did not change in 1.1 s");
}

PIC_TEST(cmos_memory, "CMOS: its memory holds values")
{
	uint8_t old = cmos_read(0x7e);

	cmos_write(0x7e, 0x5a);
	CHECK_EQUAL("byte 0x7e", cmos_read(0x7e), 0x5a);
	cmos_write(0x7e, 0xa5);
	CHECK_EQUAL("byte 0x7e", cmos_read(0x7e), 0xa5);
	cmos_write(0x7e, old);
}

PIC_TEST(pit_count, "PIT: counts down, latch, read-back, channel 2 by port 0x61")
{
	uint16_t first, second;
	uint8_t status;
	uint64_t before, ticks;

	pit_set(0, 2, 65536);
	delay_us(100);
	first = pit_read(0);
	delay_us(1000);
	second = pit_read(0);
	ticks = (uint16_t)(first - second);
	CHECK(ticks >= 1150 && ticks <= 1300, "1 ms: %llu ticks of the PIT", (unsigned long long)ticks);
	outb(PIT_CONTROL, 0xe2); /* read back: status of channel 0 */
	status = inb(PIT_CHANNEL0);
	CHECK_EQUAL("status of channel 0", status & 0x3f, 0x34);
	/* A latched count stays until it is read. */
	outb(PIT_CONTROL, 0);
	delay_us(500);
	first = inb(PIT_CHANNEL0);
	first = (uint16_t)(first | inb(PIT_CHANNEL0) << 8);
	second = pit_read(0);
	CHECK((uint16_t)(first - second) >= 500, "the latched count moved: %u, then %u", first, second);

	outb(PORT_61, (uint8_t)((inb(PORT_61) & ~3) | 1)); /* gate on, speaker off */
	pit_set(2, 0, PIT_HZ / 100);
	CHECK(!(inb(PORT_61) & 0x20), "channel 2's output is high before its count ended");
	before = rdtsc();
	CHECK(WAIT_FOR(inb(PORT_61) & 0x20, 30), "channel 2 did not end in 30 ms");
	ticks = (rdtsc() - before) / (tsc_hz / 1000000);
	CHECK(ticks >= 9800 && ticks <= 10300, "10 ms of channel 2 took %llu us of the TSC", (unsigned long long)ticks);
	pit_set(2, 2, 1000);
	outb(PORT_61, inb(PORT_61) & (uint8_t)~1); /* gate off: the count stands */
	delay_us(50);
	first = pit_read(2);
	delay_us(200);
	CHECK_EQUAL("channel 2's count with its gate off", pit_read(2), first);
}

PIC_TEST(pm_timer_runs, "PM timer: never goes back, agrees with the PIT")
{
	uint32_t last = pm_timer(), total = 0;

	for (unsigned i = 0; i < 20000; i++) {
		uint32_t now = pm_timer(), step = (now - last) & 0xffffff;

		CHECK(step < 0x100000, "it went from %x to %x", last, now);
		last = now;
	}
	last = pm_timer();
	outb(PORT_61, (uint8_t)((inb(PORT_61) & ~3) | 1));
	pit_set(2, 0, PIT_HZ / 50);
	CHECK(WAIT_FOR(inb(PORT_61) & 0x20, 60), "channel 2 did not end in 60 ms");
	total = (pm_timer() - last) & 0xffffff;
	CHECK(total >= 70800 && total <= 72400, "20 ms of the PIT: %u ticks of the PM timer instead of 71591", total);
}

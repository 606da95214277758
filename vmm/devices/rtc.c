/* The clock chip's registers, its periodic, alarm and update interrupts, and the CMOS bytes of PC firmware. The time registers are brought
 * up to date only when somebody looks. */
#include "vmm/devices/rtc.h"

#include "lib/string.h"
#include "lib/x86/pc.h"
#include "vmm/devices/rtc_time.h"

#define RTC_IRQ 8

#define A_DIVIDER 0x70
#define A_DIVIDER_32KHZ 0x20
#define A_RATE 0x0f
#define A_POWER_ON 0x26 /* 32768 Hz crystal, 1024 Hz rate: what firmware sets */

/* Interrupt enables in B, flags in C: the same bits. */
#define PERIODIC 0x40
#define ALARM 0x20
#define UPDATE 0x10
#define C_IRQF 0x80
#define B_SQWE 0x08
#define D_VALID 0x80

/* CMOS bytes of PC firmware. */
#define CMOS_SHUTDOWN 0x0f
#define CMOS_EQUIPMENT 0x14
#define CMOS_BASE_KIB 0x15
#define CMOS_EXTENDED_KIB 0x17
#define CMOS_CHECKSUM 0x2e
#define CMOS_EXTENDED_KIB_2 0x30
#define CMOS_ABOVE_16M 0x34
#define CMOS_ABOVE_4G 0x5b

#define UIP_TICKS 8 /* UIP rises 244 us before the update */

static bool divider_runs(const struct rtc *rtc)
{
	return (rtc->cmos[RTC_REG_A] & A_DIVIDER) == A_DIVIDER_32KHZ;
}

/* Bring the time registers and register C up to tick `now`. */
static void sync(struct rtc *rtc, uint64_t now)
{
	uint64_t seconds;

	if (divider_runs(rtc)) {
		uint64_t crossed = (now - rtc->updated) ^ (rtc->flags_tick - rtc->updated);

		if (rtc->period && (crossed & ~(uint64_t)(rtc->period - 1)))
			rtc->cmos[RTC_REG_C] |= PERIODIC;
		seconds = (now - rtc->updated) / RTC_HZ;
		if (seconds) {
			rtc->updated += seconds * RTC_HZ;
			if (!(rtc->cmos[RTC_REG_B] & RTC_B_SET)) {
				uint32_t delay = rtc_time_alarm_delay(rtc->cmos);

				rtc->cmos[RTC_REG_C] |= UPDATE;
				if (delay && delay <= seconds)
					rtc->cmos[RTC_REG_C] |= ALARM;
				rtc_time_advance(rtc->cmos, seconds);
			}
		}
	}
	rtc->flags_tick = now;
}

/* The tick of the next event that raises the line; UINT64_MAX: none. */
static uint64_t next_event(const struct rtc *rtc, uint64_t now)
{
	uint8_t enabled = rtc->cmos[RTC_REG_B];
	uint64_t event = UINT64_MAX;

	/* A line that is high stays high until register C is read: until then the guest sees no further event. */
	if (rtc->irq || !divider_runs(rtc))
		return UINT64_MAX;
	if ((enabled & PERIODIC) && rtc->period)
		event = now - ((now - rtc->updated) & (rtc->period - 1)) + rtc->period;
	if ((enabled & UPDATE) && !(enabled & RTC_B_SET))
		event = MIN(event, rtc->updated + RTC_HZ);
	if ((enabled & ALARM) && !(enabled & RTC_B_SET)) {
		uint64_t delay = rtc_time_alarm_delay(rtc->cmos);

		if (delay)
			event = MIN(event, rtc->updated + delay * RTC_HZ);
	}
	return event;
}

/* Drive IRQ 8 as registers B and C say and set the timer for what comes next. */
static void update_irq(struct rtc *rtc, uint64_t now)
{
	bool irq = rtc->cmos[RTC_REG_B] & rtc->cmos[RTC_REG_C] & (PERIODIC | ALARM | UPDATE);
	uint64_t event;

	if (irq != rtc->irq) {
		rtc->irq = irq;
		vm_irq_set(rtc->vm, RTC_IRQ, irq);
	}
	event = next_event(rtc, now);
	vtimer_set(&rtc->timer, event == UINT64_MAX ? TIME_NEVER : tick_clock_when(&rtc->clock, event));
}

static void timer_fire(void *ctx)
{
	struct rtc *rtc = ctx;
	uint64_t now;

	spin_lock(&rtc->lock);
	now = tick_clock_now(&rtc->clock);
	sync(rtc, now);
	update_irq(rtc, now);
	spin_unlock(&rtc->lock);
}

/* Rates of the 32768 Hz time base (MC146818A, table 5). */
static uint32_t period_of(uint8_t register_a)
{
	unsigned rate = register_a & A_RATE;

	if (rate == 0)
		return 0;
	return rate <= 2 ? 1U << (rate + 6) : 1U << (rate - 1);
}

static uint8_t register_read(struct rtc *rtc)
{
	uint64_t now;
	uint8_t value;

	if (rtc->index > RTC_REG_C && rtc->index != RTC_CENTURY)
		return rtc->index == RTC_REG_D ? D_VALID : rtc->cmos[rtc->index];
	now = tick_clock_now(&rtc->clock);
	sync(rtc, now);
	value = rtc->cmos[rtc->index];
	if (rtc->index == RTC_REG_A && divider_runs(rtc) && !(rtc->cmos[RTC_REG_B] & RTC_B_SET) &&
	    now - rtc->updated >= RTC_HZ - UIP_TICKS)
		value |= RTC_A_UIP;
	if (rtc->index == RTC_REG_C) {
		if (rtc->irq)
			value |= C_IRQF;
		rtc->cmos[RTC_REG_C] = 0;
		update_irq(rtc, now);
	}
	return value;
}

static void register_write(struct rtc *rtc, uint8_t value)
{
	uint64_t now;
	bool ran;

	if (rtc->index > RTC_REG_B && rtc->index != RTC_CENTURY) {
		if (rtc->index != RTC_REG_C && rtc->index != RTC_REG_D)
			rtc->cmos[rtc->index] = value;
		return;
	}
	now = tick_clock_now(&rtc->clock);
	sync(rtc, now);
	switch (rtc->index) {
	case RTC_REG_A:
		ran = divider_runs(rtc);
		rtc->cmos[RTC_REG_A] = value & (uint8_t)~RTC_A_UIP;
		rtc->period = period_of(value);
		/* The first update comes half a second after the divider starts (MC146818A, "DV"). */
		if (!ran && divider_runs(rtc))
			rtc->updated = now - RTC_HZ / 2;
		break;
	case RTC_REG_B:
		if (value & RTC_B_SET)
			value &= (uint8_t)~UPDATE;
		rtc->cmos[RTC_REG_B] = value;
		break;
	default:
		rtc->cmos[rtc->index] = value;
		break;
	}
	update_irq(rtc, now);
}

static uint64_t rtc_read(void *dev, uint64_t offset, unsigned size)
{
	struct rtc *rtc = dev;

	if (size != 1 || offset == 0) /* the index cannot be read back */
		return UINT64_MAX;
	return register_read(rtc);
}

static void rtc_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct rtc *rtc = dev;

	if (size != 1)
		return;
	if (offset == 0)
		rtc->index = value & (RTC_CMOS_SIZE - 1); /* bit 7 masks NMIs, of which the board has none */
	else
		register_write(rtc, (uint8_t)value);
}

static const struct io_ops rtc_ops = { .read = rtc_read, .write = rtc_write, .widest = 1 };

static void put16(uint8_t *cmos, uint64_t value)
{
	value = MIN(value, (uint64_t)0xffff);
	cmos[0] = (uint8_t)value;
	cmos[1] = (uint8_t)(value >> 8);
}

static void put_memory_size(uint8_t *cmos, uint64_t low_memory, uint64_t high_memory)
{
	uint64_t above_4g = MIN(high_memory >> 16, (uint64_t)0xffffff);
	uint64_t extended = low_memory > MIB(1) ? (low_memory - MIB(1)) >> 10 : 0;
	unsigned checksum = 0;

	put16(cmos + CMOS_BASE_KIB, MIN(low_memory >> 10, (uint64_t)640));
	put16(cmos + CMOS_EXTENDED_KIB, extended);
	put16(cmos + CMOS_EXTENDED_KIB_2, extended);
	put16(cmos + CMOS_ABOVE_16M, low_memory > MIB(16) ? (low_memory - MIB(16)) >> 16 : 0);
	put16(cmos + CMOS_ABOVE_4G, above_4g & 0xffff);
	cmos[CMOS_ABOVE_4G + 2] = (uint8_t)(above_4g >> 16);
	cmos[CMOS_EQUIPMENT] = 0x02; /* a floating-point unit, no floppy drive */
	for (unsigned i = 0x10; i < CMOS_CHECKSUM; i++)
		checksum += cmos[i];
	cmos[CMOS_CHECKSUM] = (uint8_t)(checksum >> 8);
	cmos[CMOS_CHECKSUM + 1] = (uint8_t)checksum;
}

int rtc_init(struct rtc *rtc, struct vm *vm, struct io_space *pio, uint64_t low_memory, uint64_t high_memory,
	     uint64_t unix_seconds)
{
	memset(rtc, 0, sizeof(*rtc));
	rtc->vm = vm;
	tick_clock_init(&rtc->clock, RTC_HZ);
	vtimer_init(&rtc->timer, vm, 0, timer_fire, rtc);
	rtc->cmos[RTC_REG_A] = A_POWER_ON;
	rtc->period = period_of(A_POWER_ON);
	rtc->cmos[RTC_REG_B] = RTC_B_24H;
	rtc_time_set(rtc->cmos, unix_seconds);
	put_memory_size(rtc->cmos, low_memory, high_memory);
	return io_space_add(pio, PORT_CMOS_INDEX, 2, &rtc_ops, rtc, &rtc->lock);
}

void rtc_reset(struct rtc *rtc)
{
	uint64_t now;

	spin_lock(&rtc->lock);
	now = tick_clock_now(&rtc->clock);
	sync(rtc, now);
	/* The chip's RESET pin clears the enables and flags; that the clock runs and no shutdown action waits is firmware's part. */
	if (!divider_runs(rtc))
		rtc->updated = now - RTC_HZ / 2;
	rtc->index = 0;
	rtc->cmos[RTC_REG_A] = A_POWER_ON;
	rtc->period = period_of(A_POWER_ON);
	rtc->cmos[RTC_REG_B] &= (uint8_t)~(RTC_B_SET | PERIODIC | ALARM | UPDATE | B_SQWE);
	rtc->cmos[RTC_REG_C] = 0;
	rtc->cmos[CMOS_SHUTDOWN] = 0;
	update_irq(rtc, now);
	spin_unlock(&rtc->lock);
}

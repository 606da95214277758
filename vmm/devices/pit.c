/* A channel has no counter that runs: its count and its output are computed from the time of its last load. A timer is set only for the
 * next rising edge of channel 0's output. */
#include "vmm/devices/pit.h"

#include "lib/string.h"

#define PIT_IRQ 0

/* A period of modes 2 and 3 that is shorter than this (100 us) interrupts only once in as many periods as make up this time: no system can
 * take interrupts faster, and a guest must not keep the machine busy with its timer. */
#define PERIOD_MIN 120

#define CONTROL_PORT 3
#define READ_BACK 3
#define READ_BACK_NO_COUNT 0x20
#define READ_BACK_NO_STATUS 0x10

#define STATUS_OUT 0x80
#define STATUS_NULL_COUNT 0x40

#define PORT_B_WRITABLE 0x0f
#define REFRESH_TICKS 18 /* one request each 15 us */

static bool reached(uint64_t now, uint64_t at)
{
	return (int64_t)(now - at) >= 0;
}

static uint32_t high_half(uint32_t count)
{
	return (count + 1) / 2;
}

static uint32_t from_bcd(uint32_t value)
{
	return (value & 15) + 10 * (value >> 4 & 15) + 100 * (value >> 8 & 15) + 1000 * (value >> 12 & 15);
}

static uint32_t to_bcd(uint32_t value)
{
	return value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 % 10 << 12;
}

/* ---- A channel ---- */

/* Load the count that waits for the end of its period or half period (modes 2, 3), once that has come. */
static void channel_sync(struct pit_channel *ch, uint64_t now)
{
	if (ch->next_count && (ch->mode == 2 || ch->mode == 3) && reached(now, ch->next_at)) {
		ch->count = ch->next_count;
		ch->start = ch->next_start;
		ch->next_count = 0;
	}
}

static uint64_t channel_elapsed(const struct pit_channel *ch, uint64_t now)
{
	if (!ch->running)
		return ch->elapsed;
	return reached(now, ch->start) ? now - ch->start : 0;
}

static bool channel_out(const struct pit_channel *ch, uint64_t now)
{
	uint64_t elapsed = channel_elapsed(ch, now);

	switch (ch->mode) {
	case 0:
		return ch->loaded && elapsed >= ch->count;
	case 1:
		return !ch->running || !reached(now, ch->start) || elapsed >= ch->count;
	case 2:
		return !ch->running || elapsed % ch->count != ch->count - 1;
	case 3:
		return !ch->running || elapsed % ch->count < high_half(ch->count);
	default:
		return !ch->loaded || elapsed != ch->count;
	}
}

/* The counting element as the output latches show it. */
static uint16_t channel_count(const struct pit_channel *ch, uint64_t now)
{
	uint64_t elapsed = channel_elapsed(ch, now);
	uint32_t modulus = ch->bcd ? 10000 : 65536;
	uint32_t value = ch->count;
	uint32_t position;

	switch (ch->mode) {
	case 2:
		value -= (uint32_t)(elapsed % ch->count);
		break;
	case 3: /* counts down by two, from an even number, in each half */
		position = (uint32_t)(elapsed % ch->count);
		if (position >= high_half(ch->count))
			position -= high_half(ch->count);
		value = (value & ~1U) - 2 * position;
		break;
	default: /* goes on below zero */
		value += modulus - (uint32_t)(elapsed % modulus);
		break;
	}
	value %= modulus;
	return (uint16_t)(ch->bcd ? to_bcd(value) : value);
}

static uint8_t channel_status(const struct pit_channel *ch, uint64_t now)
{
	bool null_count = !ch->loaded || ch->next_count || (ch->running && !reached(now, ch->start));

	return (uint8_t)((channel_out(ch, now) ? STATUS_OUT : 0) | (null_count ? STATUS_NULL_COUNT : 0) |
			 ch->access << 4 | ch->mode << 1 | ch->bcd);
}

/* A new count while a period of mode 2 or 3 runs: it is loaded when the period, or in mode 3 the half, ends. */
static void channel_queue(struct pit_channel *ch, uint64_t now, uint32_t count)
{
	uint32_t position = (uint32_t)((now - ch->start) % ch->count);

	ch->next_count = count;
	ch->next_at = now - position + ch->count;
	ch->next_start = ch->next_at;
	if (ch->mode == 3 && position < high_half(ch->count)) {
		ch->next_at = now - position + high_half(ch->count);
		ch->next_start = ch->next_at - high_half(count);
	}
}

static void channel_load(struct pit_channel *ch, uint64_t now, uint32_t value)
{
	uint32_t count = ch->bcd ? from_bcd(value) : value;

	if (count == 0)
		count = ch->bcd ? 10000 : 65536;
	if (ch->mode == 1 || ch->mode == 5) {
		ch->next_count = count;
		if (!ch->running)
			ch->count = count;
	} else if ((ch->mode == 2 || ch->mode == 3) && ch->running && reached(now, ch->start)) {
		channel_queue(ch, now, count);
	} else {
		ch->count = count;
		ch->next_count = 0;
		ch->elapsed = 0;
		ch->start = now + 1; /* the next clock loads it */
		ch->running = ch->gate;
	}
	ch->loaded = true;
}

static void channel_stop(struct pit_channel *ch)
{
	ch->loaded = false;
	ch->running = false;
	ch->elapsed = 0;
	ch->next_count = 0;
}

static void channel_set_mode(struct pit_channel *ch, uint8_t control)
{
	uint8_t mode = control >> 1 & 7;

	channel_stop(ch);
	ch->mode = mode < 6 ? mode : mode - 4;
	ch->access = control >> 4 & 3;
	ch->bcd = control & 1;
	ch->write_high = false;
	ch->read_high = false;
	ch->latched = 0;
	ch->status_latched = false;
}

static void channel_set_gate(struct pit_channel *ch, uint64_t now, bool gate)
{
	if (gate == ch->gate)
		return;
	channel_sync(ch, now);
	ch->gate = gate;
	if (!ch->loaded)
		return;
	switch (ch->mode) {
	case 0:
	case 4:
		if (gate)
			ch->start = now - ch->elapsed;
		else
			ch->elapsed = channel_elapsed(ch, now);
		ch->running = gate;
		break;
	default: /* the rising edge triggers */
		if (gate) {
			if (ch->next_count)
				ch->count = ch->next_count;
			ch->next_count = 0;
			ch->start = now + 1;
			ch->running = true;
		} else if (ch->mode == 2 || ch->mode == 3) {
			ch->running = false;
			ch->elapsed = 0;
		}
		break;
	}
}

/* Takes one byte; returns true where that completed a count. */
static bool channel_write(struct pit_channel *ch, uint64_t now, uint8_t value)
{
	channel_sync(ch, now);
	if (ch->access == 1) {
		channel_load(ch, now, value);
	} else if (ch->access == 2) {
		channel_load(ch, now, (uint32_t)value << 8);
	} else if (ch->write_high) {
		ch->write_high = false;
		channel_load(ch, now, (uint32_t)value << 8 | ch->write_low);
	} else {
		ch->write_high = true;
		ch->write_low = value;
		if (ch->mode == 0)
			channel_stop(ch);
		return false;
	}
	return true;
}

static void channel_latch_count(struct pit_channel *ch, uint64_t now)
{
	if (ch->latched)
		return;
	channel_sync(ch, now);
	ch->latch = channel_count(ch, now);
	ch->latched = ch->access == 3 ? 2 : 1;
}

static void channel_latch_status(struct pit_channel *ch, uint64_t now)
{
	if (ch->status_latched)
		return;
	channel_sync(ch, now);
	ch->status = channel_status(ch, now);
	ch->status_latched = true;
}

static uint8_t channel_read(struct pit_channel *ch, uint64_t now)
{
	uint16_t count;
	bool high = ch->access == 2;

	if (ch->status_latched) {
		ch->status_latched = false;
		return ch->status;
	}
	if (ch->latched) {
		count = ch->latch;
		if (ch->access == 3)
			high = ch->latched == 1;
		ch->latched--;
	} else {
		channel_sync(ch, now);
		count = channel_count(ch, now);
		if (ch->access == 3) {
			high = ch->read_high;
			ch->read_high = !high;
		}
	}
	return (uint8_t)(high ? count >> 8 : count);
}

/* ---- IRQ 0 ---- */

/* Channel 0 got a count or a control word: put the line where OUT is and set the timer for OUT's next rising edge. */
static void irq_schedule(struct pit *pit, uint64_t now)
{
	const struct pit_channel *ch = &pit->channel[0];
	uint32_t count = ch->next_count ? ch->next_count : ch->count;

	pit->irq_armed = ch->running && ch->mode != 1 && ch->mode != 5;
	pit->irq_at = ch->start + ch->count;
	switch (ch->mode) {
	case 2:
	case 3:
		pit->irq_period = count >= PERIOD_MIN ? count : count * ((PERIOD_MIN + count - 1) / count);
		if (ch->next_count)
			pit->irq_at = ch->next_at == ch->next_start ? ch->next_at : ch->next_start + ch->next_count;
		else
			pit->irq_at = ch->start + pit->irq_period;
		break;
	case 4: /* the strobe is low for one clock */
		pit->irq_at++;
		break;
	default:
		break;
	}
	vm_irq_set(pit->vm, PIT_IRQ, channel_out(ch, now));
	vtimer_set(&pit->timer, pit->irq_armed ? tick_clock_when(&pit->clock, pit->irq_at) : TIME_NEVER);
}

static void irq_fire(void *ctx)
{
	struct pit *pit = ctx;
	struct pit_channel *ch = &pit->channel[0];
	uint64_t now;

	spin_lock(&pit->lock);
	now = tick_clock_now(&pit->clock);
	if (pit->irq_armed && reached(now, pit->irq_at)) {
		vm_irq_set(pit->vm, PIT_IRQ, false);
		vm_irq_set(pit->vm, PIT_IRQ, true);
		pit->irq_armed = false;
		if (ch->mode == 2 || ch->mode == 3) {
			channel_sync(ch, now);
			pit->irq_armed = true;
			pit->irq_at += pit->irq_period;
			/* Edges that passed while the VM did not run are lost, as under a guest that masked them. */
			if (reached(now, pit->irq_at))
				pit->irq_at += ((now - pit->irq_at) / pit->irq_period + 1) * pit->irq_period;
			vtimer_set(&pit->timer, tick_clock_when(&pit->clock, pit->irq_at));
		}
	}
	spin_unlock(&pit->lock);
}

/* ---- Ports ---- */

static void write_control(struct pit *pit, uint64_t now, uint8_t value)
{
	unsigned select = value >> 6;

	if (select == READ_BACK) {
		for (unsigned i = 0; i < ARRAY_SIZE(pit->channel); i++) {
			if (!(value & 2U << i))
				continue;
			if (!(value & READ_BACK_NO_COUNT))
				channel_latch_count(&pit->channel[i], now);
			if (!(value & READ_BACK_NO_STATUS))
				channel_latch_status(&pit->channel[i], now);
		}
		return;
	}
	if ((value & 0x30) == 0) {
		channel_latch_count(&pit->channel[select], now);
		return;
	}
	channel_set_mode(&pit->channel[select], value);
	if (select == 0)
		irq_schedule(pit, now);
}

static uint64_t counter_read(void *dev, uint64_t offset, unsigned size)
{
	struct pit *pit = dev;

	if (size != 1 || offset == CONTROL_PORT)
		return UINT64_MAX;
	return channel_read(&pit->channel[offset], tick_clock_now(&pit->clock));
}

static void counter_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct pit *pit = dev;
	uint64_t now;

	if (size != 1)
		return;
	now = tick_clock_now(&pit->clock);
	if (offset == CONTROL_PORT) {
		write_control(pit, now, (uint8_t)value);
	} else {
		bool complete = channel_write(&pit->channel[offset], now, (uint8_t)value);

		/* In mode 0 the first byte of two already stops the count and lowers OUT. */
		if (offset == 0 && (complete || pit->channel[0].mode == 0))
			irq_schedule(pit, now);
	}
}

static uint64_t port_b_read(void *dev, uint64_t offset, unsigned size)
{
	struct pit *pit = dev;
	uint64_t now;

	(void)offset;
	if (size != 1)
		return UINT64_MAX;
	now = tick_clock_now(&pit->clock);
	channel_sync(&pit->channel[2], now);
	return pit->control_b | (now / REFRESH_TICKS & 1 ? PORT_B_REFRESH : 0) |
	       (channel_out(&pit->channel[2], now) ? PORT_B_OUT2 : 0);
}

static void port_b_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct pit *pit = dev;

	(void)offset;
	if (size != 1)
		return;
	pit->control_b = (uint8_t)value & PORT_B_WRITABLE;
	channel_set_gate(&pit->channel[2], tick_clock_now(&pit->clock), value & PORT_B_GATE2);
}

static const struct io_ops counter_ops = { .read = counter_read, .write = counter_write, .widest = 1 };
static const struct io_ops port_b_ops = { .read = port_b_read, .write = port_b_write };

static void power_on(struct pit *pit)
{
	memset(pit->channel, 0, sizeof(pit->channel));
	for (unsigned i = 0; i < ARRAY_SIZE(pit->channel); i++) {
		pit->channel[i].access = 3;
		pit->channel[i].count = 65536;
		pit->channel[i].gate = i != 2;
	}
	pit->control_b = 0;
	pit->irq_armed = false;
}

int pit_init(struct pit *pit, struct vm *vm, struct io_space *pio)
{
	int err;

	pit->vm = vm;
	pit->lock = (struct spinlock){ 0 };
	tick_clock_init(&pit->clock, PIT_HZ);
	vtimer_init(&pit->timer, vm, 0, irq_fire, pit);
	power_on(pit);
	err = io_space_add(pio, PORT_PIT_CHANNEL_0, 4, &counter_ops, pit, &pit->lock);
	return err ? err : io_space_add(pio, PORT_SYSTEM_B, 1, &port_b_ops, pit, &pit->lock);
}

void pit_reset(struct pit *pit)
{
	spin_lock(&pit->lock);
	power_on(pit);
	vtimer_set(&pit->timer, TIME_NEVER);
	vm_irq_set(pit->vm, PIT_IRQ, false);
	spin_unlock(&pit->lock);
}

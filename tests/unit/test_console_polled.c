/* SOURCES: drivers/console/console.c drivers/console/terminal.c drivers/console/serial.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "drivers/console/console.h"
#include "drivers/port_io.h"

#define RATE 1000000     /* ticks a second */
#define BYTE_TICKS 87    /* 10 bits at 115200 baud */
#define BYTES 200        /* a pasted line */

/* A 16550 whose line brings byte after byte from `start` on; its FIFO holds 16, what comes while it is full is lost. */
static uint64_t now, start;
static unsigned arrived, fifo_count, lost;
static uint8_t fifo[SERIAL_FIFO], scratch, line_control;
static unsigned received;
static uint8_t next_byte;

static void line(void)
{
	while (start && arrived < BYTES && start + (arrived + 1) * BYTE_TICKS <= now) {
		if (fifo_count < SERIAL_FIFO)
			fifo[fifo_count++] = (uint8_t)arrived;
		else
			lost++;
		arrived++;
	}
}

uint8_t port_read8(uint16_t port)
{
	uint8_t byte;

	line();
	switch (port & 7) {
	case 0:
		if (line_control & 0x80 || !fifo_count)
			return 1;
		byte = fifo[0];
		memmove(fifo, fifo + 1, --fifo_count);
		return byte;
	case 5:
		return (uint8_t)(0x60 | (fifo_count != 0));
	case 7:
		return scratch;
	default:
		return 0;
	}
}

void port_write8(uint16_t port, uint8_t value)
{
	if ((port & 7) == 7)
		scratch = value;
	if ((port & 7) == 3)
		line_control = value;
}

static void take(uint8_t byte)
{
	assert_int_equal(byte, next_byte++);
	received++;
}

static void test_a_pasted_line_arrives_whole(void **state)
{
	struct serial serial = { .port = 0x100 };
	const struct serial_line as_is = { 0, 8, 'n', 1 };

	(void)state;
	assert_int_equal(serial_init(&serial, &as_is), 0);
	console_set_rate(RATE);
	console_use_serial(&serial);
	console_poll_on();
	start = RATE / 10 + 13;
	for (now = 1; now < RATE; now = console_due[0])
		console_service(now, take);
	assert_int_equal(lost, 0);
	assert_int_equal(received, BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_pasted_line_arrives_whole),
	};

	return cmocka_run_group_tests_name("console_polled", tests, NULL, NULL);
}

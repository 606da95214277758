/* SOURCES: vmm/devices/uart.c vmm/io/io_space.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/hostile_io.h"
#include "vmm/devices/uart.h"

static struct io_space pio;
static struct uart uart;

static void out(unsigned reg, uint8_t value)
{
	io_space_write(&pio, 0x3f8 + reg, 1, value);
}

static uint8_t in(unsigned reg)
{
	return (uint8_t)io_space_read(&pio, 0x3f8 + reg, 1);
}

static void pass(uint64_t microseconds)
{
	fake_advance_to(fake.now + microseconds * (fake.hz / 1000000));
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	fake.now = 777777;
	memset(&pio, 0, sizeof(pio));
	memset(&uart, 0xaa, sizeof(uart));
	assert_int_equal(uart_init(&uart, NULL, &pio, 0x3f8, 4), 0);
	return 0;
}

static void console_is(const char *text)
{
	assert_int_equal(fake.console_len, strlen(text));
	assert_memory_equal(fake.console, text, strlen(text));
}

static void test_registers(void **state)
{
	(void)state;
	assert_int_equal(in(1), 0);
	assert_int_equal(in(2), 0x01);
	assert_int_equal(in(3), 0);
	assert_int_equal(in(4), 0);
	assert_int_equal(in(5), 0x60);
	assert_int_equal(in(6), 0xb0);
	/* Linux's presence tests: IER and the scratch register hold what they can. */
	out(1, 0xff);
	assert_int_equal(in(1), 0x0f);
	out(1, 0);
	out(7, 0x5a);
	assert_int_equal(in(7), 0x5a);
	out(4, 0xff);
	assert_int_equal(in(4), 0x1f);
	out(4, 0);
	/* The divisor latch hides behind LCR's bit 7. */
	out(3, 0x80);
	out(0, 0x34);
	out(1, 0x12);
	assert_int_equal(in(0), 0x34);
	assert_int_equal(in(1), 0x12);
	out(3, 0x03);
	assert_int_equal(in(3), 0x03);
	assert_int_equal(in(1), 0);
	console_is("");
	/* LSR and MSR are not for writing. */
	out(5, 0);
	out(6, 0);
	assert_int_equal(in(5), 0x60);
	/* The divisor by one OUT, and by one IN. */
	out(3, 0x80);
	io_space_write(&pio, 0x3f8, 2, 0x1234);
	assert_int_equal(in(0), 0x34);
	assert_int_equal(in(1), 0x12);
	assert_int_equal(io_space_read(&pio, 0x3f8, 2) & 0xffff, 0x1234);
	io_space_write(&pio, 0x3f8, 4, 0x03070001); /* and the FIFOs and the format behind it */
	assert_int_equal(in(3), 0x03);
	assert_int_equal(in(2), 0xc1);
	/* A 16550A, not a 16550 or 8250; 0xe0 would be a 16750. */
	out(2, 0x01);
	assert_int_equal(in(2), 0xc1);
	out(2, 0xe1);
	assert_int_equal(in(2), 0xc1);
	out(2, 0x00);
	assert_int_equal(in(2), 0x01);
}

static void test_transmit(void **state)
{
	(void)state;
	for (const char *c = "Hello"; *c; c++) {
		assert_int_equal(in(5), 0x60);
		out(0, (uint8_t)*c);
	}
	console_is("Hello");
	assert_int_equal(fake.irq_rises[4], 0);
}

static void test_transmit_interrupt(void **state)
{
	(void)state;
	out(4, 0x0b);
	/* Enabled while empty: at once. */
	out(1, 0x02);
	assert_true(fake.irq[4]);
	assert_int_equal(in(2), 0x02); /* identifying it clears it */
	assert_false(fake.irq[4]);
	assert_int_equal(in(2), 0x01);
	out(1, 0x02); /* no rising bit, no interrupt */
	assert_false(fake.irq[4]);
	out(1, 0x00);
	out(1, 0x02); /* Linux's test for a broken THRE */
	assert_int_equal(in(2), 0x02);
	/* Each byte that went out asks for the next. */
	out(0, 'x');
	assert_true(fake.irq[4]);
	/* Without OUT2 the board does not pass it on. */
	out(4, 0x03);
	assert_false(fake.irq[4]);
	out(4, 0x0b);
	assert_true(fake.irq[4]);
	out(1, 0x00);
	assert_false(fake.irq[4]);
}

static void test_full_console(void **state)
{
	(void)state;
	out(2, 0x01);
	out(4, 0x0b);
	out(1, 0x02);
	in(2);
	fake.console_full = true;
	for (unsigned i = 0; i < 17; i++) {
		out(0, (uint8_t)('a' + i));
		assert_int_equal(in(5), 0x00); /* neither THRE nor TEMT */
	}
	assert_false(fake.irq[4]);
	pass(900);
	assert_int_equal(in(5), 0x00);
	pass(5000);
	console_is("");
	fake.console_full = false;
	pass(1000);
	console_is("abcdefghijklmnop"); /* the 17th found the FIFO full */
	assert_int_equal(in(5), 0x60);
	assert_true(fake.irq[4]);
	assert_int_equal(in(2), 0xc2);
	uart.tx_timer.fire(uart.tx_timer.ctx); /* a late call */
	assert_false(fake.irq[4]);
	/* Order holds while bytes wait. */
	fake.console_len = 0;
	fake.console_full = true;
	out(0, '1');
	fake.console_full = false;
	out(0, '2');
	console_is("");
	pass(1100);
	console_is("12");
	/* Without FIFOs there is one register, and a late byte replaces what is in it. */
	out(2, 0x00);
	fake.console_len = 0;
	fake.console_full = true;
	out(0, '3');
	out(0, '4');
	fake.console_full = false;
	pass(1100);
	console_is("4");
	/* A FIFO reset drops what waits. */
	out(2, 0x01);
	fake.console_len = 0;
	fake.console_full = true;
	out(0, '5');
	out(2, 0x05);
	assert_int_equal(in(5), 0x60);
	fake.console_full = false;
	pass(5000);
	console_is("");
	out(0, '6');
	console_is("6");
	/* A reset of the VM first shows what waits. */
	fake.console_full = true;
	out(0, '7');
	fake.console_full = false;
	uart_reset(&uart);
	console_is("67");
	assert_int_equal(in(5), 0x60);
	uart.tx_timer.fire(uart.tx_timer.ctx);
	uart.rx_timer.fire(uart.rx_timer.ctx);
	assert_false(fake.irq[4]);
}

/* An overrun happens in loopback only, where no interrupt leaves; afterwards it does, until LSR is read. */
static void test_overrun(void **state)
{
	(void)state;
	out(1, 0x04);
	out(4, 0x18);
	out(0, 'a');
	out(0, 'b');
	assert_false(fake.irq[4]);
	out(4, 0x08);
	assert_true(fake.irq[4]);
	assert_int_equal(in(2), 0x06);
	assert_true(fake.irq[4]);
	assert_int_equal(in(5), 0x63);
	assert_false(fake.irq[4]);
	assert_int_equal(in(2), 0x01);
	assert_int_equal(in(5), 0x61);
}

/* A byte that the console cannot take yet ends the interrupt of the empty transmitter, until it has left. */
static void test_thre_falls(void **state)
{
	(void)state;
	out(4, 0x08);
	out(1, 0x02);
	assert_true(fake.irq[4]);
	fake.console_full = true;
	out(0, 'a');
	assert_false(fake.irq[4]);
	assert_int_equal(in(2), 0x01);
	fake.console_full = false;
	pass(5000);
	console_is("a");
	assert_true(fake.irq[4]);
	assert_int_equal(in(2), 0x02);
	assert_false(fake.irq[4]);
}

static void test_receive(void **state)
{
	(void)state;
	assert_true(uart_can_receive(&uart));
	assert_true(uart_receive(&uart, 'a'));
	assert_int_equal(in(5), 0x61);
	/* No FIFO: full. */
	assert_false(uart_can_receive(&uart));
	assert_false(uart_receive(&uart, 'b'));
	assert_int_equal(in(5), 0x61); /* refused, not overrun */
	assert_int_equal(in(0), 'a');
	assert_int_equal(in(5), 0x60);
	assert_int_equal(in(0), 0);
	out(4, 0x08);
	out(1, 0x01);
	uart_receive(&uart, 'c');
	assert_true(fake.irq[4]);
	assert_int_equal(in(2), 0x04);
	assert_true(fake.irq[4]);
	assert_int_equal(in(0), 'c');
	assert_false(fake.irq[4]);
	/* FIFOs: sixteen, in order. */
	out(2, 0x01);
	for (unsigned i = 0; i < 16; i++)
		assert_true(uart_receive(&uart, (uint8_t)('0' + i)));
	assert_false(uart_can_receive(&uart));
	assert_false(uart_receive(&uart, 'x'));
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(0), '0' + i);
	assert_int_equal(in(5), 0x60);
	assert_false(fake.irq[4]);
	/* FIFO reset, and the reset that turning FIFOs off brings. */
	uart_receive(&uart, 'y');
	out(2, 0x03);
	assert_int_equal(in(5), 0x60);
	uart_receive(&uart, 'z');
	out(2, 0x00);
	assert_int_equal(in(5), 0x60);
	assert_int_equal(in(0), 0);
}

static void test_trigger_and_timeout(void **state)
{
	static const unsigned levels[] = { 1, 4, 8, 14 };

	(void)state;
	out(3, 0x80);
	out(0, 1); /* 115200: four characters are 347 us */
	out(1, 0);
	out(3, 0x03);
	out(4, 0x08);
	out(1, 0x01);
	for (unsigned i = 0; i < 4; i++) {
		out(2, (uint8_t)(0x03 | i << 6));
		for (unsigned n = 1; n < levels[i]; n++) {
			uart_receive(&uart, (uint8_t)n);
			assert_false(fake.irq[4]);
		}
		uart_receive(&uart, 99);
		assert_true(fake.irq[4]);
		assert_int_equal(in(2), 0xc4);
		/* Read below the level: quiet, until the time-out. */
		in(0);
		assert_false(fake.irq[4]);
		pass(340);
		assert_false(fake.irq[4]);
		pass(10);
		assert_int_equal(fake.irq[4], levels[i] > 1);
		assert_int_equal(in(2), levels[i] > 1 ? 0xcc : 0xc1);
		if (levels[i] > 1)
			in(0);
		assert_false(fake.irq[4]);
		assert_int_equal(in(2), 0xc1);
	}
	/* A byte that arrives puts the time-out off. */
	out(2, 0xc3);
	uart_receive(&uart, 1);
	pass(300);
	uart_receive(&uart, 2);
	pass(300);
	assert_false(fake.irq[4]);
	pass(50);
	assert_true(fake.irq[4]);
	/* A byte waits, then the interrupt is enabled: the time-out comes. */
	out(2, 0xc3);
	out(1, 0x00);
	uart_receive(&uart, 1);
	pass(1000);
	out(1, 0x01);
	assert_false(fake.irq[4]);
	pass(350);
	assert_int_equal(in(2), 0xcc);
	/* The timer of a byte that is gone is nothing. */
	in(0);
	uart.rx_timer.fire(uart.rx_timer.ctx);
	assert_false(fake.irq[4]);
}

static void test_loopback(void **state)
{
	(void)state;
	/* Linux's probe. */
	out(4, 0x1a);
	assert_int_equal(in(6) & 0xf0, 0x90);
	out(4, 0x10 | 0x01);
	assert_int_equal(in(6), 0x20 | 0x0b); /* DSR; CTS, DSR and DCD changed */
	assert_int_equal(in(6), 0x20);
	out(4, 0x10 | 0x05);
	assert_int_equal(in(6), 0x60); /* a rising RI is no delta */
	out(4, 0x10 | 0x01);
	assert_int_equal(in(6), 0x24); /* its falling edge is */
	/* Bytes come back, and only here. */
	out(3, 0x03);
	out(0, 0xa5);
	assert_int_equal(in(5), 0x61);
	assert_int_equal(in(0), 0xa5);
	out(3, 0x00); /* five bits */
	out(0, 0xff);
	assert_int_equal(in(0), 0x1f);
	out(3, 0x03);
	console_is("");
	/* The outside is cut off. */
	assert_false(uart_can_receive(&uart));
	assert_false(uart_receive(&uart, 'x'));
	/* Overrun: the register takes the newer byte ... */
	out(0, 1);
	out(0, 2);
	assert_int_equal(in(5), 0x63);
	assert_int_equal(in(5), 0x61);
	assert_int_equal(in(0), 2);
	/* ... the FIFO keeps the older ones. */
	out(2, 0x01);
	for (unsigned i = 0; i < 18; i++)
		out(0, (uint8_t)i);
	assert_int_equal(in(5), 0x63);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(0), i);
	assert_int_equal(in(5), 0x60);
	/* Interrupts are identified, but the pin that gates them is off. */
	out(4, 0x1b);
	out(1, 0x0f);
	out(0, 1);
	assert_int_equal(in(2), 0xc4);
	assert_int_equal(fake.irq_rises[4], 0);
	/* Leaving it with inputs that differ is a modem status change. */
	in(0);
	in(2);
	in(6);
	out(4, 0x18);
	in(6);
	out(4, 0x08);
	assert_int_equal(in(2), 0xc0);
	assert_true(fake.irq[4]);
	assert_int_equal(in(6), 0xb3);
	assert_false(fake.irq[4]);
}

static void test_priorities(void **state)
{
	(void)state;
	/* All four at once: made in loopback. */
	out(4, 0x18);
	out(1, 0x0f);
	out(0, 1);
	out(0, 2);
	out(4, 0x1b);
	assert_int_equal(in(2), 0x06);
	assert_int_equal(in(2), 0x06); /* only reading LSR ends it */
	in(5);
	assert_int_equal(in(2), 0x04);
	in(0);
	assert_int_equal(in(2), 0x02);
	assert_int_equal(in(2), 0x00);
	in(6);
	assert_int_equal(in(2), 0x01);
}

static void test_reset(void **state)
{
	(void)state;
	out(2, 0x01);
	out(4, 0x0b);
	out(1, 0x0f);
	out(3, 0x03);
	out(7, 0x77);
	uart_receive(&uart, 'x');
	assert_true(fake.irq[4]);
	uart_reset(&uart);
	assert_false(fake.irq[4]);
	assert_int_equal(in(1), 0);
	assert_int_equal(in(2), 1);
	assert_int_equal(in(3), 0);
	assert_int_equal(in(4), 0);
	assert_int_equal(in(5), 0x60);
	assert_int_equal(in(7), 0);
	assert_true(uart_receive(&uart, 'y'));
	assert_int_equal(in(0), 'y');
}

static void check(void)
{
	static unsigned n;

	if (++n % 3 == 0) {
		bool can = uart_can_receive(&uart);

		assert_int_equal(uart_receive(&uart, (uint8_t)n), can);
	}
	assert_true(uart.rx.count <= UART_FIFO_SIZE && uart.tx.count <= UART_FIFO_SIZE);
	assert_true(uart.rx.head < UART_FIFO_SIZE && uart.tx.head < UART_FIFO_SIZE);
	/* A byte that waits has a timer that will come for it. */
	assert_true(uart.tx.count == 0 || uart.tx_deadline != TIME_NEVER);
}

static void test_hostile(void **state)
{
	(void)state;
	hostile_io(&pio, 0x3f8, 8, 60000, 3000000, check);
	hostile_io(&pio, 0x3f8, 8, 60000, 1000, check);
	assert_int_equal(uart.lock.held, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_registers, setup),
		cmocka_unit_test_setup(test_transmit, setup),
		cmocka_unit_test_setup(test_transmit_interrupt, setup),
		cmocka_unit_test_setup(test_full_console, setup),
		cmocka_unit_test_setup(test_overrun, setup),
		cmocka_unit_test_setup(test_thre_falls, setup),
		cmocka_unit_test_setup(test_receive, setup),
		cmocka_unit_test_setup(test_trigger_and_timeout, setup),
		cmocka_unit_test_setup(test_loopback, setup),
		cmocka_unit_test_setup(test_priorities, setup),
		cmocka_unit_test_setup(test_reset, setup),
		cmocka_unit_test_setup(test_hostile, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

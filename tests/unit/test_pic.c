/* SOURCES: vmm/devices/pic.c vmm/io/io_space.c */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/hostile_io.h"
#include "vmm/devices/pic.h"

static struct io_space pio;
static struct spinlock irq_lock;
static struct pic pic;

static void out(uint16_t port, uint8_t value)
{
	io_space_write(&pio, port, 1, value);
}

static uint8_t in(uint16_t port)
{
	return (uint8_t)io_space_read(&pio, port, 1);
}

/* As Linux does: vectors 0x30 and 0x38, everything unmasked. */
static void initialize(uint8_t icw4_master, uint8_t icw4_slave)
{
	out(0x20, 0x11);
	out(0x21, 0x30);
	out(0x21, 0x04);
	out(0x21, icw4_master);
	out(0xa0, 0x11);
	out(0xa1, 0x38);
	out(0xa1, 0x02);
	out(0xa1, icw4_slave);
	out(0x21, 0);
	out(0xa1, 0);
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&pio, 0, sizeof(pio));
	memset(&pic, 0xaa, sizeof(pic));
	assert_int_equal(pic_init(&pic, NULL, &pio, &irq_lock), 0);
	initialize(0x01, 0x01);
	return 0;
}

static void pulse(unsigned irq)
{
	pic_set_irq(&pic, irq, false);
	pic_set_irq(&pic, irq, true);
}

static void test_power_on(void **state)
{
	(void)state;
	pic_set_irq(&pic, 3, true);
	assert_true(fake.pic_output);
	pic_reset(&pic);
	assert_false(fake.pic_output);
	assert_int_equal(in(0x21), 0xff);
	assert_int_equal(in(0xa1), 0xff);
	assert_int_equal(in(0x20), 0);
	/* Linux's probe. */
	out(0xa1, 0xff);
	out(0x21, 0xfb);
	assert_int_equal(in(0x21), 0xfb);
	/* Only bytes are decoded: a word is two, the lower port's first. */
	assert_int_equal(io_space_read(&pio, 0x20, 2) & 0xffff, 0xfb00);
	io_space_write(&pio, 0x20, 2, 0xfd0b);
	assert_int_equal(in(0x21), 0xfd);
	io_space_write(&pio, 0x4d0, 2, 0x0c20);
	assert_int_equal(in(0x4d0), 0x20);
	assert_int_equal(in(0x4d1), 0x0c);
	/* Between the two chips' ports and beyond them nobody answers. */
	assert_int_equal(io_space_read(&pio, 0x20, 4) & 0xffffffff, 0xfffffd00);
}

static void test_nesting(void **state)
{
	(void)state;
	pulse(4);
	assert_true(fake.pic_output);
	assert_int_equal(in(0x20), 0x10);
	assert_int_equal(pic_acknowledge(&pic), 0x34);
	assert_false(fake.pic_output);
	assert_int_equal(in(0x20), 0);
	out(0x20, 0x0b); /* read ISR from now on */
	assert_int_equal(in(0x20), 0x10);
	pulse(4);
	pulse(6);
	assert_false(fake.pic_output);
	pulse(1);
	assert_true(fake.pic_output);
	assert_int_equal(pic_acknowledge(&pic), 0x31);
	assert_int_equal(in(0x20), 0x12);
	out(0x20, 0x20); /* ends 1, the highest */
	assert_int_equal(in(0x20), 0x10);
	assert_false(fake.pic_output);
	out(0x20, 0x64); /* specific EOI of 4 */
	assert_int_equal(in(0x20), 0);
	assert_int_equal(pic_acknowledge(&pic), 0x34);
	out(0x20, 0x20);
	assert_int_equal(pic_acknowledge(&pic), 0x36);
	out(0x20, 0x20);
	out(0x20, 0x20); /* nothing in service */
	assert_false(fake.pic_output);
	out(0x20, 0x0a);
	assert_int_equal(in(0x20), 0);
}

static void test_edges_and_masks(void **state)
{
	(void)state;
	out(0x21, 0x20);
	assert_int_equal(in(0x21), 0x20);
	pulse(5);
	assert_false(fake.pic_output);
	out(0x21, 0);
	assert_true(fake.pic_output);
	/* Masked again before the CPU acknowledged: the spurious vector, and no ISR bit. */
	out(0x21, 0x20);
	assert_false(fake.pic_output);
	assert_int_equal(pic_acknowledge(&pic), 0x37);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0);
	out(0x21, 0);
	assert_int_equal(pic_acknowledge(&pic), 0x35);
	out(0x20, 0x20);
	/* A line that stays high is one edge; one that falls before it is acknowledged is none. */
	pic_set_irq(&pic, 5, false);
	pic_set_irq(&pic, 5, true);
	assert_true(fake.pic_output);
	pic_set_irq(&pic, 5, false);
	assert_false(fake.pic_output);
	assert_int_equal(pic_acknowledge(&pic), 0x37);
	pic_set_irq(&pic, 5, true);
	assert_int_equal(pic_acknowledge(&pic), 0x35);
	out(0x20, 0x20);
	pic_set_irq(&pic, 5, true);
	assert_false(fake.pic_output);
	pic_set_irq(&pic, 5, false);
	pic_set_irq(&pic, 5, true);
	assert_true(fake.pic_output);
	/* Beyond the inputs, and the cascade. */
	pic_set_irq(&pic, 2, true);
	pic_set_irq(&pic, 16, true);
	pic_set_irq(&pic, 0xffffffff, true);
	assert_int_equal(pic_acknowledge(&pic), 0x35);
}

static void test_level(void **state)
{
	(void)state;
	out(0x4d0, 0xff);
	out(0x4d1, 0xff);
	assert_int_equal(in(0x4d0), 0xf8);
	assert_int_equal(in(0x4d1), 0xde);
	pic_set_irq(&pic, 11, true);
	assert_int_equal(pic_acknowledge(&pic), 0x3b);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_true(fake.pic_output); /* still asserted */
	pic_set_irq(&pic, 11, false);
	assert_false(fake.pic_output);
	assert_int_equal(pic_acknowledge(&pic), 0x37);
	/* Made level-triggered while high: a request; made edge-triggered again: the latch stays. */
	out(0x4d0, 0);
	pic_set_irq(&pic, 3, true);
	assert_int_equal(pic_acknowledge(&pic), 0x33);
	out(0x20, 0x20);
	assert_false(fake.pic_output);
	out(0x4d0, 0x08);
	assert_true(fake.pic_output);
}

static void test_cascade(void **state)
{
	(void)state;
	pulse(12);
	pulse(9);
	assert_int_equal(in(0x20), 0x04);
	assert_int_equal(pic_acknowledge(&pic), 0x39);
	assert_false(fake.pic_output);
	out(0x20, 0x0b);
	out(0xa0, 0x0b);
	assert_int_equal(in(0x20), 0x04);
	assert_int_equal(in(0xa0), 0x02);
	out(0xa0, 0x20);
	assert_false(fake.pic_output);
	out(0x20, 0x20);
	assert_int_equal(pic_acknowledge(&pic), 0x3c);
	/* A higher one of the slave waits for the master's EOI in plain nesting. */
	pulse(8);
	assert_false(fake.pic_output);
	pulse(0);
	assert_int_equal(pic_acknowledge(&pic), 0x30);
	out(0x20, 0x60);
	out(0x20, 0x62);
	assert_int_equal(pic_acknowledge(&pic), 0x38);
	out(0xa0, 0x20);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	/* A request masked at the slave leaves the master too. */
	pulse(15);
	assert_true(fake.pic_output);
	out(0xa1, 0x80);
	assert_false(fake.pic_output);
	out(0x20, 0x0a);
	assert_int_equal(in(0x20), 0);
	assert_int_equal(pic_acknowledge(&pic), 0x37);
	/* Requests that wait while the master is initialized last are not lost. */
	out(0xa1, 0);
	initialize(0x01, 0x01);
	out(0x4d1, 0x80);
	pic_set_irq(&pic, 15, true);
	out(0x20, 0x11);
	assert_false(fake.pic_output);
	out(0x21, 0x30);
	out(0x21, 0x04);
	out(0x21, 0x01);
	assert_int_equal(pic_acknowledge(&pic), 0x3f);
}

static void test_special_fully_nested(void **state)
{
	(void)state;
	initialize(0x11, 0x01);
	pulse(12);
	assert_int_equal(pic_acknowledge(&pic), 0x3c);
	pulse(14);
	assert_false(fake.pic_output);
	pulse(3);
	assert_false(fake.pic_output);
	pulse(10);
	assert_true(fake.pic_output);
	assert_int_equal(pic_acknowledge(&pic), 0x3a);
	out(0xa0, 0x20);
	out(0xa0, 0x20);
	assert_int_equal(pic_acknowledge(&pic), 0x3e);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_int_equal(pic_acknowledge(&pic), 0x33);
	pulse(3); /* only the cascade may interrupt itself */
	assert_false(fake.pic_output);
}

static void test_special_mask(void **state)
{
	(void)state;
	pulse(1);
	assert_int_equal(pic_acknowledge(&pic), 0x31);
	pulse(6);
	out(0x21, 0x02);
	assert_false(fake.pic_output);
	out(0x20, 0x68);
	assert_true(fake.pic_output);
	assert_int_equal(pic_acknowledge(&pic), 0x36);
	/* The masked input's ISR bit is out of a non-specific EOI's reach. */
	out(0x20, 0x20);
	out(0x20, 0x20);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0x02);
	out(0x20, 0x61);
	assert_int_equal(in(0x20), 0x00);
	out(0x20, 0x48); /* off again */
	out(0x21, 0);
	pulse(1);
	assert_int_equal(pic_acknowledge(&pic), 0x31);
	out(0x21, 0x02);
	pulse(6);
	assert_false(fake.pic_output);
}

static void test_rotation(void **state)
{
	(void)state;
	out(0x20, 0xc3); /* 3 lowest: 4 is first */
	pulse(0);
	pulse(4);
	pulse(3);
	assert_int_equal(pic_acknowledge(&pic), 0x34);
	assert_false(fake.pic_output);
	out(0x20, 0xa0); /* ends 4, which becomes the lowest */
	assert_int_equal(pic_acknowledge(&pic), 0x30);
	out(0x20, 0xe0); /* rotate on specific EOI of 0 */
	assert_int_equal(pic_acknowledge(&pic), 0x33);
	pulse(1);
	assert_true(fake.pic_output); /* 1 is first now */
	assert_int_equal(pic_acknowledge(&pic), 0x31);
}

static void test_auto_eoi(void **state)
{
	(void)state;
	initialize(0x03, 0x01);
	out(0x20, 0x80); /* rotate in automatic EOI */
	pulse(0);
	pulse(1);
	assert_int_equal(pic_acknowledge(&pic), 0x30);
	assert_true(fake.pic_output);
	pulse(0);
	assert_int_equal(pic_acknowledge(&pic), 0x31);
	pulse(1);
	assert_int_equal(pic_acknowledge(&pic), 0x30);
	assert_int_equal(pic_acknowledge(&pic), 0x31);
	out(0x20, 0x00);
	pulse(3);
	assert_int_equal(pic_acknowledge(&pic), 0x33);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0);
}

static void test_poll(void **state)
{
	(void)state;
	out(0x20, 0x0c);
	assert_int_equal(in(0x20), 0);
	pulse(14);
	pulse(7);
	out(0x20, 0x0c);
	assert_int_equal(in(0x20), 0x82);
	out(0xa0, 0x0c);
	assert_int_equal(in(0xa1), 0x86);
	assert_int_equal(in(0xa1), 0);
	assert_false(fake.pic_output);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_int_equal(pic_acknowledge(&pic), 0x37);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0x80); /* a real 7, not the spurious one */
}

static void test_initialization(void **state)
{
	(void)state;
	/* Priorities are the plain ones again. */
	out(0x20, 0xc3);
	initialize(0x01, 0x01);
	pulse(4);
	pulse(0);
	assert_int_equal(pic_acknowledge(&pic), 0x30);
	out(0x20, 0x20);
	assert_int_equal(pic_acknowledge(&pic), 0x34);
	out(0x20, 0x20);
	pulse(4);
	out(0x4d0, 0x20);
	pic_set_irq(&pic, 5, true);
	out(0x20, 0x11);
	assert_false(fake.pic_output); /* nothing goes out before the sequence is complete */
	out(0x21, 0x47);
	out(0x21, 0xff);
	assert_false(fake.pic_output);
	out(0x21, 0x01);
	assert_true(fake.pic_output);
	assert_int_equal(in(0x21), 0);
	assert_int_equal(in(0x20), 0x20); /* the edge is forgotten, the level not */
	assert_int_equal(pic_acknowledge(&pic), 0x45);
	/* Single and without ICW4: ICW2 is all. */
	out(0x20, 0x12);
	out(0x21, 0x50);
	out(0x21, 0x0f);
	assert_int_equal(in(0x21), 0x0f);
}

static void check_output(void)
{
	/* What the CPU would get, now and then. */
	if (fake.pic_output && pic.master.imr & 1) {
		int vector = pic_acknowledge(&pic);

		assert_in_range(vector, 0, 255);
	}
	for (unsigned i = 0; i < 16; i += 5)
		pic_set_irq(&pic, i, !(pic.master.irr & 1));
}

static void test_hostile(void **state)
{
	(void)state;
	hostile_io(&pio, 0x20, 2, 20000, 0, check_output);
	hostile_io(&pio, 0xa0, 2, 20000, 0, check_output);
	hostile_io(&pio, 0x4d0, 2, 5000, 0, check_output);
	assert_int_equal(irq_lock.held, 0);
}

static void test_claims(void **state)
{
	struct pic other;

	(void)state;
	assert_int_equal(pic_init(&other, NULL, &pio, &irq_lock), ERR_BUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_power_on, setup),
		cmocka_unit_test_setup(test_nesting, setup),
		cmocka_unit_test_setup(test_edges_and_masks, setup),
		cmocka_unit_test_setup(test_level, setup),
		cmocka_unit_test_setup(test_cascade, setup),
		cmocka_unit_test_setup(test_special_fully_nested, setup),
		cmocka_unit_test_setup(test_special_mask, setup),
		cmocka_unit_test_setup(test_rotation, setup),
		cmocka_unit_test_setup(test_auto_eoi, setup),
		cmocka_unit_test_setup(test_poll, setup),
		cmocka_unit_test_setup(test_initialization, setup),
		cmocka_unit_test_setup(test_hostile, setup),
		cmocka_unit_test_setup(test_claims, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

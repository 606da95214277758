/* SOURCES: drivers/console/serial.c drivers/console/serial_settings.c drivers/console/serial_pci.c */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "drivers/console/serial.h"
#include "drivers/console/serial_pci.h"
#include "drivers/console/serial_settings.h"
#include "drivers/port_io.h"

/* A machine's ports: one UART at `uart_port` (0: none), PCI configuration space with a few functions; the rest reads as ones. */
static uint16_t uart_port;
static uint8_t uart[8], divisor[2], sent;
static unsigned reads;
static uint32_t config_address;
static struct function { unsigned where; uint32_t reg[16]; } functions[4];
static unsigned function_count;

static uint32_t *config(void)
{
	for (unsigned i = 0; i < function_count; i++)
		if (functions[i].where == (config_address >> 8 & 0xffff))
			return &functions[i].reg[config_address >> 2 & 15];
	return NULL;
}

uint8_t port_read8(uint16_t port)
{
	unsigned reg = (unsigned)(port - uart_port);

	reads++;
	if (!uart_port || reg > 7)
		return 0xff;
	return uart[3] & 0x80 && reg < 2 ? divisor[reg] : uart[reg];
}

void port_write8(uint16_t port, uint8_t value)
{
	unsigned reg = (unsigned)(port - uart_port);

	if (!uart_port || reg > 7 || reg == 5 || reg == 6)
		return;
	if (uart[3] & 0x80 && reg < 2)
		divisor[reg] = value;
	else if (reg)
		uart[reg] = value;
	else
		sent = value;
}

uint16_t port_read16(uint16_t port)
{
	(void)port;
	return 0xffff;
}

uint32_t port_read32(uint16_t port)
{
	assert_int_equal(port, 0xcfc);
	reads++;
	return config() ? *config() : 0xffffffff;
}

void port_write16(uint16_t port, uint16_t value)
{
	(void)port;
	(void)value;
}

void port_write32(uint16_t port, uint32_t value)
{
	if (port == 0xcf8)
		config_address = value;
	else if (config())
		*config() = value;
}

static int setup(void **state)
{
	(void)state;
	memset(uart, 0, sizeof(uart));
	uart[5] = 0x60;
	uart_port = 0;
	function_count = reads = 0;
	return 0;
}

static const struct serial_line fast = { 115200, 8, 'n', 1 };

static void test_ports(void **state)
{
	struct serial serial = { .port = 0x2f8 };
	const struct serial_line slow = { 9600, 7, 'e', 2 }, as_is = { 0, 8, 'n', 1 };

	(void)state;
	uart_port = 0x2f8;
	uart[1] = 0x0f;
	assert_int_equal(serial_init(&serial, &fast), 0);
	assert_true(serial.present);
	assert_int_equal(divisor[0] | divisor[1] << 8, 1);
	assert_int_equal(uart[3], 3);
	assert_int_equal(uart[1], 0); /* no interrupts */
	assert_true(serial_can_send(&serial));
	serial_send(&serial, 'x');
	assert_int_equal(sent, 'x');
	assert_int_equal(serial_init(&serial, &slow), 0);
	assert_int_equal(divisor[0] | divisor[1] << 8, 12);
	assert_int_equal(uart[3], 0x1e);
	/* The firmware's speed and format stay. */
	uart[3] = 0x9e;
	assert_int_equal(serial_init(&serial, &as_is), 0);
	assert_int_equal(divisor[0], 12);
	assert_int_equal(serial.firmware_divisor, 12);
	assert_int_equal(uart[3], 0x1e);
}

static void test_no_uart(void **state)
{
	struct serial serial = { .port = 0x3f8, .present = true };

	(void)state;
	assert_int_equal(serial_init(&serial, &fast), ERR_NOENT); /* an empty bus */
	assert_false(serial.present);
	assert_in_range(reads, 1, 10); /* at once */
	uart_port = 0x3f8;
	uart[5] = 0xff; /* a scratch register alone is no UART */
	assert_int_equal(serial_init(&serial, &fast), ERR_NOENT);
}

static void test_memory(void **state)
{
	/* The line status is a register that the test cannot make read-only: 0x60 stays in it. */
	uint32_t *wide = calloc(8, 4);
	uint8_t *bytes = calloc(8, 1);
	struct serial serial = { .memory = (void *)wide, .stride = 4 };

	(void)state;
	wide[5] = 0x60;
	assert_int_equal(serial_init(&serial, &fast), 0);
	assert_int_equal(wide[3], 3);
	assert_int_equal(wide[7], 0xa5);
	serial_send(&serial, 'w');
	assert_int_equal(wide[0], 'w');
	serial = (struct serial){ .memory = bytes, .stride = 1 };
	bytes[5] = 0x60;
	assert_int_equal(serial_init(&serial, &fast), 0);
	assert_int_equal(bytes[3], 3);
	memset(bytes, 0xff, 8);
	bytes[7] = 0;
	bytes[5] = 0xff;
	assert_int_equal(serial_init(&serial, &fast), ERR_NOENT);
	free(wide);
	free(bytes);
}

static void test_settings(void **state)
{
	static const struct { const char *text; enum serial_where where; uint64_t address; unsigned stride; struct serial_line line; } good[] = {
		{ "auto", SERIAL_AUTO, 0, 1, { 115200, 8, 'n', 1 } },
		{ "off", SERIAL_OFF, 0, 1, { 115200, 8, 'n', 1 } },
		{ "com1", SERIAL_PORT, 0x3f8, 1, { 115200, 8, 'n', 1 } },
		{ "com4,9600", SERIAL_PORT, 0x2e8, 1, { 9600, 8, 'n', 1 } },
		{ "0x3E8,115200,7E2", SERIAL_PORT, 0x3e8, 1, { 115200, 7, 'e', 2 } },
		{ "pci,57600,8o1", SERIAL_PCI, 0, 1, { 57600, 8, 'o', 1 } },
		{ "mmio:0xfedc9000", SERIAL_MMIO, 0xfedc9000, 1, { 115200, 8, 'n', 1 } },
		{ "mmio32:0x40001234560,38400", SERIAL_MMIO, 0x40001234560, 4, { 38400, 8, 'n', 1 } },
		{ "auto,19200", SERIAL_AUTO, 0, 1, { 19200, 8, 'n', 1 } },
	};
	static const char *const bad[] = {
		"", "com", "com0", "com5", "com12", "comx", "0x", "0x0", "0xffff", "0x10000", "0x3g8", "3f8", "pcie", "offf", "mmio", "mmio:", "mmio:0x",
		"mmio:fed00000", "mmio32:0x1002", "mmio:0xffffffffffffffff", "mmio:0x10000000000000000", "com1,", "com1,0", "com1,fast", "com1,115201",
		"com1,230400", "com1,7", "com1,99999999999999999999999", "com1,9600,", "com1,9600,8", "com1,9600,8n", "com1,9600,8n3", "com1,9600,9n1",
		"com1,9600,8x1", "com1,9600,8n1,", "com1:9600", "mmio:0xfed00000:4",
	};
	struct serial_settings s;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		assert_null(serial_settings_parse(&s, good[i].text));
		assert_int_equal(s.where, good[i].where);
		assert_int_equal(s.address, good[i].address);
		assert_int_equal(s.stride, good[i].stride);
		assert_memory_equal(&s.line, &good[i].line, sizeof(s.line));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		char *copy = strdup(bad[i]); /* so that the sanitizer sees a byte behind it */

		assert_non_null(strstr(serial_settings_parse(&s, copy), "expected "));
		assert_int_equal(s.where, SERIAL_AUTO);
		assert_int_equal(s.line.baud, 115200);
		free(copy);
	}
	assert_int_equal(serial_port_irq(0x3f8), 4);
	assert_int_equal(serial_port_irq(0x2e8), 3);
	assert_int_equal(serial_port_irq(0xc060), -1);
}

static struct function *add(unsigned bus, unsigned device, unsigned function, uint32_t class, uint32_t bar0)
{
	struct function *f = &functions[function_count++];

	*f = (struct function){ .where = bus << 8 | device << 3 | function,
				.reg = { 0x00021b36, 0xffff0100, class << 8 | 1, 0, bar0, 0xff } };
	return f;
}

static void test_pci(void **state)
{
	struct serial_pci found;
	struct function *f;

	(void)state;
	assert_int_equal(serial_pci_find(&found), ERR_NOENT); /* no PCI at all */
	assert_in_range(reads, 1, 256 * 32 * 8);
	add(0, 1, 0, 0x030000, 0xfd000008)->reg[3] = 0x800000; /* a multifunction device */
	f = add(0, 1, 3, 0x070002, 0xc061);
	assert_int_equal(serial_pci_find(&found), 0);
	assert_int_equal(found.device, 1);
	assert_int_equal(found.function, 3);
	assert_int_equal(found.vendor, 0x1b36);
	assert_int_equal(found.product, 2);
	assert_false(found.memory);
	assert_int_equal(found.address, 0xc060);
	assert_int_equal(f->reg[1], 0x101); /* I/O decoding on, no status bit cleared */
	setup(NULL);
	f = add(200, 31, 0, 0x070006, 0x00001004); /* 64 bits */
	assert_int_equal(serial_pci_find(&found), 0);
	assert_int_equal(found.bus, 200);
	assert_true(found.memory);
	assert_int_equal(found.address, 0xff00001000);
	assert_int_equal(f->reg[1], 0x102);
	setup(NULL);
	add(0, 2, 0, 0x070001, 0xc061);  /* 16450: no FIFOs */
	add(0, 3, 0, 0x070080, 0xc061);  /* a serial controller of its own kind */
	add(0, 4, 0, 0x070002, 1);       /* without an address */
	add(0, 5, 1, 0x070002, 0xc061);  /* of a device without function 0 */
	assert_int_equal(serial_pci_find(&found), ERR_NOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_ports, setup),
		cmocka_unit_test_setup(test_no_uart, setup),
		cmocka_unit_test_setup(test_memory, setup),
		cmocka_unit_test_setup(test_settings, setup),
		cmocka_unit_test_setup(test_pci, setup),
	};

	return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}

/* SOURCES: vmm/devices/pic.c vmm/devices/pit.c vmm/devices/rtc.c vmm/devices/rtc_time.c vmm/devices/acpi_pm.c vmm/devices/uart.c vmm/devices/i8042.c vmm/devices/reset.c vmm/devices/pci.c vmm/devices/ioapic.c vmm/devices/tick_clock.c vmm/io/io_space.c */
/* TEST: 1500 runs of up to 512 bytes */
/* The devices of the PC but for the local APIC, all in one machine: the input is what a guest reads and writes, what comes from outside, and
 * how time goes on. */
#include "tests/fuzz/fuzz.h"

#include "tests/unit/fakes.h"
#include "vmm/devices/acpi_pm.h"
#include "vmm/devices/i8042.h"
#include "vmm/devices/ioapic.h"
#include "vmm/devices/pci.h"
#include "vmm/devices/pic.h"
#include "vmm/devices/pit.h"
#include "vmm/devices/reset.h"
#include "vmm/devices/rtc.h"
#include "vmm/devices/uart.h"

static struct io_space pio, mmio;
static struct spinlock irq_lock;
static struct pic pic;
static struct pit pit;
static struct rtc rtc;
static struct acpi_pm pm;
static struct uart uart;
static struct i8042 kbc;
static struct reset_ports ports;
static struct pci pci;
static struct pci_device device[2];
static struct ioapic ioapic;

/* Where something answers, and how many ports it has. */
static const struct {
	uint16_t base, size;
} ranges[] = {
	{ 0x20, 2 }, { 0xa0, 2 }, { 0x4d0, 2 }, { 0x40, 4 }, { 0x61, 1 }, { 0x70, 2 }, { 0x71, 1 }, { 0x600, 12 }, { 0x3f8, 8 }, { 0x60, 1 },
	{ 0x64, 1 }, { 0x80, 1 }, { 0x92, 1 }, { 0xcf8, 8 }, { 0xcfc, 4 },
};

static uint64_t bar_read(void *ctx, uint64_t offset, unsigned size)
{
	struct pci_device *d = ctx;

	FUZZ_CHECK(d->lock.held == 1 && offset + size <= 0x2000);
	pci_device_intx(d, offset & 8);
	return offset;
}

static void bar_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_device *d = ctx;

	FUZZ_CHECK(d->lock.held == 1 && offset + size <= 0x2000);
	pci_device_msi_enabled(d, value & 1);
}

static const struct io_ops bar_ops = { .read = bar_read, .write = bar_write };

static void config_touched(struct pci_device *d, unsigned offset, unsigned size)
{
	FUZZ_CHECK(d->lock.held == 1 && offset + size <= 256);
}

static const struct pci_device_ops ops = { .config_reading = config_touched, .config_written = config_touched };

static void build(void)
{
	fake_reset();
	fake.now = 123456789;
	memset(&pio, 0, sizeof(pio));
	memset(&mmio, 0, sizeof(mmio));
	memset(&irq_lock, 0, sizeof(irq_lock));
	FUZZ_CHECK(!pic_init(&pic, NULL, &pio, &irq_lock) && !pit_init(&pit, NULL, &pio) && !acpi_pm_init(&pm, NULL, &pio));
	FUZZ_CHECK(!rtc_init(&rtc, NULL, &pio, GIB(3), GIB(5), 1704067190) && !uart_init(&uart, NULL, &pio, 0x3f8, 4));
	FUZZ_CHECK(!i8042_init(&kbc, NULL, &pio) && !reset_ports_init(&ports, NULL, &pio) && !pci_init(&pci, NULL, &pio, &mmio) && !ioapic_init(&ioapic, NULL, &mmio, &irq_lock));
	pci.cf9_read = reset_cf9_read;
	pci.cf9_write = reset_cf9_write;
	pci.cf9_ctx = &ports;
	for (unsigned i = 0; i < ARRAY_SIZE(device); i++) {
		pci_device_init(&device[i], NULL, &ops, 1, 2, 0x018000, 0);
		pci_device_bar(&device[i], i, 0x2000, i, &bar_ops, &device[i]);
		pci_device_pin_a(&device[i]);
		FUZZ_CHECK(!pci_add(&pci, &device[i], 1 + i));
	}
}

static void reset(unsigned which)
{
	switch (which & 7) {
	case 0: pic_reset(&pic); break;
	case 1: pit_reset(&pit); break;
	case 2: rtc_reset(&rtc); break;
	case 3: acpi_pm_reset(&pm); break;
	case 4: uart_reset(&uart); break;
	case 5:
		i8042_reset(&kbc);
		reset_ports_reset(&ports);
		break;
	case 6: pci_reset(&pci); break;
	default: ioapic_reset(&ioapic); break;
	}
}

static uint64_t register_at(struct input *in, unsigned how)
{
	switch (how & 3) {
	case 0: return IOAPIC_BASE + take(in, 1);
	case 1: return PCI_MMIO_BASE + take(in, 2);
	case 2: return IOAPIC_BASE + 0x10 * (take(in, 1) & 1);
	default: return pci.device[1]->bar[0].base + take(in, 1);
	}
}

/* Both halves of an entry, behind the index. */
static void redirect(struct input *in)
{
	unsigned index = (unsigned)take(in, 1);

	io_space_write(&mmio, IOAPIC_BASE, 4, index);
	io_space_write(&mmio, IOAPIC_BASE + 0x10, 4, take(in, 4));
}

static void step(struct input *in)
{
	unsigned what = (unsigned)take(in, 1), how = what >> 4, bytes = 1U << (how & 3), range;
	uint64_t at;
	bool can;

	switch (what & 15) {
	case 0: case 1: case 2: case 3: case 4: case 5: /* mostly bytes, which these devices decode */
		range = take_below(in, ARRAY_SIZE(ranges));
		at = ranges[range].base + (how >> 2 | (unsigned)(what & 1) << 2) % ranges[range].size;
		if ((what & 15) < 4)
			io_space_write(&pio, at, how & 1 ? 1 : bytes, take(in, how & 1 ? 1 : bytes));
		else
			(void)io_space_read(&pio, at, how & 1 ? 1 : bytes);
		break;
	case 6:
		at = take(in, 2);
		io_space_write(&pio, at, bytes, take(in, bytes));
		break;
	case 7:
		at = take(in, 2);
		(void)io_space_read(&pio, at, bytes);
		break;
	case 8:
		if (how & 8)
			redirect(in);
		else
			io_space_write(&mmio, register_at(in, how >> 1), how & 1 ? 4 : 8, take(in, 4));
		break;
	case 9:
		(void)io_space_read(&mmio, register_at(in, how), bytes);
		break;
	case 10: /* up to 18 minutes */
		fake_advance_to(fake.now + take(in, 1) % 16 * (1ULL << (4 + how * 2)) + 1);
		break;
	case 11:
		pic_set_irq(&pic, how, take(in, 1) & 1);
		break;
	case 12:
		if (how & 8) {
			FUZZ_CHECK((unsigned)pic_acknowledge(&pic) < 256);
		} else {
			ioapic_eoi(&ioapic, (uint8_t)take(in, 1));
		}
		break;
	case 13:
		range = take_below(in, IOAPIC_PINS);
		ioapic_set_irq(&ioapic, range, how & 1);
		break;
	case 14:
		can = uart_can_receive(&uart);
		FUZZ_CHECK(uart_receive(&uart, (uint8_t)how) == can);
		break;
	default:
		if (how & 8)
			reset(how);
		else
			fake.console_full = how & 1;
		break;
	}
}

static void check(void)
{
	FUZZ_CHECK(!irq_lock.held && !pit.lock.held && !rtc.lock.held && !pm.lock.held && !uart.lock.held && !kbc.lock.held && !pci.lock.held);
	FUZZ_CHECK(uart.rx.count <= UART_FIFO_SIZE && uart.tx.count <= UART_FIFO_SIZE && uart.rx.head < UART_FIFO_SIZE);
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		FUZZ_CHECK(!(ioapic.redirection[i] & 0x00fffffffffe5000));
	for (unsigned i = 0; i < MIN(fake.message_count, FAKE_MAX); i++) {
		FUZZ_CHECK(fake.message[i].delivery_mode != 3 && fake.message[i].delivery_mode != 6);
		FUZZ_CHECK(!fake.message[i].level || fake.message[i].delivery_mode <= 1);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(device); i++)
		FUZZ_CHECK(!device[i].lock.held);
	fake.console_len = 0;
	fake.message_count = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	build();
	while (in.left) {
		step(&in);
		check();
	}
	return 0;
}

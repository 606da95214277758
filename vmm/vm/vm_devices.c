/* The virtual PC's devices in one list, by which they are made and reset. */
#include "lib/log.h"
#include "lib/x86/pc.h"
#include "vmm/interface/device.h"
#include "vmm/memory/layout.h"
#include "vmm/vm/vm_parts.h"
#include "vmm/vm/vm_services.h"

#define UART_IRQ 4

static int make_pic(void *device, const struct device_home *home)
{
	return pic_init(device, home->vm, home->pio, home->irq_lock);
}

static void reset_pic(void *device)
{
	pic_reset(device);
}

static int make_ioapic(void *device, const struct device_home *home)
{
	return ioapic_init(device, home->vm, home->mmio, home->irq_lock);
}

static void reset_ioapic(void *device)
{
	ioapic_reset(device);
}

static int make_pit(void *device, const struct device_home *home)
{
	return pit_init(device, home->vm, home->pio);
}

static void reset_pit(void *device)
{
	pit_reset(device);
}

static int make_rtc(void *device, const struct device_home *home)
{
	return rtc_init(device, home->vm, home->pio, home->low_ram, home->high_ram, home->unix_seconds);
}

static void reset_rtc(void *device)
{
	rtc_reset(device);
}

static int make_acpi_pm(void *device, const struct device_home *home)
{
	return acpi_pm_init(device, home->vm, home->pio);
}

static void reset_acpi_pm(void *device)
{
	acpi_pm_reset(device);
}

static int make_uart(void *device, const struct device_home *home)
{
	return uart_init(device, home->vm, home->pio, PORT_COM1, UART_IRQ);
}

static void reset_uart(void *device)
{
	uart_reset(device);
}

static int make_i8042(void *device, const struct device_home *home)
{
	return i8042_init(device, home->vm, home->pio);
}

static void reset_i8042(void *device)
{
	i8042_reset(device);
}

static int make_reset_ports(void *device, const struct device_home *home)
{
	return reset_ports_init(device, home->vm, home->pio);
}

static void reset_reset_ports(void *device)
{
	reset_ports_reset(device);
}

/* The reset control register lies inside PCI's configuration address register. */
static int make_pci(void *device, const struct device_home *home)
{
	struct pci *pci = device;
	int err = pci_init(pci, home->vm, home->pio, home->mmio);

	pci->cf9_read = reset_cf9_read;
	pci->cf9_write = reset_cf9_write;
	pci->cf9_ctx = &home->vm->reset_ports;
	return err;
}

static void reset_pci(void *device)
{
	pci_reset(device);
}

/* Made and reset in this order: the interrupt controllers first, because a device that is reset lowers its line; PCI last, because it
 * resets the functions on it and moves their registers. */
static const struct {
	size_t offset; /* in struct vm */
	struct device_ops ops;
} devices[] = {
#define DEVICE(field, name) { offsetof(struct vm, field), { name, make_##field, reset_##field } }
	DEVICE(pic, "interrupt controllers (8259)"),
	DEVICE(ioapic, "I/O APIC"),
	DEVICE(pit, "timer (8254)"),
	DEVICE(rtc, "clock"),
	DEVICE(acpi_pm, "power management"),
	DEVICE(uart, "serial port"),
	DEVICE(i8042, "keyboard controller (8042)"),
	DEVICE(reset_ports, "reset ports"),
	DEVICE(pci, "PCI"),
#undef DEVICE
};

static void input_due(void *ctx)
{
	vm_console_input(ctx);
}

int vm_devices_make(struct vm *vm, const struct vm_resources *resources)
{
	uint64_t size = MIB(vm->config.memsize);
	const struct device_home home = {
		.vm = vm,
		.pio = &vm->pio,
		.mmio = &vm->mmio,
		.irq_lock = &vm->irq_lock,
		.low_ram = layout_low_ram(size),
		.high_ram = layout_high_ram(size),
		.unix_seconds = resources->unix_seconds,
	};

	vtimer_init(&vm->input_timer, vm, 0, input_due, vm);
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++) {
		int err = devices[i].ops.init((uint8_t *)vm + devices[i].offset, &home);

		if (err) {
			log_line("vm %s: its %s cannot be made", vm->config.name, devices[i].ops.name);
			return err;
		}
	}
	return 0;
}

void vm_devices_reset(struct vm *vm)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++)
		devices[i].ops.reset((uint8_t *)vm + devices[i].offset);
}

/* The choice of the serial port, from the command line, ACPI's SPCR table, COM1 and PCI in this order, and of the screen, a framebuffer or
 * VGA text. There is an early console before the memory map is known and a final one after the ACPI tables are read. */
#include "boot/console_setup.h"

#include "arch/x86_64/memory.h"
#include "drivers/console/console.h"
#include "drivers/console/framebuffer.h"
#include "drivers/console/serial_pci.h"
#include "drivers/console/serial_settings.h"
#include "drivers/console/vga_text.h"
#include "lib/log.h"
#include "lib/printf.h"
#include "lib/string.h"

#define SERIAL_OPTION "serial="
#define SPCR_16550 0
#define SPCR_16550_SUBSET 1
#define SPCR_16550_GAS 0x12
#define ISA_IRQS 16

static struct framebuffer framebuffer;
static struct serial_settings settings;
static const char *settings_error;
static struct serial serial;   /* the one in use */
static bool serial_from_spcr;

/* The early terminal needs no more cells: the final one replaces it before many lines have been printed. */
#define EARLY_COLUMNS VGA_TEXT_COLUMNS
#define EARLY_ROWS VGA_TEXT_ROWS
static uint16_t early_cells[TERMINAL_BYTES(EARLY_COLUMNS, EARLY_ROWS) / 2] __attribute__((section(".scratch")));

/* The last `serial=` of the command line; a word of its own. */
static void find_settings(const char *cmdline)
{
	static char value[64];
	const size_t length = sizeof(SERIAL_OPTION) - 1;

	serial_settings_default(&settings);
	for (const char *p = cmdline; (p = strstr(p, SERIAL_OPTION)); p += length) {
		size_t n = 0;

		if (p != cmdline && p[-1] != ' ')
			continue;
		while (p[length + n] && p[length + n] != ' ' && n < sizeof(value) - 1) {
			value[n] = p[length + n];
			n++;
		}
		value[n] = 0;
		settings_error = serial_settings_parse(&settings, value);
		if (settings_error)
			log_line("boot command line: " SERIAL_OPTION "%s: %s; serial=auto is used", value, settings_error);
	}
}

static bool use_port(uint16_t port, const struct serial_line *line)
{
	serial = (struct serial){ .port = port };
	return !serial_init(&serial, line);
}

static bool use_memory(uint64_t address, unsigned stride, const struct serial_line *line)
{
	serial = (struct serial){ .memory = map_device(address, (uint64_t)SERIAL_REGISTERS * stride), .stride = stride };
	return serial.memory && !serial_init(&serial, line);
}

static struct framebuffer_format format_of(const struct boot_framebuffer *fb)
{
	return (struct framebuffer_format){
		.pitch = fb->pitch,
		.width = fb->width,
		.height = fb->height,
		.bpp = fb->bpp,
		.red_position = fb->red_position,
		.red_size = fb->red_size,
		.green_position = fb->green_position,
		.green_size = fb->green_size,
		.blue_position = fb->blue_position,
		.blue_size = fb->blue_size,
	};
}

void console_setup_early(const struct boot_info *info)
{
	const struct boot_framebuffer *fb = &info->framebuffer;
	struct framebuffer_format format = format_of(fb);

	if (fb->address && fb->address + (uint64_t)fb->pitch * fb->height <= GIB(4)) {
		if (!framebuffer_init(&framebuffer, (void *)fb->address, &format))
			console_use_screen(framebuffer_draw, &framebuffer, early_cells, MIN(EARLY_COLUMNS, framebuffer.columns),
					   MIN(EARLY_ROWS, framebuffer.rows));
	} else if (!fb->address) {
		vga_text_init();
		console_use_screen(vga_text_draw, (void *)VGA_TEXT_PHYS, early_cells, VGA_TEXT_COLUMNS, VGA_TEXT_ROWS);
	}
	find_settings(info->cmdline);
	/* A port that needs no mapping can be used at once. */
	if ((settings.where == SERIAL_AUTO && use_port(SERIAL_COM1, &settings.line)) ||
	    (settings.where == SERIAL_PORT && use_port((uint16_t)settings.address, &settings.line)))
		console_use_serial(&serial);
}

void console_setup_leave_screen(void)
{
	console_use_screen(NULL, NULL, NULL, 0, 0);
}

static bool use_framebuffer(const struct boot_framebuffer *fb)
{
	struct framebuffer_format format = format_of(fb);
	void *memory = map_framebuffer(fb->address, (uint64_t)fb->pitch * fb->height), *cells;
	const char *problem = memory ? framebuffer_init(&framebuffer, memory, &format) : "it cannot be mapped";

	if (!problem) {
		size_t bytes = TERMINAL_BYTES(framebuffer.columns, framebuffer.rows);

		cells = pool_alloc(&lamina_pool, (unsigned)((bytes + PAGE_SIZE - 1) / PAGE_SIZE));
		if (cells) {
			console_use_screen(framebuffer_draw, &framebuffer, cells, framebuffer.columns, framebuffer.rows);
			return true;
		}
		problem = "there is no memory for its text";
	}
	log_line("screen: the framebuffer of %ux%u pixels with %u bits at %lx is not used: %s", fb->width, fb->height, fb->bpp, fb->address, problem);
	return false;
}

void console_setup_screen(const struct boot_info *info)
{
	const struct boot_framebuffer *fb = &info->framebuffer;
	const unsigned pages = (TERMINAL_BYTES(VGA_TEXT_COLUMNS, VGA_TEXT_ROWS) + PAGE_SIZE - 1) / PAGE_SIZE;
	void *vga, *cells;

	if (fb->address) {
		if (use_framebuffer(fb))
			log_line("screen: %ux%u characters on the loader's framebuffer of %ux%u pixels with %u bits at %lx", framebuffer.columns,
				 framebuffer.rows, fb->width, fb->height, fb->bpp, fb->address);
		return;
	}
	vga = (void *)(uintptr_t)map_device(VGA_TEXT_PHYS, VGA_TEXT_SIZE);
	cells = pool_alloc(&lamina_pool, pages);
	if (!vga || !cells)
		return;
	console_use_screen(vga_text_draw, vga, cells, VGA_TEXT_COLUMNS, VGA_TEXT_ROWS);
	log_line("screen: VGA text mode: the loader gave no framebuffer");
}

/* Use the port that the SPCR table (Serial Port Console Redirection) names. Returns whether a UART answers there; logged where none does. */
static bool use_spcr(const struct acpi_info *acpi)
{
	const struct acpi_register *reg = &acpi->spcr;
	struct serial_line line = settings.line;
	/* A 16550 in memory space is described by how wide its registers are accessed. */
	unsigned stride = reg->access_size == 3 || (!reg->access_size && reg->bit_width == 32) ? 4 : 1;
	const char *problem = NULL;

	line.baud = acpi->spcr_baud;
	/* The table may say "as the firmware set it": that is the speed of the port before Lamina printed its first lines on it. */
	if (!line.baud && serial.present && reg->space == ACPI_SPACE_IO && reg->address == serial.port && serial.firmware_divisor)
		line.baud = SERIAL_CLOCK / serial.firmware_divisor;
	if (acpi->spcr_type != SPCR_16550 && acpi->spcr_type != SPCR_16550_SUBSET && acpi->spcr_type != SPCR_16550_GAS)
		problem = "its interface is no 16550";
	else if (reg->space == ACPI_SPACE_IO ? reg->address > 0xffff - SERIAL_REGISTERS + 1 : reg->space != ACPI_SPACE_MEMORY)
		problem = "its address is in no space that is known";
	else if (!(reg->space == ACPI_SPACE_IO ? use_port((uint16_t)reg->address, &line) : use_memory(reg->address, stride, &line)))
		problem = "no UART answers there";
	if (problem)
		log_line("serial: the SPCR table names %s%lx (interface %u), not used: %s", reg->space == ACPI_SPACE_IO ? "port 0x" : "0x",
			 reg->address, acpi->spcr_type, problem);
	serial_from_spcr = !problem;
	if (!problem)
		settings.line = line;
	return !problem;
}

static bool use_pci(char *where, size_t size)
{
	struct serial_pci pci;

	if (serial_pci_find(&pci))
		return false;
	snprintf(where, size, "PCI %02x:%02x.%u (%04x:%04x), ", pci.bus, pci.device, pci.function, pci.vendor, pci.product);
	return pci.memory ? use_memory(pci.address, 1, &settings.line) :
			    pci.address <= 0xffff - SERIAL_REGISTERS + 1 && use_port((uint16_t)pci.address, &settings.line);
}

static void report(const char *where, const char *why)
{
	char speed[32] = "the firmware's speed";
	bool as_is = serial_from_spcr && !settings.line.baud;

	if (!as_is)
		snprintf(speed, sizeof(speed), "%u baud, %u%c%u", settings.line.baud, settings.line.data_bits, settings.line.parity,
			 settings.line.stop_bits);
	if (serial.memory)
		log_line("serial: %sregisters of %u byte(s) in memory, %s: %s", where, serial.stride, speed, why);
	else
		log_line("serial: %sport 0x%x, %s: %s", where, serial.port, speed, why);
}

void console_setup_serial(const struct acpi_info *acpi)
{
	struct serial early = serial;
	uint32_t early_baud = settings.line.baud;
	char where[48] = "";
	const char *why = NULL;

	console_flush(); /* setting a port up empties its FIFO */
	switch (settings.where) {
	case SERIAL_OFF:
		log_line("serial: off, as the command line says");
		return;
	case SERIAL_PORT:
		why = early.present ? "the command line says so" : NULL;
		break;
	case SERIAL_PCI:
		why = use_pci(where, sizeof(where)) ? "the command line says so" : NULL;
		break;
	case SERIAL_MMIO:
		why = use_memory(settings.address, settings.stride, &settings.line) ? "the command line says so" : NULL;
		break;
	case SERIAL_AUTO:
		if (acpi->spcr_present && use_spcr(acpi)) {
			why = "the firmware's SPCR table names it";
			break;
		}
		serial = early;
		if (serial.present)
			why = "COM1 is there";
		else if (use_pci(where, sizeof(where)))
			why = "there is no COM1, and this is the first UART on PCI";
		break;
	}
	if (!why) {
		serial.present = false;
		log_line("serial: none%s", settings.where == SERIAL_AUTO ? ": no SPCR table, COM1 or PCI UART answers" :
							    ": what the command line names does not answer");
		return;
	}
	if (!early.present || early.port != serial.port || serial.memory || early_baud != settings.line.baud)
		console_use_serial(&serial);
	report(where, why);
}

bool console_setup_serial_gsi(const struct acpi_info *acpi, uint32_t *gsi, uint16_t *flags)
{
	int irq = serial.memory ? -1 : serial_port_irq(serial.port);

	*flags = 0;
	if (serial_from_spcr && acpi->spcr_gsi_present) {
		*gsi = acpi->spcr_gsi;
		*flags = *gsi < ISA_IRQS ? 0 : ACPI_TRIGGER_LEVEL | ACPI_POLARITY_LOW; /* as the buses have it */
		for (unsigned i = 0; i < acpi->override_count; i++)
			if (acpi->override[i].gsi == *gsi)
				*flags = acpi->override[i].flags;
		return true;
	}
	if (serial_from_spcr && acpi->spcr_irq_present)
		irq = acpi->spcr_irq;
	if (!serial.present || irq < 0)
		return false;
	*gsi = acpi_irq_to_gsi(acpi, (uint8_t)irq, flags);
	return true;
}

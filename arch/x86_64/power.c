/* Power-off by ACPI's PM1 or sleep control registers, and reset by every way that PCs have, one after the other until one works. */
#include "arch/x86_64/power.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/clock.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/smp.h"
#include "drivers/console/console.h"
#include "drivers/disk/disk.h"
#include "lib/log.h"
#include "lib/pci.h"
#include "lib/string.h"
#include "lib/x86/pc.h"
#include "lib/x86/segment.h"
#include "vmm/interface/core.h"

#define ACPI_ENABLE_MS 300
#define TAKES_EFFECT_US 50000

/* A register of the ACPI tables that can be reached. */
struct reachable {
	bool present;
	uint16_t port;           /* I/O space, unless one of these: */
	volatile uint8_t *memory;
	uint32_t pci;            /* address for port 0xcf8; 0: not in PCI configuration space */
};

static struct reachable control_a, control_b, sleep_control, reset;
static uint8_t type_a, type_b, reset_value, acpi_enable;
static uint16_t smi_command;
static bool can_power_off;
static enum power_action at_end = POWER_OFF, at_panic = POWER_HALT;

static struct reachable reach(const struct acpi_register *reg)
{
	struct reachable to = { .present = reg->present };

	if (!reg->present)
		return to;
	switch (reg->space) {
	case ACPI_SPACE_IO:
		to.port = (uint16_t)reg->address;
		to.present = reg->address <= 0xffff;
		break;
	case ACPI_SPACE_MEMORY:
		to.memory = map_device(reg->address, sizeof(uint32_t));
		to.present = to.memory;
		break;
	case ACPI_SPACE_PCI_CONFIG:
		/* Device, function and offset on bus 0 of segment 0 (section 5.2.3.2). */
		to.present = (reg->address >> 32 & 0xffff) < 32 && (reg->address >> 16 & 0xffff) < 8 && (reg->address & 0xffff) < 256;
		to.pci = PCI_CONFIG_ENABLE | (uint32_t)(reg->address >> 32 & 31) << 11 | (uint32_t)(reg->address >> 16 & 7) << 8 |
			 (uint32_t)(reg->address & 0xff);
		break;
	default:
		to.present = false;
	}
	return to;
}

void power_init(const struct acpi_info *acpi)
{
	control_a = reach(&acpi->pm1a_control);
	control_b = reach(&acpi->pm1b_control);
	sleep_control = reach(&acpi->sleep_control);
	reset = reach(&acpi->reset);
	reset_value = acpi->reset_value;
	type_a = acpi->slp_typa;
	type_b = acpi->slp_typb;
	smi_command = (uint16_t)acpi->smi_command;
	acpi_enable = acpi->acpi_enable;
	can_power_off = acpi->s5_present && (control_a.present || sleep_control.present);
	log_line("acpi: power-off %s, reset by %s", !can_power_off ? "unknown" : sleep_control.present ? "by the sleep control register" : "by PM1 control",
		 reset.present ? "the FADT's register" : "port 0xcf9 or the keyboard controller");
}

bool power_set_end(const char *word)
{
	static const char *const words[] = { "power-off", "reset", "halt" };

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcmp(word, words[i])) {
			at_end = (enum power_action)i;
			return true;
		}
	}
	return false;
}

bool power_set_panic(const char *word)
{
	at_panic = strcmp(word, "reset") ? POWER_HALT : POWER_RESET;
	return at_panic == POWER_RESET || !strcmp(word, "halt");
}

void power_halt(void)
{
	smp_halt_others();
	cli();
	for (;;)
		hlt();
}

static void write8(const struct reachable *reg, uint8_t value)
{
	if (reg->memory) {
		*reg->memory = value;
	} else if (reg->pci) {
		outl(PCI_CONFIG_ADDRESS, reg->pci & ~3U);
		outb((uint16_t)(PCI_CONFIG_DATA + (reg->pci & 3)), value);
	} else {
		outb(reg->port, value);
	}
}

static uint16_t read16(const struct reachable *reg)
{
	return reg->memory ? *(volatile uint16_t *)reg->memory : inw(reg->port);
}

static void write16(const struct reachable *reg, uint16_t value)
{
	if (reg->memory)
		*(volatile uint16_t *)reg->memory = value;
	else
		outw(reg->port, value);
}

/* The PM1 registers sleep in ACPI mode only (section 4.8.2.5). */
static void enter_acpi_mode(void)
{
	if (!smi_command || !acpi_enable || !control_a.present || read16(&control_a) & ACPI_PM1_SCI_EN)
		return;
	outb(smi_command, acpi_enable);
	for (unsigned ms = 0; ms < ACPI_ENABLE_MS && !(read16(&control_a) & ACPI_PM1_SCI_EN); ms++)
		clock_delay_us(1000);
}

static void sleep(const struct reachable *control, uint8_t type)
{
	uint16_t value;

	if (!control->present || control->pci)
		return;
	value = (uint16_t)((read16(control) & ~(7U << ACPI_PM1_SLP_TYP_SHIFT)) | (unsigned)type << ACPI_PM1_SLP_TYP_SHIFT);
	/* First the type, then the type with the enable bit, as old chipsets want it. */
	write16(control, value);
	write16(control, (uint16_t)(value | ACPI_PM1_SLP_EN));
}

static void power_off(void)
{
	if (sleep_control.present) {
		write8(&sleep_control, (uint8_t)((unsigned)type_a << ACPI_SLEEP_TYP_SHIFT | ACPI_SLEEP_EN));
		return;
	}
	enter_acpi_mode();
	sleep(&control_a, type_a);
	sleep(&control_b, type_b);
}

/* Each way that PCs have, until one works: the FADT's, the chipset's, the keyboard controller's, a triple fault. */
NORETURN static void power_reset(void)
{
	static const struct table_pointer no_idt;

	smp_halt_others();
	cli();
	if (reset.present) {
		write8(&reset, reset_value);
		clock_delay_us(TAKES_EFFECT_US);
	}
	outb(PORT_RESET_CONTROL, RESET_SYSTEM); /* a hard reset is meant; then do it */
	outb(PORT_RESET_CONTROL, RESET_SYSTEM | RESET_CPU);
	clock_delay_us(TAKES_EFFECT_US);
	outb(PORT_KEYBOARD_COMMAND, KEYBOARD_PULSE_RESET);
	clock_delay_us(TAKES_EFFECT_US);
	for (;;)
		__asm__ volatile("lidt %0\n\tint3" : : "m"(no_idt));
}

void power_panicked(void)
{
	if (at_panic == POWER_RESET)
		power_reset();
	power_halt();
}

void core_power_off(void)
{
	disks_shutdown();
	if (at_end == POWER_RESET) {
		log_line("machine: reset, as the command line says");
		console_flush();
		power_reset();
	}
	if (at_end == POWER_HALT)
		log_line("machine: halted, as the command line says");
	else
		log_line("machine: power off%s", can_power_off ? "" : ": the ACPI tables do not say how; switch it off by hand");
	console_flush();
	if (at_end == POWER_OFF && can_power_off)
		power_off();
	power_halt();
}

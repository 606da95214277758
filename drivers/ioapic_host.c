/* An I/O APIC's registers, each reached through its index and its data window. */
#include "drivers/ioapic_host.h"

#include "drivers/acpi/acpi.h"
#include "drivers/mmio.h"
#include "lib/x86/apic.h"


static uint32_t read_reg(volatile uint32_t *io, unsigned reg)
{
	mmio_write32(&io[IOREGSEL / 4], reg);
	return mmio_read32(&io[IOWIN / 4]);
}

static void write_reg(volatile uint32_t *io, unsigned reg, uint32_t value)
{
	mmio_write32(&io[IOREGSEL / 4], reg);
	mmio_write32(&io[IOWIN / 4], value);
}

unsigned ioapic_host_pins(volatile void *registers)
{
	return (read_reg(registers, IOAPICVER) >> 16 & 0xff) + 1;
}

unsigned ioapic_host_mask_all(volatile void *registers)
{
	unsigned pins = ioapic_host_pins(registers);

	for (unsigned pin = 0; pin < pins; pin++)
		write_reg(registers, IOREDTBL + 2 * pin, REDIR_MASKED);
	return pins;
}

void ioapic_host_route(volatile void *registers, unsigned pin, uint8_t vector, uint8_t apic_id, uint16_t flags)
{
	uint32_t low = vector;

	if ((flags & ACPI_POLARITY) == ACPI_POLARITY_LOW)
		low |= REDIR_ACTIVE_LOW;
	if ((flags & ACPI_TRIGGER) == ACPI_TRIGGER_LEVEL)
		low |= REDIR_LEVEL;
	write_reg(registers, IOREDTBL + 2 * pin + 1, (uint32_t)apic_id << 24);
	write_reg(registers, IOREDTBL + 2 * pin, low);
}

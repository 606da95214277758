/* An I/O APIC's registers, each reached through its index and its data window. */
#include "drivers/ioapic_host.h"

#include "drivers/mmio.h"

#define IOREGSEL 0
#define IOWIN 4 /* in 32-bit words */
#define REG_VERSION 1
#define REG_REDIRECTION 0x10
#define MASKED BIT(16)
#define LEVEL BIT(15)
#define ACTIVE_LOW BIT(13)

static uint32_t read_reg(volatile uint32_t *io, unsigned reg)
{
	mmio_write32(&io[IOREGSEL], reg);
	return mmio_read32(&io[IOWIN]);
}

static void write_reg(volatile uint32_t *io, unsigned reg, uint32_t value)
{
	mmio_write32(&io[IOREGSEL], reg);
	mmio_write32(&io[IOWIN], value);
}

unsigned ioapic_host_pins(volatile void *registers)
{
	return (read_reg(registers, REG_VERSION) >> 16 & 0xff) + 1;
}

unsigned ioapic_host_mask_all(volatile void *registers)
{
	unsigned pins = ioapic_host_pins(registers);

	for (unsigned pin = 0; pin < pins; pin++)
		write_reg(registers, REG_REDIRECTION + 2 * pin, MASKED);
	return pins;
}

void ioapic_host_route(volatile void *registers, unsigned pin, uint8_t vector, uint8_t apic_id, uint16_t flags)
{
	uint32_t low = vector;

	if ((flags & 3) == 3)
		low |= ACTIVE_LOW;
	if ((flags >> 2 & 3) == 3)
		low |= LEVEL;
	write_reg(registers, REG_REDIRECTION + 2 * pin + 1, (uint32_t)apic_id << 24);
	write_reg(registers, REG_REDIRECTION + 2 * pin, low);
}

/* Pins and redirection entries become interrupt messages. A level-triggered pin sends again at its EOI as long as it is asserted. */
#include "vmm/devices/ioapic.h"

#include "lib/x86/apic.h"
#include "vmm/interface/platform.h"

#define VERSION (0x20U | (IOAPIC_PINS - 1U) << 16)

/* Delivery status (bit 12) always reads 0, idle: messages leave at once. */
#define REDIR_WRITABLE 0xff0000000001afffULL

/* Only fixed and lowest-priority interrupts can be level-triggered; the others are treated as edges (section 3.2.4). */
static bool is_level(uint64_t entry)
{
	return (entry & REDIR_LEVEL) && ((entry >> REDIR_DELIVERY_SHIFT) & 7) <= 1;
}

static void send(struct ioapic *ioapic, uint64_t entry)
{
	uint8_t delivery_mode = (entry >> REDIR_DELIVERY_SHIFT) & 7;
	struct apic_message msg = {
		.destination = (uint32_t)(entry >> REDIR_DESTINATION_SHIFT),
		.vector = (uint8_t)entry,
		.delivery_mode = delivery_mode,
		.logical = entry & REDIR_LOGICAL,
		.level = is_level(entry),
		.assert = true,
	};

	if (delivery_mode != 3 && delivery_mode != 6) /* reserved */
		vm_apic_message(ioapic->vm, &msg);
}

/* Send a level-triggered pin's interrupt if the pin is asserted, not masked, and not waiting for an EOI. */
static void service_level(struct ioapic *ioapic, unsigned pin)
{
	uint64_t entry = ioapic->redirection[pin];
	uint32_t bit = 1U << pin;

	if ((ioapic->lines & ~ioapic->remote_irr & bit) && !(entry & REDIR_MASKED) && is_level(entry)) {
		ioapic->remote_irr |= bit;
		send(ioapic, entry);
	}
}

void ioapic_set_irq(struct ioapic *ioapic, unsigned pin, bool level)
{
	uint32_t bit;
	uint64_t entry;

	if (pin >= IOAPIC_PINS)
		return;
	bit = 1U << pin;
	if (level == ((ioapic->lines & bit) != 0))
		return;
	ioapic->lines ^= bit;
	if (!level)
		return;
	entry = ioapic->redirection[pin];
	if (is_level(entry))
		service_level(ioapic, pin);
	else if (!(entry & REDIR_MASKED)) /* an edge on a masked pin is lost (section 3.2.4) */
		send(ioapic, entry);
}

void ioapic_eoi(struct ioapic *ioapic, uint8_t vector)
{
	uint32_t waiting = ioapic->remote_irr;

	while (waiting) {
		unsigned pin = (unsigned)__builtin_ctz(waiting);

		waiting &= waiting - 1;
		if ((uint8_t)ioapic->redirection[pin] == vector) {
			ioapic->remote_irr &= ~(1U << pin);
			service_level(ioapic, pin);
		}
	}
}

static uint32_t register_read(const struct ioapic *ioapic)
{
	unsigned index = ioapic->select - IOREDTBL;
	uint64_t entry;

	switch (ioapic->select) {
	case IOAPICID:
	case IOAPICARB:
		return (uint32_t)ioapic->id << 24;
	case IOAPICVER:
		return VERSION;
	default:
		break;
	}
	if (index >= 2 * IOAPIC_PINS)
		return 0;
	entry = ioapic->redirection[index / 2];
	if (ioapic->remote_irr & (1U << index / 2))
		entry |= REDIR_REMOTE_IRR;
	return (uint32_t)(index & 1 ? entry >> 32 : entry);
}

static void register_write(struct ioapic *ioapic, uint32_t value)
{
	unsigned index = ioapic->select - IOREDTBL;
	unsigned pin = index / 2;
	uint64_t *entry;

	if (ioapic->select == IOAPICID)
		ioapic->id = (value >> 24) & 0xf;
	if (index >= 2 * IOAPIC_PINS)
		return;
	entry = &ioapic->redirection[pin];
	if (index & 1) {
		*entry = (*entry & UINT32_MAX) | ((uint64_t)value << 32 & REDIR_WRITABLE);
		return;
	}
	*entry = (*entry & ~(uint64_t)UINT32_MAX) | (value & REDIR_WRITABLE);
	if (!is_level(*entry))
		ioapic->remote_irr &= ~(1U << pin);
	service_level(ioapic, pin);
}

/* IOREGSEL and EOIR hold 8 bits and take any width, IOWIN is a double word. */
static uint64_t ioapic_read(void *dev, uint64_t offset, unsigned size)
{
	const struct ioapic *ioapic = dev;

	if (size > 4)
		return UINT64_MAX;
	if (offset == IOREGSEL)
		return ioapic->select;
	if (offset == IOWIN && size == 4)
		return register_read(ioapic);
	return UINT64_MAX;
}

static void ioapic_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct ioapic *ioapic = dev;

	if (size > 4)
		return;
	if (offset == IOREGSEL)
		ioapic->select = (uint8_t)value;
	else if (offset == IOWIN && size == 4)
		register_write(ioapic, (uint32_t)value);
	else if (offset == EOIR)
		ioapic_eoi(ioapic, (uint8_t)value);
}

static const struct io_ops ioapic_ops = { .read = ioapic_read, .write = ioapic_write };

static void power_on(struct ioapic *ioapic)
{
	ioapic->select = 0;
	ioapic->id = 0;
	ioapic->lines = 0;
	ioapic->remote_irr = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->redirection[pin] = REDIR_MASKED;
}

int ioapic_init(struct ioapic *ioapic, struct vm *vm, struct io_space *mmio, struct spinlock *irq_lock)
{
	ioapic->vm = vm;
	ioapic->irq_lock = irq_lock;
	power_on(ioapic);
	return io_space_add(mmio, IOAPIC_BASE, PAGE_SIZE, &ioapic_ops, ioapic, irq_lock);
}

void ioapic_reset(struct ioapic *ioapic)
{
	spin_lock(ioapic->irq_lock);
	power_on(ioapic);
	spin_unlock(ioapic->irq_lock);
}

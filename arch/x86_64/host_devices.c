/* drivers/host.h on this machine. */
#include "arch/x86_64/host_apic.h"
#include "drivers/host.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/host_devices.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/traps.h"
#include "drivers/ioapic_host.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/x86/apic.h"

static struct {
	void (*handle)(void *ctx);
	void *ctx;
} handlers[VECTOR_DEVICES];
static unsigned handler_count;

static const struct acpi_info *machine;

void host_devices_init(const struct acpi_info *acpi)
{
	machine = acpi;
}

volatile void *host_map_registers(uint64_t phys, uint64_t size)
{
	return map_device(phys, size);
}

void *host_dma_alloc(unsigned pages, uint64_t *phys)
{
	uint64_t size = (uint64_t)pages * PAGE_SIZE;
	void *memory;

	*phys = frames_alloc(&frames, size, PAGE_SIZE, GIB(4));
	memory = *phys ? map_dma(*phys, size) : NULL;
	if (memory)
		memset(memory, 0, size);
	else
		log_line("memory: no %lu KiB below 4 GiB for a device", size >> 10);
	return memory;
}

int host_interrupt(void (*handle)(void *ctx), void *ctx)
{
	if (handler_count == ARRAY_SIZE(handlers))
		return ERR_NOMEM;
	handlers[handler_count].ctx = ctx;
	handlers[handler_count].handle = handle;
	return VECTOR_FIRST_DEVICE + (int)handler_count++;
}

void host_device_interrupt(uint8_t vector)
{
	unsigned n = (unsigned)vector - VECTOR_FIRST_DEVICE;

	if (n < handler_count)
		handlers[n].handle(handlers[n].ctx);
}

int host_message(uint8_t vector, unsigned core, uint64_t *address, uint32_t *data)
{
	uint32_t apic_id = cpus[core]->apic_id;

	if (apic_id >= APIC_ID_BROADCAST)
		return ERR_RANGE;
	*address = MSI_ADDRESS | (uint64_t)apic_id << MSI_DESTINATION_SHIFT;
	*data = vector;
	return 0;
}

int host_route_isa(uint8_t irq, uint8_t vector)
{
	uint16_t flags;
	uint32_t gsi = acpi_irq_to_gsi(machine, irq, &flags);

	for (unsigned i = 0; i < machine->io_apic_count; i++) {
		const struct acpi_io_apic *io = &machine->io_apic[i];
		volatile void *registers = map_device(io->address, PAGE_SIZE);

		if (registers && gsi >= io->gsi_base && gsi - io->gsi_base < ioapic_host_pins(registers)) {
			ioapic_host_route(registers, gsi - io->gsi_base, vector, (uint8_t)cpus[0]->apic_id, flags);
			return 0;
		}
	}
	return ERR_NOENT;
}

#include "tests/unit/disk_machine.h"

#include <stdlib.h>
#include <string.h>

#include "drivers/host.h"
#include "drivers/mmio.h"
#include "drivers/port_io.h"
#include "tests/unit/fakes.h"

#define ARENA_SIZE (64U << 20)
#define ARENA_PHYS 0x1000000UL

struct model model;

static uint8_t *arena;
static uint64_t used;
static uint32_t config_address;
static uint32_t bar_size[6], bar_sizing;
static struct {
	void (*handle)(void *ctx);
	void *ctx;
} handlers[8];
static unsigned handler_count;

void disk_machine_reset(void)
{
	fake_reset();
	fake.hz = 1000000; /* a tick is a microsecond */
	memset(&model, 0, sizeof(model));
	memset(bar_size, 0, sizeof(bar_size));
	bar_sizing = 0;
	/* What was allocated stays so, as on the machine: somebody may still have it. */
	if (!arena)
		arena = calloc(1, ARENA_SIZE + 4096);
	handler_count = 0;
	disks_forget();
}

void *disk_machine_dma(uint64_t phys, uint64_t len)
{
	if (phys < ARENA_PHYS || len > ARENA_SIZE || phys - ARENA_PHYS > ARENA_SIZE - len)
		return NULL;
	return (uint8_t *)(((uintptr_t)arena + 4095) & ~4095UL) + (phys - ARENA_PHYS);
}

void disk_machine_interrupt(void)
{
	for (unsigned i = 0; i < handler_count; i++)
		handlers[i].handle(handlers[i].ctx);
}

void disk_machine_bar(unsigned n, unsigned offset, uint32_t size)
{
	uint32_t value = (uint32_t)MODEL_REGISTERS + offset;

	memcpy(model.config + 0x10 + 4 * n, &value, 4);
	bar_size[n] = size;
}

void disk_machine_function(const char ids[4], const char class_code[4])
{
	memcpy(model.config, ids, 4);
	memcpy(model.config + 8, class_code, 4);
}

static const struct pci_function *found_function;

static void take_function(void *ctx, const struct pci_function *fn)
{
	static struct pci_function kept;

	(void)ctx;
	kept = *fn;
	found_function = &kept;
}

struct disk *disk_machine_start(bool (*found)(const struct pci_function *fn))
{
	found_function = NULL;
	pci_host_scan(take_function, NULL);
	if (!found_function || !found(found_function))
		abort();
	return disk_at(0);
}

int disk_machine_claim(struct disk *disk)
{
	const char *other = NULL;

	return disk_claim(disk, "vm", 0, disk->blocks, &other);
}

struct disk_range disk_machine_sector(void)
{
	struct disk_range range = { 0, 512 };

	if (!host_dma_alloc(1, &range.phys))
		abort();
	return range;
}

void disk_machine_medium(uint8_t *medium, size_t size)
{
	for (size_t i = 0; i < size; i++)
		medium[i] = (uint8_t)(i * 7 + i / 512);
}

void disk_machine_half(uint64_t *value, unsigned offset, uint32_t part)
{
	memcpy((uint8_t *)value + (offset & 4), &part, 4);
}

unsigned disk_machine_many(struct disk *disk, int client, unsigned interrupts, unsigned *ended)
{
	const struct disk_range range = disk_machine_sector();
	const struct disk_job job = { .op = BLOCK_READ, .blocks = 1, .ranges = &range, .count = 1 };
	unsigned count = 0;
	void *owner;
	int status;

	while (!disk_submit(disk, (unsigned)client, &job))
		count++;
	disk_commit(disk);
	while (interrupts--)
		disk_machine_interrupt();
	*ended = 0;
	while (disk_collect(disk, (unsigned)client, &owner, &status))
		*ended += !status;
	return count;
}

int disk_machine_run(struct disk *disk, int client, enum block_op op, uint64_t block, uint32_t blocks, const struct disk_range *ranges,
		     unsigned count)
{
	const struct disk_job job = { .op = op, .block = block, .blocks = blocks, .ranges = ranges, .count = count, .owner = &model };
	void *owner;
	int status = disk_submit(disk, (unsigned)client, &job);

	if (status)
		return status;
	disk_commit(disk);
	for (unsigned n = 0; n < 1000; n++) {
		disk_machine_interrupt();
		if (disk_collect(disk, (unsigned)client, &owner, &status)) {
			if (owner != &model)
				abort();
			return status;
		}
		fake.now += fake.hz; /* a second later */
		disk_poll(disk, true);
	}
	abort();
}

/* ---- drivers/host.h ---- */

volatile void *host_map_registers(uint64_t phys, uint64_t size)
{
	(void)size;
	return (volatile void *)phys;
}

void *host_dma_alloc(unsigned pages, uint64_t *phys)
{
	void *memory = (uint8_t *)(((uintptr_t)arena + 4095) & ~4095UL) + used;

	if (used + pages * 4096UL > ARENA_SIZE)
		return NULL;
	*phys = ARENA_PHYS + used;
	used += pages * 4096UL;
	return memory;
}

int host_interrupt(void (*handle)(void *ctx), void *ctx)
{
	if (handler_count == ARRAY_SIZE(handlers))
		return ERR_NOMEM;
	handlers[handler_count].handle = handle;
	handlers[handler_count].ctx = ctx;
	return 0x40 + (int)handler_count++;
}

int host_message(uint8_t vector, unsigned core, uint64_t *address, uint32_t *data)
{
	*address = 0xfee00000 | core << 12;
	*data = vector;
	return 0;
}

int host_route_isa(uint8_t irq, uint8_t vector)
{
	(void)irq;
	(void)vector;
	return 0;
}

/* ---- drivers/mmio.h ---- */

static uint32_t mmio_read(const volatile void *at, unsigned size)
{
	uint64_t offset = (uint64_t)at - MODEL_REGISTERS;

	fake.now++;
	if (model.tick)
		model.tick();
	if (offset >= 0x10000 || !model.read)
		abort();
	return model.read((unsigned)offset, size);
}

static void mmio_write(volatile void *at, unsigned size, uint32_t value)
{
	uint64_t offset = (uint64_t)at - MODEL_REGISTERS;

	if (offset >= 0x10000 || !model.write)
		abort();
	model.write((unsigned)offset, size, value);
}

uint8_t mmio_read8(const volatile void *at)
{
	return (uint8_t)mmio_read(at, 1);
}

uint16_t mmio_read16(const volatile void *at)
{
	return (uint16_t)mmio_read(at, 2);
}

uint32_t mmio_read32(const volatile void *at)
{
	return mmio_read(at, 4);
}

void mmio_write8(volatile void *at, uint8_t value)
{
	mmio_write(at, 1, value);
}

void mmio_write16(volatile void *at, uint16_t value)
{
	mmio_write(at, 2, value);
}

void mmio_write32(volatile void *at, uint32_t value)
{
	mmio_write(at, 4, value);
}

/* ---- drivers/port_io.h: configuration space, and the model's ---- */

static uint8_t *bridge(void)
{
	unsigned bdf = config_address >> 8 & 0xffff;
	uint8_t *config = bdf == 0x0008 ? model.bridge[0] : bdf == 0x0208 ? model.bridge[1] : NULL;

	return config && (config[0] || config[1]) ? config : NULL;
}

static uint32_t config_read(unsigned reg, unsigned size)
{
	uint32_t value = 0;
	unsigned bar = (reg - 0x10) / 4;

	if (bridge())
		return memcpy(&value, bridge() + reg, size), value;
	if ((config_address & 0xffff00) != 0)
		return UINT32_MAX;
	memcpy(&value, model.config + reg, size);
	if (reg >= 0x10 && bar < 6 && bar_sizing & 1U << bar)
		return -bar_size[bar] | (value & 0xf);
	return value;
}

static void config_write(unsigned reg, unsigned size, uint32_t value)
{
	unsigned bar = (reg - 0x10) / 4;

	if (bridge())
		memcpy(bridge() + reg, &value, size);
	if ((config_address & 0xffff00) != 0)
		return;
	if (model.config_written)
		model.config_written(reg, size, value);
	if (reg >= 0x10 && bar < 6) {
		bar_sizing = value == UINT32_MAX ? bar_sizing | 1U << bar : bar_sizing & ~(1U << bar);
		return;
	}
	memcpy(model.config + reg, &value, size);
}

static uint32_t in(uint16_t port, unsigned size)
{
	fake.now++;
	if (model.tick)
		model.tick();
	if (port >= 0xcfc && port < 0xd00)
		return config_read((config_address & 0xfc) + (port & 3U), size);
	return model.in ? model.in(port, size) : UINT32_MAX;
}

static void out(uint16_t port, unsigned size, uint32_t value)
{
	if (port == 0xcf8)
		config_address = value;
	else if (port >= 0xcfc && port < 0xd00)
		config_write((config_address & 0xfc) + (port & 3U), size, value);
	else if (model.out)
		model.out(port, size, value);
}

uint8_t port_read8(uint16_t port)
{
	return (uint8_t)in(port, 1);
}

uint16_t port_read16(uint16_t port)
{
	return (uint16_t)in(port, 2);
}

uint32_t port_read32(uint16_t port)
{
	return in(port, 4);
}

void port_write8(uint16_t port, uint8_t value)
{
	out(port, 1, value);
}

void port_write16(uint16_t port, uint16_t value)
{
	out(port, 2, value);
}

void port_write32(uint16_t port, uint32_t value)
{
	out(port, 4, value);
}

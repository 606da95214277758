/* What the disk drivers need of the machine, for unit tests: memory for DMA, registers answered by a model, interrupts that only count. */
#ifndef TESTS_UNIT_DISK_MACHINE_H
#define TESTS_UNIT_DISK_MACHINE_H

#include "drivers/disk/disk.h"
#include "drivers/pci/pci_host.h"

#define MODEL_REGISTERS 0xe0000000UL /* where BARs lie: accesses there reach the model */

/* The device behind the registers. `offset` is from MODEL_REGISTERS. */
struct model {
	uint32_t (*read)(unsigned offset, unsigned size);
	void (*write)(unsigned offset, unsigned size, uint32_t value);
	/* Port I/O of all ports; NULL: nothing there. */
	uint32_t (*in)(uint16_t port, unsigned size);
	void (*out)(uint16_t port, unsigned size, uint32_t value);
	/* Time goes on by a microsecond with each look at it; the device may do something then. */
	void (*tick)(void);
	uint8_t config[256];   /* of the one function there is, at 0:0.0 */
	void (*config_written)(unsigned reg, unsigned size, uint32_t value); /* before it is; NULL: nobody looks */
	uint8_t bridge[2][256]; /* and of those at 0:1.0 and 2:1.0, where they have a vendor */
};

extern struct model model;

/* Start over: no disks, no memory, nothing at the registers. */
void disk_machine_reset(void);
/* Where DMA memory lies that the device was told of; NULL where `len` bytes at `phys` are not all of it. */
void *disk_machine_dma(uint64_t phys, uint64_t len);
/* Have the drivers' interrupt handlers called. */
void disk_machine_interrupt(void);
/* A 32-bit BAR of `size` bytes in the configuration space, at MODEL_REGISTERS + offset. */
void disk_machine_bar(unsigned n, unsigned offset, uint32_t size);

/* What the one function says it is: vendor and device, revision and class code, as their bytes lie. */
void disk_machine_function(const char ids[4], const char class_code[4]);
/* Let the driver find its controller in that function. Returns the first disk, or NULL where there is none. */
struct disk *disk_machine_start(bool (*found)(const struct pci_function *fn));
/* Claim all of it. Returns disk_claim's answer. */
int disk_machine_claim(struct disk *disk);
/* A sector of memory for DMA. */
struct disk_range disk_machine_sector(void);
/* Fill a medium so that no two sectors are equal. */
void disk_machine_medium(uint8_t *medium, size_t size);
/* Write one half of a 64-bit register. */
void disk_machine_half(uint64_t *value, unsigned offset, uint32_t part);

/* Reads of the first block until the disk takes no more, then `interrupts`. Returns how many there were; *ended of them ended well. */
unsigned disk_machine_many(struct disk *disk, int client, unsigned interrupts, unsigned *ended);
/* One command on a disk, from submit to its end, with time-outs. Returns its status, or what disk_submit said. */
int disk_machine_run(struct disk *disk, int client, enum block_op op, uint64_t block, uint32_t blocks, const struct disk_range *ranges,
		     unsigned count);

#endif

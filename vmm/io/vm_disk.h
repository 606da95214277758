/* A disk of the machine's, or a part of one, as a block backend for one VM. Guest memory goes to the controller as it lies; pieces that
 * the controller cannot reach go through a buffer.
 *
 * Commands end on any core. Their ends are taken in the VM's address space: by its vCPU 0, which the driver wakes. */
#ifndef VMM_IO_VM_DISK_H
#define VMM_IO_VM_DISK_H

#include "drivers/disk/block.h"
#include "drivers/disk/disk.h"
#include "lib/types.h"
#include "vmm/config/config.h"
#include "vmm/interface/platform.h"

#define VM_DISK_SLOTS 32U        /* requests of the guest at once */
#define VM_DISK_SEGMENTS 128U
#define VM_DISK_RANGES 256U
#define VM_DISK_BUFFER_PAGES 4U

struct vm_disk {
	struct block_device block;
	struct vm *vm;
	struct disk *disk;
	unsigned client;
	unsigned shift;               /* log2 of the sectors in a block */
	uint64_t first;               /* the part's first block */
	struct spinlock lock;         /* of all that follows */
	unsigned in_flight;
	bool polls;                   /* a timer looks at disk and guest, and nobody tells of anything */
	struct block_request *waiting, *waiting_last;
	struct block_request *buffered; /* the one that goes through the buffer, a piece at a time */
	bool stalled;                   /* and its next piece waits for a tag */
	uint32_t buffered_done, buffered_part; /* bytes */
	uint8_t *buffer;
	uint64_t buffer_phys;
	struct vtimer timer;          /* for time-outs, and for disks without an interrupt */
	bool armed;
	uint64_t polled_at, period;   /* polling: when it was looked last, and when to look again */
	uint64_t checked_at;          /* for time-outs */
	uint64_t pause, pause_until;  /* no polling before: it was not worth it */
	unsigned ended;               /* requests since polled_at */
	unsigned poor, good;          /* polls in a row with little to do, and all others since polling began */
	uint64_t leaf_va, leaf_phys, leaf_size; /* where memory was last found */
	unsigned index;                 /* as in diskN */
	uint64_t direct, copied;        /* reads and writes: where memory lies, and by the buffer */
	struct disk_range range[VM_DISK_RANGES];
};

/* Take the configured disk, or its part, for this VM. Returns 0, or an error, logged. */
int vm_disk_init(struct vm_disk *d, struct vm *vm, unsigned index, const struct disk_config *config);
/* The VM's vCPUs are placed: have the disk's interrupts come to vCPU 0's core, and wake it. */
void vm_disk_placed(struct vm_disk *d);
/* Take what has ended. On a core of the VM, with no lock held. */
void vm_disk_poll(struct vm_disk *d);
/* A line for the VM's end: how many reads and writes there were, and how many were copied. */
void vm_disk_print_statistics(const struct vm_disk *d);
/* End everything that is under way; it fails where it takes too long. The VM's vCPUs are parked. */
void vm_disk_drain(struct vm_disk *d);

#endif

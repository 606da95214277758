/* A disk of the machine's, or a part of it, as a block backend for one VM. Guest memory goes to the controller where it lies; memory that
 * the controller cannot reach goes through a buffer, piece by piece.
 *
 * Requests are submitted by any core of the VM. Commands end on any core of the machine; ended commands are collected in the VM's address
 * space, by its vCPU 0, which the driver wakes. The disk's timer is vCPU 0's too. */
#ifndef VMM_IO_VM_DISK_H
#define VMM_IO_VM_DISK_H

#include "drivers/disk/block.h"
#include "drivers/disk/disk.h"
#include "lib/types.h"
#include "vmm/config/config.h"
#include "vmm/interface/platform.h"
#include "vmm/io/vm_disk_polling.h"

#define VM_DISK_SLOTS 32U        /* requests of the guest at once */
#define VM_DISK_SEGMENTS 128U    /* of a request */
#define VM_DISK_RANGES 256U      /* of a command */
#define VM_DISK_BUFFER_PAGES 4U

struct page_table;

struct vm_disk {
	/* Constant once the VM is built. */
	struct block_device block;       /* its in_batch and batch_is_due change */
	struct vm *vm;
	const char *vm_name;
	const struct page_table *space;  /* the VM's address space */
	struct disk *disk;
	unsigned client;                 /* the VM's number among the disk's clients */
	unsigned index;                  /* N of diskN */
	unsigned block_shift;            /* log2 of the sectors in a block of the disk */
	uint64_t first_block;            /* of the VM's part of the disk */
	uint8_t *buffer;
	uint64_t buffer_phys;

	/* Changed with the lock held. vCPU 0's core looks at the fields without the lock where a value that is just being changed does no
	 * harm: what another core has then added is found by the next look. */
	struct spinlock lock;
	unsigned in_flight;              /* commands */
	struct block_request *waiting, *waiting_last; /* requests that wait for a tag or for the buffer, oldest first */
	struct block_request *buffered;  /* the request that goes through the buffer, or NULL */
	uint32_t buffered_done;          /* bytes of it that have been transferred */
	uint32_t buffered_piece;         /* bytes of it in the present piece */
	bool piece_waits;                /* the present piece waits for a tag */
	uint64_t leaf_va, leaf_phys, leaf_size; /* the page in which memory was last found */
	uint64_t in_place, copied;       /* reads and writes, by how their memory was reached */
	struct disk_range range[VM_DISK_RANGES]; /* of the command that is being made */
	struct vtimer timer;             /* for time-outs, and for looks at a disk that is polled or has no interrupt */
	bool timer_set;

	/* vCPU 0's core alone has these; other cores read polling.on, which changes with the lock held. */
	struct vm_disk_polling polling;
	uint64_t timeouts_checked_at;    /* machine time */
};

/* Take the configured disk, or its part, for this VM. Returns 0, or an error, logged. */
int vm_disk_init(struct vm_disk *d, struct vm *vm, unsigned index, const struct disk_config *config);
/* The VM's vCPUs are placed: have the disk's interrupts come to vCPU 0's core, and wake it. */
void vm_disk_placed(struct vm_disk *d);
/* Take requests from now on: the last step of vm_disk_init. */
void vm_disk_open(struct vm_disk *d);
/* Collect the commands that have ended. On vCPU 0's core, with no lock held. */
void vm_disk_collect(struct vm_disk *d);
/* A line for the VM's end: how many reads and writes there were, and how many were copied. */
void vm_disk_print_statistics(const struct vm_disk *d);
/* Wait until every request has ended; requests that take too long fail. The VM's vCPUs are parked. */
void vm_disk_drain(struct vm_disk *d);

#endif

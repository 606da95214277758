/* The machine's own disks: what the drivers (nvme, ahci, ata, virtio_host) have in common, and who uses which part of a disk.
 *
 * A command's whole life lies in memory that every address space maps, because its end may be seen on any core, whatever VM that core
 * works for: a driver marks the command as finished and wakes the client, which collects it in its own address space. */
#ifndef DRIVERS_DISK_DISK_H
#define DRIVERS_DISK_DISK_H

#include "drivers/acpi/acpi.h"
#include "drivers/disk/block.h"
#include "lib/spinlock.h"
#include "lib/types.h"

#define DISKS_MAX 16
#define DISK_TAGS 32U         /* commands of a disk that can be under way at once */
#define DISK_CLIENTS_MAX 8
#define DISK_NAME_SIZE 32
#define DISK_MODEL_SIZE 41
#define DISK_SERIAL_SIZE 24
#define DISK_TABLE_SIZE 4096U /* a command's memory for what the controller reads of it */
#define DISK_TRIES 3U         /* time-outs after which a command fails */
#define DISK_SILENCE 6U       /* time-outs in a row, with no command ended between, after which all commands under way fail */

struct disk;

/* A piece of physical memory. */
struct disk_range {
	uint64_t phys;
	uint32_t len; /* bytes */
};

enum disk_tag_state { DISK_TAG_FREE, DISK_TAG_ACTIVE, DISK_TAG_FINISHED };

/* A command. */
struct disk_tag {
	enum disk_tag_state state;
	enum block_op op;
	bool then_flush;         /* a durable write on a disk that must be told to flush */
	uint8_t tries;           /* time-outs that the command had */
	uint8_t client;
	int status;
	uint64_t block;          /* in the disk's own blocks */
	uint32_t blocks;
	uint32_t ranges;         /* in the table, in the driver's unit */
	uint64_t deadline;
	void *owner;             /* the client's word */
	uint8_t *table;          /* DISK_TABLE_SIZE bytes, aligned to as much; the driver's `encode` fills them */
	uint64_t table_phys;
};

/* A user of a part of a disk: a VM, or Lamina itself. */
struct disk_client {
	char name[32];           /* a VM's */
	uint64_t first, blocks;
	uint32_t finished;       /* atomic: a bit for each tag whose command has ended and waits to be collected */
	uint32_t tags_held;      /* atomic: how many tags the client has, ended commands that wait to be collected included */
	/* Commands have finished: called on any core, with the disk's lock held. */
	void (*wake)(void *ctx);
	void *ctx;
};

struct disk_ops {
	/* Make the disk ready for commands, once. Returns 0 or an error, logged. */
	int (*open)(struct disk *disk);
	/* Write the transfer's memory into the tag's table. Returns 0, or ERR_INVALID where the controller cannot reach memory in such
	 * pieces. */
	int (*encode)(struct disk *disk, struct disk_tag *tag, const struct disk_range *ranges, unsigned count);
	/* Hand the command to the controller, which begins with it at `commit` at the latest. */
	void (*start)(struct disk *disk, unsigned tag);
	void (*commit)(struct disk *disk);
	/* Report every command that has ended to disk_finished(). */
	void (*reap)(struct disk *disk);
	/* Bring the controller into a known state, in which it has forgotten all commands of all its disks and does no DMA for them any
	 * more. Returns 0 where it takes commands again, else an error. */
	int (*reset)(struct disk *disk);
	/* Mask the disk's interrupts, because disk_poll() is called meanwhile; or unmask them. NULL where the driver cannot choose. */
	void (*mask_interrupts)(struct disk *disk, bool on);
	/* Have its interrupts come to this core; NULL where that cannot be chosen. */
	void (*route)(struct disk *disk, unsigned core);
	/* The machine is about to be switched off; NULL where the disk need not know. */
	void (*shutdown)(struct disk *disk);
};

struct disk {
	const struct disk_ops *ops;
	void *controller;          /* the driver's own; disks that share one are reset together */
	void *unit;                /* the driver's own */
	struct spinlock *lock;     /* of all disks of the controller: ops but `open` are called with it */
	char name[DISK_NAME_SIZE]; /* as in lamina.cfg */
	char model[DISK_MODEL_SIZE];
	char serial[DISK_SERIAL_SIZE];
	uint64_t blocks;
	uint32_t block_size;       /* bytes, a power of two from 512 to 4096 */
	uint32_t max_blocks;       /* of one command */
	uint32_t timeout_s;        /* seconds after which a command is taken for lost */
	unsigned tag_count;        /* tags that this disk has, at most DISK_TAGS */
	unsigned active;           /* commands under way */
	uint32_t to_retry;         /* tags of commands that a reset interrupted and that wait to be tried again, one by one */
	bool retrying;             /* they are being tried again: no new command is taken until the last of them has ended */
	unsigned timeouts_in_row;  /* since a command last ended */
	bool write_cache;          /* a write may be lost until it is flushed */
	bool fua;                  /* a write can be told to reach the medium */
	bool read_only;
	bool single_command;       /* the controller takes one command at a time, and the others wait in the driver */
	bool has_no_interrupt;     /* disk_poll() must be called */
	bool looked_at;            /* disk_poll() is looking: what ends now ends without an interrupt */
	unsigned ended;            /* commands, in all */
	unsigned missed;           /* looks of disk_watch() in a row that found ended commands, no interrupt having ended one between them */
	bool opened;
	bool dead;                 /* a reset failed: every command fails */
	unsigned polling_clients;  /* clients that poll; the disk's interrupts are masked while there are any */
	unsigned client_count;
	unsigned share;            /* tags that one client may have, so that a client that never stops asking does not starve the others */
	struct disk_client client[DISK_CLIENTS_MAX];
	struct disk_tag tag[DISK_TAGS];
};
_Static_assert(sizeof(struct disk) <= PAGE_SIZE, "disk_new takes a page");

/* ---- For whoever uses disks ---- */

/* Find every disk of the machine's and log them. The boot processor, once, before guests run. */
void disks_find(const struct acpi_info *acpi);
/* For tests: as if none had been found. */
void disks_forget(void);
/* The n-th disk, or NULL. */
struct disk *disk_at(unsigned n);
/* The disk of this name ("nvme:0n1"), or with this serial number ("serial:S", where one disk only has it); NULL where there is none. */
struct disk *disk_by_name(const char *name);

/* Give a part of a disk to `name`, in the disk's blocks, and make the disk ready. Returns the client's number; ERR_BUSY (it overlaps the
 * client *other's), ERR_RANGE (not in the disk), ERR_NOMEM (too many clients, or as many as tags) or what opening it gave. */
int disk_claim(struct disk *disk, const char *name, uint64_t first, uint64_t blocks, const char **other);

/* Read blocks before guests run. `phys` is of DMA memory. Returns 0 or ERR_IO. */
int disk_read_now(struct disk *disk, uint64_t block, uint32_t blocks, uint64_t phys);

/* A command of a client, whose range is the caller's to check. For transfers, ranges are multiples of the block size in total, and at
 * most max_blocks. Returns 0, ERR_BUSY (the client has its share of the tags, or what a reset interrupted comes first), ERR_INVALID (memory
 * in such pieces cannot be reached) or ERR_IO (the disk is dead). */
struct disk_job {
	enum block_op op;
	bool durable;
	uint64_t block;
	uint32_t blocks;
	const struct disk_range *ranges;
	unsigned count;
	void *owner;
};
int disk_submit(struct disk *disk, unsigned client, const struct disk_job *job);
/* Have the controller begin with what was submitted. */
void disk_commit(struct disk *disk);

/* Look for commands that have ended; with `late`, also for commands whose time is over. If there are any of these, the controller is reset
 * and its commands are tried again, one by one: a second time-out of the same command is its own fault, and after DISK_TRIES time-outs the
 * command fails. */
void disk_poll(struct disk *disk, bool late);
/* The same, from a timer, while interrupts are expected to tell of ended commands. Where two looks in a row show that they do not, the disk is
 * polled from then on (has_no_interrupt), which is logged. */
void disk_watch(struct disk *disk, bool late);
/* Take a finished command of the client's. Returns whether there was one. */
bool disk_collect(struct disk *disk, unsigned client, void **owner, int *status);
/* Reset the controller so that no command of this client's is under way any more: the client's commands fail. */
void disk_abort(struct disk *disk, unsigned client);
/* A client polls from now on, or no longer. Returns false where the disk cannot do without its interrupts. */
bool disk_set_polling(struct disk *disk, bool on);
/* Have its interrupts come to `core`, if that can be chosen. */
void disk_route(struct disk *disk, unsigned core);
/* The machine is about to be switched off. */
void disks_shutdown(void);

/* ---- For drivers ---- */

/* A disk to be filled in, or NULL where there are too many; disk_add() makes it known. */
struct disk *disk_new(void);
void disk_add(struct disk *disk);
/* A command has ended. Returns false where no such command is under way: the controller errs. */
bool disk_finished(struct disk *disk, unsigned tag, int status);
/* The command's time runs from now: for a driver in which commands wait for their turn. */
void disk_command_begins(struct disk *disk, struct disk_tag *tag);
/* The words of an identification: not printable characters become '?', blanks around them go. `swapped`: ATA's order of bytes. */
void disk_text(char *dst, size_t size, const void *src, size_t len, bool swapped);
/* Wait until (read32(ctx) & mask) == value, at most `ms` milliseconds. Returns 0 or ERR_IO. */
int disk_wait(uint32_t (*read32)(void *ctx), void *ctx, uint32_t mask, uint32_t value, uint32_t ms);

struct pci_function;
/* Each driver looks whether the function is one of its controllers; returns true if so. */
bool nvme_found(const struct pci_function *fn);
bool ahci_found(const struct pci_function *fn);
bool ata_found(const struct pci_function *fn);
bool virtio_host_found(const struct pci_function *fn);

#endif

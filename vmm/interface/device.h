/* A device of the virtual PC in the eyes of the VM that it sits in: how it is made and how it is reset. What a device asks of the VM is in
 * vmm/interface/platform.h. */
#ifndef VMM_INTERFACE_DEVICE_H
#define VMM_INTERFACE_DEVICE_H

#include "lib/types.h"

struct io_space;
struct spinlock;
struct vm;

/* Where a device sits, and what it has to know of the machine around it. */
struct device_home {
	struct vm *vm;
	struct io_space *pio, *mmio;
	struct spinlock *irq_lock;   /* the VM's interrupt lock (platform.h) */
	uint64_t low_ram, high_ram;  /* bytes of the guest's RAM below and above 4 GiB */
	uint64_t unix_seconds;       /* the wall clock */
};

struct device_ops {
	const char *name; /* for the log */
	/* Make it, once: claim its ranges. Returns 0 or an error. */
	int (*init)(void *device, const struct device_home *home);
	/* Bring it to the state after power-up; the VM's vCPUs are parked and its timers are cleared. */
	void (*reset)(void *device);
};

#endif

/* The registry of VMs: what Lamina knows of each VM outside that VM's own address space. The handles are Lamina's data, mapped in every
 * address space, so any core can look at any VM's handle. A handle is never given back yet: `alive` says whether its VM is still there. */
#ifndef VMM_VM_REGISTRY_H
#define VMM_VM_REGISTRY_H

#include "lib/types.h"
#include "vmm/config/config.h"
#include "vmm/vm/console_router.h"

#define REGISTRY_VMS_MAX 8

struct sched_slot;

struct vm_handle {
	char name[CONFIG_NAME_SIZE];
	uint64_t root;                /* of its address space, as core_address_space() takes it */
	bool alive;                   /* from registry_add() to registry_end() */
	struct sched_slot *boot_slot; /* vCPU 0's, which takes console input and what disks have ended; NULL until it has one */
	struct console_input input;
};

/* A VM comes. Returns its handle, or NULL where there is no room. On the boot processor, before sched_run(). */
struct vm_handle *registry_add(const char *name, uint64_t root);
/* A VM has ended: none of its vCPUs runs again. Returns how many VMs are left. */
unsigned registry_end(struct vm_handle *vm);
/* The VM that came first of those that are alive, or NULL. */
struct vm_handle *registry_first(void);

#endif

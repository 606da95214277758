/* How a VM comes to be: what all VMs are made from, and the call that makes one. */
#ifndef VMM_VM_VM_CREATE_H
#define VMM_VM_VM_CREATE_H

#include "lib/types.h"
#include "vmm/config/monitor_mode.h"

struct cpuid_host;
struct engine_set;
struct vm_config;

/* A file that the boot loader has put in memory, from a page boundary on. */
struct vm_file {
	const char *name;
	uint64_t phys, size;
	bool read, written; /* named so by a VM, started or not: a VM that writes it has it alone */
};

struct vm_resources {
	struct vm_file *files;        /* what a configuration can name */
	unsigned file_count;
	const struct cpuid_host *cpuid;
	const struct engine_set *engines; /* that this machine has: each VM takes the one that serves its monitor mode */
	struct monitor_caps monitor;  /* of the machine */
	uint64_t unix_seconds;
	uint64_t boot_ticks;          /* time_now() when the loader handed over */
};

/* Build a VM from its configuration and put its vCPUs on the cores. Returns 0; or an error, after log lines that say what is wrong:
 * then the VM does not exist. */
int vm_create(const struct vm_config *config, const struct vm_resources *resources);

#endif

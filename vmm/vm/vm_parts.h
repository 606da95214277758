/* What the files that build and run a VM ask of each other; for vmm/vm/ alone. */
#ifndef VMM_VM_VM_PARTS_H
#define VMM_VM_VM_PARTS_H

#include "mm/frames.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/vm.h"
#include "vmm/vm/vm_create.h"

#define VM_PIECES_MAX 32

/* ---- Memory (vm_memory.c) ---- */

/* The machine memory that is to be a guest's RAM. */
struct vm_ram {
	unsigned count;
	struct frame_piece piece[VM_PIECES_MAX];
};

/* Take the RAM that the configuration asks for from the machine, and give it back. Returns 0, or an error, logged. */
int vm_ram_take(struct vm_ram *ram, const struct vm_config *config);
void vm_ram_give_back(const struct vm_ram *ram);
/* Map it for the guest and for Lamina. Returns 0 or an error, logged. */
int vm_memory_make(struct vm *vm, const struct vm_ram *ram);
/* Its nested page tables. */
void vm_memory_plan(struct arena_plan *plan, const struct vm_ram *ram, unsigned max_leaf_level);

/* ---- Files (vm_files.c) ---- */

/* The file of this name (`len` characters), or NULL. */
struct vm_file *vm_file_find(const struct vm_resources *resources, const char *name, size_t len);
/* Make a file visible in the VM's address space. Many VMs may read it; a VM that writes it must not write another's kernel or disk. Returns
 * where it is; NULL where it is empty or in use. */
void *vm_file_map(struct vm *vm, struct vm_file *file, bool writable);
/* The kernel and what belongs to it, into vm->files. Returns 0 or an error, logged. */
int vm_files_find(struct vm *vm, const struct vm_resources *resources);

/* ---- vCPUs (vm_vcpus.c) ---- */

/* Make the vCPUs, and the engine's part of the VM. Returns 0 or an error, logged. */
int vm_vcpus_make(struct vm *vm, const struct vm_resources *resources);
void vm_vcpus_plan(struct arena_plan *plan, const struct vm_config *config, const struct engine *engine, bool shadow);
/* Put them on cores, in turn. Returns 0 or an error, logged. */
int vm_vcpus_place(struct vm *vm);

/* ---- Devices (vm_devices.c) and disks (vm_disks.c) ---- */

int vm_devices_make(struct vm *vm, const struct vm_resources *resources);
void vm_devices_reset(struct vm *vm);
int vm_disks_make(struct vm *vm, const struct vm_resources *resources);
void vm_disks_plan(struct arena_plan *plan, const struct vm_config *config);
/* The vCPUs are placed: the disks' interrupts go there. */
void vm_disks_placed(struct vm *vm);
/* No disk reads or writes the VM's memory afterwards. The vCPUs are parked. */
void vm_disks_quiet(struct vm *vm);
void vm_disks_print_statistics(const struct vm *vm);

/* ---- Life (vm.c) ---- */

/* Load the guest's files and start vCPU 0 on them, when the VM is built and after each reset. Returns 0 or an error, logged. */
int vm_start_guest(struct vm *vm);

#endif

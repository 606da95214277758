/* A virtual machine: everything that belongs to one guest. It lives in the VM's arena, which only the VM's own address space maps. */
#ifndef VMM_VM_VM_H
#define VMM_VM_VM_H

#include "drivers/disk/ram_disk.h"
#include "lib/spinlock.h"
#include "lib/types.h"
#include "mm/page_table.h"
#include "mm/pool.h"
#include "vmm/config/config.h"
#include "vmm/devices/acpi_pm.h"
#include "vmm/devices/i8042.h"
#include "vmm/devices/ioapic.h"
#include "vmm/devices/lapic.h"
#include "vmm/devices/pci.h"
#include "vmm/devices/pic.h"
#include "vmm/devices/pit.h"
#include "vmm/devices/reset.h"
#include "vmm/devices/rtc.h"
#include "vmm/devices/uart.h"
#include "vmm/devices/virtio_blk.h"
#include "vmm/exits/cpuid.h"
#include "vmm/exits/msr.h"
#include "vmm/interface/engine.h"
#include "vmm/interface/platform.h"
#include "vmm/io/io_space.h"
#include "vmm/io/vm_disk.h"
#include "vmm/loader/loader.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/vcpu.h"

#define VM_PIECES_MAX 32

struct shadow_mmu;

struct vm {
	struct vm_config config;
	struct pool arena;
	uint8_t *small;               /* the rest of the arena page that vm_alloc cuts from */
	uint32_t small_left;
	const struct engine *engine;
	void *hw;                     /* the engine's own */
	struct vm_handle *handle;
	struct page_table space;      /* Lamina's address space while it works for this VM */
	struct page_table nested;     /* guest-physical to physical */
	struct shadow_mmu *shadow;    /* NULL with nested paging */
	struct guest_memory memory;
	struct cpuid_table cpuid;
	struct msr_state msr;
	int64_t tsc_offset;           /* guest TSC = time_now() + this, before a vCPU's own adjustment */

	struct io_space pio, mmio;
	struct spinlock irq_lock;
	bool pic_output;
	struct pic pic;
	struct ioapic ioapic;
	struct pit pit;
	struct rtc rtc;
	struct acpi_pm acpi_pm;
	struct uart uart;
	struct i8042 i8042;
	struct reset_ports reset_ports;
	struct pci pci;
	unsigned disk_count;
	struct virtio_blk *disk[CONFIG_DISKS_MAX];
	struct ram_disk ram_disk[CONFIG_DISKS_MAX];
	unsigned real_disk_count;
	struct vm_disk *real_disk[CONFIG_DISKS_MAX];

	struct vtimer input_timer;    /* console input that the UART could not take yet */

	struct lapic_bus lapics;
	unsigned vcpu_count;
	struct vcpu *vcpu[VM_MAX_VCPUS];
	uint16_t first_tag;           /* of the vCPUs' translations */

	struct loader_input files;
	struct guest_start start;
	uint64_t boot_ticks;          /* of vm_resources, until the guest has first run; then 0 */
	struct spinlock request_lock; /* of the next three; nothing nests in it */
	bool requested;
	enum vm_request request;
	const char *request_why;
	uint64_t parked;              /* atomic: a bit for each vCPU that has stopped for the request */
	unsigned resets;
};

/* A file that the boot loader has put in memory, from a page boundary on. */
struct vm_file {
	const char *name;
	uint64_t phys, size;
	bool read, written; /* named so by a VM, started or not: one that writes it has it alone */
};

/* What all VMs are made from. */
struct vm_resources {
	struct vm_file *files;        /* what a configuration can name */
	unsigned file_count;
	const struct cpuid_host *cpuid;
	const struct engine *engine;
	struct monitor_caps monitor;
	uint64_t unix_seconds;
	uint64_t boot_ticks;          /* time_now() when the loader handed over */
};

/* Build a VM from its configuration and put its vCPUs on the cores. Returns 0; or an error, after log lines that say what is wrong:
 * then the VM does not exist. */
int vm_create(const struct vm_config *config, const struct vm_resources *resources);

/* Zeroed memory from the arena while the VM is built; aligned to 64 bytes. NULL where it is used up. */
void *vm_alloc(struct vm *vm, uint32_t size);
void *vm_alloc_pages(struct vm *vm, unsigned pages);
/* Physical address of something in the arena. */
uint64_t vm_phys(const struct vm *vm, const void *p);

/* A vCPU has stopped for a request; the last one to do so carries the request out. */
void vm_vcpu_parked(struct vm *vm, unsigned index);
/* Hand waiting console input to the guest's UART. */
void vm_console_input(struct vm *vm);
/* Take what the VM's disks have ended. */
void vm_poll_disks(struct vm *vm);
/* Whether the 8259s' INTR is high. */
static inline bool vm_pic_waiting(const struct vm *vm)
{
	return __atomic_load_n(&vm->pic_output, __ATOMIC_RELAXED);
}

/* Print the exit statistics: a line for each kind that occurred. */
void vm_print_statistics(struct vm *vm);

#endif

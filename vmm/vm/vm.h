/* A virtual machine: everything that belongs to one guest. It lives in the VM's arena, which only the VM's own address space maps.
 *
 * This is for the files of vmm/vm/ and the few others that tools/check.py names: a vCPU has pointers to what it uses (vcpu.h), and others
 * have arena.h, vm_services.h and vmm/interface/platform.h. */
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
#include "vmm/exits/cpuid.h"
#include "vmm/exits/msr.h"
#include "vmm/interface/engine.h"
#include "vmm/interface/platform.h"
#include "vmm/io/io_space.h"
#include "vmm/loader/loader.h"
#include "vmm/memory/guest_memory.h"

struct shadow_mmu;
struct vcpu;
struct virtio_blk;
struct vm_disk;
struct vm_handle;

struct vm {
	struct vm_config config;
	struct pool arena;
	uint8_t *small;               /* the rest of the arena page that vm_alloc cuts from */
	uint32_t small_left;
	const struct engine *engine;
	struct engine_vm engine_vm;   /* the VM in the engine's eyes */
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
	bool pic_output;              /* atomic: the 8259s' INTR */
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

#endif

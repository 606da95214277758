/* Lamina's address spaces on x86-64: where everything is mapped, and the page pool that is always mapped.
 *
 *   slots 256..383  a VM's RAM: guest-physical address + GUEST_WINDOW_BASE     (that VM's address space only)
 *   slot  384       a VM's control structures and tables: its arena           (that VM's address space only)
 *   slot  385       the boot modules given to a VM, at their physical address (that VM's address space only)
 *   slot  510       pool, stacks, device registers, firmware tables           (shared)
 *   slot  511       Lamina's image at KERNEL_BASE                             (shared)
 */
#ifndef ARCH_X86_64_MEMORY_H
#define ARCH_X86_64_MEMORY_H

#include "boot/boot_info.h"
#include "lib/types.h"
#include "mm/address_space.h"

#define KERNEL_BASE 0xffffffff80000000UL
#define POOL_BASE 0xffffff0000000000UL
#define STACKS_BASE 0xffffff1000000000UL
#define DEVICES_BASE 0xffffff2000000000UL
#define DMA_BASE 0xffffff3000000000UL
#define FIRMWARE_BASE 0xffffff4000000000UL

#define POOL_SIZE_LEAST MIB(2)
#define POOL_SHARE 1024 /* this part of the memory, on machines with much of it, which have many cores */

extern struct page_table kernel_table;
extern const char image_start[], text_start[], text_end[], rodata_end[], image_end[], image_phys_start[], scratch_end[];

/* Take the memory map, set up frames and pool, build the kernel's page tables and run on them. Returns a copy of *info, which lies in the
 * scratch area that these tables do not map. Ends in boot_fatal() where memory is short. */
struct boot_info *memory_init(const struct boot_info *info);
/* Nobody needs the scratch area any more: make it free memory. */
void memory_free_scratch(void);

/* Map device registers uncached, for ever. Returns NULL where the tables cannot grow. */
volatile void *map_device(uint64_t phys, uint64_t size);
/* Map memory that devices use too, for ever. Returns NULL where the tables cannot grow. */
void *map_dma(uint64_t phys, uint64_t size);
/* Map a framebuffer for writing, write-combining by the PAT, for ever. Returns NULL where that is impossible. */
void *map_framebuffer(uint64_t phys, uint64_t size);
/* Map firmware tables read-only, for ever. Returns NULL where that is impossible. */
const void *map_firmware(uint64_t phys, uint64_t size);
/* Map `size` bytes of fresh zeroed pool pages as a stack with an unmapped page below. Returns its top, or 0. */
uint64_t map_stack(uint64_t size);

/* Run in the address space whose page tables begin at `root`. */
void address_space_load(uint64_t root);

/* Check that no leaf of `table` is both writable and executable. Returns the number of leaves that are. */
unsigned memory_count_wx(const struct page_table *table);

#endif

/* Lamina's address spaces: one for itself, and one for each VM, which is Lamina's half and what belongs to that VM alone.
 *
 *   GUEST_WINDOW_BASE   the VM's RAM, at its guest-physical address           (that VM's address space only)
 *   VM_ARENA_BASE       the VM's control structures and tables: its arena     (that VM's address space only)
 *   MODULES_BASE        the files given to the VM, at their physical address  (that VM's address space only)
 *   the upper part      Lamina's image, pool, stacks, device registers        (shared; arch/ says where)
 */
#ifndef MM_ADDRESS_SPACE_H
#define MM_ADDRESS_SPACE_H

#include "lib/types.h"
#include "mm/frames.h"
#include "mm/page_table.h"
#include "mm/pool.h"

#define GUEST_WINDOW_BASE 0xffff800000000000UL
#define VM_ARENA_BASE 0xffffc00000000000UL
#define MODULES_BASE 0xffffc08000000000UL

/* The machine's free memory. Used by the boot processor only, while it builds VMs. */
extern struct frames frames;

/* Prepare a VM's address space, which has the shared part and nothing of the VM's yet. Returns 0 or ERR_NOMEM. */
int address_space_init(struct page_table *table);

#endif

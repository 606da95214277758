/* What a driver of the machine's devices needs besides the device: memory that both see, register mappings, interrupts.
 * arch/ implements it, unit tests fake it. Everything here lasts for ever and is mapped in every address space. */
#ifndef DRIVERS_HOST_H
#define DRIVERS_HOST_H

#include "lib/time.h"
#include "lib/types.h"

/* Map device registers uncached. Returns NULL where that is impossible. */
volatile void *host_map_registers(uint64_t phys, uint64_t size);

/* Zeroed memory that a device may reach by DMA, contiguous and below 4 GiB; `pages` of 4 KiB. The boot processor only, before guests
 * run. Returns NULL where there is none. */
void *host_dma_alloc(unsigned pages, uint64_t *phys);

/* An interrupt vector whose interrupts call `handle`, on any core, in any VM's address space. Returns it, or ERR_NOMEM. */
int host_interrupt(void (*handle)(void *ctx), void *ctx);

/* What a device must write where, so that `core` gets `vector` (SDM vol. 3, "Message Signalled Interrupts"). Returns 0, or ERR_RANGE
 * where a message cannot name the core. */
int host_message(uint8_t vector, unsigned core, uint64_t *address, uint32_t *data);

/* Route an ISA interrupt line to the boot processor as `vector`. Returns 0 or ERR_NOENT (no I/O APIC has it). */
int host_route_isa(uint8_t irq, uint8_t vector);

/* In a waiting loop. */
static inline void host_relax(void)
{
	__builtin_ia32_pause();
}

#endif

/* The I/O APIC (82093AA with the EOI register of version 0x20): 24 pins at 0xfec00000. */
#ifndef VMM_DEVICES_IOAPIC_H
#define VMM_DEVICES_IOAPIC_H

#include "lib/spinlock.h"
#include "lib/types.h"
#include "lib/x86/apic.h"
#include "vmm/io/io_space.h"

#define IOAPIC_PINS 24

struct vm;

struct ioapic {
	struct vm *vm;
	struct spinlock *irq_lock;
	uint8_t select;       /* IOREGSEL */
	uint8_t id;
	uint32_t lines;       /* pins asserted now */
	uint32_t remote_irr;  /* pins whose level interrupt awaits its EOI */
	uint64_t redirection[IOAPIC_PINS]; /* without the read-only bits */
};

/* Claim the page at IOAPIC_BASE and bring the power-on state: all pins masked, ID 0. `irq_lock` is the VM's interrupt lock.
 * (Intel 82093AA data sheet, section 3; EOI register: ICH data sheets, "I/O APIC Registers".) Returns 0 or
 * io_space_add's error. */
int ioapic_init(struct ioapic *ioapic, struct vm *vm, struct io_space *mmio, struct spinlock *irq_lock);

/* Back to power-on. Takes the interrupt lock. */
void ioapic_reset(struct ioapic *ioapic);

/* Assert (true) or release pin 0..23. The polarity bit is kept but not applied: a pin knows whether its source asserts it, which
 * is what the board's inverters and a correct polarity bit amount to. Interrupt lock held. */
void ioapic_set_irq(struct ioapic *ioapic, unsigned pin, bool level);

/* A local APIC's EOI of a level-triggered `vector`: pins still asserted send again. Interrupt lock held. */
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);

#endif

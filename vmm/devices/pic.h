/* The pair of 8259A interrupt controllers, cascaded on the master's input 2, with the edge/level registers that PCI chip sets added. */
#ifndef VMM_DEVICES_PIC_H
#define VMM_DEVICES_PIC_H

#include "lib/spinlock.h"
#include "lib/types.h"
#include "vmm/io/io_space.h"

struct vm;

/* One 8259A; the fields bear the data sheet's names where it has one. */
struct i8259 {
	uint8_t irr;
	uint8_t isr;
	uint8_t imr;
	uint8_t lines;      /* inputs as they are driven now */
	uint8_t elcr;       /* 1: this input is level-triggered */
	uint8_t elcr_mask;  /* the bits of elcr that exist */
	uint8_t vector;     /* ICW2: vector of input 0 */
	uint8_t lowest;     /* the input with the lowest priority; 7 unless rotated */
	uint8_t next_icw;   /* 2..4 while the initialization sequence runs, else 0 */
	bool is_master;
	bool single;        /* ICW1 SNGL: no ICW3 follows */
	bool wants_icw4;    /* ICW1 IC4 */
	bool auto_eoi;
	bool rotate_aeoi;
	bool special_nested;
	bool special_mask;
	bool poll;          /* the next read is a poll */
	bool read_isr;      /* OCW3: port 0 reads ISR, not IRR */
};

struct pic {
	struct vm *vm;
	struct spinlock *irq_lock;
	bool output;        /* the master's INTR */
	struct i8259 master;
	struct i8259 slave;
};

/* Claim ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0 and 0x4d1 and bring the power-on state: nothing requested, everything masked.
 * `irq_lock` is the VM's interrupt lock. (Intel 8259A data sheet; ELCR: 82371AB (PIIX4) data sheet, section 4.2.5.) Returns 0 or
 * io_space_add's error. */
int pic_init(struct pic *pic, struct vm *vm, struct io_space *pio, struct spinlock *irq_lock);

/* Back to power-on. Takes the interrupt lock. */
void pic_reset(struct pic *pic);

/* Drive input `irq` (0..15; 2 is the cascade and ignored). An edge counts while its line stays high.
 * Interrupt lock held. */
void pic_set_irq(struct pic *pic, unsigned irq, bool level);

/* What the CPU's INTA cycles do: returns the vector, which is the spurious one (input 7) where no request is left.
 * Interrupt lock held. */
int pic_acknowledge(struct pic *pic);

#endif

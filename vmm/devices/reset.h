/* The ports by which a PC is reset: 0xcf9, the keyboard controller (8042, no keyboard attached) and port 0x92; also POST's port 0x80. */
#ifndef VMM_DEVICES_RESET_H
#define VMM_DEVICES_RESET_H

#include "lib/spinlock.h"
#include "lib/types.h"
#include "vmm/io/io_space.h"

struct vm;

struct reset_ports {
	struct vm *vm;
	struct spinlock lock;
	uint8_t cf9;         /* reset control register, the bits that stay */
	uint8_t command;     /* the controller command whose data byte comes next on port 0x60; 0: bytes go to the keyboard */
	uint8_t mode;        /* the 8042's command byte */
	uint8_t status;      /* port 0x64 */
	uint8_t output;      /* the output buffer, which keeps its last byte */
	uint8_t ram[31];     /* the 8042's RAM behind the command byte, addresses 0x21 to 0x3f */
	bool keyboard_irq;   /* IRQ 1 */
	bool aux_irq;        /* IRQ 12 */
};

/* Claim ports 0x60, 0x64, 0x80 and 0x92 and bring the power-on state. (IBM PS/2 Technical Reference, "Keyboard and Auxiliary
 * Device Controller" and "System Control Port A".) Returns 0 or io_space_add's error. */
int reset_ports_init(struct reset_ports *ports, struct vm *vm, struct io_space *pio);

/* Back to power-on, IRQs 1 and 12 low. */
void reset_ports_reset(struct reset_ports *ports);

/* The reset control register at port 0xcf9, which lies inside PCI's configuration address register: hooks for struct pci, with the
 * struct reset_ports as context. Writing bit 2 (RST_CPU) asks for a reset of the VM. (82371AB (PIIX4) data sheet, "Reset
 * Control Register".) */
uint8_t reset_cf9_read(void *ctx);
void reset_cf9_write(void *ctx, uint8_t value);

#endif

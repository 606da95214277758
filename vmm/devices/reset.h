/* The reset ports of a PC's board: the reset control register at 0xcf9 and system control port A at 0x92; and port 0x80 beside them, which
 * takes the codes of a power-on self test. (The keyboard controller, which can reset a PC as well, is i8042.h.) */
#ifndef VMM_DEVICES_RESET_H
#define VMM_DEVICES_RESET_H

#include "lib/types.h"
#include "vmm/io/io_space.h"

struct vm;

struct reset_ports {
	struct vm *vm;
	uint8_t cf9; /* the reset control register's bits that stay */
};

/* Claim ports 0x80 and 0x92 and bring the power-on state. (IBM PS/2 Technical Reference, "System Control Port A".) Returns 0 or
 * io_space_add's error. */
int reset_ports_init(struct reset_ports *ports, struct vm *vm, struct io_space *pio);

/* Back to power-on. */
void reset_ports_reset(struct reset_ports *ports);

/* The reset control register at port 0xcf9, which lies inside PCI's configuration address register: hooks for struct pci, with the
 * struct reset_ports as context. Writing bit 2 (RST_CPU) asks for a reset of the VM. (82371AB (PIIX4) data sheet, "Reset
 * Control Register".) */
uint8_t reset_cf9_read(void *ctx);
void reset_cf9_write(void *ctx, uint8_t value);

#endif

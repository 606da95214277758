/* The keyboard controller of a PC, an 8042, as far as systems probe it and are reset by it: its commands, with neither a keyboard nor a
 * mouse behind it. (IBM PS/2 Technical Reference, "Keyboard and Auxiliary Device Controller".) */
#ifndef VMM_DEVICES_I8042_H
#define VMM_DEVICES_I8042_H

#include "lib/spinlock.h"
#include "lib/types.h"
#include "vmm/io/io_space.h"

struct vm;

struct i8042 {
	struct vm *vm;
	struct spinlock lock;
	uint8_t awaiting_data;  /* the command whose data byte comes next on port 0x60; 0: bytes there are for the keyboard */
	uint8_t command_byte;
	uint8_t status;         /* port 0x64 */
	uint8_t output_buffer;  /* port 0x60; it keeps its last byte */
	uint8_t ram[31];        /* behind the command byte, addresses 0x21 to 0x3f */
	bool keyboard_irq;      /* level of IRQ 1 */
	bool aux_irq;           /* level of IRQ 12 */
};

/* Claim ports 0x60 and 0x64 and bring the power-on state. Returns 0 or io_space_add's error. */
int i8042_init(struct i8042 *kbc, struct vm *vm, struct io_space *pio);

/* Back to power-on, IRQs 1 and 12 low. */
void i8042_reset(struct i8042 *kbc);

#endif

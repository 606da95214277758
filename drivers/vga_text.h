/* The 80 by 25 text screen at 0xb8000. */
#ifndef DRIVERS_VGA_TEXT_H
#define DRIVERS_VGA_TEXT_H

#include "lib/types.h"

#define VGA_TEXT_PHYS 0xb8000
#define VGA_TEXT_SIZE (80UL * 25 * 2)

struct vga_text {
	volatile uint64_t *cells; /* NULL: no text screen */
	unsigned row, column;
};

/* Clear the screen mapped at `memory`, the first time; later it goes on at its new place. */
void vga_text_init(struct vga_text *vga, volatile void *memory);
void vga_text_put(struct vga_text *vga, uint8_t byte);

#endif

/* The 80 by 25 text screen at 0xb8000, for machines whose loader gave no framebuffer. */
#ifndef DRIVERS_CONSOLE_VGA_TEXT_H
#define DRIVERS_CONSOLE_VGA_TEXT_H

#include "lib/types.h"
#include "lib/x86/pc.h"

#define VGA_TEXT_COLUMNS 80
#define VGA_TEXT_ROWS 25
#define VGA_TEXT_SIZE (2UL * VGA_TEXT_COLUMNS * VGA_TEXT_ROWS)

/* Switch the hardware's own cursor off (CRT controller, register 0x0a bit 5). */
void vga_text_init(void);
/* A terminal_draw_fn (drivers/console/terminal.h), whose ctx is the mapped screen. */
void vga_text_draw(void *ctx, unsigned column, unsigned row, uint16_t cell);

#endif

/* A linear framebuffer as a screen of characters: 15, 16, 24 or 32 bits a pixel, whose colours are where the masks say. */
#ifndef DRIVERS_CONSOLE_FRAMEBUFFER_H
#define DRIVERS_CONSOLE_FRAMEBUFFER_H

#include "lib/types.h"

struct framebuffer_format {
	uint32_t pitch;         /* bytes from one line to the next */
	uint32_t width, height; /* pixels */
	uint8_t bpp;
	uint8_t red_position, red_size; /* bits in a pixel */
	uint8_t green_position, green_size;
	uint8_t blue_position, blue_size;
};

struct framebuffer {
	uint8_t *memory;
	uint32_t pitch;
	unsigned bytes;         /* of a pixel */
	unsigned scale;         /* each of the font's pixels is this many wide and high */
	unsigned columns, rows; /* characters */
	uint32_t colour[16];    /* VGA's, as pixels */
};

/* Prepare to draw in `memory`, which holds format->pitch * format->height bytes. Glyphs are magnified until a line has at most
 * TERMINAL_COLUMNS_MAX of them, as on a screen with small pixels. Returns NULL, or why it cannot be used (a literal). */
const char *framebuffer_init(struct framebuffer *fb, void *memory, const struct framebuffer_format *format);
/* A terminal_draw_fn (drivers/console/terminal.h), whose ctx is the struct framebuffer. */
void framebuffer_draw(void *ctx, unsigned column, unsigned row, uint16_t cell);

#endif

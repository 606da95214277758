/* The framebuffer console's font, made at build time by tools/font.py: ASCII from the space on, and a replacement character at 0x7f. */
#ifndef DRIVERS_CONSOLE_FONT_H
#define DRIVERS_CONSOLE_FONT_H

#include "lib/types.h"

#define FONT_WIDTH 8
#define FONT_HEIGHT 16
#define FONT_FIRST 0x20
#define FONT_REPLACEMENT 0x7f
#define FONT_GLYPHS (FONT_REPLACEMENT - FONT_FIRST + 1)

/* A byte a line; the leftmost pixel is its highest bit. */
extern const uint8_t font_glyphs[FONT_GLYPHS][FONT_HEIGHT];

#endif

/* Characters are drawn as rows of pixels in memory, written in whole words and in order, as write combining likes it. */
#include "drivers/console/framebuffer.h"

#include "drivers/console/font.h"
#include "drivers/console/terminal.h"
#include "lib/string.h"

#define PIXEL_MAX 4
#define SCALE_MAX 8
#define COLUMNS_MIN 40
#define ROWS_MIN 10

/* VGA's palette of text mode: blue is bit 0, green bit 1, red bit 2, bright bit 3; dark yellow is brown. */
static const uint8_t palette[16][3] = {
	{ 0x00, 0x00, 0x00 }, { 0x00, 0x00, 0xaa }, { 0x00, 0xaa, 0x00 }, { 0x00, 0xaa, 0xaa },
	{ 0xaa, 0x00, 0x00 }, { 0xaa, 0x00, 0xaa }, { 0xaa, 0x55, 0x00 }, { 0xaa, 0xaa, 0xaa },
	{ 0x55, 0x55, 0x55 }, { 0x55, 0x55, 0xff }, { 0x55, 0xff, 0x55 }, { 0x55, 0xff, 0xff },
	{ 0xff, 0x55, 0x55 }, { 0xff, 0x55, 0xff }, { 0xff, 0xff, 0x55 }, { 0xff, 0xff, 0xff },
};

static uint32_t component(uint8_t value, uint8_t position, uint8_t size)
{
	uint32_t bits = size < 8 ? (uint32_t)value >> (8 - size) : (uint32_t)value << (size - 8);

	return bits << position;
}

static bool fits(uint8_t position, uint8_t size, uint8_t bpp)
{
	return size && size <= 16 && position + size <= bpp;
}

const char *framebuffer_init(struct framebuffer *fb, void *memory, const struct framebuffer_format *format)
{
	unsigned scale = 1;

	memset(fb, 0, sizeof(*fb));
	if (format->bpp != 15 && format->bpp != 16 && format->bpp != 24 && format->bpp != 32)
		return "only 15, 16, 24 and 32 bits a pixel are known";
	if (!fits(format->red_position, format->red_size, format->bpp) || !fits(format->green_position, format->green_size, format->bpp) ||
	    !fits(format->blue_position, format->blue_size, format->bpp))
		return "a colour lies outside the pixel";
	fb->bytes = (format->bpp + 7U) / 8;
	if (format->width > format->pitch / fb->bytes)
		return "a line is longer than its pitch";
	while (scale < SCALE_MAX && format->width / (FONT_WIDTH * scale) > TERMINAL_COLUMNS_MAX)
		scale++;
	fb->columns = MIN(format->width / (FONT_WIDTH * scale), (uint32_t)TERMINAL_COLUMNS_MAX);
	fb->rows = MIN(format->height / (FONT_HEIGHT * scale), (uint32_t)TERMINAL_ROWS_MAX);
	if (fb->columns < COLUMNS_MIN || fb->rows < ROWS_MIN)
		return "it is too small for text";
	fb->memory = memory;
	fb->pitch = format->pitch;
	fb->scale = scale;
	for (unsigned i = 0; i < ARRAY_SIZE(palette); i++)
		fb->colour[i] = component(palette[i][0], format->red_position, format->red_size) |
				component(palette[i][1], format->green_position, format->green_size) |
				component(palette[i][2], format->blue_position, format->blue_size);
	return NULL;
}

void framebuffer_draw(void *ctx, unsigned column, unsigned row, uint16_t cell)
{
	const struct framebuffer *fb = ctx;
	uint8_t line[FONT_WIDTH * SCALE_MAX * PIXEL_MAX];
	unsigned size = FONT_WIDTH * fb->scale * fb->bytes, character = cell & 0xff;
	uint32_t front = fb->colour[cell >> 8 & 15], back = fb->colour[cell >> 12];
	uint8_t *to = fb->memory + (size_t)row * FONT_HEIGHT * fb->scale * fb->pitch + (size_t)column * size;
	const uint8_t *glyph;

	if (character < FONT_FIRST || character > FONT_REPLACEMENT)
		character = FONT_REPLACEMENT;
	glyph = font_glyphs[character - FONT_FIRST];
	for (unsigned y = 0; y < FONT_HEIGHT; y++) {
		uint8_t *pixel = line;

		for (unsigned x = 0; x < FONT_WIDTH; x++) {
			uint32_t colour = glyph[y] << x & 0x80 ? front : back;

			for (unsigned n = 0; n < fb->scale; n++, pixel += fb->bytes)
				for (unsigned i = 0; i < fb->bytes; i++)
					pixel[i] = (uint8_t)(colour >> 8 * i);
		}
		/* In whole words, in order: what write combining likes. 8 pixels are a multiple of 8 bytes in every format. */
		for (unsigned n = 0; n < fb->scale; n++, to += fb->pitch)
			for (unsigned i = 0; i < size; i += 8)
				__builtin_memcpy(to + i, line + i, 8);
	}
}

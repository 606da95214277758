/* Cells are copied to the text screen's memory nearly as they are: the terminal uses VGA's own attributes. */
#include "drivers/console/vga_text.h"

#include "drivers/console/terminal.h"
#include "drivers/port_io.h"

#define CRTC_INDEX 0x3d4
#define CRTC_DATA 0x3d5
#define CURSOR_START 0x0a
#define CURSOR_OFF 0x20
#define BLINK 0x8000 /* what a bright background means to the hardware */
#define SQUARE 0xfe  /* in its character set */

void vga_text_init(void)
{
	port_write8(CRTC_INDEX, CURSOR_START);
	port_write8(CRTC_DATA, CURSOR_OFF);
}

void vga_text_draw(void *ctx, unsigned column, unsigned row, uint16_t cell)
{
	if ((cell & 0xff) == TERMINAL_OTHER)
		cell = (uint16_t)((cell & 0xff00) | SQUARE);
	((volatile uint16_t *)ctx)[row * VGA_TEXT_COLUMNS + column] = (uint16_t)(cell & ~BLINK);
}

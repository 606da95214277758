#include "drivers/vga_text.h"

#define COLUMNS 80
#define ROWS 25
#define ROW_WORDS (COLUMNS * 2 / 8)
#define BLANKS 0x0720072007200720ULL /* four spaces, grey on black */

static void clear_row(struct vga_text *vga, unsigned row)
{
	for (unsigned i = 0; i < ROW_WORDS; i++)
		vga->cells[row * ROW_WORDS + i] = BLANKS;
}

void vga_text_init(struct vga_text *vga, volatile void *memory)
{
	bool again = vga->cells;

	vga->cells = memory;
	if (again)
		return;
	vga->row = vga->column = 0;
	for (unsigned row = 0; row < ROWS; row++)
		clear_row(vga, row);
}

static void new_line(struct vga_text *vga)
{
	vga->column = 0;
	if (++vga->row < ROWS)
		return;
	vga->row = ROWS - 1;
	for (unsigned i = 0; i < ROW_WORDS * (ROWS - 1); i++)
		vga->cells[i] = vga->cells[i + ROW_WORDS];
	clear_row(vga, ROWS - 1);
}

void vga_text_put(struct vga_text *vga, uint8_t byte)
{
	if (!vga->cells)
		return;
	if (byte == '\n') {
		new_line(vga);
	} else if (byte == '\r') {
		vga->column = 0;
	} else {
		if (vga->column == COLUMNS)
			new_line(vga);
		((volatile uint16_t *)vga->cells)[vga->row * COLUMNS + vga->column++] = (uint16_t)(0x0700 | byte);
	}
}

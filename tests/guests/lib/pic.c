#include "tests/guests/lib/pic.h"

#include "tests/guests/lib/cpu.h"

void pic_init(void)
{
	outb(PIC1, 0x11);
	outb(PIC2, 0x11);
	outb(PIC1 + 1, PIC_VECTOR);
	outb(PIC2 + 1, PIC_VECTOR + 8);
	outb(PIC1 + 1, 4);
	outb(PIC2 + 1, 2);
	outb(PIC1 + 1, 1);
	outb(PIC2 + 1, 1);
	outb(PIC1 + 1, 0xff);
	outb(PIC2 + 1, 0xff);
}

void pic_mask(unsigned irq)
{
	uint16_t port = irq < 8 ? PIC1 + 1 : PIC2 + 1;

	outb(port, (uint8_t)(inb(port) | 1 << (irq & 7)));
}

void pic_unmask(unsigned irq)
{
	uint16_t port = irq < 8 ? PIC1 + 1 : PIC2 + 1;

	outb(port, (uint8_t)(inb(port) & ~(1 << (irq & 7))));
	if (irq >= 8)
		outb(PIC1 + 1, inb(PIC1 + 1) & (uint8_t)~4);
}

void pic_eoi(unsigned irq)
{
	if (irq >= 8) {
		outb(PIC2, (uint8_t)(0x60 | (irq & 7)));
		irq = 2;
	}
	outb(PIC1, (uint8_t)(0x60 | irq));
}

static uint16_t pic_read(uint8_t ocw3)
{
	outb(PIC1, ocw3);
	outb(PIC2, ocw3);
	return (uint16_t)(inb(PIC1) | inb(PIC2) << 8);
}

uint16_t pic_irr(void)
{
	return pic_read(0x0a);
}

uint16_t pic_isr(void)
{
	return pic_read(0x0b);
}

void pit_set(unsigned channel, unsigned mode, uint32_t count)
{
	outb(PIT_CONTROL, (uint8_t)(channel << 6 | 0x30 | mode << 1));
	outb((uint16_t)(PIT_CHANNEL0 + channel), (uint8_t)count);
	outb((uint16_t)(PIT_CHANNEL0 + channel), (uint8_t)(count >> 8));
}

uint16_t pit_read(unsigned channel)
{
	uint16_t port = (uint16_t)(PIT_CHANNEL0 + channel), low;

	outb(PIT_CONTROL, (uint8_t)(channel << 6));
	low = inb(port);
	return (uint16_t)(low | inb(port) << 8);
}

/* The two 8259A interrupt controllers (Intel 8259A data sheet) at vectors 0x20 to 0x2f, and the 8254 timer. */
#ifndef TESTS_GUESTS_LIB_PIC_H
#define TESTS_GUESTS_LIB_PIC_H

#include "lib/types.h"

enum {
	PIC1 = 0x20,
	PIC2 = 0xa0,
	PIC_VECTOR = 0x20,
	PIT_CHANNEL0 = 0x40,
	PIT_CHANNEL2 = 0x42,
	PIT_CONTROL = 0x43,
	PORT_61 = 0x61,
	PIT_HZ = 1193182,
};

/* Initialize both, everything masked. */
void pic_init(void);
void pic_mask(unsigned irq);
void pic_unmask(unsigned irq);
/* Specific EOI (both controllers for IRQ 8 to 15). */
void pic_eoi(unsigned irq);
/* IRR or ISR of both, the slave's in bits 8 to 15. */
uint16_t pic_irr(void);
uint16_t pic_isr(void);

/* Program channel 0 or 2 with a mode (0 to 5) and a count (1 to 65536). */
void pit_set(unsigned channel, unsigned mode, uint32_t count);
/* Latch and read a channel's count. */
uint16_t pit_read(unsigned channel);

#endif

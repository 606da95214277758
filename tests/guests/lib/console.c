#include "tests/guests/lib/console.h"

#include "lib/printf.h"
#include "tests/guests/lib/cpu.h"

void console_init(void)
{
	outb(UART_IER, 0);
	outb(UART_LCR, 0x80);
	outb(UART_DATA, 1); /* 115200 baud */
	outb(UART_IER, 0);
	outb(UART_LCR, 3);
	outb(UART_FCR, 7);
	outb(UART_MCR, 3);
}

static void wait_for(uint8_t bits)
{
	for (unsigned i = 0; i < 1000000 && (inb(UART_LSR) & bits) != bits; i++)
		cpu_pause();
}

static void put(char c)
{
	wait_for(0x20);
	outb(UART_DATA, (uint8_t)c);
}

void say(const char *fmt, ...)
{
	char text[401];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (const char *p = text; *p; p++) {
		if (*p == '\n')
			put('\r');
		put(*p);
	}
}

void console_drain(void)
{
	wait_for(0x60);
}

#include "drivers/console.h"

#include "drivers/serial.h"
#include "drivers/vga_text.h"
#include "lib/spinlock.h"

#define QUEUE_SIZE 16384 /* a power of two */
#define DRAIN_SPINS 100000000
#define ROUNDS_MAX 64 /* of one interrupt: a UART gone mad must not hold the core */
#define LOG_RESERVE 4096 /* of it, what guests may not fill */

static struct {
	struct spinlock lock;
	struct serial serial;
	struct vga_text screen;
	bool by_interrupt;
	bool sending;      /* the transmit interrupt is on: it will come and pump */
	bool line_open;    /* a guest's last byte was no newline */
	uint32_t head, tail; /* free running; head - tail bytes are queued */
	uint8_t queue[QUEUE_SIZE];
} console;

static uint32_t queued(void)
{
	return console.head - console.tail;
}

/* Fill the UART's empty FIFO from the queue. */
static void pump(void)
{
	if (!serial_can_send(&console.serial))
		return;
	for (unsigned n = 0; n < SERIAL_FIFO && queued(); n++)
		serial_send(&console.serial, console.queue[console.tail++ % QUEUE_SIZE]);
}

static void start_sending(void)
{
	if (console.sending)
		return;
	pump();
	if (console.by_interrupt && queued()) {
		console.sending = true;
		serial_interrupts(&console.serial, true);
	}
}

static void drain(void)
{
	/* Bounded: a UART that stops sending must not hang Lamina. */
	for (uint64_t spins = 0; (queued() || !serial_idle(&console.serial)) && spins < DRAIN_SPINS; spins++)
		pump();
}

static void enqueue(uint8_t byte)
{
	if (!console.serial.port)
		return;
	if (queued() == QUEUE_SIZE)
		drain();
	if (queued() == QUEUE_SIZE)
		console.tail++; /* dead UART: the oldest byte goes */
	console.queue[console.head++ % QUEUE_SIZE] = byte;
}

void console_init(uint16_t port)
{
	if (port)
		serial_init(&console.serial, port);
}

void console_add_screen(volatile void *memory)
{
	vga_text_init(&console.screen, memory);
}

bool console_has_serial(void)
{
	return console.serial.port;
}

void console_interrupts_on(void)
{
	spin_lock(&console.lock);
	console.by_interrupt = true;
	console.sending = false;
	serial_interrupts(&console.serial, false);
	start_sending();
	spin_unlock(&console.lock);
}

bool console_put_guest(uint8_t byte)
{
	bool room;

	spin_lock(&console.lock);
	if (queued() >= QUEUE_SIZE - LOG_RESERVE)
		pump();
	room = queued() < QUEUE_SIZE - LOG_RESERVE;
	if (room) {
		console.line_open = byte != '\n';
		enqueue(byte);
		start_sending();
	}
	spin_unlock(&console.lock);
	return room;
}

static void put_both(uint8_t byte)
{
	enqueue(byte);
	vga_text_put(&console.screen, byte);
}

void console_put_log(const char *text)
{
	spin_lock(&console.lock);
	if (console.line_open) {
		enqueue('\r');
		enqueue('\n');
		console.line_open = false;
	}
	for (; *text; text++) {
		if (*text == '\n')
			put_both('\r');
		put_both((uint8_t)*text);
	}
	if (console.serial.port)
		start_sending();
	spin_unlock(&console.lock);
}

void console_interrupt(void (*input)(uint8_t byte))
{
	uint8_t byte;

	spin_lock(&console.lock);
	/* The line is edge-triggered: it comes again only after the UART has had nothing to say. */
	for (unsigned round = 0; round < ROUNDS_MAX && serial_interrupt_pending(&console.serial); round++) {
		for (unsigned n = 0; n < SERIAL_FIFO && serial_receive(&console.serial, &byte); n++)
			input(byte);
		pump();
	}
	if (console.sending && !queued()) {
		console.sending = false;
		serial_interrupts(&console.serial, false);
	}
	spin_unlock(&console.lock);
}

void console_flush(void)
{
	spin_lock(&console.lock);
	if (console.serial.port)
		drain();
	spin_unlock(&console.lock);
}

void console_seize(void)
{
	__atomic_store_n(&console.lock.held, 0, __ATOMIC_RELEASE);
	console.by_interrupt = false;
	console.sending = false;
}

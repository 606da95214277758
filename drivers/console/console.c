/* The console's queue of bytes for the serial port, in which a part is kept for the log, and the times at which the screen is drawn and a
 * port without an interrupt is polled. */
#include "drivers/console/console.h"

#include "lib/spinlock.h"

#define QUEUE_SIZE 16384 /* a power of two */
#define DRAIN_SPINS 4000000 /* reads of a UART that takes no byte: seconds on a real one, where a read takes a microsecond */
#define ROUNDS_MAX 64 /* of one interrupt: a UART gone mad must not hold the core */
#define LOG_RESERVE 4096 /* bytes of the queue that guests may not fill */

#define SCREEN_HZ 20     /* how often a second the guests' output is drawn */
#define PIECE_HZ 1000    /* how often a second the next piece is drawn while there is more */
#define PIECE 256        /* cells */
#define POLL_HZ 1000     /* 16 bytes, a FIFO, take 1.4 ms at 115200 baud */

static struct {
	struct spinlock lock;
	struct serial serial;
	struct terminal screen; /* draw is NULL: there is none */
	bool by_interrupt, by_polling;
	bool sending;      /* the transmit interrupt is on: it will come and pump */
	bool line_open;    /* a guest's last byte was no newline */
	uint64_t rate;     /* ticks a second */
	uint32_t head, tail; /* free running; head - tail bytes are queued */
	uint8_t queue[QUEUE_SIZE];
} console;

static uint64_t poll_due = UINT64_MAX, screen_due = UINT64_MAX;

uint64_t console_due[2] = { UINT64_MAX, UINT64_MAX };

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
	if (console.sending || !console.serial.present)
		return;
	pump();
	if (console.by_interrupt && queued()) {
		console.sending = true;
		serial_interrupts(&console.serial, true);
	}
}

static void show(uint8_t byte)
{
	if (console.screen.draw)
		terminal_put(&console.screen, byte);
}

/* Bounded: a UART that stops sending must not hang Lamina, and is given up. */
static void drain(void)
{
	uint32_t before = queued();

	for (unsigned spins = 0; queued() || !serial_idle(&console.serial); spins++) {
		pump();
		if (queued() != before) {
			before = queued();
			spins = 0;
		} else if (spins == DRAIN_SPINS) {
			console.serial.present = console.by_interrupt = console.by_polling = console.sending = false;
			for (const char *p = "\r\nlamina: serial: the port takes no more bytes: given up\r\n"; *p; p++)
				show((uint8_t)*p);
			return;
		}
	}
}

/* Without a serial port the queue keeps the latest output, for a port that may still be found. */
static void enqueue(uint8_t byte)
{
	if (queued() == QUEUE_SIZE && console.serial.present)
		drain();
	if (queued() == QUEUE_SIZE)
		console.tail++; /* dead UART: the oldest byte goes */
	console.queue[console.head++ % QUEUE_SIZE] = byte;
}

static uint32_t history(void)
{
	return console.head > QUEUE_SIZE ? console.head - QUEUE_SIZE : 0;
}

static void draw_all(void)
{
	screen_due = UINT64_MAX;
	while (console.screen.draw && terminal_refresh(&console.screen, PIECE))
		;
}

static void publish_due(void)
{
	__atomic_store_n(&console_due[0], MIN(poll_due, screen_due), __ATOMIC_RELAXED);
	__atomic_store_n(&console_due[1], screen_due, __ATOMIC_RELAXED);
}

void console_set_rate(uint64_t ticks_per_second)
{
	console.rate = ticks_per_second;
}

void console_use_serial(const struct serial *serial)
{
	spin_lock(&console.lock);
	if (console.serial.present)
		drain();
	console.serial = serial ? *serial : (struct serial){ .present = false };
	console.by_interrupt = console.by_polling = console.sending = false;
	console.tail = history();
	start_sending();
	spin_unlock(&console.lock);
}

void console_use_screen(terminal_draw_fn *draw, void *ctx, void *memory, unsigned columns, unsigned rows)
{
	spin_lock(&console.lock);
	console.screen.draw = NULL;
	if (draw) {
		terminal_init(&console.screen, memory, columns, rows, draw, ctx);
		for (uint32_t at = history(); at != console.head; at++)
			show(console.queue[at % QUEUE_SIZE]);
		draw_all();
	}
	spin_unlock(&console.lock);
}

bool console_has_serial(void)
{
	return console.serial.present;
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

void console_poll_on(void)
{
	spin_lock(&console.lock);
	console.by_polling = true;
	poll_due = 1; /* at once; 0 would switch a TSC-deadline timer off */
	publish_due();
	spin_unlock(&console.lock);
}

/* A guest's byte is on the screen's terminal: set a time at which the screen is drawn, if none is set. */
static void schedule_draw(uint64_t now)
{
	if (!console.screen.draw || screen_due != UINT64_MAX)
		return;
	screen_due = now + console.rate / SCREEN_HZ;
	publish_due();
}

bool console_put_guest(uint8_t byte, uint64_t now)
{
	bool room = true;

	spin_lock(&console.lock);
	if (console.serial.present) {
		if (queued() >= QUEUE_SIZE - LOG_RESERVE)
			pump();
		room = queued() < QUEUE_SIZE - LOG_RESERVE;
	}
	if (room) {
		console.line_open = byte != '\n';
		enqueue(byte);
		start_sending();
		show(byte);
		schedule_draw(now);
	}
	spin_unlock(&console.lock);
	return room;
}

static void put_both(uint8_t byte)
{
	enqueue(byte);
	show(byte);
}

void console_put_log(const char *text)
{
	spin_lock(&console.lock);
	if (console.line_open) {
		put_both('\r');
		put_both('\n');
		console.line_open = false;
	}
	for (; *text; text++) {
		if (*text == '\n')
			put_both('\r');
		put_both((uint8_t)*text);
	}
	start_sending();
	draw_all();
	publish_due();
	spin_unlock(&console.lock);
}

static void receive(void (*input)(uint8_t byte))
{
	uint8_t byte;

	for (unsigned n = 0; n < SERIAL_FIFO && serial_receive(&console.serial, &byte); n++)
		input(byte);
}

void console_interrupt(void (*input)(uint8_t byte))
{
	spin_lock(&console.lock);
	/* The line is edge-triggered: it comes again only after the UART has had nothing to say. */
	for (unsigned round = 0; round < ROUNDS_MAX && serial_interrupt_pending(&console.serial); round++) {
		receive(input);
		pump();
	}
	if (console.sending && !queued()) {
		console.sending = false;
		serial_interrupts(&console.serial, false);
	}
	spin_unlock(&console.lock);
}

void console_service(uint64_t now, void (*input)(uint8_t byte))
{
	spin_lock(&console.lock);
	if (poll_due <= now && console.serial.present) {
		receive(input);
		pump();
		poll_due = now + console.rate / POLL_HZ;
	} else if (!console.serial.present) {
		poll_due = UINT64_MAX;
	}
	if (screen_due <= now)
		screen_due = console.screen.draw && terminal_refresh(&console.screen, PIECE) ? now + console.rate / PIECE_HZ : UINT64_MAX;
	publish_due();
	spin_unlock(&console.lock);
}

void console_flush(void)
{
	spin_lock(&console.lock);
	draw_all();
	if (console.serial.present)
		drain();
	spin_unlock(&console.lock);
}

void console_seize(void)
{
	__atomic_store_n(&console.lock.held, 0, __ATOMIC_RELEASE);
	console.by_interrupt = false;
	console.sending = false;
}

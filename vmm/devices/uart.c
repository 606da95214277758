/* The UART's registers, FIFOs and interrupts. Output that the console cannot take stays in the transmit FIFO, and a timer offers
 * it again. */
#include "vmm/devices/uart.h"

#include "lib/string.h"
#include "lib/uart.h"
#include "lib/x86/pc.h"

#define IER_WRITABLE 0x0f
#define MCR_WRITABLE 0x1f
#define POWER_ON_DIVISOR 12 /* 9600 baud */

static void fifo_clear(struct uart_fifo *fifo)
{
	fifo->head = 0;
	fifo->count = 0;
}

static void fifo_put(struct uart_fifo *fifo, uint8_t byte)
{
	fifo->byte[(fifo->head + fifo->count) % UART_FIFO_SIZE] = byte;
	fifo->count++;
}

static uint8_t fifo_take(struct uart_fifo *fifo)
{
	uint8_t byte = fifo->byte[fifo->head];

	fifo->head = (fifo->head + 1) % UART_FIFO_SIZE;
	fifo->count--;
	return byte;
}

/* How many bytes each direction holds: without FIFOs, one register. */
static unsigned depth(const struct uart *uart)
{
	return uart->fcr & FCR_ENABLE ? UART_FIFO_SIZE : 1;
}

/* ---- Interrupts ---- */

/* IIR's identification of the most urgent interrupt (PC16550D, table IV). */
static uint8_t identify(const struct uart *uart)
{
	if ((uart->ier & IER_LINE) && uart->lsr_errors)
		return IIR_LINE;
	if (uart->ier & IER_RX) {
		if (uart->rx.count >= uart->rx_trigger)
			return IIR_RX;
		if (uart->timeout_pending)
			return IIR_TIMEOUT;
	}
	if ((uart->ier & IER_THRE) && uart->thre_pending)
		return IIR_THRE;
	if ((uart->ier & IER_MODEM) && (uart->msr & MODEM_DELTAS))
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct uart *uart)
{
	/* In loopback the OUT2 pin, and with it the board's interrupt buffer, is off. */
	bool irq = (uart->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2 && identify(uart) != IIR_NONE;

	if (irq != uart->irq) {
		uart->irq = irq;
		vm_irq_set(uart->vm, uart->gsi, irq);
	}
}

/* Start the character time-out anew, or stop it where no byte waits below the trigger level: called when a byte came or went. */
static void restart_timeout(struct uart *uart)
{
	uint64_t deadline = TIME_NEVER;

	if ((uart->ier & IER_RX) && uart->rx.count && uart->rx.count < uart->rx_trigger && !uart->timeout_pending)
		deadline = time_now() + uart->timeout_per_divisor * MAX(uart->divisor, 1);
	if (deadline != uart->rx_deadline) {
		uart->rx_deadline = deadline;
		vtimer_set(&uart->rx_timer, deadline);
	}
}

static void rx_timeout(void *ctx)
{
	struct uart *uart = ctx;

	spin_lock(&uart->lock);
	if (uart->rx_deadline <= time_now()) {
		uart->rx_deadline = TIME_NEVER;
		uart->timeout_pending = true;
		update_irq(uart);
	}
	spin_unlock(&uart->lock);
}

/* ---- Receiver ---- */

bool uart_can_receive(const struct uart *uart)
{
	return uart->rx.count < depth(uart) && !(uart->mcr & MCR_LOOP);
}

/* A byte is in the shift register. */
static void rx_byte(struct uart *uart, uint8_t byte)
{
	if (uart->rx.count < depth(uart)) {
		fifo_put(&uart->rx, byte);
	} else {
		uart->lsr_errors |= LSR_OE;
		if (!(uart->fcr & FCR_ENABLE)) /* RBR is overwritten, a full FIFO is not */
			uart->rx.byte[uart->rx.head] = byte;
	}
	restart_timeout(uart);
	update_irq(uart);
}

bool uart_receive(struct uart *uart, uint8_t byte)
{
	bool taken;

	spin_lock(&uart->lock);
	taken = uart_can_receive(uart);
	if (taken)
		rx_byte(uart, byte);
	spin_unlock(&uart->lock);
	return taken;
}

static uint8_t read_rbr(struct uart *uart)
{
	uint8_t byte;

	if (!uart->rx.count)
		return 0;
	byte = fifo_take(&uart->rx);
	uart->timeout_pending = false;
	restart_timeout(uart);
	update_irq(uart);
	return byte;
}

/* ---- Transmitter ---- */

static void schedule_retry(struct uart *uart, uint64_t deadline)
{
	uart->tx_deadline = deadline;
	vtimer_set(&uart->tx_timer, deadline);
}

static void tx_empty(struct uart *uart)
{
	uart->thre_pending = true;
	if (uart->ier & IER_THRE)
		update_irq(uart);
}

static void tx_retry(void *ctx)
{
	struct uart *uart = ctx;
	uint64_t now;

	spin_lock(&uart->lock);
	now = time_now();
	if (uart->tx_deadline <= now) {
		while (uart->tx.count && vm_console_put(uart->vm, uart->tx.byte[uart->tx.head]))
			fifo_take(&uart->tx);
		schedule_retry(uart, uart->tx.count ? now + uart->retry_delay : TIME_NEVER);
		if (!uart->tx.count)
			tx_empty(uart);
	}
	spin_unlock(&uart->lock);
}

static void write_thr(struct uart *uart, uint8_t byte)
{
	if (uart->mcr & MCR_LOOP) {
		tx_empty(uart);
		rx_byte(uart, byte & (uint8_t)(0xff >> (3 - (uart->lcr & LCR_WORD))));
		return;
	}
	if (uart->tx.count == 0 && vm_console_put(uart->vm, byte)) {
		tx_empty(uart);
		return;
	}
	if (uart->thre_pending) {
		uart->thre_pending = false;
		update_irq(uart);
	}
	if (uart->tx.count == 0)
		schedule_retry(uart, time_now() + uart->retry_delay);
	if (uart->tx.count < depth(uart))
		fifo_put(&uart->tx, byte);
	else if (!(uart->fcr & FCR_ENABLE)) /* THR is overwritten, a full FIFO is not */
		uart->tx.byte[uart->tx.head] = byte;
}

/* ---- Registers ---- */

static uint8_t read_iir(struct uart *uart)
{
	uint8_t iir = identify(uart);

	if (iir == IIR_THRE) {
		uart->thre_pending = false;
		update_irq(uart);
	}
	return iir | (uart->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t read_lsr(struct uart *uart)
{
	uint8_t lsr = uart->lsr_errors | (uart->rx.count ? LSR_DR : 0) | (uart->tx.count ? 0 : LSR_THRE | LSR_TEMT);

	if (uart->lsr_errors) {
		uart->lsr_errors = 0;
		update_irq(uart);
	}
	return lsr;
}

static uint8_t read_msr(struct uart *uart)
{
	uint8_t msr = uart->msr;

	if (msr & MODEM_DELTAS) {
		uart->msr &= (uint8_t)~MODEM_DELTAS;
		update_irq(uart);
	}
	return msr;
}

static uint64_t uart_read(void *dev, uint64_t offset, unsigned size)
{
	struct uart *uart = dev;

	if (size != 1)
		return UINT64_MAX;
	switch (offset) {
	case UART_DATA:
		return uart->lcr & LCR_DLAB ? uart->divisor & 0xff : read_rbr(uart);
	case UART_IER:
		return uart->lcr & LCR_DLAB ? uart->divisor >> 8 : uart->ier;
	case UART_IIR:
		return read_iir(uart);
	case UART_LCR:
		return uart->lcr;
	case UART_MCR:
		return uart->mcr;
	case UART_LSR:
		return read_lsr(uart);
	case UART_MSR:
		return read_msr(uart);
	default:
		return uart->scr;
	}
}

static void write_ier(struct uart *uart, uint8_t value)
{
	uint8_t rising = value & (uint8_t)~uart->ier;

	uart->ier = value & IER_WRITABLE;
	/* Enabling it while THR is empty interrupts at once; drivers kick off their transmission so. */
	if ((rising & IER_THRE) && !uart->tx.count)
		uart->thre_pending = true;
	restart_timeout(uart);
	update_irq(uart);
}

static void write_fcr(struct uart *uart, uint8_t value)
{
	static const uint8_t trigger[] = { 1, 4, 8, 14 };
	bool toggled = (value ^ uart->fcr) & FCR_ENABLE;

	if (toggled || (value & (FCR_ENABLE | FCR_CLEAR_RX)) == (FCR_ENABLE | FCR_CLEAR_RX)) {
		fifo_clear(&uart->rx);
		uart->timeout_pending = false;
	}
	if ((toggled || (value & (FCR_ENABLE | FCR_CLEAR_TX)) == (FCR_ENABLE | FCR_CLEAR_TX)) && uart->tx.count) {
		fifo_clear(&uart->tx);
		schedule_retry(uart, TIME_NEVER);
		uart->thre_pending = true;
	}
	/* The other bits are only taken with FIFO enable set (PC16550D, section 8.5). */
	uart->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | 3U << FCR_TRIGGER_SHIFT) : 0;
	uart->rx_trigger = trigger[uart->fcr >> FCR_TRIGGER_SHIFT];
	restart_timeout(uart);
	update_irq(uart);
}

static void write_mcr(struct uart *uart, uint8_t value)
{
	uint8_t old = uart->msr;
	uint8_t inputs = MODEM_DCD | MODEM_DSR | MODEM_CTS; /* a terminal is always there */
	uint8_t changed;

	uart->mcr = value & MCR_WRITABLE;
	if (value & MCR_LOOP)
		inputs = (value & MCR_RTS ? MODEM_CTS : 0) | (value & MCR_DTR ? MODEM_DSR : 0) |
			 (value & MCR_OUT1 ? MODEM_RI : 0) | (value & MCR_OUT2 ? MODEM_DCD : 0);
	/* Each delta bit lies four below its input; the ring indicator's is set by a falling edge only. */
	changed = (uint8_t)((old ^ inputs) >> 4);
	if (inputs & MODEM_RI)
		changed &= (uint8_t)~MODEM_TERI;
	uart->msr = inputs | (old & MODEM_DELTAS) | changed;
	update_irq(uart);
}

static void uart_write(void *dev, uint64_t offset, unsigned size, uint64_t wide)
{
	struct uart *uart = dev;
	uint8_t value = (uint8_t)wide;

	if (size != 1)
		return;
	switch (offset) {
	case UART_DATA:
		if (uart->lcr & LCR_DLAB)
			uart->divisor = (uint16_t)((uart->divisor & 0xff00) | value);
		else
			write_thr(uart, value);
		break;
	case UART_IER:
		if (uart->lcr & LCR_DLAB)
			uart->divisor = (uint16_t)((uart->divisor & 0xff) | value << 8);
		else
			write_ier(uart, value);
		break;
	case UART_FCR:
		write_fcr(uart, value);
		break;
	case UART_LCR:
		uart->lcr = value;
		break;
	case UART_MCR:
		write_mcr(uart, value);
		break;
	case UART_SCR:
		uart->scr = value;
		break;
	default: /* LSR and MSR: "not recommended", nothing */
		break;
	}
}

static const struct io_ops uart_ops = { .read = uart_read, .write = uart_write, .widest = 1 };

static void power_on(struct uart *uart)
{
	uart->ier = 0;
	uart->fcr = 0;
	uart->lcr = 0;
	uart->mcr = 0;
	uart->lsr_errors = 0;
	uart->msr = MODEM_DCD | MODEM_DSR | MODEM_CTS;
	uart->scr = 0;
	uart->divisor = POWER_ON_DIVISOR;
	uart->thre_pending = false;
	uart->timeout_pending = false;
	uart->rx_trigger = 1;
	fifo_clear(&uart->rx);
	fifo_clear(&uart->tx);
	uart->rx_deadline = TIME_NEVER;
	uart->tx_deadline = TIME_NEVER;
}

int uart_init(struct uart *uart, struct vm *vm, struct io_space *pio, uint16_t base, unsigned gsi)
{
	memset(uart, 0, sizeof(*uart));
	uart->vm = vm;
	uart->gsi = gsi;
	/* A character has 10 bits, a bit 16 * divisor clocks. */
	uart->timeout_per_divisor = time_hz() * (4ULL * 10 * 16) / UART_CLOCK_HZ;
	uart->retry_delay = time_hz() / 1000;
	vtimer_init(&uart->rx_timer, vm, 0, rx_timeout, uart);
	vtimer_init(&uart->tx_timer, vm, 0, tx_retry, uart);
	power_on(uart);
	return io_space_add(pio, base, UART_REGISTERS, &uart_ops, uart, &uart->lock);
}

void uart_reset(struct uart *uart)
{
	spin_lock(&uart->lock);
	/* Output that the guest wrote before it rebooted is still worth showing; bytes that the console cannot take now are lost. */
	while (uart->tx.count && vm_console_put(uart->vm, uart->tx.byte[uart->tx.head]))
		fifo_take(&uart->tx);
	power_on(uart);
	vtimer_set(&uart->rx_timer, TIME_NEVER);
	vtimer_set(&uart->tx_timer, TIME_NEVER);
	update_irq(uart);
	spin_unlock(&uart->lock);
}

#include "vmm/devices/reset.h"

#include "lib/string.h"
#include "lib/x86/pc.h"
#include "vmm/interface/platform.h"

#define KEYBOARD_IRQ 1
#define AUX_IRQ 12


#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM 0x04
#define STATUS_COMMAND 0x08     /* the last write went to port 0x64 */
#define STATUS_UNLOCKED 0x10
#define STATUS_AUX 0x20         /* the output buffer holds a byte of port 2 */
#define STATUS_TIMEOUT 0x40

#define MODE_KEYBOARD_IRQ 0x01
#define MODE_AUX_IRQ 0x02
#define MODE_SYSTEM 0x04
#define MODE_KEYBOARD_OFF 0x10
#define MODE_AUX_OFF 0x20
#define MODE_TRANSLATE 0x40

#define OUTPUT_PORT_RUN 0x01    /* low: reset */
#define OUTPUT_PORT_A20 0x02
#define OUTPUT_PORT_KEYBOARD 0x10
#define OUTPUT_PORT_AUX 0x20
#define OUTPUT_PORT_LINES 0xc0  /* keyboard clock and data idle high */

#define RESEND 0xfe             /* what the controller puts in for a device that does not answer */

#define PORT92_RESET 0x01
#define PORT92_A20 0x02

/* ---- Reset control register ---- */

uint8_t reset_cf9_read(void *ctx)
{
	const struct reset_ports *ports = ctx;

	return ports->cf9;
}

void reset_cf9_write(void *ctx, uint8_t value)
{
	struct reset_ports *ports = ctx;

	ports->cf9 = value & (RESET_SYSTEM | RESET_FULL);
	/* Without SYS_RST the register resets the processor alone; without firmware to go on from there that is a reset too. */
	if (value & RESET_CPU)
		vm_request(ports->vm, VM_REQUEST_RESET, "port 0xcf9");
}

/* ---- Keyboard controller ---- */

static void update_irqs(struct reset_ports *ports)
{
	bool full = ports->status & STATUS_OUTPUT_FULL;
	bool aux = ports->status & STATUS_AUX;
	bool keyboard_irq = full && !aux && (ports->mode & MODE_KEYBOARD_IRQ);
	bool aux_irq = full && aux && (ports->mode & MODE_AUX_IRQ);

	if (keyboard_irq != ports->keyboard_irq) {
		ports->keyboard_irq = keyboard_irq;
		vm_irq_set(ports->vm, KEYBOARD_IRQ, keyboard_irq);
	}
	if (aux_irq != ports->aux_irq) {
		ports->aux_irq = aux_irq;
		vm_irq_set(ports->vm, AUX_IRQ, aux_irq);
	}
}

/* Fill the output buffer; `flags` are STATUS_AUX and STATUS_TIMEOUT. A byte that nobody read is replaced, after its interrupt has
 * fallen, so that the new one makes an edge. */
static void answer(struct reset_ports *ports, uint8_t byte, uint8_t flags)
{
	ports->status &= (uint8_t)~(STATUS_OUTPUT_FULL | STATUS_AUX | STATUS_TIMEOUT);
	update_irqs(ports);
	ports->output = byte;
	ports->status |= STATUS_OUTPUT_FULL | flags;
	update_irqs(ports);
}

static void reset_by_keyboard_controller(struct reset_ports *ports)
{
	vm_request(ports->vm, VM_REQUEST_RESET, "keyboard controller");
}

static uint8_t output_port(const struct reset_ports *ports)
{
	uint8_t port = OUTPUT_PORT_LINES | OUTPUT_PORT_A20 | OUTPUT_PORT_RUN;

	if (ports->status & STATUS_OUTPUT_FULL)
		port |= ports->status & STATUS_AUX ? OUTPUT_PORT_AUX : OUTPUT_PORT_KEYBOARD;
	return port;
}

static void set_mode(struct reset_ports *ports, uint8_t mode)
{
	ports->mode = mode;
	ports->status = (uint8_t)((ports->status & ~STATUS_SYSTEM) | (mode & MODE_SYSTEM)); /* the same bit in both */
	update_irqs(ports);
}

/* A byte at port 0x64. What is not listed has no effect and no answer. */
static void controller_command(struct reset_ports *ports, uint8_t command)
{
	ports->command = 0;
	ports->status |= STATUS_COMMAND;
	switch (command) {
	case 0x20:
		answer(ports, ports->mode, 0);
		break;
	case 0x21 ... 0x3f:
		answer(ports, ports->ram[command - 0x21], 0);
		break;
	case 0x60 ... 0x7f: /* write RAM, 0x60 the command byte */
	case 0xd1: /* write output port */
	case 0xd2: /* put a byte in the output buffer, as from the keyboard */
	case 0xd3: /* the same as from port 2 */
	case 0xd4: /* send a byte to port 2 */
		ports->command = command;
		break;
	case 0xa4: /* no password installed */
		answer(ports, 0xf1, 0);
		break;
	case 0xa7:
		set_mode(ports, ports->mode | MODE_AUX_OFF);
		break;
	case 0xa8:
		set_mode(ports, ports->mode & (uint8_t)~MODE_AUX_OFF);
		break;
	case 0xa9: /* test of port 2: its clock line is stuck low, so there is no such port */
		answer(ports, 0x01, 0);
		break;
	case 0xaa: /* self test */
		set_mode(ports, ports->mode | MODE_SYSTEM);
		answer(ports, 0x55, 0);
		break;
	case 0xab: /* test of port 1 */
		answer(ports, 0x00, 0);
		break;
	case 0xad:
		set_mode(ports, ports->mode | MODE_KEYBOARD_OFF);
		break;
	case 0xae:
		set_mode(ports, ports->mode & (uint8_t)~MODE_KEYBOARD_OFF);
		break;
	case 0xc0: /* input port: keyboard not locked */
		answer(ports, 0x80, 0);
		break;
	case 0xd0:
		answer(ports, output_port(ports), 0);
		break;
	case 0xe0: /* test inputs */
		answer(ports, 0x00, 0);
		break;
	case 0xf0 ... 0xff: /* pulse output lines whose bit is 0 */
		if (!(command & OUTPUT_PORT_RUN))
			reset_by_keyboard_controller(ports);
		break;
	default:
		break;
	}
}

/* A byte at port 0x60. */
static void controller_data(struct reset_ports *ports, uint8_t value)
{
	uint8_t command = ports->command;

	ports->command = 0;
	ports->status &= (uint8_t)~STATUS_COMMAND;
	switch (command) {
	case 0: /* for the keyboard, which is not there */
		answer(ports, RESEND, STATUS_TIMEOUT);
		break;
	case 0x60:
		set_mode(ports, value);
		break;
	case 0x61 ... 0x7f:
		ports->ram[command - 0x61] = value;
		break;
	case 0xd1:
		if (!(value & OUTPUT_PORT_RUN))
			reset_by_keyboard_controller(ports);
		break;
	case 0xd2:
	case 0xd3: /* not marked as port 2's, by which a probe sees at once that there is none */
		answer(ports, value, 0);
		break;
	default: /* 0xd4 */
		answer(ports, RESEND, STATUS_AUX | STATUS_TIMEOUT);
		break;
	}
}

static uint64_t data_read(void *dev, uint64_t offset, unsigned size)
{
	struct reset_ports *ports = dev;

	(void)offset;
	if (size != 1)
		return UINT64_MAX;
	ports->status &= (uint8_t)~(STATUS_OUTPUT_FULL | STATUS_AUX | STATUS_TIMEOUT);
	update_irqs(ports);
	return ports->output;
}

static void data_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	if (size == 1)
		controller_data(dev, (uint8_t)value);
}

static uint64_t status_read(void *dev, uint64_t offset, unsigned size)
{
	const struct reset_ports *ports = dev;

	(void)offset;
	return size == 1 ? ports->status : UINT64_MAX;
}

static void command_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	if (size == 1)
		controller_command(dev, (uint8_t)value);
}

/* ---- System control port A ---- */

static uint64_t port92_read(void *dev, uint64_t offset, unsigned size)
{
	(void)dev;
	(void)offset;
	return size == 1 ? PORT92_A20 : UINT64_MAX;
}

static void port92_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct reset_ports *ports = dev;

	(void)offset;
	if (size == 1 && (value & PORT92_RESET))
		vm_request(ports->vm, VM_REQUEST_RESET, "port 0x92");
}

/* ---- POST codes, which systems write to pass the time ---- */

static uint64_t post_read(void *dev, uint64_t offset, unsigned size)
{
	(void)dev;
	(void)offset;
	(void)size;
	return UINT64_MAX;
}

static void post_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	(void)dev;
	(void)offset;
	(void)size;
	(void)value;
}

static const struct io_ops data_ops = { data_read, data_write };
static const struct io_ops command_ops = { status_read, command_write };
static const struct io_ops port92_ops = { port92_read, port92_write };
static const struct io_ops post_ops = { post_read, post_write };

static void power_on(struct reset_ports *ports)
{
	ports->cf9 = 0;
	ports->command = 0;
	ports->mode = MODE_SYSTEM | MODE_KEYBOARD_OFF | MODE_AUX_OFF | MODE_TRANSLATE;
	ports->status = STATUS_SYSTEM | STATUS_UNLOCKED;
	ports->output = 0;
	memset(ports->ram, 0, sizeof(ports->ram));
}

int reset_ports_init(struct reset_ports *ports, struct vm *vm, struct io_space *pio)
{
	int err;

	memset(ports, 0, sizeof(*ports));
	ports->vm = vm;
	power_on(ports);
	err = io_space_add(pio, 0x60, 1, &data_ops, ports, &ports->lock);
	if (!err)
		err = io_space_add(pio, 0x64, 1, &command_ops, ports, &ports->lock);
	if (!err)
		err = io_space_add(pio, 0x80, 1, &post_ops, ports, NULL);
	if (!err)
		err = io_space_add(pio, 0x92, 1, &port92_ops, ports, NULL);
	return err;
}

void reset_ports_reset(struct reset_ports *ports)
{
	spin_lock(&ports->lock);
	power_on(ports);
	update_irqs(ports);
	spin_unlock(&ports->lock);
}

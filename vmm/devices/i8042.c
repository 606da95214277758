/* The 8042's commands, its command byte, its RAM and its output buffer. The controller itself answers for the keyboard and the mouse that are
 * not there, so that a driver which probes for them need not wait. */
#include "vmm/devices/i8042.h"

#include "lib/string.h"
#include "vmm/interface/platform.h"

#define DATA_PORT 0x60
#define COMMAND_PORT 0x64

#define KEYBOARD_IRQ 1
#define AUX_IRQ 12

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM 0x04
#define STATUS_COMMAND 0x08     /* the last byte written came to port 0x64 */
#define STATUS_UNLOCKED 0x10
#define STATUS_AUX 0x20         /* the output buffer holds a byte of port 2 */
#define STATUS_TIMEOUT 0x40

#define COMMAND_BYTE_KEYBOARD_IRQ 0x01
#define COMMAND_BYTE_AUX_IRQ 0x02
#define COMMAND_BYTE_SYSTEM 0x04
#define COMMAND_BYTE_KEYBOARD_OFF 0x10
#define COMMAND_BYTE_AUX_OFF 0x20
#define COMMAND_BYTE_TRANSLATE 0x40

#define OUTPUT_PORT_RUN 0x01    /* low: reset */
#define OUTPUT_PORT_A20 0x02
#define OUTPUT_PORT_KEYBOARD 0x10
#define OUTPUT_PORT_AUX 0x20
#define OUTPUT_PORT_LINES 0xc0  /* keyboard clock and data idle high */

#define RESEND 0xfe             /* what the controller puts in for a device that does not answer */

static void update_irqs(struct i8042 *kbc)
{
	bool full = kbc->status & STATUS_OUTPUT_FULL;
	bool aux = kbc->status & STATUS_AUX;
	bool keyboard_irq = full && !aux && (kbc->command_byte & COMMAND_BYTE_KEYBOARD_IRQ);
	bool aux_irq = full && aux && (kbc->command_byte & COMMAND_BYTE_AUX_IRQ);

	if (keyboard_irq != kbc->keyboard_irq) {
		kbc->keyboard_irq = keyboard_irq;
		vm_irq_set(kbc->vm, KEYBOARD_IRQ, keyboard_irq);
	}
	if (aux_irq != kbc->aux_irq) {
		kbc->aux_irq = aux_irq;
		vm_irq_set(kbc->vm, AUX_IRQ, aux_irq);
	}
}

/* Fill the output buffer; `flags` are STATUS_AUX and STATUS_TIMEOUT. A byte that the guest has not read is replaced, after its interrupt
 * has fallen, so that the new byte makes an edge. */
static void answer(struct i8042 *kbc, uint8_t byte, uint8_t flags)
{
	kbc->status &= (uint8_t)~(STATUS_OUTPUT_FULL | STATUS_AUX | STATUS_TIMEOUT);
	update_irqs(kbc);
	kbc->output_buffer = byte;
	kbc->status |= STATUS_OUTPUT_FULL | flags;
	update_irqs(kbc);
}

static void request_reset(struct i8042 *kbc)
{
	vm_request(kbc->vm, VM_REQUEST_RESET, "keyboard controller");
}

static uint8_t output_port(const struct i8042 *kbc)
{
	uint8_t port = OUTPUT_PORT_LINES | OUTPUT_PORT_A20 | OUTPUT_PORT_RUN;

	if (kbc->status & STATUS_OUTPUT_FULL)
		port |= kbc->status & STATUS_AUX ? OUTPUT_PORT_AUX : OUTPUT_PORT_KEYBOARD;
	return port;
}

static void set_command_byte(struct i8042 *kbc, uint8_t value)
{
	kbc->command_byte = value;
	kbc->status = (uint8_t)((kbc->status & ~STATUS_SYSTEM) | (value & COMMAND_BYTE_SYSTEM)); /* the same bit in both */
	update_irqs(kbc);
}

/* A byte at port 0x64. A command that is not listed has no effect and no answer. */
static void controller_command(struct i8042 *kbc, uint8_t command)
{
	kbc->awaiting_data = 0;
	kbc->status |= STATUS_COMMAND;
	switch (command) {
	case 0x20:
		answer(kbc, kbc->command_byte, 0);
		break;
	case 0x21 ... 0x3f:
		answer(kbc, kbc->ram[command - 0x21], 0);
		break;
	case 0x60 ... 0x7f: /* write RAM, 0x60 the command byte */
	case 0xd1: /* write output port */
	case 0xd2: /* put a byte in the output buffer, as from the keyboard */
	case 0xd3: /* the same as from port 2 */
	case 0xd4: /* send a byte to port 2 */
		kbc->awaiting_data = command;
		break;
	case 0xa4: /* no password installed */
		answer(kbc, 0xf1, 0);
		break;
	case 0xa7:
		set_command_byte(kbc, kbc->command_byte | COMMAND_BYTE_AUX_OFF);
		break;
	case 0xa8:
		set_command_byte(kbc, kbc->command_byte & (uint8_t)~COMMAND_BYTE_AUX_OFF);
		break;
	case 0xa9: /* test of port 2: its clock line is stuck low, so there is no such port */
		answer(kbc, 0x01, 0);
		break;
	case 0xaa: /* self test */
		set_command_byte(kbc, kbc->command_byte | COMMAND_BYTE_SYSTEM);
		answer(kbc, 0x55, 0);
		break;
	case 0xab: /* test of port 1 */
		answer(kbc, 0x00, 0);
		break;
	case 0xad:
		set_command_byte(kbc, kbc->command_byte | COMMAND_BYTE_KEYBOARD_OFF);
		break;
	case 0xae:
		set_command_byte(kbc, kbc->command_byte & (uint8_t)~COMMAND_BYTE_KEYBOARD_OFF);
		break;
	case 0xc0: /* input port: keyboard not locked */
		answer(kbc, 0x80, 0);
		break;
	case 0xd0:
		answer(kbc, output_port(kbc), 0);
		break;
	case 0xe0: /* test inputs */
		answer(kbc, 0x00, 0);
		break;
	case 0xf0 ... 0xff: /* pulse output lines whose bit is 0 */
		if (!(command & OUTPUT_PORT_RUN))
			request_reset(kbc);
		break;
	default:
		break;
	}
}

/* A byte at port 0x60. */
static void controller_data(struct i8042 *kbc, uint8_t value)
{
	uint8_t command = kbc->awaiting_data;

	kbc->awaiting_data = 0;
	kbc->status &= (uint8_t)~STATUS_COMMAND;
	switch (command) {
	case 0: /* for the keyboard, which is not there */
		answer(kbc, RESEND, STATUS_TIMEOUT);
		break;
	case 0x60:
		set_command_byte(kbc, value);
		break;
	case 0x61 ... 0x7f:
		kbc->ram[command - 0x61] = value;
		break;
	case 0xd1:
		if (!(value & OUTPUT_PORT_RUN))
			request_reset(kbc);
		break;
	case 0xd2:
	case 0xd3: /* not marked as port 2's, by which a probe sees at once that there is none */
		answer(kbc, value, 0);
		break;
	default: /* 0xd4 */
		answer(kbc, RESEND, STATUS_AUX | STATUS_TIMEOUT);
		break;
	}
}

static uint64_t data_read(void *dev, uint64_t offset, unsigned size)
{
	struct i8042 *kbc = dev;

	(void)offset;
	if (size != 1)
		return UINT64_MAX;
	kbc->status &= (uint8_t)~(STATUS_OUTPUT_FULL | STATUS_AUX | STATUS_TIMEOUT);
	update_irqs(kbc);
	return kbc->output_buffer;
}

static void data_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	if (size == 1)
		controller_data(dev, (uint8_t)value);
}

static uint64_t status_read(void *dev, uint64_t offset, unsigned size)
{
	const struct i8042 *kbc = dev;

	(void)offset;
	return size == 1 ? kbc->status : UINT64_MAX;
}

static void command_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	if (size == 1)
		controller_command(dev, (uint8_t)value);
}

static const struct io_ops data_ops = { .read = data_read, .write = data_write };
static const struct io_ops command_ops = { .read = status_read, .write = command_write };

static void power_on(struct i8042 *kbc)
{
	kbc->awaiting_data = 0;
	kbc->command_byte = COMMAND_BYTE_SYSTEM | COMMAND_BYTE_KEYBOARD_OFF | COMMAND_BYTE_AUX_OFF | COMMAND_BYTE_TRANSLATE;
	kbc->status = STATUS_SYSTEM | STATUS_UNLOCKED;
	kbc->output_buffer = 0;
	memset(kbc->ram, 0, sizeof(kbc->ram));
}

int i8042_init(struct i8042 *kbc, struct vm *vm, struct io_space *pio)
{
	int err;

	memset(kbc, 0, sizeof(*kbc));
	kbc->vm = vm;
	power_on(kbc);
	err = io_space_add(pio, DATA_PORT, 1, &data_ops, kbc, &kbc->lock);
	return err ? err : io_space_add(pio, COMMAND_PORT, 1, &command_ops, kbc, &kbc->lock);
}

void i8042_reset(struct i8042 *kbc)
{
	spin_lock(&kbc->lock);
	power_on(kbc);
	update_irqs(kbc);
	spin_unlock(&kbc->lock);
}

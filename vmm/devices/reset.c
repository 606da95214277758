/* The ports by which a guest resets its machine without the keyboard controller. Each asks the VM for a reset, and little else. */
#include "vmm/devices/reset.h"

#include "lib/string.h"
#include "lib/x86/pc.h"
#include "vmm/interface/platform.h"


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

static const struct io_ops port92_ops = { .read = port92_read, .write = port92_write };
static const struct io_ops post_ops = { .read = post_read, .write = post_write };

int reset_ports_init(struct reset_ports *ports, struct vm *vm, struct io_space *pio)
{
	int err;

	memset(ports, 0, sizeof(*ports));
	ports->vm = vm;
	err = io_space_add(pio, 0x80, 1, &post_ops, ports, NULL);
	return err ? err : io_space_add(pio, 0x92, 1, &port92_ops, ports, NULL);
}

void reset_ports_reset(struct reset_ports *ports)
{
	ports->cf9 = 0;
}

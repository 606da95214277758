/* The PC's PCI bus 0: configuration mechanism 1, up to 32 devices of one function each, and the window that their BARs decode.
 *
 * Sources: PCI Local Bus Specification 3.0, sections 3.2.2.3.2 (mechanism 1), 6.1 and 6.2 (header, BARs), 6.7 (capabilities).
 *
 * Lock order: a device's own lock, then the bus's, then the VM's interrupt lock. */
#ifndef VMM_DEVICES_PCI_H
#define VMM_DEVICES_PCI_H

#include "lib/pci.h"
#include "lib/spinlock.h"
#include "lib/types.h"
#include "vmm/io/io_space.h"
#include "vmm/memory/layout.h"

struct vm;
struct pci;
struct pci_device;

/* All BARs lie here; the ACPI tables say the same. */
#define PCI_MMIO_BASE LAYOUT_PCI_WINDOW
#define PCI_MMIO_SIZE (LAYOUT_PCI_WINDOW_END - LAYOUT_PCI_WINDOW)

#define PCI_SLOTS 32

struct pci_bar {
	uint64_t size;             /* a power of two; 0: no BAR here (or the upper half of the one before) */
	uint64_t home;             /* where reset puts it */
	uint64_t base;             /* where it decodes now; UINT64_MAX: nowhere. Under the bus's lock. */
	bool is_64;
	const struct io_ops *ops;  /* called with the device's lock held; they may drop and retake it */
	void *ctx;
	struct pci_device *device;
};

/* What a device may add to the plain behaviour of its configuration space. All may be NULL; called with the device's lock held. */
struct pci_device_ops {
	/* Bytes [offset, offset+size) are about to be read: bring them up to date. */
	void (*config_reading)(struct pci_device *device, unsigned offset, unsigned size);
	/* They have been written, as far as they can be; BARs and the command register have taken effect. */
	void (*config_written)(struct pci_device *device, unsigned offset, unsigned size);
	/* The bus is reset; the configuration space is back at its initial values. */
	void (*reset)(struct pci_device *device);
};

struct pci_device {
	struct spinlock lock;          /* the device's own */
	struct pci *bus;               /* NULL until pci_add() */
	struct vm *vm;
	const struct pci_device_ops *ops;
	unsigned slot;
	uint8_t next_capability;       /* where free configuration space begins */
	uint8_t last_capability;       /* the one to link from; 0: none yet */
	bool intx;                     /* the device's interrupt is pending */
	bool msi_enabled;              /* so INTx stays silent (section 6.8.2) */
	struct pci_bar bar[PCI_BARS];
	uint8_t config[256];
	uint8_t writable[256];         /* bits that software can change */
};

struct pci {
	struct spinlock lock;
	struct vm *vm;
	uint32_t address;                  /* the CONFIG_ADDRESS register */
	struct pci_bar *last_hit;          /* of the window, or NULL */
	uint64_t next_home;                /* the next BAR's address after reset */
	uint32_t intx_levels[4];           /* for each GSI from 16 up, the slots that assert it */
	struct pci_device *device[PCI_SLOTS];
	struct pci_device host_bridge;
	/* Byte accesses to port 0xcf9, the reset control register; reads give all ones where there is no hook. */
	uint8_t (*cf9_read)(void *ctx);
	void (*cf9_write)(void *ctx, uint8_t value);
	void *cf9_ctx;
};

/* Build the bus with its host bridge at slot 0; claims ports 0xcf8..0xcff and the MMIO window. Returns 0 or io_space_add()'s error. */
int pci_init(struct pci *pci, struct vm *vm, struct io_space *pio, struct io_space *mmio);

/* Put the bus and every device on it in the state that firmware leaves: BARs assigned, memory decoding on. No vCPU may be running. */
void pci_reset(struct pci *pci);

/* Begin a device: an empty header with these ids; `class_code` is the 24-bit code. */
void pci_device_init(struct pci_device *device, struct vm *vm, const struct pci_device_ops *ops, uint16_t vendor, uint16_t id,
		     uint32_t class_code, uint8_t revision);

/* Give a new device the memory BAR `index` (64-bit ones take the next too). `size`: a power of two, at least 4 KiB. */
void pci_device_bar(struct pci_device *device, unsigned index, uint64_t size, bool is_64, const struct io_ops *ops, void *ctx);

/* Append a capability of `size` bytes to a new device. Returns its offset, or 0 where the space is full. */
unsigned pci_device_capability(struct pci_device *device, uint8_t id, unsigned size);

/* Let a new device interrupt by pin A. */
void pci_device_pin_a(struct pci_device *device);

/* Plug a finished device in while the VM is built. Returns 0, ERR_RANGE (slot), ERR_BUSY (slot taken) or ERR_NOMEM (window full). */
int pci_add(struct pci *pci, struct pci_device *device, unsigned slot);

/* The global system interrupt of the device's pin A: 16 + slot % 4, as the ACPI tables' _PRT says. */
unsigned pci_device_gsi(const struct pci_device *device);

/* Little-endian fields of the configuration space, whatever their mask. */
uint16_t pci_config16(const struct pci_device *device, unsigned offset);
uint32_t pci_config32(const struct pci_device *device, unsigned offset);
void pci_config_set16(struct pci_device *device, unsigned offset, uint16_t value);
void pci_config_set32(struct pci_device *device, unsigned offset, uint32_t value);

/* May the device access memory and send messages? (command register, Bus Master) With the device's lock held. */
static inline bool pci_device_is_master(const struct pci_device *device)
{
	return device->config[PCI_COMMAND] & PCI_COMMAND_MASTER;
}

/* Assert or deassert INTx; the status register, the INTx Disable bit and MSI enables are seen to. With the device's lock held. */
void pci_device_intx(struct pci_device *device, bool level);

/* Tell the bus that the device has MSI or MSI-X enabled, or no more. With the device's lock held. */
void pci_device_msi_enabled(struct pci_device *device, bool enabled);

#endif

/* SOURCES: vmm/devices/msix.c vmm/devices/pci.c vmm/io/io_space.c */
/* TEST: 40000 runs of up to 512 bytes */
/* MSI-X on a device of its own: the input is the number of vectors, then accesses to configuration space, table and pending bits, and the
 * device's signals. */
#include "tests/fuzz/fuzz.h"

#include "tests/unit/fakes.h"
#include "vmm/devices/msix.h"

static struct io_space pio, mmio;
static struct pci pci;
static struct pci_device dev;
static struct msix msix;

static void written(struct pci_device *d, unsigned offset, unsigned size)
{
	FUZZ_CHECK(d == &dev && offset + size <= 256);
	msix_update(&msix);
}

static const struct pci_device_ops ops = { .config_written = written };

static void step(struct input *in)
{
	unsigned what = (unsigned)take(in, 1), bytes = 1U << (what >> 4 & 3);
	uint64_t offset, before = msix.pending;
	unsigned sent = fake.msi_count;

	switch (what & 7) {
	case 0:
		io_space_write(&pio, 0xcf8, 4, 0x80000000U | 1U << 11 | (take(in, 1) & 0xfc));
		break;
	case 1:
		io_space_write(&pio, 0xcfc + (what >> 6), bytes > 4 ? 4 : bytes, take(in, bytes));
		break;
	case 2: case 3:
		offset = take(in, 1) % (msix.vectors * 16);
		if (offset + bytes <= msix.vectors * 16)
			msix_table_write(&msix, offset, bytes, take(in, bytes));
		break;
	case 4:
		offset = take(in, 1) % (msix.vectors * 16);
		if (offset + bytes <= msix.vectors * 16)
			(void)msix_table_read(&msix, offset, bytes);
		if (offset + bytes <= 8)
			(void)msix_pba_read(&msix, offset, bytes);
		break;
	case 5: case 6:
		msix_signal(&msix, what >> 3);
		FUZZ_CHECK(fake.msi_count - sent <= 1 && (fake.msi_count == sent || msix.pending == before));
		break;
	default:
		if (what & 0x80)
			msix_clear_pending(&msix);
		else if (what & 0x40)
			msix_reset(&msix);
		else
			pci_reset(&pci);
		break;
	}
	FUZZ_CHECK(!(msix.pending >> msix.vectors));
	/* None waits that could be sent. */
	if (msix.enabled && pci_device_is_master(&dev) && !(pci_config16(&dev, msix.capability + 2) & 0x4000))
		for (unsigned i = 0; i < msix.vectors; i++)
			FUZZ_CHECK(msix.table[i].control & 1 || !(msix.pending & BIT(i)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	fake_reset();
	memset(&pio, 0, sizeof(pio));
	memset(&mmio, 0, sizeof(mmio));
	FUZZ_CHECK(!pci_init(&pci, NULL, &pio, &mmio));
	pci_device_init(&dev, NULL, &ops, 1, 2, 0x018000, 0);
	if (msix_init(&msix, &dev, 2, 0x4000, 0x5000, take_below(&in, MSIX_VECTORS_MAX + 2)))
		return 0;
	FUZZ_CHECK(!pci_add(&pci, &dev, 1));
	while (in.left)
		step(&in);
	return 0;
}

/* PCI configuration space: access widths, what is not there. */
#include "tests/guests/lib/pci.h"

#include "tests/guests/lib/test.h"

TEST(pci_bridge, "PCI: the host bridge in all widths")
{
	uint32_t id = pci_read32(0, 0), class = pci_read32(0, 8);

	CHECK(id != 0xffffffff && id != 0, "no host bridge at 0:0.0");
	CHECK(class >> 16 == 0x0600, "0:0.0 has class %x", class >> 16);
	CHECK_EQUAL("vendor by 16 bits", pci_read16(0, 0), id & 0xffff);
	CHECK_EQUAL("device by 16 bits", pci_read16(0, 2), id >> 16);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQUAL("a byte", pci_read8(0, i), id >> 8 * i & 0xff);
	/* The address's two low bits do not matter, the data port's offset does. */
	outl(PCI_ADDRESS, pci_address(0, 0));
	CHECK_EQUAL("device at 0xcfe", inw(PCI_DATA + 2), id >> 16);
	CHECK_EQUAL("vendor at 0xcfc", inw(PCI_DATA), id & 0xffff);
	pci_write32(0, 0, ~id);
	CHECK_EQUAL("the ID after a write", pci_read32(0, 0), id);
}

TEST(pci_address_register, "PCI: the address register keeps its value; bytes and words there are not it")
{
	uint32_t address = pci_address(31, 0x40);

	outl(PCI_ADDRESS, address);
	CHECK_EQUAL("the address", inl(PCI_ADDRESS), address);
	outb(PCI_ADDRESS + 2, 0);
	outw(PCI_ADDRESS, 0);
	CHECK_EQUAL("the address after a byte and a word", inl(PCI_ADDRESS), address);
	outl(PCI_ADDRESS, pci_address(0, 0) & 0x7fffffff);
	CHECK_EQUAL("data while disabled", inl(PCI_DATA), 0xffffffff);
}

TEST(pci_absent, "PCI: absent devices, functions and buses read all ones, writes are dropped")
{
	outl(PCI_ADDRESS, 0x80000000U | 0xffU << 16);
	CHECK_EQUAL("bus 255, 32 bits", inl(PCI_DATA), 0xffffffff);
	CHECK_EQUAL("bus 255, 16 bits", inw(PCI_DATA), 0xffff);
	CHECK_EQUAL("bus 255, 8 bits", inb(PCI_DATA + 3), 0xff);
	outl(PCI_DATA, 0);
	outb(PCI_DATA + 1, 0);
	outl(PCI_ADDRESS, pci_address(31, 0));
	CHECK_EQUAL("device 31", inl(PCI_DATA), 0xffffffff);
	outl(PCI_ADDRESS, pci_address(0, 0) | 7 << 8);
	CHECK_EQUAL("function 7 of the host bridge", inl(PCI_DATA), 0xffffffff);
}

TEST(pci_scan, "PCI: each device's header makes sense")
{
	for (unsigned dev = 0; dev < 32; dev++) {
		uint32_t id = pci_read32(dev, 0);
		uint8_t next, hops = 0;

		if (id == 0xffffffff)
			continue;
		CHECK((id & 0xffff) != 0xffff, "device %u has no vendor", dev);
		CHECK((pci_read8(dev, 0xe) & 0x7f) <= 2, "device %u has header type %x", dev, pci_read8(dev, 0xe));
		if (!(pci_read16(dev, PCI_STATUS) & 0x10))
			continue;
		for (next = pci_read8(dev, PCI_CAPABILITIES); next; next = pci_read8(dev, next + 1)) {
			CHECK(next >= 0x40 && !(next & 3), "device %u has a capability at %x", dev, next);
			CHECK(++hops < 48, "device %u has a loop of capabilities", dev);
		}
	}
}

TEST(pci_bars, "PCI: sizing a base address register and putting it back")
{
	for (unsigned dev = 0; dev < 32; dev++) {
		if (pci_read32(dev, 0) == 0xffffffff || (pci_read8(dev, 0xe) & 0x7f) != 0)
			continue;
		for (unsigned reg = 0x10; reg < 0x28; reg += 4) {
			uint32_t old = pci_read32(dev, reg), size, command = pci_read16(dev, PCI_COMMAND);

			pci_write16(dev, PCI_COMMAND, (uint16_t)(command & ~3U));
			pci_write32(dev, reg, 0xffffffff);
			size = pci_read32(dev, reg);
			pci_write32(dev, reg, old);
			pci_write16(dev, PCI_COMMAND, (uint16_t)command);
			CHECK(pci_read32(dev, reg) == old, "device %u register %x: %x did not come back: %x", dev, reg, old, pci_read32(dev, reg));
			if (!size || (reg > 0x10 && (pci_read32(dev, reg - 4) & 7) == 4))
				continue; /* not there, or the upper half of the one before */
			size = ~(size & (size & 1 ? 0xfffcU : ~0xfU)) + 1;
			size = old & 1 ? size & 0xffff : size;
			CHECK((size & (size - 1)) == 0, "device %u register %x: size %x is no power of two", dev, reg, size);
		}
	}
}

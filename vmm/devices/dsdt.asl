/* The virtual PC's devices, for the guest's ACPI interpreter. Compiled by iasl at build time; vmm/memory/layout.h has the same addresses. */

/* Device d, pins INTA# to INTD#: GSI 16 + (d + pin) % 4. The routing is fixed, so there are no link devices. */
#define ROUTE(d, a, b, c, e) \
	Package () { d, 0, 0, a }, Package () { d, 1, 0, b }, Package () { d, 2, 0, c }, Package () { d, 3, 0, e }
#define ROUTE_4(d0, d1, d2, d3) \
	ROUTE (d0, 16, 17, 18, 19), ROUTE (d1, 17, 18, 19, 16), ROUTE (d2, 18, 19, 16, 17), ROUTE (d3, 19, 16, 17, 18)

DefinitionBlock ("", "DSDT", 2, "LAMINA", "LAMINAPC", 1)
{
	/* Soft off: SLP_TYP 5 for PM1a; there is no PM1b. */
	Name (\_S5, Package () { 5, 5, 0, 0 })

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_BBN, 0)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
				IO (Decode16, 0x0cf8, 0x0cf8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0000, 0x0cf7, 0, 0x0cf8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0d00, 0xffff, 0, 0xf300)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
					0, 0xc0000000, 0xfebfffff, 0, 0x3ec00000)
			})
			Name (_PRT, Package ()
			{
				ROUTE_4 (0x0000ffff, 0x0001ffff, 0x0002ffff, 0x0003ffff),
				ROUTE_4 (0x0004ffff, 0x0005ffff, 0x0006ffff, 0x0007ffff),
				ROUTE_4 (0x0008ffff, 0x0009ffff, 0x000affff, 0x000bffff),
				ROUTE_4 (0x000cffff, 0x000dffff, 0x000effff, 0x000fffff),
				ROUTE_4 (0x0010ffff, 0x0011ffff, 0x0012ffff, 0x0013ffff),
				ROUTE_4 (0x0014ffff, 0x0015ffff, 0x0016ffff, 0x0017ffff),
				ROUTE_4 (0x0018ffff, 0x0019ffff, 0x001affff, 0x001bffff),
				ROUTE_4 (0x001cffff, 0x001dffff, 0x001effff, 0x001fffff)
			})
		}

		Device (PIC)
		{
			Name (_HID, EisaId ("PNP0000"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x0020, 0x0020, 1, 2)
				IO (Decode16, 0x00a0, 0x00a0, 1, 2)
				IO (Decode16, 0x04d0, 0x04d0, 1, 2)
				IRQNoFlags () { 2 }
			})
		}

		Device (TIMR)
		{
			Name (_HID, EisaId ("PNP0100"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x0040, 0x0040, 1, 4)
				IRQNoFlags () { 0 }
			})
		}

		Device (SPKR)
		{
			Name (_HID, EisaId ("PNP0800"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x0061, 0x0061, 1, 1)
			})
		}

		Device (RTC)
		{
			Name (_HID, EisaId ("PNP0B00"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x0070, 0x0070, 1, 2)
				IRQNoFlags () { 8 }
			})
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x03f8, 0x03f8, 1, 8)
				IRQNoFlags () { 4 }
			})
		}
	}
}

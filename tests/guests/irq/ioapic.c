/* The I/O APIC: edge from the PIT, level from the UART. */
#include "tests/guests/irq/irq.h"
#include "tests/guests/lib/console.h"

#define UART_PIN 4

static uint64_t to_self(unsigned vector, uint64_t flags)
{
	return (uint64_t)(apic_id() & 0xff) << 56 | vector | flags;
}

APIC_TEST(ioapic_edge, "I/O APIC: the PIT's edges")
{
	unsigned pin = ioapic_pit_pin();

	count_apic(0x51);
	pit_set(0, 2, PIT_HZ / 1000);
	ioapic_set_entry(pin, to_self(0x51, 0));
	irq_enable();
	delay_us(20000);
	ioapic_set_entry(pin, to_self(0x51, IOAPIC_MASKED));
	irq_disable();
	CHECK(seen[0x51].count >= 18 && seen[0x51].count <= 22, "20 ms at 1 kHz on pin %u: %u interrupts", pin, seen[0x51].count);
	seen[0x51].count = 0;
	irq_enable();
	delay_us(5000);
	irq_disable();
	CHECK_EQUAL("interrupts while masked", seen[0x51].count, 0);
}

APIC_TEST(ioapic_logical, "I/O APIC: logical destination and lowest priority")
{
	unsigned pin = ioapic_pit_pin();
	uint32_t ldr = apic_read(APIC_LDR);
	uint64_t destination = apic_is_x2apic() ? ldr & 0xff : ldr >> 24;

	count_apic(0x52);
	pit_set(0, 2, PIT_HZ / 1000);
	ioapic_set_entry(pin, destination << 56 | BIT(11) | 0x100 | 0x52);
	irq_enable();
	delay_us(10000);
	irq_disable();
	CHECK(seen[0x52].count >= 8 && seen[0x52].count <= 12, "10 ms at 1 kHz: %u interrupts", seen[0x52].count);
}

APIC_TEST(ioapic_level, "I/O APIC: a level interrupt repeats until its cause ends, remote IRR")
{
	uint64_t entry;

	count_only(0x53);
	console_drain();
	outb(UART_MCR, 0xb);
	ioapic_set_entry(UART_PIN, to_self(0x53, IOAPIC_LEVEL));
	irq_enable();
	outb(UART_IER, 2);
	CHECK(WAIT_FOR(seen[0x53].count == 1, 3), "no interrupt from the UART");
	entry = ioapic_entry(UART_PIN);
	/* Bochs 2.7's I/O APIC never shows remote IRR. */
	CHECK(entry & IOAPIC_REMOTE_IRR || !under_lamina(), "entry %llx lacks remote IRR before the EOI", (unsigned long long)entry);
	CHECK(apic_vector_bit(APIC_TMR, 0x53), "TMR does not show a level interrupt");
	CHECK(apic_vector_bit(APIC_ISR, 0x53), "ISR does not show it");
	delay_us(50);
	CHECK_EQUAL("interrupts before the EOI", seen[0x53].count, 1);
	apic_eoi();
	if (!under_lamina()) {
		outb(UART_IER, 0);
		SKIP("Bochs 2.7's I/O APIC ignores the EOI");
	}
	CHECK(WAIT_FOR(seen[0x53].count == 2, 3), "the EOI of a standing level brought no second interrupt");
	(void)inb(UART_IIR); /* the cause ends */
	apic_eoi();
	delay_us(50);
	CHECK_EQUAL("interrupts after the cause ended", seen[0x53].count, 2);
	entry = ioapic_entry(UART_PIN);
	CHECK(!(entry & IOAPIC_REMOTE_IRR), "entry %llx shows remote IRR after the EOI", (unsigned long long)entry);
	/* Again: a new cause. */
	outb(UART_IER, 0);
	outb(UART_IER, 2);
	CHECK(WAIT_FOR(seen[0x53].count == 3, 3), "a new cause brought no interrupt");
	outb(UART_IER, 0);
	apic_eoi();
	irq_disable();
}

APIC_TEST(ioapic_masked_level, "I/O APIC: a level that stood while masked comes when unmasked")
{
	count_apic(0x54);
	console_drain();
	outb(UART_MCR, 0xb);
	ioapic_set_entry(UART_PIN, to_self(0x54, IOAPIC_LEVEL | IOAPIC_MASKED));
	irq_enable();
	outb(UART_IER, 2);
	delay_us(100);
	CHECK_EQUAL("interrupts while masked", seen[0x54].count, 0);
	trap_handle(0x54, NULL);
	count_only(0x54);
	ioapic_write(0x10 + 2 * UART_PIN, 0x54 | (uint32_t)IOAPIC_LEVEL);
	CHECK(WAIT_FOR(seen[0x54].count == 1, 3), "unmasking brought no interrupt");
	outb(UART_IER, 0);
	apic_eoi();
	delay_us(50);
	CHECK_EQUAL("interrupts in all", seen[0x54].count, 1);
	irq_disable();
}

APIC_TEST(ioapic_registers, "I/O APIC: identification, version, entries keep what they must")
{
	uint64_t entry;

	CHECK((ioapic_read(1) & 0xff) >= 0x11, "version %x", ioapic_read(1));
	CHECK_EQUAL("pins", ioapic_pins(), 24);
	ioapic_write(0, 5U << 24);
	CHECK_EQUAL("ID", ioapic_read(0) >> 24 & 0xf, 5);
	ioapic_write(0, 0);
	ioapic_set_entry(23, 0xab00000000000000ULL | IOAPIC_MASKED | IOAPIC_LEVEL | IOAPIC_ACTIVE_LOW | 0x9e);
	entry = ioapic_entry(23);
	CHECK(entry == (0xab00000000000000ULL | IOAPIC_MASKED | IOAPIC_LEVEL | IOAPIC_ACTIVE_LOW | 0x9e), "entry 23 reads %llx",
	      (unsigned long long)entry);
	/* Delivery status and remote IRR are read-only. */
	ioapic_set_entry(23, IOAPIC_MASKED | BIT(12) | IOAPIC_REMOTE_IRR | 0x9e);
	CHECK_EQUAL("entry 23 after writing read-only bits", ioapic_entry(23), IOAPIC_MASKED | 0x9e);
	ioapic_set_entry(23, IOAPIC_MASKED);
}

APIC_TEST(ioapic_extint, "I/O APIC: ExtINT on pin 0 passes the 8259s through")
{
	count_pic(0);
	ioapic_set_entry(0, to_self(0, 0x700));
	pit_set(0, 2, PIT_HZ / 1000);
	pic_unmask(0);
	irq_enable();
	delay_us(10000);
	irq_disable();
	if (!seen[PIC_VECTOR].count)
		SKIP("this I/O APIC's pin 0 is not connected to the 8259s");
	CHECK(seen[PIC_VECTOR].count >= 8 && seen[PIC_VECTOR].count <= 12, "10 ms at 1 kHz: %u interrupts", seen[PIC_VECTOR].count);
}

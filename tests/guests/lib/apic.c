#include "tests/guests/lib/apic.h"

#include "tests/guests/lib/acpi.h"

static volatile uint32_t *const xapic = (volatile uint32_t *)0xfee00000;

bool apic_has_x2apic(void)
{
	return cpuid(1, 0).ecx & BIT(21);
}

bool apic_is_x2apic(void)
{
	return rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC;
}

uint32_t apic_read(unsigned reg)
{
	return apic_is_x2apic() ? (uint32_t)rdmsr(MSR_X2APIC + reg) : xapic[reg * 4];
}

void apic_write(unsigned reg, uint32_t value)
{
	if (apic_is_x2apic())
		wrmsr(MSR_X2APIC + reg, value);
	else
		xapic[reg * 4] = value;
}

void apic_init(bool x2apic)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	if ((base & APIC_BASE_X2APIC) && !x2apic) {
		base &= ~(uint64_t)(APIC_BASE_X2APIC | APIC_BASE_ENABLE);
		wrmsr(MSR_APIC_BASE, base);
	}
	base |= APIC_BASE_ENABLE;
	wrmsr(MSR_APIC_BASE, base);
	if (x2apic)
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
	apic_write(APIC_SVR, 0x100 | VECTOR_SPURIOUS);
	apic_write(APIC_TIMER_INITIAL, 0);
	apic_write(APIC_LVT_TIMER, APIC_MASKED);
	apic_write(APIC_LVT_LINT0, APIC_MASKED);
	apic_write(APIC_LVT_LINT1, APIC_MASKED);
	apic_write(APIC_LVT_ERROR, APIC_MASKED);
	apic_write(APIC_TPR, 0);
	if (!x2apic) {
		apic_write(APIC_DFR, 0xffffffff);
		apic_write(APIC_LDR, 1U << 24);
	}
}

void apic_icr(uint32_t destination, uint32_t command)
{
	if (apic_is_x2apic()) {
		wrmsr(MSR_X2APIC + APIC_ICR, (uint64_t)destination << 32 | command);
		return;
	}
	xapic[APIC_ICR_HIGH * 4] = destination << 24;
	xapic[APIC_ICR * 4] = command;
	for (unsigned i = 0; i < 100000 && (xapic[APIC_ICR * 4] & BIT(12)); i++)
		cpu_pause();
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

uint32_t apic_id(void)
{
	return apic_is_x2apic() ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

bool apic_vector_bit(unsigned reg, unsigned vector)
{
	return apic_read(reg + vector / 32) >> vector % 32 & 1;
}

static const struct madt *madt(void)
{
	static struct madt table;

	if (!table.io_apic)
		acpi_read_madt(&table);
	return &table;
}

volatile uint32_t *ioapic_base(void)
{
	return (volatile uint32_t *)(uint64_t)madt()->io_apic;
}

uint32_t ioapic_read(uint8_t reg)
{
	volatile uint32_t *base = ioapic_base();

	base[0] = reg;
	return base[4];
}

void ioapic_write(uint8_t reg, uint32_t value)
{
	volatile uint32_t *base = ioapic_base();

	base[0] = reg;
	base[4] = value;
}

unsigned ioapic_pins(void)
{
	return (ioapic_read(1) >> 16 & 0xff) + 1;
}

uint64_t ioapic_entry(unsigned pin)
{
	return ioapic_read((uint8_t)(0x10 + 2 * pin)) | (uint64_t)ioapic_read((uint8_t)(0x11 + 2 * pin)) << 32;
}

void ioapic_set_entry(unsigned pin, uint64_t entry)
{
	ioapic_write((uint8_t)(0x10 + 2 * pin), IOAPIC_MASKED);
	ioapic_write((uint8_t)(0x11 + 2 * pin), (uint32_t)(entry >> 32));
	ioapic_write((uint8_t)(0x10 + 2 * pin), (uint32_t)entry);
}

unsigned ioapic_pit_pin(void)
{
	return madt()->irq0_gsi;
}

/* Local APIC, in both modes, and I/O APIC (SDM vol. 3, chapter 10; 82093AA data sheet). */
#ifndef TESTS_GUESTS_LIB_APIC_H
#define TESTS_GUESTS_LIB_APIC_H

#include "tests/guests/lib/cpu.h"

/* Register numbers: xAPIC offset / 16 = x2APIC MSR - 0x800. */
enum {
	APIC_ID = 0x02,
	APIC_VERSION = 0x03,
	APIC_TPR = 0x08,
	APIC_PPR = 0x0a,
	APIC_EOI = 0x0b,
	APIC_LDR = 0x0d,
	APIC_DFR = 0x0e,
	APIC_SVR = 0x0f,
	APIC_ISR = 0x10,
	APIC_TMR = 0x18,
	APIC_IRR = 0x20,
	APIC_ESR = 0x28,
	APIC_ICR = 0x30,
	APIC_ICR_HIGH = 0x31,
	APIC_LVT_TIMER = 0x32,
	APIC_LVT_LINT0 = 0x35,
	APIC_LVT_LINT1 = 0x36,
	APIC_LVT_ERROR = 0x37,
	APIC_TIMER_INITIAL = 0x38,
	APIC_TIMER_CURRENT = 0x39,
	APIC_TIMER_DIVIDE = 0x3e,
	APIC_SELF_IPI = 0x3f,
};

#define APIC_MASKED BIT(16)
#define APIC_TIMER_PERIODIC BIT(17)
#define APIC_TIMER_DEADLINE BIT(18)
#define APIC_DELIVERY_NMI 0x400U
#define APIC_DELIVERY_INIT 0x500U
#define APIC_DELIVERY_STARTUP 0x600U
#define APIC_DELIVERY_EXTINT 0x700U
#define APIC_LOGICAL BIT(11)
#define APIC_ASSERT BIT(14)
#define APIC_LEVEL BIT(15)
#define APIC_SHORTHAND_SELF BIT(18)
#define APIC_SHORTHAND_ALL (2U << 18)
#define APIC_SHORTHAND_OTHERS (3U << 18)

#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)

enum { VECTOR_SPURIOUS = 0xff };

/* True where CPUID offers x2APIC. */
bool apic_has_x2apic(void);
/* Switch this CPU's APIC to x2APIC mode or xAPIC mode (by way of disabled) and enable it with every LVT entry masked. */
void apic_init(bool x2apic);
bool apic_is_x2apic(void);

uint32_t apic_read(unsigned reg);
void apic_write(unsigned reg, uint32_t value);
/* Both halves of the interrupt command; waits for delivery in xAPIC mode. */
void apic_icr(uint32_t destination, uint32_t command);
void apic_eoi(void);
uint32_t apic_id(void);
/* Bit `vector` of ISR, TMR or IRR. */
bool apic_vector_bit(unsigned reg, unsigned vector);

/* The I/O APIC's indirect registers and redirection entries; the address comes from the MADT. */
#define IOAPIC_MASKED BIT(16)
#define IOAPIC_LEVEL BIT(15)
#define IOAPIC_REMOTE_IRR BIT(14)
#define IOAPIC_ACTIVE_LOW BIT(13)

volatile uint32_t *ioapic_base(void);
uint32_t ioapic_read(uint8_t reg);
void ioapic_write(uint8_t reg, uint32_t value);
unsigned ioapic_pins(void);
uint64_t ioapic_entry(unsigned pin);
void ioapic_set_entry(unsigned pin, uint64_t entry);
/* The pin where ISA interrupt 0 arrives, as the MADT says. */
unsigned ioapic_pit_pin(void);

#endif

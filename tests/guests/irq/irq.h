/* What the interrupt tests share: counting handlers, tests that run in both APIC modes. */
#ifndef TESTS_GUESTS_IRQ_IRQ_H
#define TESTS_GUESTS_IRQ_IRQ_H

#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/clock.h"
#include "tests/guests/lib/pic.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"

struct irq_seen {
	unsigned count;
	uint64_t rip;  /* where the last one interrupted */
	uint64_t rcx;
	uint64_t tsc;
};

extern volatile struct irq_seen seen[256];

/* Count a vector's interrupts with an EOI to the local APIC; clears the count. */
void count_apic(unsigned vector);
/* The same without any EOI. */
void count_only(unsigned vector);
/* The same with a specific EOI to the 8259s, for the 16 ISA vectors. */
void count_pic(unsigned irq);

/* Restore the state in which every test starts: everything masked, no interrupt pending or in service. */
void irq_quiet(void);
/* The 8259s deliver through LINT0 (virtual wire). */
void virtual_wire(void);

/* A test that runs in xAPIC mode, and again in x2APIC mode after all others. */
#define APIC_TEST(ident, title) \
	static void ident(void); \
	TEST(ident##_x, title ", xAPIC") \
	{ \
		apic_init(false); \
		irq_quiet(); \
		ident(); \
		irq_quiet(); \
	} \
	static void ident##_x2(void) \
	{ \
		if (!apic_has_x2apic()) \
			SKIP("no x2APIC"); \
		apic_init(true); \
		irq_quiet(); \
		ident(); \
		irq_quiet(); \
	} \
	static const struct test ident##_x2_test __attribute__((section(".tests_x2apic"), used, aligned(16))) = \
		{ title ", x2APIC", ident##_x2 }; \
	static void ident(void)

#define PIC_TEST(ident, title) \
	static void ident(void); \
	TEST(ident##_x, title) \
	{ \
		apic_init(false); \
		irq_quiet(); \
		ident(); \
		irq_quiet(); \
	} \
	static void ident(void)

#endif

#include "tests/guests/irq/irq.h"

volatile struct irq_seen seen[256];

static void note(const struct trap_frame *frame)
{
	volatile struct irq_seen *s = &seen[frame->vector];

	s->rip = frame->rip;
	s->rcx = frame->rcx;
	s->tsc = rdtsc();
	s->count++;
}

static void on_apic(struct trap_frame *frame)
{
	note(frame);
	apic_eoi();
}

static void on_only(struct trap_frame *frame)
{
	note(frame);
}

static void on_pic(struct trap_frame *frame)
{
	note(frame);
	pic_eoi((unsigned)frame->vector - PIC_VECTOR);
}

void count_apic(unsigned vector)
{
	seen[vector].count = 0;
	trap_handle(vector, on_apic);
}

void count_only(unsigned vector)
{
	seen[vector].count = 0;
	trap_handle(vector, on_only);
}

void count_pic(unsigned irq)
{
	seen[PIC_VECTOR + irq].count = 0;
	trap_handle(PIC_VECTOR + irq, on_pic);
}

void virtual_wire(void)
{
	apic_write(APIC_LVT_LINT0, APIC_DELIVERY_EXTINT);
}

void irq_quiet(void)
{
	irq_disable();
	write_cr8(0);
	pit_set(0, 0, 1); /* terminal count at once; no more edges */
	pic_init();
	for (unsigned pin = 0; pin < ioapic_pins(); pin++)
		ioapic_set_entry(pin, IOAPIC_MASKED);
	apic_write(APIC_TIMER_INITIAL, 0);
	apic_write(APIC_LVT_TIMER, APIC_MASKED);
	apic_write(APIC_LVT_LINT0, APIC_MASKED);
	apic_write(APIC_LVT_ERROR, APIC_MASKED);
	for (unsigned vector = 32; vector < VECTOR_SPURIOUS; vector++) {
		if (vector != VECTOR_USER_END)
			count_apic(vector);
	}
	count_only(VECTOR_SPURIOUS);
	irq_enable(); /* whatever is pending goes now */
	delay_us(20);
	irq_disable();
	for (unsigned i = 0; i < 256; i++) {
		bool in_service = false;

		for (unsigned word = 0; word < 8; word++)
			in_service = in_service || apic_read(APIC_ISR + word);
		if (!in_service)
			break;
		apic_eoi();
	}
	for (unsigned vector = 32; vector < 256; vector++) {
		if (vector != VECTOR_USER_END)
			trap_handle(vector, NULL);
	}
	trap_handle(VECTOR_NMI, NULL);
}

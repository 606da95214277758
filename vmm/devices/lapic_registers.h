/* What the files of the virtual local APIC share: access to its register page and each other's functions. For vmm/devices/lapic*.c only. */
#ifndef VMM_DEVICES_LAPIC_REGISTERS_H
#define VMM_DEVICES_LAPIC_REGISTERS_H

#include "lib/x86/apic.h"
#include "vmm/devices/lapic.h"

static inline uint32_t *lapic_word(const struct lapic *l, unsigned reg)
{
	return (uint32_t *)(void *)(l->page + reg * 16UL);
}

/* For registers of an APIC whose core may be another. */
static inline uint32_t lapic_peek(const struct lapic *l, unsigned reg)
{
	return __atomic_load_n(lapic_word(l, reg), __ATOMIC_RELAXED);
}

static inline uint32_t lapic_get(const struct lapic *l, unsigned reg)
{
	return *lapic_word(l, reg);
}

/* Stores are whole words: other cores route messages by these registers. */
static inline void lapic_put(struct lapic *l, unsigned reg, uint32_t value)
{
	__atomic_store_n(lapic_word(l, reg), value, __ATOMIC_RELAXED);
}

/* An edge-triggered vector of the owner's own making (self-IPI, timer), 16 or above: straight into the IRR. */
void lapic_accept_local(struct lapic *l, uint8_t vector);
/* Recompute PPR from TPR and ISR. */
void lapic_update_ppr(struct lapic *l);
/* Drop all interrupts, pending, posted and in service. */
void lapic_clear_interrupts(struct lapic *l);

/* The guest wrote the ICR. */
void lapic_send_icr(struct lapic *l, uint32_t low, uint32_t destination);
void lapic_send_self(struct lapic *l, uint8_t vector);

void lapic_timer_init(struct lapic *l);
void lapic_timer_stop(struct lapic *l);
/* The page's LVT timer entry, initial count or divide configuration changed. */
void lapic_timer_set_lvt(struct lapic *l, uint32_t lvt);
void lapic_timer_set_count(struct lapic *l, uint32_t count);
void lapic_timer_set_divide(struct lapic *l, uint32_t divide);
/* Current count, also put into the page. */
uint32_t lapic_timer_count(struct lapic *l);

#endif

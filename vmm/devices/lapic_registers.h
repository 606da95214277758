/* The local APIC's registers and what its files share. For vmm/devices/lapic*.c only. */
#ifndef VMM_DEVICES_LAPIC_REGISTERS_H
#define VMM_DEVICES_LAPIC_REGISTERS_H

#include "vmm/devices/lapic.h"

/* Register numbers: byte offset in the page divided by 16, and MSR number minus 0x800 (SDM vol. 3, "Local APIC Register Address Map"). */
enum lapic_register {
	LAPIC_ID = 0x02,
	LAPIC_VERSION = 0x03,
	LAPIC_TPR = 0x08,
	LAPIC_APR = 0x09,
	LAPIC_PPR = 0x0a,
	LAPIC_EOI = 0x0b,
	LAPIC_RRD = 0x0c,
	LAPIC_LDR = 0x0d,
	LAPIC_DFR = 0x0e,
	LAPIC_SVR = 0x0f,
	LAPIC_ISR = 0x10, /* eight each */
	LAPIC_TMR = 0x18,
	LAPIC_IRR = 0x20,
	LAPIC_ESR = 0x28,
	LAPIC_ICR = 0x30,
	LAPIC_ICR_HIGH = 0x31, /* xAPIC */
	LAPIC_LVT_TIMER = 0x32,
	LAPIC_LVT_THERMAL = 0x33,
	LAPIC_LVT_PERF = 0x34,
	LAPIC_LVT_LINT0 = 0x35,
	LAPIC_LVT_LINT1 = 0x36,
	LAPIC_LVT_ERROR = 0x37,
	LAPIC_INITIAL_COUNT = 0x38,
	LAPIC_CURRENT_COUNT = 0x39,
	LAPIC_DIVIDE = 0x3e,
	LAPIC_SELF_IPI = 0x3f, /* x2APIC */
};

#define SVR_ENABLE 0x100U
#define SVR_SUPPRESS_EOI 0x1000U

#define LVT_MASKED 0x10000U
#define LVT_DELIVERY_MODE 0x700U
#define LVT_TIMER_MODE 0x60000U
#define LVT_TIMER_ONE_SHOT 0U
#define LVT_TIMER_PERIODIC 0x20000U
#define LVT_TIMER_DEADLINE 0x40000U

#define ESR_SEND_ILLEGAL 0x20U
#define ESR_RECEIVE_ILLEGAL 0x40U
#define ESR_ILLEGAL_REGISTER 0x80U

enum apic_delivery {
	APIC_FIXED = 0,
	APIC_LOWEST = 1,
	APIC_SMI = 2,
	APIC_NMI = 4,
	APIC_INIT = 5,
	APIC_SIPI = 6,
	APIC_EXTINT = 7,
};

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

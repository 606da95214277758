/* The local APIC's interrupt state: requests, service, priority, errors (SDM vol. 3, "Handling Interrupts"). */
#include "vmm/devices/lapic.h"
#include "vmm/devices/lapic_registers.h"

/* Highest bit among eight words from `first`, looking only where `summary` says. */
static int highest(const struct lapic *l, unsigned first, unsigned summary)
{
	while (summary) {
		unsigned n = 31 - (unsigned)__builtin_clz(summary);
		uint32_t word = lapic_get(l, first + n);

		if (word)
			return (int)(n * 32 + 31 - (unsigned)__builtin_clz(word));
		summary &= ~(1U << n);
	}
	return -1;
}

int lapic_highest_irr(const struct lapic *l)
{
	return highest(l, LAPIC_IRR, l->irr_summary);
}

int lapic_highest_isr(const struct lapic *l)
{
	return highest(l, LAPIC_ISR, l->isr_summary);
}

/* SDM vol. 3, "Task and Processor Priorities". */
static uint32_t processor_priority(const struct lapic *l)
{
	uint32_t tpr = lapic_get(l, LAPIC_TPR) & 0xff;
	int isr = lapic_highest_isr(l);
	uint32_t service = isr < 0 ? 0 : (uint32_t)isr & 0xf0;

	return tpr >= service ? tpr : service;
}

void lapic_update_ppr(struct lapic *l)
{
	lapic_put(l, LAPIC_PPR, processor_priority(l));
}

int lapic_pending_slow(const struct lapic *l)
{
	int vector = lapic_highest_irr(l);

	return vector >= 0 && ((uint32_t)vector & 0xf0) > (processor_priority(l) & 0xf0) ? vector : -1;
}

unsigned lapic_tpr_threshold(const struct lapic *l)
{
	int irr = lapic_highest_irr(l), isr = lapic_highest_isr(l);

	if (irr < 0 || irr >> 4 > (int)(lapic_get(l, LAPIC_TPR) >> 4) || (isr >= 0 && irr >> 4 <= isr >> 4))
		return 0;
	return (unsigned)irr >> 4;
}

static void set_trigger(struct lapic *l, unsigned vector, bool level)
{
	uint32_t *tmr = lapic_word(l, LAPIC_TMR + vector / 32);
	uint32_t bit = 1U << vector % 32;

	if (((*tmr & bit) != 0) == level)
		return;
	*tmr ^= bit;
	l->eoi_exit[vector / 64] ^= BIT(vector % 64);
	l->eoi_exit_dirty = true;
}

static void request(struct lapic *l, unsigned word, uint32_t bits)
{
	*lapic_word(l, LAPIC_IRR + word) |= bits;
	l->irr_summary |= (uint8_t)(1U << word);
}

void lapic_accept_local(struct lapic *l, uint8_t vector)
{
	if (!l->software_enabled)
		return;
	set_trigger(l, vector, false);
	request(l, vector / 32, 1U << vector % 32);
	__atomic_store_n(&l->posted_any, 1, __ATOMIC_RELAXED);
}

/* NOLINTNEXTLINE(misc-no-recursion): once, see lapic_local_error */
void lapic_accept(struct lapic *l, uint8_t vector, bool level)
{
	uint64_t bit = BIT(vector % 64);
	uint64_t *trigger = &l->posted_level[vector / 64];

	if (vector < 16) {
		lapic_local_error(l, ESR_RECEIVE_ILLEGAL);
		return;
	}
	if (!__atomic_load_n(&l->software_enabled, __ATOMIC_RELAXED))
		return;
	if (((__atomic_load_n(trigger, __ATOMIC_RELAXED) & bit) != 0) != level) {
		if (level)
			__atomic_fetch_or(trigger, bit, __ATOMIC_RELAXED);
		else
			__atomic_fetch_and(trigger, ~bit, __ATOMIC_RELAXED);
	}
	__atomic_fetch_or(&l->posted[vector / 64], bit, __ATOMIC_RELEASE);
	/* Where the flag was set already, the core that set it has kicked the vCPU, or the owner itself is on its way to lapic_sync. */
	if (!__atomic_exchange_n(&l->posted_any, 1, __ATOMIC_ACQ_REL))
		vm_cpu_kick(l->vm, l->cpu_index);
}

static void merge(struct lapic *l, unsigned word, uint32_t posted, uint32_t level)
{
	uint32_t *tmr = lapic_word(l, LAPIC_TMR + word);
	uint32_t change = (*tmr ^ level) & posted;

	if (!posted)
		return;
	request(l, word, posted);
	if (change) {
		*tmr ^= change;
		l->eoi_exit[word / 2] ^= (uint64_t)change << word % 2 * 32;
		l->eoi_exit_dirty = true;
	}
}

bool lapic_sync_slow(struct lapic *l)
{
	/* The flag is cleared first: a core that posts after this sets it again. */
	__atomic_exchange_n(&l->posted_any, 0, __ATOMIC_ACQ_REL);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t posted, level;

		if (!__atomic_load_n(&l->posted[i], __ATOMIC_RELAXED))
			continue;
		posted = __atomic_exchange_n(&l->posted[i], 0, __ATOMIC_ACQUIRE);
		if (!l->enabled)
			continue;
		level = __atomic_load_n(&l->posted_level[i], __ATOMIC_RELAXED);
		merge(l, i * 2, (uint32_t)posted, (uint32_t)level);
		merge(l, i * 2 + 1, (uint32_t)(posted >> 32), (uint32_t)(level >> 32));
	}
	return true;
}

/* Clear a bit of IRR or ISR and its summary. With hw_delivery the CPU sets bits too, and the summary stays all ones. */
static void drop(struct lapic *l, unsigned first, uint8_t *summary, unsigned vector)
{
	uint32_t *word = lapic_word(l, first + vector / 32);

	*word &= ~(1U << vector % 32);
	if (!*word && !l->hw_delivery)
		*summary &= (uint8_t)~(1U << vector / 32);
}

void lapic_acknowledge(struct lapic *l, uint8_t vector)
{
	drop(l, LAPIC_IRR, &l->irr_summary, vector);
	*lapic_word(l, LAPIC_ISR + vector / 32) |= 1U << vector % 32;
	l->isr_summary |= (uint8_t)(1U << vector / 32);
	lapic_update_ppr(l);
}

static void tell_ioapic(struct lapic *l, uint8_t vector)
{
	if ((lapic_get(l, LAPIC_TMR + vector / 32) >> vector % 32 & 1) && !(lapic_get(l, LAPIC_SVR) & SVR_SUPPRESS_EOI))
		vm_ioapic_eoi(l->vm, vector);
}

void lapic_eoi(struct lapic *l)
{
	int vector = lapic_highest_isr(l);

	if (vector < 0)
		return;
	drop(l, LAPIC_ISR, &l->isr_summary, (unsigned)vector);
	lapic_update_ppr(l);
	if (l->hw_delivery)
		__atomic_store_n(&l->posted_any, 1, __ATOMIC_RELAXED);
	tell_ioapic(l, (uint8_t)vector);
}

void lapic_eoi_vector(struct lapic *l, uint8_t vector)
{
	tell_ioapic(l, vector);
}

void lapic_clear_interrupts(struct lapic *l)
{
	for (unsigned i = 0; i < 8; i++) {
		*lapic_word(l, LAPIC_IRR + i) = 0;
		*lapic_word(l, LAPIC_ISR + i) = 0;
		*lapic_word(l, LAPIC_TMR + i) = 0;
	}
	for (unsigned i = 0; i < 4; i++) {
		__atomic_store_n(&l->posted[i], 0, __ATOMIC_RELAXED);
		l->eoi_exit[i] = 0;
	}
	l->eoi_exit_dirty = true;
	l->irr_summary = l->isr_summary = l->hw_delivery ? 0xff : 0;
	__atomic_store_n(&l->posted_any, 1, __ATOMIC_RELAXED);
}

/* NOLINTNEXTLINE(misc-no-recursion): the comment below */
void lapic_local_error(struct lapic *l, uint32_t bit)
{
	uint32_t lvt;

	/* Only the first error since the last ESR write interrupts; that also ends the recursion for an illegal LVT vector. */
	if (__atomic_fetch_or(&l->errors, bit, __ATOMIC_RELAXED) != 0)
		return;
	lvt = lapic_peek(l, LAPIC_LVT_ERROR);
	if (!(lvt & LVT_MASKED))
		lapic_accept(l, (uint8_t)lvt, false);
}

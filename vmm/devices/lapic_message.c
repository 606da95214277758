/* Interrupt messages between local APICs: the ICR and the choice of destinations (SDM vol. 3, "Issuing Interprocessor Interrupts"). */
#include "vmm/devices/lapic.h"
#include "vmm/devices/lapic_registers.h"


enum shorthand {
	SHORTHAND_NONE,
	SHORTHAND_SELF,
	SHORTHAND_ALL,
	SHORTHAND_OTHERS,
};

static void deliver(struct lapic *l, const struct apic_message *msg, const struct lapic *sender)
{
	switch (msg->delivery_mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		if (l == sender && !msg->level && msg->vector >= 16)
			lapic_accept_local(l, msg->vector);
		else
			lapic_accept(l, msg->vector, msg->level);
		break;
	case APIC_NMI:
		vm_cpu_event(l->vm, l->cpu_index, CPU_EVENT_NMI, 0);
		break;
	case APIC_INIT:
		/* The de-assert message has meant nothing since the Pentium 4. */
		if (msg->assert)
			vm_cpu_event(l->vm, l->cpu_index, CPU_EVENT_INIT, 0);
		break;
	case APIC_SIPI:
		vm_cpu_event(l->vm, l->cpu_index, CPU_EVENT_SIPI, msg->vector);
		break;
	case APIC_EXTINT:
		vm_cpu_event(l->vm, l->cpu_index, CPU_EVENT_EXTINT, 0);
		break;
	}
}

static bool is_enabled(const struct lapic *l)
{
	return __atomic_load_n(&l->enabled, __ATOMIC_RELAXED);
}

static bool matches_logical(const struct lapic *l, uint32_t destination, bool x2apic)
{
	uint32_t ldr = lapic_peek(l, LAPIC_LDR);

	if (x2apic)
		return destination >> 16 == ldr >> 16 && (destination & ldr & 0xffff);
	ldr >>= 24;
	if (lapic_peek(l, LAPIC_DFR) >> 28 == 0xf)
		return (destination & ldr & 0xff) != 0;
	return (destination & 0xf0) == (ldr & 0xf0) && (destination & ldr & 0xf);
}

/* An I/O APIC's or MSI's destination has eight bits: its 0xff means all, in x2APIC mode too. */
static bool matches(const struct lapic *l, const struct apic_message *msg, const struct lapic *sender)
{
	bool x2apic = __atomic_load_n(&l->x2apic, __ATOMIC_RELAXED);

	if (msg->destination == 0xffffffff || (msg->destination == 0xff && (!x2apic || !sender)))
		return true;
	return msg->logical ? matches_logical(l, msg->destination, x2apic) : msg->destination == l->apic_id;
}

static void route(struct lapic *const *lapics, unsigned count, const struct apic_message *msg, const struct lapic *sender,
		  enum shorthand shorthand)
{
	struct lapic *lowest = NULL;
	uint32_t lowest_tpr = 0x100;

	for (unsigned i = 0; i < count; i++) {
		struct lapic *l = lapics[i];

		if (!is_enabled(l) || (shorthand == SHORTHAND_OTHERS && l == sender))
			continue;
		if (shorthand == SHORTHAND_NONE && !matches(l, msg, sender))
			continue;
		if (msg->delivery_mode != APIC_LOWEST) {
			deliver(l, msg, sender);
		} else if (__atomic_load_n(&l->software_enabled, __ATOMIC_RELAXED)) {
			uint32_t tpr = lapic_peek(l, LAPIC_TPR) & 0xff;

			if (tpr < lowest_tpr) {
				lowest_tpr = tpr;
				lowest = l;
			}
		}
	}
	if (lowest)
		deliver(lowest, msg, sender);
}

void lapic_route(struct lapic *const *lapics, unsigned count, const struct apic_message *msg, const struct lapic *sender)
{
	/* Nearly every message names one CPU by an ID that is its index; below 0xff no ID is a broadcast. */
	if (!msg->logical && msg->destination < count && msg->destination < 0xff && lapics[msg->destination]->apic_id == msg->destination) {
		if (is_enabled(lapics[msg->destination]))
			deliver(lapics[msg->destination], msg, sender);
		return;
	}
	route(lapics, count, msg, sender, SHORTHAND_NONE);
}

void lapic_send_self(struct lapic *l, uint8_t vector)
{
	if (vector >= 16)
		lapic_accept_local(l, vector);
	else
		lapic_local_error(l, ESR_RECEIVE_ILLEGAL);
}

void lapic_send_icr(struct lapic *l, uint32_t low, uint32_t destination)
{
	enum shorthand shorthand = low >> 18 & 3;
	struct apic_message msg = {
		.destination = destination,
		.vector = (uint8_t)low,
		.delivery_mode = low >> 8 & 7,
		.logical = (low & ICR_LOGICAL) != 0,
		.level = false, /* only INIT knows levels */
		.assert = (low & ICR_ASSERT) || !(low & ICR_LEVEL),
	};
	struct lapic *alone[1] = { l };
	struct lapic *const *lapics = l->bus ? l->bus->lapic : alone;
	unsigned count = l->bus ? l->bus->count : 1;

	if (msg.delivery_mode <= APIC_LOWEST && msg.vector < 16) {
		lapic_local_error(l, ESR_SEND_ILLEGAL);
		return;
	}
	/* No SMM here; 3 is reserved, and an ICR cannot send ExtINT. */
	if (msg.delivery_mode == APIC_SMI || msg.delivery_mode == 3 || msg.delivery_mode == APIC_EXTINT)
		return;
	switch (shorthand) {
	case SHORTHAND_NONE:
		lapic_route(lapics, count, &msg, l);
		break;
	case SHORTHAND_SELF:
	case SHORTHAND_ALL:
		/* INIT and SIPI to oneself are invalid (SDM vol. 3, table "Valid Combinations for the Pentium 4 ... Local APIC's ICR"). */
		if (msg.delivery_mode == APIC_INIT || msg.delivery_mode == APIC_SIPI)
			return;
		if (shorthand == SHORTHAND_SELF)
			deliver(l, &msg, l);
		else
			route(lapics, count, &msg, l, shorthand);
		break;
	case SHORTHAND_OTHERS:
		route(lapics, count, &msg, l, shorthand);
		break;
	}
}

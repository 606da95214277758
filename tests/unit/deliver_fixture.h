/* A vCPU before it enters the guest: an engine that notes what it is asked for, and a PC after its firmware around it. */
#ifndef TESTS_UNIT_DELIVER_FIXTURE_H
#define TESTS_UNIT_DELIVER_FIXTURE_H

#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/msr.h"
#include "lib/x86/registers.h"
#include "tests/unit/fakes.h"
#include "vmm/devices/lapic_registers.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/real_mode.h"
#include "vmm/vcpu/vcpu_emulator.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/vm_services.h"
#include "vmm/vm/vm_vcpu.h"

#define NONE (-1)

static struct vm vm;
static struct vcpu vcpu[2];
static _Alignas(4096) uint8_t page[2][4096];

/* The engine: what it lets in, and what it was asked for since look(). */
static struct {
	bool interrupts, nmis;      /* the guest could take them */
	bool in_service;            /* an NMI's handler runs */
	bool queued;                /* an event for the next entry */
	uint64_t rflags;
	int interrupt, nmi;         /* vectors injected, or NONE */
	bool interrupt_window, nmi_window;
	bool offers;
	int offered;
	unsigned threshold, thresholds;
	unsigned virtual_calls, rvi, svi;
	unsigned eoi_calls;
	uint64_t eoi_exit[4];
} e;

static uint64_t engine_read(struct vcpu *v, enum vcpu_register reg)
{
	(void)v;
	assert_int_equal(reg, VCPU_RFLAGS);
	return e.rflags;
}

static bool engine_can_inject(struct vcpu *v, enum vcpu_event_type type)
{
	(void)v;
	return !e.queued && (type == EVENT_NMI ? e.nmis : e.interrupts);
}

static void engine_inject(struct vcpu *v, const struct vcpu_event *event)
{
	assert_true(engine_can_inject(v, event->type));
	assert_false(event->has_error);
	e.queued = true;
	if (event->type == EVENT_NMI) {
		e.nmi = event->vector;
		e.in_service = true;
		e.nmis = false;
	} else {
		e.interrupt = event->vector;
	}
	vm.pic_output = fake.pic_output; /* the 8259s have been acknowledged just now, if they were */
}

/* It is the engine that ends a window. */
static void engine_interrupt_window(struct vcpu *v, bool on) { (void)v; assert_true(on); e.interrupt_window = true; }
static bool engine_nmi_in_service(struct vcpu *v) { (void)v; return e.in_service; }
static void engine_nmi_window(struct vcpu *v, bool on) { (void)v; assert_true(on); e.nmi_window = true; }

static bool engine_offer_interrupt(struct vcpu *v, int vector) { e.offered = vector; return v && e.offers; }

static void engine_tpr_threshold(struct vcpu *v, unsigned threshold) { (void)v; e.threshold = threshold; e.thresholds++; }

static void engine_virtual_interrupts(struct vcpu *v, uint8_t highest_irr, uint8_t highest_isr)
{
	assert_true(v->hw_delivery);
	e.virtual_calls++;
	e.rvi = highest_irr;
	e.svi = highest_isr;
}

static void engine_eoi_exits(struct vcpu *v, const uint64_t bitmap[4])
{
	(void)v;
	e.eoi_calls++;
	memcpy(e.eoi_exit, bitmap, sizeof(e.eoi_exit));
}

/* Another vCPU sends INIT after INIT, faster than they are taken. */
static unsigned inits;

static void engine_vcpu_reset(struct vcpu *v, bool init)
{
	assert_true(init);
	if (++inits < 100000)
		v->pending |= PENDING_INIT;
}

static const struct engine engine = {
	.vcpu_reset = engine_vcpu_reset, .read = engine_read, .can_inject = engine_can_inject, .inject = engine_inject,
	.nmi_in_service = engine_nmi_in_service,
	.interrupt_window = engine_interrupt_window, .nmi_window = engine_nmi_window, .offer_interrupt = engine_offer_interrupt,
	.tpr_threshold = engine_tpr_threshold, .virtual_interrupts = engine_virtual_interrupts, .eoi_exits = engine_eoi_exits,
};

/* ---- The machine around it: nothing of this happens here ---- */

unsigned core_index(void) { return 0; }
void sched_wake(struct sched_slot *slot) { (void)slot; }
void sched_arm(struct vcpu *v) { (void)v; }
void *vm_alloc_pages(struct vm *of, unsigned pages) { (void)of; (void)pages; return NULL; }
void vm_console_input(struct vm *of) { (void)of; }
void vm_poll_disks(struct vm *of) { (void)of; }
uint8_t vm_pic_acknowledge(struct vm *of) { return (uint8_t)pic_acknowledge(&of->pic); }
void vcpu_emulator_init(struct vcpu *v) { (void)v; }
void timer_queue_init(struct timer_queue *queue, struct vcpu *v) { (void)queue; (void)v; }
void timer_queue_run(struct timer_queue *queue) { (void)queue; }
int virtual_mmu_add_vcpu(struct vcpu *v) { (void)v; return 0; }
void virtual_mmu_update(struct vcpu *v) { (void)v; }
void virtual_mmu_settle(struct vcpu *v) { (void)v; }
int real_mode_create(struct vcpu *v) { (void)v; return 0; }
void real_mode_plan(struct arena_plan *plan, const struct engine *of) { (void)plan; (void)of; }
void virtual_mmu_plan_vcpu(struct arena_plan *plan) { (void)plan; }
void real_mode_check(struct vcpu *v) { (void)v; }
void real_mode_run(struct vcpu *v) { (void)v; }

static void out8(uint16_t port, uint8_t value)
{
	io_space_write(&vm.pio, port, 1, value);
}

/* A PC after its firmware: the APICs enabled, the boot processor's LINT0 takes the 8259s, whose inputs are vectors 0x20 to 0x2f. */
static void build(bool hw_delivery)
{
	static const uint8_t icws[][2] = { { 0x20, 0x11 }, { 0x21, 0x20 }, { 0x21, 4 }, { 0x21, 1 }, { 0x21, 0 },
					   { 0xa0, 0x11 }, { 0xa1, 0x28 }, { 0xa1, 2 }, { 0xa1, 1 }, { 0xa1, 0 } };

	fake_reset();
	memset(&vm, 0, sizeof(vm));
	memset(vcpu, 0, sizeof(vcpu));
	memset(&e, 0, sizeof(e));
	vm.engine = &engine;
	assert_int_equal(pic_init(&vm.pic, &vm, &vm.pio, &vm.irq_lock), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(icws); i++)
		out8(icws[i][0], icws[i][1]);
	for (unsigned i = 0; i < 2; i++) {
		struct vcpu *v = &vcpu[i];

		v->index = i;
		vm_attach_vcpu(&vm, v);
		v->hw_delivery = hw_delivery;
		v->state = VCPU_RUNNING;
		vm.vcpu[vm.vcpu_count++] = v;
		lapic_init(&v->lapic, &vm, i, i, page[i], hw_delivery);
		lapic_bus_add(&vm.lapics, &v->lapic);
		lapic_reset(&v->lapic, i == 0);
		if (i == 0)
			lapic_virtual_wire(&v->lapic);
		lapic_mmio_write(&v->lapic, LAPIC_SVR * 16, 4, 0x1ff);
		lapic_sync(&v->lapic);
		v->lapic.eoi_exit_dirty = false;
	}
	e.interrupts = e.nmis = true;
	e.rflags = 2 | RFLAGS_IF;
}

static inline int setup(void **state)
{
	(void)state;
	build(false);
	return 0;
}

static inline int setup_hw(void **state)
{
	(void)state;
	build(true);
	return 0;
}

/* One entry of the guest: what was queued for the last one has been delivered, what was asked for is asked anew. */
static bool look_as(struct vcpu *v, uint32_t why)
{
	e.queued = false;
	e.interrupt = e.nmi = NONE;
	e.interrupt_window = e.nmi_window = false;
	e.threshold = e.thresholds = e.virtual_calls = e.eoi_calls = 0;
	v->pending |= why;
	return vcpu_prepare(v);
}

static inline void look(uint32_t why)
{
	assert_true(look_as(&vcpu[0], why));
}

static inline void arrive(uint8_t vector)
{
	lapic_accept(&vcpu[0].lapic, vector, false);
}

static inline void set_tpr(uint8_t tpr)
{
	lapic_mmio_write(&vcpu[0].lapic, LAPIC_TPR * 16, 4, tpr);
}

static inline void irq(unsigned n, bool level)
{
	spin_lock(&vm.irq_lock);
	pic_set_irq(&vm.pic, n, level);
	spin_unlock(&vm.irq_lock);
	vm.pic_output = fake.pic_output;
}

static inline void expect(int interrupt, int nmi, bool interrupt_window, bool nmi_window)
{
	assert_int_equal(e.interrupt, interrupt);
	assert_int_equal(e.nmi, nmi);
	assert_int_equal(e.interrupt_window, interrupt_window);
	assert_int_equal(e.nmi_window, nmi_window);
}

#endif

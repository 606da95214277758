/* SOURCES: vmm/vcpu/deliver.c vmm/vcpu/pending.c vmm/vcpu/vcpu.c vmm/devices/lapic.c vmm/devices/lapic_interrupt.c vmm/devices/lapic_timer.c vmm/devices/lapic_message.c vmm/devices/pic.c vmm/io/io_space.c vmm/memory/guest_memory.c vmm/memory/guest_walk.c */
/* What a vCPU's interrupts come to before it enters the guest: an injected event, a window to wait for, or the CPU's own delivery. */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/msr.h"
#include "lib/x86/registers.h"
#include "tests/unit/fakes.h"
#include "vmm/devices/lapic_registers.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/virtual_mmu.h"
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
	if (event->type == EVENT_NMI)
		e.nmi = event->vector;
	else
		e.interrupt = event->vector;
	vm.pic_output = fake.pic_output; /* the 8259s have been acknowledged just now, if they were */
}

/* It is the engine that ends a window. */
static void engine_interrupt_window(struct vcpu *v, bool on) { (void)v; assert_true(on); e.interrupt_window = true; }
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

static int setup(void **state)
{
	(void)state;
	build(false);
	return 0;
}

static int setup_hw(void **state)
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

static void look(uint32_t why)
{
	assert_true(look_as(&vcpu[0], why));
}

static void arrive(uint8_t vector)
{
	lapic_accept(&vcpu[0].lapic, vector, false);
}

static void set_tpr(uint8_t tpr)
{
	lapic_mmio_write(&vcpu[0].lapic, LAPIC_TPR * 16, 4, tpr);
}

static void irq(unsigned n, bool level)
{
	spin_lock(&vm.irq_lock);
	pic_set_irq(&vm.pic, n, level);
	spin_unlock(&vm.irq_lock);
	vm.pic_output = fake.pic_output;
}

static void expect(int interrupt, int nmi, bool interrupt_window, bool nmi_window)
{
	assert_int_equal(e.interrupt, interrupt);
	assert_int_equal(e.nmi, nmi);
	assert_int_equal(e.interrupt_window, interrupt_window);
	assert_int_equal(e.nmi_window, nmi_window);
}

/* ---- The local APIC without the CPU's help ---- */

static void test_nothing_waits(void **state)
{
	(void)state;
	look(0);
	assert_int_equal(e.thresholds, 0); /* nobody asked */
	look(PENDING_EVALUATE);
	expect(NONE, NONE, false, false);
	assert_int_equal(e.thresholds, 1);
	assert_int_equal(e.threshold, 0);
}

static void test_an_interrupt_is_injected(void **state)
{
	(void)state;
	arrive(0x31);
	look(PENDING_POSTED);
	expect(0x31, NONE, false, false);
	assert_int_equal(lapic_highest_isr(&vcpu[0].lapic), 0x31);
	assert_int_equal(lapic_highest_irr(&vcpu[0].lapic), -1);
	/* Once. */
	look(PENDING_EVALUATE);
	expect(NONE, NONE, false, false);
}

static void test_highest_first(void **state)
{
	(void)state;
	arrive(0x31);
	arrive(0x41);
	look(PENDING_POSTED);
	expect(0x41, NONE, false, false); /* the other waits for the EOI, which exits: no window */
	look(PENDING_EVALUATE);
	expect(NONE, NONE, false, false);
	arrive(0x51); /* a higher class interrupts the handler */
	look(PENDING_POSTED);
	expect(0x51, NONE, false, false);
	lapic_eoi(&vcpu[0].lapic);
	look(PENDING_EVALUATE);
	expect(NONE, NONE, false, false);
	lapic_eoi(&vcpu[0].lapic);
	look(PENDING_EVALUATE);
	expect(0x31, NONE, false, false);
}

static void test_window_where_the_guest_cannot_take_it(void **state)
{
	(void)state;
	e.interrupts = false;
	arrive(0x31);
	look(PENDING_POSTED);
	expect(NONE, NONE, true, false);
	assert_int_equal(lapic_highest_irr(&vcpu[0].lapic), 0x31); /* not acknowledged: a higher one may come */
	arrive(0x41);
	e.interrupts = true;
	look(PENDING_POSTED);
	expect(0x41, NONE, false, false);
}

static void test_tpr_holds_back(void **state)
{
	(void)state;
	set_tpr(0x50);
	arrive(0x31);
	look(PENDING_POSTED);
	expect(NONE, NONE, false, false);
	assert_int_equal(e.threshold, 3);
	/* VM entry refuses a threshold above the TPR: it goes when the TPR does. */
	set_tpr(0);
	look(PENDING_EVALUATE);
	expect(0x31, NONE, false, false);
	assert_int_equal(e.threshold, 0);
}

/* ---- The 8259s ---- */

/* An engine that has the guest take it without an exit: nothing is injected, waited for or acknowledged here. */
static void test_offer(void **state)
{
	(void)state;
	e.offers = true;
	e.interrupts = false;
	arrive(0x31);
	look(PENDING_POSTED);
	expect(NONE, NONE, false, false);
	assert_int_equal(e.offered, 0x31);
	assert_int_equal(lapic_highest_irr(&vcpu[0].lapic), 0x31);
	set_tpr(0x30);
	look(PENDING_EVALUATE);
	assert_int_equal(e.offered, -1);
	assert_int_equal(e.threshold, 3);
}

static void test_pic(void **state)
{
	(void)state;
	irq(4, true);
	look(PENDING_EVALUATE);
	expect(0x24, NONE, false, false);
	assert_false(fake.pic_output); /* INTA cycles were run */
	look(PENDING_EVALUATE);
	expect(NONE, NONE, false, false);
}

static void test_pic_waits_for_a_window(void **state)
{
	(void)state;
	e.interrupts = false;
	irq(4, true);
	look(PENDING_EVALUATE);
	expect(NONE, NONE, true, false);
	assert_true(fake.pic_output); /* no INTA before it can be delivered */
	e.interrupts = true;
	irq(1, true);
	look(PENDING_EVALUATE);
	expect(0x21, NONE, false, false);
}

static void test_local_apic_before_pic(void **state)
{
	(void)state;
	arrive(0x31);
	irq(4, true);
	look(PENDING_POSTED);
	expect(0x31, NONE, true, false);
	assert_true(fake.pic_output);
	look(PENDING_EVALUATE);
	expect(0x24, NONE, false, false); /* ExtINT asks no priority */
}

static void test_pic_reaches_the_boot_processor_only(void **state)
{
	(void)state;
	irq(4, true);
	lapic_virtual_wire(&vcpu[1].lapic);
	assert_true(look_as(&vcpu[1], PENDING_EVALUATE));
	expect(NONE, NONE, false, false);
	lapic_mmio_write(&vcpu[0].lapic, LAPIC_LVT_LINT0 * 16, 4, LVT_MASKED | 0x700);
	look(PENDING_EVALUATE);
	expect(NONE, NONE, false, false);
	assert_true(fake.pic_output);
}

/* ---- NMIs ---- */

static void test_nmi_before_all(void **state)
{
	(void)state;
	arrive(0x31);
	look(PENDING_NMI | PENDING_POSTED);
	expect(NONE, 2, true, false);
	assert_false(vcpu[0].nmi_pending);
	look(PENDING_EVALUATE);
	expect(0x31, NONE, false, false);
}

static void test_nmi_waits_for_its_window(void **state)
{
	(void)state;
	e.nmis = false;
	arrive(0x31);
	look(PENDING_NMI | PENDING_POSTED);
	expect(0x31, NONE, false, true); /* interrupts need not wait with it */
	assert_true(vcpu[0].nmi_pending);
	look(PENDING_NMI); /* a second one is the same */
	expect(NONE, NONE, false, true);
	e.nmis = true;
	look(PENDING_EVALUATE);
	expect(NONE, 2, false, false);
	look(PENDING_EVALUATE);
	expect(NONE, NONE, false, false);
}

/* ---- The CPU delivers ---- */

static void test_virtual_one_is_injected(void **state)
{
	(void)state;
	arrive(0x31);
	look(PENDING_POSTED);
	expect(0x31, NONE, false, false);
	assert_int_equal(e.virtual_calls, 1);
	assert_int_equal(e.rvi, 0);
	assert_int_equal(e.svi, 0x31);
	assert_false(vcpu[0].held_back);
	/* The CPU knows all: it is not told again, and has its TPR to itself. */
	look(PENDING_EVALUATE);
	assert_int_equal(e.virtual_calls, 0);
	assert_int_equal(e.thresholds, 0);
	expect(NONE, NONE, false, false);
}

static void test_virtual_one_behind_another(void **state)
{
	(void)state;
	arrive(0x31);
	arrive(0x51);
	look(PENDING_POSTED);
	expect(0x51, NONE, true, false);
	assert_int_equal(e.rvi, 0x31);
	assert_int_equal(e.svi, 0x51);
	assert_true(vcpu[0].held_back);
	/* The window has come: the lower one must wait for the EOI, which is the CPU's. */
	look(PENDING_EVALUATE);
	expect(NONE, NONE, false, false);
	assert_int_equal(e.virtual_calls, 1);
	assert_int_equal(e.rvi, 0x31);
	assert_int_equal(e.svi, 0x51);
	assert_false(vcpu[0].held_back);
}

static void test_virtual_window_where_the_guest_cannot_take_it(void **state)
{
	(void)state;
	e.interrupts = false;
	arrive(0x31);
	look(PENDING_POSTED);
	expect(NONE, NONE, true, false);
	assert_int_equal(e.rvi, 0x31);
	assert_int_equal(e.svi, 0);
	assert_true(vcpu[0].held_back);
	look(PENDING_EVALUATE); /* and as long as it lasts */
	expect(NONE, NONE, true, false);
	e.interrupts = true;
	look(PENDING_EVALUATE);
	expect(0x31, NONE, false, false);
	assert_int_equal(e.rvi, 0);
	assert_int_equal(e.svi, 0x31);
	assert_false(vcpu[0].held_back);
}

static void test_virtual_tpr_holds_back(void **state)
{
	(void)state;
	set_tpr(0x50);
	arrive(0x31);
	look(PENDING_POSTED);
	expect(NONE, NONE, false, false); /* the CPU sees the TPR fall */
	assert_int_equal(e.rvi, 0x31);
	assert_false(vcpu[0].held_back);
	assert_int_equal(e.thresholds, 0);
}

static void test_virtual_eoi_exits(void **state)
{
	(void)state;
	lapic_accept(&vcpu[0].lapic, 0x61, true);
	look(PENDING_POSTED);
	expect(0x61, NONE, false, false);
	assert_int_equal(e.eoi_calls, 1);
	assert_int_equal(e.eoi_exit[1], BIT(0x61 - 64));
	arrive(0x31);
	look(PENDING_POSTED);
	assert_int_equal(e.eoi_calls, 0); /* as before */
}

static void test_virtual_beside_nmi_and_pic(void **state)
{
	(void)state;
	arrive(0x31);
	irq(4, true);
	look(PENDING_NMI | PENDING_POSTED);
	expect(NONE, 2, true, false);
	assert_true(vcpu[0].held_back);
	look(PENDING_EVALUATE);
	expect(0x31, NONE, true, false); /* the window is for the 8259s */
	assert_false(vcpu[0].held_back);
	look(PENDING_EVALUATE);
	expect(0x24, NONE, false, false);
}

/* The guest has lowered its TPR, which the CPU sees alone: what it lets through waits behind the 8259s' vector. */
static void test_virtual_behind_pic(void **state)
{
	(void)state;
	set_tpr(0x50);
	arrive(0x31);
	look(PENDING_POSTED);
	page[0][LAPIC_TPR * 16] = 0;
	irq(4, true);
	look(PENDING_EVALUATE);
	expect(0x24, NONE, true, false);
}

/* An APIC that its base MSR disables has no registers for the CPU to look at; the 8259s are wired through. */
static void test_virtual_with_a_disabled_apic(void **state)
{
	(void)state;
	assert_int_equal(lapic_set_base(&vcpu[0].lapic, LAPIC_BASE | APIC_BASE_BSP), 0);
	irq(4, true);
	look(PENDING_EVALUATE);
	expect(0x24, NONE, false, false);
	assert_int_equal(e.virtual_calls, 0);
	assert_int_equal(e.thresholds, 1);
}

/* ---- Halted ---- */

static void test_halted_until_it_can_take_one(void **state)
{
	struct vcpu *v = &vcpu[0];

	(void)state;
	v->state = VCPU_HALTED;
	e.rflags = 2;
	e.interrupts = false;
	arrive(0x31);
	assert_false(look_as(v, PENDING_POSTED));
	assert_int_equal(v->state, VCPU_HALTED);
	set_tpr(0x50);
	e.rflags |= RFLAGS_IF;
	e.interrupts = true;
	assert_false(look_as(v, PENDING_EVALUATE));
	expect(NONE, NONE, false, false);
	set_tpr(0);
	assert_true(look_as(v, PENDING_EVALUATE));
	expect(0x31, NONE, false, false);
	v->state = VCPU_HALTED;
	e.rflags = 2;
	assert_true(look_as(v, PENDING_NMI)); /* whatever IF says */
	expect(NONE, 2, false, false);
}

static void test_none_before_sipi(void **state)
{
	struct vcpu *v = &vcpu[1];

	(void)state;
	v->state = VCPU_WAIT_FOR_SIPI;
	lapic_accept(&v->lapic, 0x31, false);
	assert_false(look_as(v, PENDING_POSTED | PENDING_NMI));
	expect(NONE, NONE, false, false);
	assert_int_equal(v->state, VCPU_WAIT_FOR_SIPI);
}

/* The core is let go in between: it has interrupts to take and other VMs' vCPUs to run. */
static void test_flood_of_inits(void **state)
{
	(void)state;
	inits = 0;
	vcpu[1].state = VCPU_WAIT_FOR_SIPI;
	vcpu[1].pending = PENDING_INIT;
	assert_false(vcpu_prepare(&vcpu[1]));
	assert_in_range(inits, 1, 100);
	assert_true(vcpu[1].pending & PENDING_INIT); /* the last one is not lost */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_flood_of_inits, setup),
		cmocka_unit_test_setup(test_nothing_waits, setup),
		cmocka_unit_test_setup(test_an_interrupt_is_injected, setup),
		cmocka_unit_test_setup(test_highest_first, setup),
		cmocka_unit_test_setup(test_window_where_the_guest_cannot_take_it, setup),
		cmocka_unit_test_setup(test_tpr_holds_back, setup),
		cmocka_unit_test_setup(test_offer, setup),
		cmocka_unit_test_setup(test_pic, setup),
		cmocka_unit_test_setup(test_pic_waits_for_a_window, setup),
		cmocka_unit_test_setup(test_local_apic_before_pic, setup),
		cmocka_unit_test_setup(test_pic_reaches_the_boot_processor_only, setup),
		cmocka_unit_test_setup(test_nmi_before_all, setup),
		cmocka_unit_test_setup(test_nmi_waits_for_its_window, setup),
		cmocka_unit_test_setup(test_virtual_one_is_injected, setup_hw),
		cmocka_unit_test_setup(test_virtual_one_behind_another, setup_hw),
		cmocka_unit_test_setup(test_virtual_window_where_the_guest_cannot_take_it, setup_hw),
		cmocka_unit_test_setup(test_virtual_tpr_holds_back, setup_hw),
		cmocka_unit_test_setup(test_virtual_eoi_exits, setup_hw),
		cmocka_unit_test_setup(test_virtual_beside_nmi_and_pic, setup_hw),
		cmocka_unit_test_setup(test_virtual_behind_pic, setup_hw),
		cmocka_unit_test_setup(test_virtual_with_a_disabled_apic, setup_hw),
		cmocka_unit_test_setup(test_halted_until_it_can_take_one, setup),
		cmocka_unit_test_setup(test_halted_until_it_can_take_one, setup_hw),
		cmocka_unit_test_setup(test_none_before_sipi, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SOURCES: vmm/vcpu/deliver.c vmm/vcpu/pending.c vmm/vcpu/vcpu.c vmm/devices/lapic.c vmm/devices/lapic_interrupt.c vmm/devices/lapic_timer.c vmm/devices/lapic_message.c vmm/devices/pic.c vmm/io/io_space.c vmm/memory/guest_memory.c vmm/memory/guest_walk.c */
/* What a vCPU's interrupts come to before it enters the guest: an injected event, a window to wait for, or the CPU's own delivery. */
#include "tests/unit/deliver_fixture.h"

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

static void post_nmis(unsigned n)
{
	while (n--)
		vcpu_post_nmi(&vcpu[0]);
}

/* The handler's IRET. */
static void end_nmi(void)
{
	e.in_service = false;
	e.nmis = true;
}

static void test_nmi_before_all(void **state)
{
	(void)state;
	arrive(0x31);
	post_nmis(1);
	look(PENDING_POSTED);
	expect(NONE, 2, true, false);
	look(PENDING_EVALUATE);
	expect(0x31, NONE, false, false);
}

static void test_nmi_waits_for_its_window(void **state)
{
	(void)state;
	e.nmis = false; /* in a shadow of STI, say */
	arrive(0x31);
	post_nmis(1);
	look(PENDING_POSTED);
	expect(0x31, NONE, false, true); /* interrupts need not wait with it */
	e.nmis = true;
	look(PENDING_EVALUATE);
	expect(NONE, 2, false, false);
	look(PENDING_EVALUATE);
	expect(NONE, NONE, false, false);
}

/* A CPU holds one in service and one more, whether they come at once or one by one, and no third one. */
static void test_two_nmis(void **state)
{
	(void)state;
	for (unsigned at_once = 0; at_once < 2; at_once++) {
		for (unsigned more = 1; more < 5; more++) {
			post_nmis(at_once ? 1 + more : 1);
			look(PENDING_EVALUATE);
			expect(NONE, 2, false, at_once);
			if (!at_once)
				post_nmis(more);
			look(PENDING_EVALUATE);
			expect(NONE, NONE, false, true);
			end_nmi();
			look(PENDING_EVALUATE);
			expect(NONE, 2, false, false);
			end_nmi();
			look(PENDING_EVALUATE);
			expect(NONE, NONE, false, false);
		}
	}
}

/* A reset forgets them. */
static void test_no_nmi_after_a_restart(void **state)
{
	(void)state;
	post_nmis(2);
	vcpu_restart(&vcpu[0]);
	vcpu[0].pending = PENDING_NMI;
	look(0);
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
	post_nmis(1);
	look(PENDING_POSTED);
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
	post_nmis(1);
	assert_true(look_as(v, 0)); /* whatever IF says */
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
		cmocka_unit_test_setup(test_two_nmis, setup),
		cmocka_unit_test_setup(test_no_nmi_after_a_restart, setup),
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

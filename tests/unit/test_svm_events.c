/* SOURCES: arch/x86_64/svm/svm_events.c vmm/devices/lapic.c vmm/devices/lapic_interrupt.c vmm/devices/lapic_timer.c vmm/devices/lapic_message.c */
/* What the AMD-V engine writes into the VMCB for interrupts, where the test plays the CPU: it takes V_IRQ when RFLAGS.RFLAGS_IF says so. */
#include "lib/x86/registers.h"
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/x86_64/svm/svm.h"
#include "tests/unit/fakes.h"
#include "vmm/devices/lapic_registers.h"
#include "vmm/interface/core.h"
#include "vmm/vm/vm_vcpu.h"


static struct vm vm;
static struct vcpu v;
static struct svm_vcpu x;
static _Alignas(4096) uint8_t page[4096];
static unsigned kicks;

unsigned core_index(void) { return 0; }
void core_kick(unsigned core) { (void)core; kicks++; }

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&vm, 0, sizeof(vm));
	memset(&v, 0, sizeof(v));
	memset(&x, 0, sizeof(x));
	vm_attach_vcpu(&vm, &v);
	v.hw = &x;
	lapic_init(&v.lapic, &vm, 0, 0, page, false);
	lapic_reset(&v.lapic, true);
	lapic_mmio_write(&v.lapic, LAPIC_SVR * 16, 4, 0x1ff);
	x.vmcb.rflags = 2 | RFLAGS_IF;
	x.vmcb.clean = CLEAN_ALL;
	kicks = 0;
	return 0;
}

static void arrive(uint8_t vector)
{
	lapic_accept(&v.lapic, vector, false);
	lapic_sync(&v.lapic);
}

static bool intercepted(void)
{
	return x.vmcb.intercept_misc1 & INTERCEPT_VINTR;
}

static bool cr8_exits(void)
{
	return x.vmcb.intercept_cr & INTERCEPT_CR_WRITE(8);
}

/* An exit looks closer where something changed without Lamina. Returns whether that was so. */
static bool look(void)
{
	bool changed = svm_virtual_state(&x.vmcb) != x.seen;

	if (changed)
		svm_virtual_changed(&v);
	return changed;
}

static void test_taken(void **state)
{
	(void)state;
	arrive(0x41);
	assert_true(svm_offer_interrupt(&v, 0x41));
	assert_true(x.vmcb.v_irq & V_IRQ);
	assert_int_equal(x.vmcb.v_vector, 0x41);
	assert_false(intercepted());
	assert_true(cr8_exits());
	assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~(CLEAN_CONTROLS | CLEAN_TPR));
	assert_int_equal(x.vmcb.event_injection, 0);
	/* An exit before the guest has taken it tells nothing, and the local APIC knows nothing. */
	assert_false(look());
	assert_int_equal(lapic_highest_irr(&v.lapic), 0x41);
	x.vmcb.v_irq &= (uint8_t)~V_IRQ;
	assert_true(look());
	assert_int_equal(lapic_highest_irr(&v.lapic), -1);
	assert_int_equal(lapic_highest_isr(&v.lapic), 0x41);
	assert_false(cr8_exits());
	assert_false(look());
	/* Once. */
	assert_true(svm_offer_interrupt(&v, -1));
	assert_int_equal(lapic_highest_isr(&v.lapic), 0x41);
}

static void test_a_better_one_and_none(void **state)
{
	(void)state;
	arrive(0x41);
	svm_offer_interrupt(&v, 0x41);
	x.vmcb.clean = CLEAN_ALL;
	svm_offer_interrupt(&v, 0x41); /* it stands already */
	assert_int_equal(x.vmcb.clean, CLEAN_ALL);
	arrive(0x51);
	svm_offer_interrupt(&v, 0x51);
	assert_int_equal(x.vmcb.v_vector, 0x51);
	assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~CLEAN_TPR);
	svm_offer_interrupt(&v, -1);
	assert_false(x.vmcb.v_irq & V_IRQ);
	assert_false(cr8_exits());
	assert_false(look());
	assert_int_equal(lapic_highest_irr(&v.lapic), 0x51);
	assert_int_equal(lapic_highest_isr(&v.lapic), -1);
}

static void test_tpr(void **state)
{
	(void)state;
	x.vmcb.v_tpr = 5;
	assert_true(look());
	assert_int_equal(lapic_cr8(&v.lapic), 5);
	assert_false(look());
	lapic_set_cr8(&v.lapic, 7);
	svm_tpr_threshold(&v, 0);
	assert_int_equal(x.vmcb.v_tpr, 7);
	assert_false(look());
}

static void test_window(void **state)
{
	(void)state;
	arrive(0x41);
	svm_offer_interrupt(&v, 0x41);
	svm_interrupt_window(&v, true);
	assert_true(intercepted());
	assert_true(x.vmcb.v_irq & V_IRQ);
	/* The CPU may clear V_IRQ as it exits for the window: no interrupt was taken. */
	x.vmcb.v_irq &= (uint8_t)~V_IRQ;
	look();
	assert_int_equal(lapic_highest_irr(&v.lapic), 0x41);
	assert_int_equal(lapic_highest_isr(&v.lapic), -1);
	svm_interrupt_window(&v, false);
	assert_false(intercepted());
	svm_offer_interrupt(&v, 0x41);
	assert_true(x.vmcb.v_irq & V_IRQ);
	assert_false(intercepted());
	svm_interrupt_window(&v, false); /* there is none: the offer stands */
	assert_true(x.vmcb.v_irq & V_IRQ);
}

static void test_shadow_paging(void **state)
{
	(void)state;
	v.shadow = (struct shadow_vcpu *)(void *)page;
	assert_false(svm_offer_interrupt(&v, 0x41));
	assert_false(x.vmcb.v_irq & V_IRQ);
}

/* While an NMI waits behind STI or MOV SS Lamina steps the guest, and no delivery is to save its RFLAGS_TF. */
static void test_step(void **state)
{
	(void)state;
	x.vmcb.interrupt_shadow = SHADOW;
	arrive(0x41);
	svm_offer_interrupt(&v, 0x41);
	svm_nmi_window(&v, true);
	assert_true(x.vmcb.rflags & RFLAGS_TF);
	assert_false(x.vmcb.v_irq & V_IRQ);
	assert_true(svm_offer_interrupt(&v, 0x41));
	assert_false(x.vmcb.v_irq & V_IRQ);
	assert_true(svm_step_done(&v));
	assert_false(x.vmcb.rflags & RFLAGS_TF);
	svm_nmi_window(&v, false);
	svm_offer_interrupt(&v, 0x41);
	assert_true(x.vmcb.v_irq & V_IRQ);
}

/* Exits in the middle of the delivery. */
static void test_cut_off(void **state)
{
	uint64_t interrupt = 0x41 | EVENT_VALID | EVENT_KIND_INTERRUPT << EVENT_KIND_SHIFT;

	(void)state;
	arrive(0x41);
	svm_offer_interrupt(&v, 0x41);
	/* As QEMU tells it: V_IRQ still waits, and will do it again. */
	x.vmcb.exit_interrupt_info = 0x41 | EVENT_VALID | EVENT_KIND_EXCEPTION << EVENT_KIND_SHIFT;
	assert_false(look());
	svm_requeue(&v);
	assert_int_equal(x.vmcb.event_injection, 0);
	/* Another event, though an interrupt waits. */
	x.vmcb.exit_interrupt_info = 14 | EVENT_VALID | EVENT_KIND_EXCEPTION << EVENT_KIND_SHIFT;
	svm_requeue(&v);
	assert_int_equal(x.vmcb.event_injection, x.vmcb.exit_interrupt_info);
	x.vmcb.event_injection = 0;
	/* As the manual has it: V_IRQ is over, and EXITINTINFO has the interrupt. */
	x.vmcb.v_irq &= (uint8_t)~V_IRQ;
	x.vmcb.exit_interrupt_info = interrupt;
	assert_true(look());
	svm_requeue(&v);
	assert_int_equal(x.vmcb.event_injection, interrupt);
	assert_int_equal(lapic_highest_isr(&v.lapic), 0x41);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_taken, setup),
		cmocka_unit_test_setup(test_a_better_one_and_none, setup),
		cmocka_unit_test_setup(test_tpr, setup),
		cmocka_unit_test_setup(test_window, setup),
		cmocka_unit_test_setup(test_shadow_paging, setup),
		cmocka_unit_test_setup(test_step, setup),
		cmocka_unit_test_setup(test_cut_off, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

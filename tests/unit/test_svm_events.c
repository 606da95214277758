/* SOURCES: arch/x86_64/svm/svm_events.c vmm/devices/lapic.c vmm/devices/lapic_interrupt.c vmm/devices/lapic_timer.c vmm/devices/lapic_message.c */
/* What the AMD-V engine writes into the VMCB for interrupts, where the test plays the CPU: it takes V_IRQ when RFLAGS.RFLAGS_IF says so. */
#include "lib/x86/registers.h"
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/x86_64/svm/svm.h"
#include "tests/unit/fakes.h"
#include "vmm/devices/lapic_registers.h"
#include "vmm/emulate/decode.h"
#include "vmm/exits/exit_instruction.h"
#include "vmm/interface/core.h"
#include "vmm/vm/vm_vcpu.h"


static struct vm vm;
static struct vcpu v;
static struct svm_vcpu x;
static _Alignas(4096) uint8_t page[4096];
static unsigned kicks;

static struct insn next; /* the guest's next instruction, as far as it is decoded */

const struct insn *exit_instruction(struct vcpu *of, struct insn_memo *memo, uint64_t space)
{
	(void)of;
	(void)memo;
	(void)space;
	return next.length ? &next : NULL;
}

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
	x.vmcb.intercept_exceptions = svm_exceptions(&v);
	next = (struct insn){ .length = 1, .opcode = 0x90 };
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

static void nmi(void)
{
	const struct vcpu_event event = { EVENT_NMI, VECTOR_NMI, false, 0 };

	assert_true(svm_can_inject(&v, EVENT_NMI));
	svm_inject(&v, &event);
	assert_int_equal(x.vmcb.event_injection, VECTOR_NMI | EVENT_VALID | EVENT_KIND_NMI << EVENT_KIND_SHIFT);
}

/* The handler has run to its IRET, which exits before it is done. */
static void reach_iret(uint64_t rip)
{
	x.vmcb.event_injection = 0;
	assert_true(x.vmcb.intercept_misc1 & INTERCEPT_IRET);
	x.vmcb.rip = rip;
	svm_iret(&v);
	assert_false(x.vmcb.intercept_misc1 & INTERCEPT_IRET);
}

static void test_nmi_in_service(void **state)
{
	(void)state;
	assert_false(svm_nmi_in_service(&v));
	nmi();
	assert_true(svm_nmi_in_service(&v));
	svm_nmi_window(&v, true); /* its IRET exits: no kick is needed, and no step */
	assert_int_equal(kicks, 0);
	assert_false(x.vmcb.rflags & RFLAGS_TF);
	reach_iret(0x1000);
	assert_true(svm_nmi_in_service(&v));
	assert_false(svm_can_inject(&v, EVENT_NMI));
	x.vmcb.rip = 0x2000;
	assert_false(svm_nmi_in_service(&v));
	assert_true(svm_can_inject(&v, EVENT_NMI));
}

/* A step over the IRET of an NMI's handler leaves the TF that it loaded; a later step's TF is Lamina's own, though that IRET was the last. */
static void test_step_over_iret(void **state)
{
	(void)state;
	for (unsigned own = 0; own < 2; own++) {
		nmi();
		reach_iret(0x1000);
		svm_nmi_window(&v, true);
		assert_true(x.vmcb.rflags & RFLAGS_TF);
		x.vmcb.rip = 0x2000;
		x.vmcb.rflags = 2 | RFLAGS_IF | (own ? RFLAGS_TF : 0);
		assert_true(svm_step_done(&v));
		assert_int_equal(x.vmcb.rflags, 2 | RFLAGS_IF | (own ? RFLAGS_TF : 0));
		assert_false(svm_step_done(&v));
		svm_nmi_window(&v, false);
	}
	x.vmcb.rflags = 2 | RFLAGS_IF;
	x.vmcb.interrupt_shadow = SHADOW;
	svm_nmi_window(&v, true);
	x.vmcb.rip = 0x2001;
	assert_true(svm_step_done(&v));
	assert_int_equal(x.vmcb.rflags, 2 | RFLAGS_IF);
}

/* An IRET that faults has loaded nothing. */
static void test_step_over_iret_that_faults(void **state)
{
	const struct vcpu_event fault = { EVENT_EXCEPTION, VECTOR_GP, true, 0 };

	(void)state;
	nmi();
	reach_iret(0x1000);
	svm_nmi_window(&v, true);
	svm_inject(&v, &fault);
	assert_int_equal(x.vmcb.rflags, 2 | RFLAGS_IF | RFLAGS_RF);
	assert_int_equal(kicks, 1);
}

/* Other instructions that load RFLAGS, in the shadow of STI or MOV SS. */
static void test_step_over_flags(void **state)
{
	static const struct {
		struct insn insn;
		bool loads;
	} cases[] = {
		{ { .length = 1, .opcode = 0xcf }, true },
		{ { .length = 1, .opcode = 0x9d }, true },
		{ { .length = 3, .map = MAP_0F, .opcode = 0x07 }, true },
		{ { .length = 2, .map = MAP_0F, .opcode = 0x9d }, false }, /* SETGE */
		{ { .length = 1, .opcode = 0x07 }, false },
		{ { .length = 4, .encoding = ENCODING_VEX, .map = MAP_0F, .opcode = 0x07 }, false },
		{ { .length = 0 }, false }, /* cannot be read */
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		next = cases[i].insn;
		x.vmcb.rip = 0x1000;
		x.vmcb.rflags = 2 | RFLAGS_IF;
		x.vmcb.interrupt_shadow = SHADOW;
		svm_nmi_window(&v, true);
		x.vmcb.rip = 0x3000;
		assert_true(x.vmcb.rflags & RFLAGS_TF);
		assert_true(svm_step_done(&v));
		assert_int_equal(!!(x.vmcb.rflags & RFLAGS_TF), cases[i].loads);
	}
}

/* No exception saves Lamina's TF: it exits, and what Lamina injects ends the step first. */
static void test_step_and_exceptions(void **state)
{
	static const uint8_t exits[] = { 0, 1, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 21 };
	static const uint8_t goes_on[] = { VECTOR_NMI, VECTOR_BP, VECTOR_OF };
	uint32_t before = x.vmcb.intercept_exceptions;

	(void)state;
	x.vmcb.interrupt_shadow = SHADOW;
	svm_nmi_window(&v, true);
	for (unsigned i = 0; i < ARRAY_SIZE(exits); i++)
		assert_true(x.vmcb.intercept_exceptions & BIT(exits[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(goes_on); i++)
		assert_false(x.vmcb.intercept_exceptions & BIT(goes_on[i]));
	assert_false(x.vmcb.clean & CLEAN_CONTROLS);
	x.vmcb.clean = CLEAN_ALL;
	assert_true(svm_step_done(&v));
	assert_int_equal(x.vmcb.intercept_exceptions, before);
	assert_false(x.vmcb.clean & CLEAN_CONTROLS);
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

/* ---- Injection ---- */

static void inject(enum vcpu_event_type type, uint8_t vector, bool has_error, uint32_t error)
{
	const struct vcpu_event event = { .type = type, .vector = vector, .has_error = has_error, .error = error };

	svm_inject(&v, &event);
}

#define QUEUED(kind, vector) ((vector) | EVENT_VALID | (uint64_t)(kind) << EVENT_KIND_SHIFT)

static void test_inject(void **state)
{
	(void)state;
	inject(EVENT_INTERRUPT, 0x41, false, 9);
	assert_int_equal(x.vmcb.event_injection, QUEUED(EVENT_KIND_INTERRUPT, 0x41));
	assert_int_equal(x.nmi, NMI_OPEN);
	assert_int_equal(x.vmcb.rflags, 2 | RFLAGS_IF);
	assert_int_equal(x.vmcb.clean, CLEAN_ALL);
	assert_int_equal(kicks, 0);
}

/* A fault saves RF. Real mode has no error codes. */
static void test_inject_exceptions(void **state)
{
	(void)state;
	x.vmcb.cr0 = CR0_PE;
	inject(EVENT_EXCEPTION, 13, true, 0x18);
	assert_int_equal(x.vmcb.event_injection, QUEUED(EVENT_KIND_EXCEPTION, 13) | EVENT_HAS_ERROR | 0x18ULL << 32);
	assert_true(x.vmcb.rflags & RFLAGS_RF);
	x.vmcb.event_injection = 0;
	x.vmcb.rflags = 2;
	inject(EVENT_EXCEPTION, 1, false, 7);
	assert_int_equal(x.vmcb.event_injection, QUEUED(EVENT_KIND_EXCEPTION, 1));
	assert_int_equal(x.vmcb.rflags, 2);
	x.vmcb.event_injection = 0;
	x.vmcb.cr0 = 0;
	inject(EVENT_EXCEPTION, 13, true, 0x18);
	assert_int_equal(x.vmcb.event_injection, QUEUED(EVENT_KIND_EXCEPTION, 13));
}

/* APM vol. 2, "#DF: Double-Fault Exception". */
static void test_double_faults(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 32; first++)
		for (unsigned second = 0; second < 32; second++) {
			bool contributory = second == 0 || (second >= 10 && second <= 13);
			bool is_double = first == 14 ? contributory || second == 14 :
			                                 contributory && (first == 0 || (first >= 10 && first <= 13));

			if (first == 8)
				continue;
			x.vmcb.cr0 = CR0_PE;
			x.vmcb.event_injection = QUEUED(EVENT_KIND_EXCEPTION, first);
			inject(EVENT_EXCEPTION, (uint8_t)second, true, 5);
			assert_int_equal(x.vmcb.event_injection, is_double ? QUEUED(EVENT_KIND_EXCEPTION, 8) | EVENT_HAS_ERROR :
				QUEUED(EVENT_KIND_EXCEPTION, second) | EVENT_HAS_ERROR | 5ULL << 32);
		}
	x.vmcb.cr0 = 0;
	x.vmcb.event_injection = QUEUED(EVENT_KIND_EXCEPTION, 13);
	inject(EVENT_EXCEPTION, 13, true, 5);
	assert_int_equal(x.vmcb.event_injection, QUEUED(EVENT_KIND_EXCEPTION, 8));
	/* An interrupt of the same number is no exception, nor is what is not valid. */
	x.vmcb.event_injection = QUEUED(EVENT_KIND_INTERRUPT, 13);
	inject(EVENT_EXCEPTION, 13, false, 0);
	assert_int_equal(x.vmcb.event_injection, QUEUED(EVENT_KIND_EXCEPTION, 13));
	x.vmcb.event_injection = QUEUED(EVENT_KIND_EXCEPTION, 13) & ~EVENT_VALID;
	inject(EVENT_EXCEPTION, 13, false, 0);
	assert_int_equal(x.vmcb.event_injection, QUEUED(EVENT_KIND_EXCEPTION, 13));
	assert_int_equal(fake.request_count, 0);
	x.vmcb.event_injection = QUEUED(EVENT_KIND_EXCEPTION, 8);
	inject(EVENT_EXCEPTION, 3, false, 0);
	assert_int_equal(fake.request_count, 1);
	assert_int_equal(fake.request, VM_REQUEST_RESET);
}

static void test_can_inject(void **state)
{
	(void)state;
	assert_true(svm_can_inject(&v, EVENT_INTERRUPT));
	assert_true(svm_can_inject(&v, EVENT_NMI));
	x.vmcb.rflags = 2;
	assert_false(svm_can_inject(&v, EVENT_INTERRUPT));
	assert_true(svm_can_inject(&v, EVENT_NMI));
	x.vmcb.rflags = 2 | RFLAGS_IF;
	x.vmcb.interrupt_shadow = SHADOW;
	assert_false(svm_can_inject(&v, EVENT_INTERRUPT));
	assert_false(svm_can_inject(&v, EVENT_NMI));
	x.vmcb.interrupt_shadow = 2; /* the guest's interrupt mask */
	assert_true(svm_can_inject(&v, EVENT_INTERRUPT));
	x.vmcb.event_injection = EVENT_VALID;
	assert_false(svm_can_inject(&v, EVENT_INTERRUPT));
	assert_false(svm_can_inject(&v, EVENT_NMI));
}

/* From its delivery until the IRET is over. */
static void test_nmi(void **state)
{
	(void)state;
	x.nmi_wanted = true;
	inject(EVENT_NMI, 2, false, 0);
	assert_int_equal(x.vmcb.event_injection, QUEUED(EVENT_KIND_NMI, 2));
	assert_false(x.nmi_wanted);
	assert_true(x.vmcb.intercept_misc1 & INTERCEPT_IRET);
	assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~CLEAN_CONTROLS);
	x.vmcb.event_injection = 0;
	assert_false(svm_can_inject(&v, EVENT_NMI));
	assert_true(svm_can_inject(&v, EVENT_INTERRUPT));
	/* While it is blocked nothing is stepped: the IRET exits. */
	svm_nmi_window(&v, true);
	assert_true(x.nmi_wanted);
	assert_int_equal(x.seen, SVM_LOOK_CLOSER);
	assert_int_equal(x.step, STEP_NONE);
	x.vmcb.rip = 0x1000;
	x.vmcb.clean = CLEAN_ALL;
	svm_iret(&v);
	assert_false(x.vmcb.intercept_misc1 & INTERCEPT_IRET);
	assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~CLEAN_CONTROLS);
	assert_false(svm_can_inject(&v, EVENT_NMI));
	svm_nmi_window(&v, true);
	assert_int_not_equal(x.step, STEP_NONE);
	assert_true(svm_step_done(&v));
	x.vmcb.rip = 0x2000;
	assert_true(svm_can_inject(&v, EVENT_NMI));
	x.nmi = NMI_BLOCKED;
	x.vmcb.rip = 0x1000;
	assert_false(svm_can_inject(&v, EVENT_NMI));
	/* An event that is queued comes first, and an exit right after it. */
	x.nmi = NMI_OPEN;
	x.vmcb.event_injection = EVENT_VALID;
	assert_int_equal(kicks, 0);
	svm_nmi_window(&v, true);
	assert_int_equal(kicks, 1);
	assert_int_equal(x.step, STEP_NONE);
}

/* Lamina's own single step is not in the RFLAGS that the delivery saves; an NMI that still waits has another exit for it. */
static void test_inject_while_stepping(void **state)
{
	(void)state;
	svm_nmi_window(&v, true);
	assert_int_not_equal(x.step, STEP_NONE);
	inject(EVENT_EXCEPTION, 6, false, 0);
	assert_int_equal(x.step, STEP_NONE);
	assert_false(x.vmcb.rflags & RFLAGS_TF);
	assert_int_equal(kicks, 1);
	x.vmcb.event_injection = 0;
	svm_nmi_window(&v, true);
	inject(EVENT_NMI, 2, false, 0);
	assert_int_equal(x.step, STEP_NONE);
	assert_int_equal(kicks, 1);
	/* The guest that steps itself exits anyhow, and keeps its TF. */
	x.vmcb.event_injection = 0;
	x.nmi = NMI_OPEN;
	x.vmcb.rflags |= RFLAGS_TF;
	svm_nmi_window(&v, true);
	assert_int_equal(x.step, STEP_NONE);
	inject(EVENT_INTERRUPT, 0x41, false, 0);
	assert_true(x.vmcb.rflags & RFLAGS_TF);
	assert_int_equal(kicks, 1);
}

/* INTn, INT3 and INTO are executed again. */
static void test_requeue(void **state)
{
	static const struct { uint8_t kind, vector; bool again; } all[] = {
		{ EVENT_KIND_INTERRUPT, 0x41, true }, { EVENT_KIND_NMI, 2, true }, { EVENT_KIND_EXCEPTION, 14, true },
		{ EVENT_KIND_EXCEPTION, 1, true }, { EVENT_KIND_EXCEPTION, 3, false }, { EVENT_KIND_EXCEPTION, 4, false },
		{ EVENT_KIND_EXCEPTION, 5, true }, { EVENT_KIND_SOFT_INTERRUPT, 0x80, false }, { EVENT_KIND_INTERRUPT, 3, true },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		x.vmcb.event_injection = 0;
		x.vmcb.exit_interrupt_info = QUEUED(all[i].kind, all[i].vector) | 6ULL << 32;
		svm_requeue(&v);
		assert_int_equal(x.vmcb.event_injection, all[i].again ? x.vmcb.exit_interrupt_info : 0);
	}
	/* An NMI is none of the local APIC's, though its vector is on offer. */
	svm_offer_interrupt(&v, 2);
	x.vmcb.exit_interrupt_info = QUEUED(EVENT_KIND_NMI, 2);
	svm_requeue(&v);
	assert_int_equal(x.vmcb.event_injection, QUEUED(EVENT_KIND_NMI, 2));
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
		cmocka_unit_test_setup(test_nmi_in_service, setup),
		cmocka_unit_test_setup(test_step_over_iret, setup),
		cmocka_unit_test_setup(test_step_over_iret_that_faults, setup),
		cmocka_unit_test_setup(test_step_over_flags, setup),
		cmocka_unit_test_setup(test_step_and_exceptions, setup),
		cmocka_unit_test_setup(test_cut_off, setup),
		cmocka_unit_test_setup(test_inject, setup),
		cmocka_unit_test_setup(test_inject_exceptions, setup),
		cmocka_unit_test_setup(test_double_faults, setup),
		cmocka_unit_test_setup(test_can_inject, setup),
		cmocka_unit_test_setup(test_nmi, setup),
		cmocka_unit_test_setup(test_inject_while_stepping, setup),
		cmocka_unit_test_setup(test_requeue, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

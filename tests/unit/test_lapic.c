/* SOURCES: vmm/devices/lapic.c vmm/devices/lapic_interrupt.c vmm/devices/lapic_timer.c vmm/devices/lapic_message.c */
#include "tests/unit/unit.h"

#include "lib/x86/msr.h"
#include "tests/unit/lapic_fixture.h"

static struct lapic *const l = &apic[0];

static uint64_t rdmsr(unsigned reg)
{
	uint64_t value = 0xdeadbeef;

	assert_int_equal(lapic_msr_read(l, 0x800 + reg, &value), 0);
	return value;
}

static void assert_wrmsr(unsigned reg, uint64_t value, int result)
{
	if (lapic_msr_write(l, 0x800 + reg, value) != result)
		fail_msg("MSR %#x <- %#llx: not %d", 0x800 + reg, (unsigned long long)value, result);
}

static void power_up_state(void **state)
{
	(void)state;
	lapic_reset(l, true);
	assert_int_equal(lapic_base_msr(l), 0xfee00900);
	assert_int_equal(get(l, LAPIC_ID), 0);
	assert_int_equal(get(&apic[3], LAPIC_ID), 3U << 24);
	assert_int_equal(get(l, LAPIC_VERSION), 0x01050014);
	assert_int_equal(get(l, LAPIC_SVR), 0xff);
	assert_int_equal(get(l, LAPIC_DFR), 0xffffffff);
	assert_int_equal(get(l, LAPIC_LDR), 0);
	for (unsigned reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg++)
		assert_int_equal(get(l, reg), 0x10000);
	for (unsigned reg = LAPIC_ISR; reg < LAPIC_ESR; reg++)
		assert_int_equal(get(l, reg), 0);
	assert_false(lapic_software_enabled(l));
	assert_int_equal(lapic_pending(l), -1);
	/* Nothing of the page's old contents shows. */
	for (unsigned reg = 0; reg < 256; reg++)
		for (unsigned byte = 4; byte < 16; byte++)
			assert_int_equal(pages[0][reg * 16 + byte], 0);
}

static void base_transitions(void **state)
{
	static const struct { uint64_t from, to; int result; } moves[] = {
		{ XAPIC, LAPIC_BASE, 0 }, { LAPIC_BASE, XAPIC, 0 }, { XAPIC, X2APIC, 0 }, { X2APIC, LAPIC_BASE, 0 },
		{ LAPIC_BASE, X2APIC, ERR_INVALID }, { XAPIC, X2APIC, 0 }, { X2APIC, XAPIC, ERR_INVALID },
		{ LAPIC_BASE, LAPIC_BASE | APIC_BASE_X2APIC, ERR_INVALID }, { XAPIC, LAPIC_BASE | APIC_BASE_X2APIC, ERR_INVALID },
		{ X2APIC, LAPIC_BASE | APIC_BASE_X2APIC, ERR_INVALID }, { X2APIC, X2APIC, 0 }, { XAPIC, XAPIC | 1, ERR_INVALID },
		{ XAPIC, XAPIC | BIT(9), ERR_INVALID }, { XAPIC, XAPIC + 0x1000, ERR_INVALID }, { XAPIC, XAPIC | BIT(36), ERR_INVALID },
		{ XAPIC, XAPIC | BIT(63), ERR_INVALID },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(moves); i++) {
		lapic_reset(l, false);
		if (moves[i].from == LAPIC_BASE || moves[i].from == X2APIC)
			assert_int_equal(lapic_set_base(l, moves[i].from), 0);
		assert_int_equal(lapic_base_msr(l), moves[i].from);
		if (lapic_set_base(l, moves[i].to) != moves[i].result)
			fail_msg("move %u", i);
		assert_int_equal(lapic_base_msr(l), moves[i].result ? moves[i].from : moves[i].to);
	}
	l->x2apic_allowed = false;
	lapic_reset(l, false);
	assert_int_equal(lapic_set_base(l, X2APIC), ERR_INVALID);
}

static void disabled_apic_is_absent(void **state)
{
	uint64_t value;

	(void)state;
	lapic_accept(l, 0x50, false);
	lapic_sync(l);
	assert_int_equal(lapic_set_base(l, LAPIC_BASE), 0);
	assert_int_equal(lapic_mmio_read(l, LAPIC_ID * 16, 4) & 0xffffffff, 0xffffffff);
	put(l, LAPIC_TPR, 0x20);
	lapic_accept(l, 0x60, false);
	lapic_sync(l);
	assert_int_equal(lapic_pending(l), -1);
	assert_int_equal(lapic_msr_read(l, 0x802, &value), ERR_INVALID);
	assert_true(lapic_accepts_pic(l));
	l->posted[1] = 1; /* another core was just about to post when the guest switched it off */
	l->posted_any = 1;
	lapic_sync(l);
	assert_int_equal(lapic_highest_irr(l), -1);
	assert_int_equal(lapic_set_base(l, XAPIC), 0);
	assert_int_equal(get(l, LAPIC_TPR), 0);
	assert_int_equal(get(l, LAPIC_SVR), 0xff);
	assert_false(lapic_accepts_pic(l));
}

static void x2apic_keeps_state_and_derives_ids(void **state)
{
	struct lapic big;

	(void)state;
	put(l, LAPIC_TPR, 0x30);
	put(l, LAPIC_LVT_ERROR, 0xfe);
	put(l, LAPIC_ICR_HIGH, 0x03000000);
	assert_int_equal(lapic_set_base(l, X2APIC), 0);
	assert_int_equal(rdmsr(LAPIC_TPR), 0x30);
	assert_int_equal(rdmsr(LAPIC_LVT_ERROR), 0xfe);
	assert_int_equal(rdmsr(LAPIC_ICR), 0);
	assert_int_equal(lapic_mmio_read(l, LAPIC_TPR * 16, 4), UINT64_MAX);
	put(l, LAPIC_TPR, 0x50);
	assert_int_equal(rdmsr(LAPIC_TPR), 0x30);

	lapic_init(&big, NULL, 2, 0x1234, pages[2], false);
	lapic_reset(&big, false);
	lapic_set_base(&big, X2APIC);
	assert_int_equal(lapic_get(&big, LAPIC_ID), 0x1234);
	assert_int_equal(lapic_get(&big, LAPIC_LDR), 0x1230010);
	lapic_init_reset(&big);
	assert_int_equal(lapic_base_msr(&big), X2APIC);
	assert_int_equal(lapic_get(&big, LAPIC_ID), 0x1234);
	assert_int_equal(lapic_get(&big, LAPIC_LDR), 0x1230010);
}

static void msr_rules(void **state)
{
	uint64_t value;

	(void)state;
	assert_wrmsr(LAPIC_TPR, 0, ERR_INVALID); /* still xAPIC */
	assert_int_equal(lapic_msr_read(l, 0x802, &value), ERR_INVALID);
	all_x2apic();
	assert_wrmsr(LAPIC_TPR, 0xff, 0);
	assert_wrmsr(LAPIC_TPR, 0x100, ERR_INVALID);
	assert_wrmsr(LAPIC_TPR, BIT(32), ERR_INVALID);
	assert_int_equal(rdmsr(LAPIC_PPR), 0xff);
	assert_wrmsr(LAPIC_EOI, 0, 0);
	assert_wrmsr(LAPIC_EOI, 1, ERR_INVALID);
	assert_wrmsr(LAPIC_ESR, 0, 0);
	assert_wrmsr(LAPIC_ESR, 1, ERR_INVALID);
	assert_wrmsr(LAPIC_SVR, 0x11ff, 0);
	assert_wrmsr(LAPIC_SVR, 0x21ff, ERR_INVALID);
	assert_wrmsr(LAPIC_LVT_TIMER, 0x400ec, 0);
	assert_wrmsr(LAPIC_LVT_TIMER, 0x80000, ERR_INVALID);
	assert_wrmsr(LAPIC_LVT_TIMER, 0x700, ERR_INVALID);
	assert_wrmsr(LAPIC_LVT_LINT0, 0xa700, 0);
	assert_wrmsr(LAPIC_LVT_LINT0, 0x15700, 0); /* status bits are ignored */
	assert_int_equal(rdmsr(LAPIC_LVT_LINT0), 0x10700);
	assert_wrmsr(LAPIC_DIVIDE, 0xb, 0);
	assert_wrmsr(LAPIC_DIVIDE, 4, ERR_INVALID);
	assert_wrmsr(LAPIC_INITIAL_COUNT, 0xffffffff, 0);
	assert_wrmsr(LAPIC_INITIAL_COUNT, 0x100000000, ERR_INVALID);
	assert_wrmsr(LAPIC_SELF_IPI, 0x100, ERR_INVALID);
	assert_wrmsr(LAPIC_ICR, 0x3000000fd, 0);
	assert_int_equal(rdmsr(LAPIC_ICR), 0x3000000fd);
	assert_wrmsr(LAPIC_ICR, 0x2000, ERR_INVALID);
	assert_wrmsr(LAPIC_ICR, 0x10000, ERR_INVALID);
	assert_wrmsr(LAPIC_ICR, 0x100000, ERR_INVALID);
	for (unsigned reg = 0; reg < 0x100; reg++) {
		bool readable = lapic_msr_read(l, 0x800 + reg, &value) == 0;
		bool expect = reg == 2 || reg == 3 || reg == 8 || reg == 10 || reg == 13 || reg == 15 || (reg >= 16 && reg <= 0x28) || reg == 0x30 ||
			      (reg >= 0x32 && reg <= 0x39) || reg == 0x3e;

		assert_int_equal(readable, expect);
		if (reg == 2 || reg == 3 || reg == 10 || (reg >= 13 && reg <= 14) || (reg >= 16 && reg < 0x28) || reg == 0x31 || reg == 0x39 || reg == 0x2f)
			assert_wrmsr(reg, 0, ERR_INVALID);
	}
	assert_int_equal(lapic_msr_read(l, 0x7ff, &value), ERR_INVALID);
	assert_int_equal(lapic_msr_read(l, 0x900, &value), ERR_INVALID);
}

static void mmio_access_rules(void **state)
{
	(void)state;
	put(l, LAPIC_LVT_PERF, 0x12345678);
	assert_int_equal(get(l, LAPIC_LVT_PERF), 0x678);
	put(l, LAPIC_LVT_PERF, 0x107fe);
	assert_int_equal(lapic_mmio_read(l, 0x340, 1) & 0xff, 0xfe);
	assert_int_equal(lapic_mmio_read(l, 0x342, 2) & 0xffff, 1);
	assert_int_equal(lapic_mmio_read(l, 0x340, 8), 0x107fe);
	assert_int_equal(lapic_mmio_read(l, 0x344, 4), 0);
	assert_int_equal(lapic_mmio_read(l, 0x343, 4), 0);
	assert_int_equal(lapic_mmio_read(l, 0x34f, 1), 0);
	lapic_mmio_write(l, 0x340, 1, 0x11);
	lapic_mmio_write(l, 0x344, 4, 0x11);
	lapic_mmio_write(l, 0x340, 8, 0x11);
	assert_int_equal(get(l, LAPIC_LVT_PERF), 0x107fe);
	/* Read-only in effect. */
	put(l, LAPIC_ID, 0x55000000);
	put(l, LAPIC_VERSION, 0);
	put(l, LAPIC_IRR, 0xffffffff);
	put(l, LAPIC_PPR, 0xff);
	put(l, LAPIC_CURRENT_COUNT, 5);
	assert_int_equal(get(l, LAPIC_ID), 0);
	assert_int_equal(get(l, LAPIC_VERSION), 0x01050014);
	assert_int_equal(get(l, LAPIC_IRR), 0);
	assert_int_equal(get(l, LAPIC_PPR), 0);
	assert_int_equal(get(l, LAPIC_CURRENT_COUNT), 0);
	put(l, LAPIC_DFR, 0);
	assert_int_equal(get(l, LAPIC_DFR), 0x0fffffff);
	put(l, LAPIC_LDR, 0x12345678);
	assert_int_equal(get(l, LAPIC_LDR), 0x12000000);
}

static void forbidden_features_stay_off(void **state)
{
	(void)state;
	l->eoi_suppression_allowed = false;
	l->tsc_deadline_allowed = false;
	lapic_reset(l, false);
	assert_int_equal(get(l, LAPIC_VERSION), 0x00050014);
	put(l, LAPIC_SVR, 0x11ff);
	assert_int_equal(get(l, LAPIC_SVR), 0x1ff);
	put(l, LAPIC_LVT_TIMER, 0x400ec);
	assert_int_equal(get(l, LAPIC_LVT_TIMER), 0xec);
}

static void software_disable_masks_lvts(void **state)
{
	(void)state;
	put(l, LAPIC_LVT_LINT0, 0x700);
	put(l, LAPIC_LVT_TIMER, 0x200ec);
	assert_true(lapic_accepts_pic(l));
	lapic_accept(l, 0x40, false);
	lapic_sync(l);
	put(l, LAPIC_SVR, 0xff);
	assert_int_equal(get(l, LAPIC_LVT_LINT0), 0x10700);
	assert_int_equal(get(l, LAPIC_LVT_TIMER), 0x300ec);
	put(l, LAPIC_LVT_LINT0, 0x700);
	assert_int_equal(get(l, LAPIC_LVT_LINT0), 0x10700);
	assert_false(lapic_accepts_pic(l));
	lapic_accept(l, 0x50, false);
	lapic_sync(l);
	assert_int_equal(lapic_pending(l), 0x40); /* held, but nothing new is accepted */
	put(l, LAPIC_SVR, 0x1ff);
	put(l, LAPIC_LVT_LINT0, 0x700);
	assert_true(lapic_accepts_pic(l));
}

static void virtual_wire(void **state)
{
	(void)state;
	lapic_reset(l, true);
	lapic_virtual_wire(l);
	assert_true(lapic_software_enabled(l));
	assert_true(lapic_accepts_pic(l));
	lapic_lint(l, 0);
	assert_int_equal(fake.event_count, 0);
	lapic_lint(l, 1);
	assert_int_equal(fake.event_count, 1);
	assert_int_equal(fake.event[0].event, CPU_EVENT_NMI);
	put(l, LAPIC_LVT_LINT0, 0x30);
	assert_false(lapic_accepts_pic(l));
	lapic_lint(l, 0);
	lapic_sync(l);
	assert_int_equal(lapic_pending(l), 0x30);
	lapic_lint(l, 2);
}

static void accept_and_priority(void **state)
{
	(void)state;
	assert_false(lapic_sync(l));
	lapic_accept(l, 0x51, false);
	assert_int_equal(fake.kicks[0], 1);
	lapic_accept(l, 0x31, false);
	assert_int_equal(fake.kicks[0], 1); /* one kick until the owner has looked */
	assert_int_equal(lapic_pending(l), -1);
	assert_true(lapic_sync(l));
	assert_false(lapic_sync(l));
	assert_int_equal(lapic_pending(l), 0x51);
	put(l, LAPIC_TPR, 0x50);
	assert_int_equal(lapic_pending(l), -1);
	put(l, LAPIC_TPR, 0x4f);
	assert_int_equal(lapic_pending(l), 0x51);
	lapic_acknowledge(l, 0x51);
	assert_int_equal(get(l, LAPIC_PPR), 0x50);
	assert_int_equal(lapic_highest_isr(l), 0x51);
	assert_int_equal(lapic_highest_irr(l), 0x31);
	assert_int_equal(lapic_pending(l), -1);
	lapic_accept(l, 0x5f, false); /* same class waits */
	lapic_sync(l);
	assert_int_equal(fake.kicks[0], 2);
	assert_int_equal(lapic_pending(l), -1);
	lapic_accept(l, 0xff, false);
	lapic_sync(l);
	assert_int_equal(lapic_pending(l), 0xff);
	lapic_acknowledge(l, 0xff);
	assert_int_equal(get(l, LAPIC_PPR), 0xf0);
	put(l, LAPIC_EOI, 0);
	assert_int_equal(lapic_highest_isr(l), 0x51);
	put(l, LAPIC_EOI, 0);
	assert_int_equal(get(l, LAPIC_PPR), 0x4f);
	assert_int_equal(lapic_pending(l), 0x5f);
	lapic_acknowledge(l, 0x5f);
	put(l, LAPIC_EOI, 0);
	put(l, LAPIC_EOI, 0); /* one too many */
	assert_int_equal(lapic_pending(l), -1);
	put(l, LAPIC_TPR, 0);
	assert_int_equal(lapic_pending(l), 0x31);
	assert_int_equal(fake.eoi_count, 0);
}

static void every_vector_passes(void **state)
{
	(void)state;
	for (unsigned v = 16; v < 256; v++)
		lapic_accept(l, (uint8_t)v, v & 1);
	lapic_sync(l);
	for (unsigned i = 0; i < 4; i++)
		assert_true(l->eoi_exit[i] == (i ? 0xaaaaaaaaaaaaaaaa : 0xaaaaaaaaaaaa0000));
	for (unsigned v = 255; v >= 16; v--) {
		assert_int_equal(lapic_pending(l), v);
		lapic_acknowledge(l, (uint8_t)v);
		lapic_eoi(l);
	}
	assert_int_equal(lapic_pending(l), -1);
	assert_int_equal(l->irr_summary, 0);
	assert_int_equal(l->isr_summary, 0);
	assert_int_equal(fake.eoi_count, 120);
}

static void level_eoi_reaches_ioapic(void **state)
{
	(void)state;
	lapic_accept(l, 0x61, true);
	lapic_sync(l);
	assert_true(l->eoi_exit_dirty);
	assert_true(l->eoi_exit[1] == BIT(0x61 - 64));
	assert_int_equal(get(l, LAPIC_TMR + 3), 2);
	lapic_acknowledge(l, 0x61);
	lapic_eoi(l);
	assert_int_equal(fake.eoi_count, 1);
	assert_int_equal(fake.eoi[0], 0x61);
	lapic_eoi_vector(l, 0x61);
	assert_int_equal(fake.eoi_count, 2);
	lapic_eoi_vector(l, 0x62);
	assert_int_equal(fake.eoi_count, 2);

	put(l, LAPIC_SVR, 0x11ff); /* broadcast suppressed */
	lapic_accept(l, 0x61, true);
	lapic_sync(l);
	lapic_acknowledge(l, 0x61);
	lapic_eoi(l);
	lapic_eoi_vector(l, 0x61);
	assert_int_equal(fake.eoi_count, 2);
	put(l, LAPIC_SVR, 0x1ff);

	l->eoi_exit_dirty = false;
	lapic_accept(l, 0x61, false); /* the vector turns edge-triggered */
	lapic_sync(l);
	assert_true(l->eoi_exit_dirty);
	assert_true(l->eoi_exit[1] == 0);
	lapic_acknowledge(l, 0x61);
	lapic_eoi(l);
	assert_int_equal(fake.eoi_count, 2);

	lapic_accept(l, 0x61, true);
	lapic_sync(l);
	l->eoi_exit_dirty = false;
	put(l, LAPIC_ICR, 0x40061); /* likewise by a self-IPI */
	assert_true(l->eoi_exit_dirty);
	assert_true(l->eoi_exit[1] == 0);
}

static void cr8_and_threshold(void **state)
{
	(void)state;
	lapic_set_cr8(l, 5);
	assert_int_equal(get(l, LAPIC_TPR), 0x50);
	assert_int_equal(lapic_cr8(l), 5);
	assert_int_equal(lapic_tpr_threshold(l), 0);
	lapic_accept(l, 0x45, false);
	lapic_sync(l);
	assert_int_equal(lapic_tpr_threshold(l), 4);
	lapic_set_cr8(l, 3);
	assert_int_equal(lapic_tpr_threshold(l), 0);
	lapic_acknowledge(l, 0x45);
	lapic_accept(l, 0x46, false);
	lapic_sync(l);
	lapic_set_cr8(l, 9);
	assert_int_equal(lapic_tpr_threshold(l), 0); /* the one in service holds it back */
}

static void errors(void **state)
{
	(void)state;
	put(l, LAPIC_LVT_ERROR, 0xfe);
	lapic_accept(l, 15, false);
	lapic_sync(l);
	assert_int_equal(lapic_pending(l), 0xfe);
	assert_int_equal(get(l, LAPIC_ESR), 0); /* latched by a write only */
	lapic_acknowledge(l, 0xfe);
	lapic_eoi(l);
	get(l, 0x00); /* illegal register: logged, no second interrupt */
	lapic_sync(l);
	assert_int_equal(lapic_pending(l), -1);
	put(l, LAPIC_ESR, 0);
	assert_int_equal(get(l, LAPIC_ESR), 0xc0);
	put(l, LAPIC_ESR, 0xffffffff);
	assert_int_equal(get(l, LAPIC_ESR), 0);
	put(l, 0x3f, 0x40); /* SELF IPI is no xAPIC register */
	put(l, 0x2f, 0);
	assert_int_equal(lapic_mmio_read(l, 0xffc, 4), 0);
	put(l, LAPIC_ESR, 0);
	assert_int_equal(get(l, LAPIC_ESR), 0x80);
	/* A write alone, to a register between others that is none, of which nothing stays. */
	put(l, 0x01, 0x55);
	put(l, LAPIC_ESR, 0);
	assert_int_equal(get(l, LAPIC_ESR), 0x80);
	put(l, LAPIC_ESR, 0);
	put(l, LAPIC_ICR_HIGH, 0xffffffff); /* the destination; the rest is reserved */
	assert_int_equal(get(l, LAPIC_ICR_HIGH), 0xff000000);
	put(l, LAPIC_ESR, 0);
	assert_int_equal(get(l, LAPIC_ESR), 0);
	put(l, LAPIC_LVT_ERROR, 3); /* an illegal vector for the error itself */
	lapic_accept(l, 0, false);
	put(l, LAPIC_ESR, 0);
	assert_int_equal(get(l, LAPIC_ESR), 0x40);
}

static void hardware_wrote_the_page(void **state)
{
	uint32_t *page = (uint32_t *)(void *)pages[0];

	(void)state;
	page[LAPIC_ID * 4] = 0x77000000;
	lapic_write_done(l, LAPIC_ID * 16);
	assert_int_equal(get(l, LAPIC_ID), 0);
	page[LAPIC_LVT_TIMER * 4] = 0xfffffff0;
	lapic_write_done(l, LAPIC_LVT_TIMER * 16);
	assert_int_equal(get(l, LAPIC_LVT_TIMER), 0x700f0);
	page[LAPIC_DFR * 4] = 0;
	lapic_write_done(l, LAPIC_DFR * 16);
	assert_int_equal(get(l, LAPIC_DFR), 0x0fffffff);
	page[LAPIC_SVR * 4] = 0;
	lapic_write_done(l, LAPIC_SVR * 16);
	assert_false(lapic_software_enabled(l));
	page[LAPIC_SVR * 4] = 0x1ff;
	lapic_write_done(l, LAPIC_SVR * 16);
	lapic_local_error(l, 0x80);
	page[LAPIC_ESR * 4] = 0x12345678;
	lapic_write_done(l, LAPIC_ESR * 16);
	assert_int_equal(get(l, LAPIC_ESR), 0x80);
	page[LAPIC_ICR_HIGH * 4] = 0x02000000;
	page[LAPIC_ICR * 4] = 0x40f1;
	lapic_write_done(l, LAPIC_ICR * 16);
	lapic_sync(&apic[2]);
	assert_int_equal(lapic_pending(&apic[2]), 0xf1);
	assert_int_equal(lapic_pending(&apic[1]), -1);
	lapic_accept(l, 0x41, false);
	lapic_sync(l);
	page[LAPIC_TPR * 4] = 0x80;
	lapic_write_done(l, LAPIC_TPR * 16);
	assert_int_equal(page[LAPIC_PPR * 4], 0x80);
	page[LAPIC_TPR * 4] = 0;
	lapic_write_done(l, LAPIC_TPR * 16);
	lapic_acknowledge(l, 0x41);
	page[LAPIC_EOI * 4] = 0;
	lapic_write_done(l, LAPIC_EOI * 16);
	assert_int_equal(lapic_highest_isr(l), -1);
	page[LAPIC_SELF_IPI * 4] = 0x99;
	lapic_write_done(l, LAPIC_SELF_IPI * 16);
	assert_int_equal(lapic_highest_irr(l), -1);
	lapic_write_done(l, 0xfff0);
	all_x2apic();
	page[LAPIC_LDR * 4] = 0;
	lapic_write_done(l, LAPIC_LDR * 16);
	assert_int_equal(rdmsr(LAPIC_LDR), 1);
	page[LAPIC_SELF_IPI * 4] = 0x99;
	lapic_write_done(l, LAPIC_SELF_IPI * 16);
	assert_int_equal(lapic_highest_irr(l), 0x99);
	page[LAPIC_SELF_IPI * 4] = 0x05;
	lapic_write_done(l, LAPIC_SELF_IPI * 16);
	assert_wrmsr(LAPIC_ESR, 0, 0);
	assert_int_equal(rdmsr(LAPIC_ESR), 0x40);
}

/* With virtual-interrupt delivery the CPU moves bits in the page on its own. */
static void hardware_delivers(void **state)
{
	uint32_t *page = (uint32_t *)(void *)pages[0];

	(void)state;
	lapic_accept(l, 0x51, true);
	assert_true(lapic_sync(l));
	assert_int_equal(lapic_highest_irr(l), 0x51);
	page[(LAPIC_IRR + 2) * 4] = 0;
	page[(LAPIC_ISR + 2) * 4] = 1U << 0x11;
	page[(LAPIC_IRR + 7) * 4] = 1;
	assert_int_equal(lapic_highest_irr(l), 0xe0);
	assert_int_equal(lapic_highest_isr(l), 0x51);
	assert_int_equal(lapic_pending(l), 0xe0);
	page[(LAPIC_IRR + 7) * 4] = 0;
	assert_int_equal(lapic_pending(l), -1);
	lapic_eoi(l); /* an emulated EOI: SVI has to be loaded anew */
	assert_int_equal(fake.eoi_count, 1);
	assert_int_equal(lapic_highest_isr(l), -1);
	assert_true(lapic_sync(l));
	lapic_acknowledge(l, 0x61);
	lapic_eoi(l);
	page[(LAPIC_ISR + 2) * 4] = 2;
	page[(LAPIC_ISR + 3) * 4] = 2;
	assert_int_equal(lapic_highest_isr(l), 0x61);
}

/* Whatever the guest does: no crash, and IRR, ISR and summaries stay consistent. */
static void hostile_registers(void **state)
{
	uint64_t seed = 0x9e3779b97f4a7c15, value;

	(void)state;
	for (unsigned step = 0; step < 200000; step++) {
		uint64_t r = random64(&seed), v = random64(&seed);
		struct lapic *a = &apic[r % CPUS];
		unsigned offset = (unsigned)(r >> 8) & 0xfff;

		if (r >> 40 & 1)
			offset &= 0x3f0;
		if (r >> 41 & 1)
			v &= 0xfffff;
		switch (r >> 32 & 15) {
		case 0: case 1: case 2:
			lapic_mmio_write(a, offset & ~3U, 4, v);
			break;
		case 3:
			lapic_mmio_read(a, offset & ~7U, 1U << (r >> 20 & 3));
			break;
		case 4: case 5: case 6:
			lapic_msr_write(a, 0x800 + (offset >> 4), v);
			break;
		case 7:
			lapic_msr_read(a, 0x800 + (offset >> 4), &value);
			break;
		case 8:
			offset &= 0x3f0;
			if (a->enabled && (offset < 0x100 || offset >= 0x280))
				*(uint32_t *)(void *)(a->page + offset) = (uint32_t)v;
			lapic_write_done(a, offset);
			break;
		case 9:
			lapic_deadline_write(a, r & 1 ? v : fake.now + (v & 0xffff));
			lapic_deadline_read(a);
			break;
		case 10:
			if ((r >> 50 & 15) == 0)
				lapic_set_base(a, LAPIC_BASE | (v & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) | (v >> 20 & 1));
			break;
		case 11:
			lapic_accept(a, (uint8_t)v, r >> 60 & 1);
			break;
		case 12:
			fake_advance_to(fake.now + (v & 0xfffff));
			break;
		case 13:
			lapic_set_tsc_offset(a, (int64_t)v);
			break;
		default:
			lapic_sync(a);
			if (lapic_pending(a) >= 0)
				lapic_acknowledge(a, (uint8_t)lapic_pending(a));
		}
		for (unsigned n = 0; n < 8; n++) {
			assert_int_equal(lapic_get(a, LAPIC_IRR + n) != 0, a->irr_summary >> n & 1);
			assert_int_equal(lapic_get(a, LAPIC_ISR + n) != 0, a->isr_summary >> n & 1);
			assert_int_equal(lapic_get(a, LAPIC_TMR + n), (uint32_t)(a->eoi_exit[n / 2] >> n % 2 * 32));
		}
		assert_int_equal(lapic_get(a, LAPIC_IRR) & 0xffff, 0);
		assert_int_equal(lapic_get(a, LAPIC_ID), a->x2apic ? a->apic_id : a->apic_id << 24);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(power_up_state, setup),
		cmocka_unit_test_setup(base_transitions, setup),
		cmocka_unit_test_setup(disabled_apic_is_absent, setup),
		cmocka_unit_test_setup(x2apic_keeps_state_and_derives_ids, setup),
		cmocka_unit_test_setup(msr_rules, setup),
		cmocka_unit_test_setup(mmio_access_rules, setup),
		cmocka_unit_test_setup(forbidden_features_stay_off, setup),
		cmocka_unit_test_setup(software_disable_masks_lvts, setup),
		cmocka_unit_test_setup(virtual_wire, setup),
		cmocka_unit_test_setup(accept_and_priority, setup),
		cmocka_unit_test_setup(every_vector_passes, setup),
		cmocka_unit_test_setup(level_eoi_reaches_ioapic, setup),
		cmocka_unit_test_setup(cr8_and_threshold, setup),
		cmocka_unit_test_setup(errors, setup),
		cmocka_unit_test_setup(hardware_wrote_the_page, setup),
		cmocka_unit_test_setup(hardware_delivers, setup_hw),
		cmocka_unit_test_setup(hostile_registers, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

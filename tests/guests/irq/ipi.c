/* Interrupts that a CPU sends to itself, priorities, NMI, errors, the APIC's registers. */
#include "tests/guests/irq/irq.h"

APIC_TEST(ipi_self, "IPI: to self by shorthand, physical and logical destination")
{
	uint32_t ldr = apic_read(APIC_LDR);

	count_apic(0x71);
	irq_enable();
	apic_icr(0, 0x71 | APIC_SHORTHAND_SELF);
	CHECK(WAIT_FOR(seen[0x71].count == 1, 1), "shorthand self: no interrupt");
	apic_icr(apic_id(), 0x71);
	CHECK(WAIT_FOR(seen[0x71].count == 2, 1), "physical destination: no interrupt");
	apic_icr(apic_is_x2apic() ? ldr : ldr >> 24, 0x71 | APIC_LOGICAL);
	CHECK(WAIT_FOR(seen[0x71].count == 3, 1), "logical destination %x: no interrupt", ldr);
	apic_icr(0, 0x71 | APIC_SHORTHAND_ALL);
	CHECK(WAIT_FOR(seen[0x71].count == 4, 1), "all including self: no interrupt");
	apic_icr(0, 0x71 | APIC_SHORTHAND_OTHERS);
	delay_us(20);
	CHECK_EQUAL("interrupts after all excluding self", seen[0x71].count, 4);
	apic_icr(apic_is_x2apic() ? 0xffffffff : 0xff, 0x71);
	CHECK(WAIT_FOR(seen[0x71].count == 5, 1), "physical broadcast: no interrupt");
	if (apic_is_x2apic()) {
		wrmsr(MSR_X2APIC + APIC_SELF_IPI, 0x71);
		CHECK(WAIT_FOR(seen[0x71].count == 6, 1), "SELF IPI: no interrupt");
	}
	/* To nobody: no harm. */
	apic_icr(0x5a, 0x71);
	delay_us(20);
	CHECK(seen[0x71].count == (apic_is_x2apic() ? 6 : 5), "an IPI to APIC 0x5a came back");
	irq_disable();
}

APIC_TEST(ipi_flat, "IPI: logical IDs")
{
	uint32_t id = apic_id();

	if (apic_is_x2apic()) {
		CHECK_EQUAL("LDR", apic_read(APIC_LDR), (id >> 4) << 16 | 1U << (id & 15));
		CHECK(wrmsr_safe(MSR_X2APIC + APIC_LDR, 1) == VECTOR_GP, "writing LDR in x2APIC mode: expected #GP, saw %d", fault.vector);
		return;
	}
	count_apic(0x72);
	irq_enable();
	apic_write(APIC_LDR, 0x04000000);
	apic_icr(4, 0x72 | APIC_LOGICAL);
	CHECK(WAIT_FOR(seen[0x72].count == 1, 1), "flat ID 4: no interrupt");
	apic_icr(0xfc, 0x72 | APIC_LOGICAL);
	CHECK(WAIT_FOR(seen[0x72].count == 2, 1), "flat mask fc: no interrupt");
	apic_icr(0xfb, 0x72 | APIC_LOGICAL);
	delay_us(20);
	CHECK_EQUAL("interrupts after flat mask fb", seen[0x72].count, 2);
	apic_write(APIC_DFR, 0x0fffffff); /* cluster model */
	apic_write(APIC_LDR, 0x32000000); /* cluster 3, member 2 */
	apic_icr(0x32, 0x72 | APIC_LOGICAL);
	CHECK(WAIT_FOR(seen[0x72].count == 3, 1), "cluster 3, member 2: no interrupt");
	apic_icr(0x31, 0x72 | APIC_LOGICAL);
	apic_icr(0x22, 0x72 | APIC_LOGICAL);
	delay_us(20);
	CHECK_EQUAL("interrupts after other clusters and members", seen[0x72].count, 3);
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, 1U << 24);
	irq_disable();
}

APIC_TEST(ipi_priority, "IPI: TPR and CR8 hold back, IRR shows, PPR follows")
{
	count_apic(0x73);
	count_apic(0x93);
	irq_enable();
	write_cr8(7);
	apic_icr(0, 0x73 | APIC_SHORTHAND_SELF);
	delay_us(20);
	CHECK_EQUAL("interrupts of class 7 under CR8 = 7", seen[0x73].count, 0);
	CHECK(apic_vector_bit(APIC_IRR, 0x73), "IRR does not show the vector that waits");
	CHECK_EQUAL("PPR", apic_read(APIC_PPR), 0x70);
	apic_icr(0, 0x93 | APIC_SHORTHAND_SELF);
	CHECK(WAIT_FOR(seen[0x93].count == 1, 1), "class 9 under CR8 = 7: no interrupt");
	write_cr8(6);
	CHECK(WAIT_FOR(seen[0x73].count == 1, 1), "class 7 after CR8 = 6: no interrupt");
	CHECK(!apic_vector_bit(APIC_IRR, 0x73), "IRR still shows the vector that was taken");
	apic_write(APIC_TPR, 0x70);
	CHECK_EQUAL("CR8 after the TPR", read_cr8(), 7);
	apic_icr(0, 0x73 | APIC_SHORTHAND_SELF);
	delay_us(20);
	CHECK_EQUAL("interrupts of class 7 under TPR = 0x70", seen[0x73].count, 1);
	apic_write(APIC_TPR, 0);
	CHECK(WAIT_FOR(seen[0x73].count == 2, 1), "class 7 after TPR = 0: no interrupt");
	/* Two of the same vector while it waits are one. */
	write_cr8(15);
	apic_icr(0, 0x73 | APIC_SHORTHAND_SELF);
	apic_icr(0, 0x73 | APIC_SHORTHAND_SELF);
	write_cr8(0);
	delay_us(20);
	CHECK_EQUAL("interrupts in all", seen[0x73].count, 3);
	irq_disable();
}

static volatile unsigned order[8], orders;

static void on_high(struct trap_frame *frame)
{
	order[orders++ & 7] = (unsigned)frame->vector;
	apic_eoi();
}

static void on_nesting(struct trap_frame *frame)
{
	order[orders++ & 7] = (unsigned)frame->vector;
	apic_icr(0, 0x82 | APIC_SHORTHAND_SELF); /* same class: waits for the EOI */
	apic_icr(0, 0x74 | APIC_SHORTHAND_SELF); /* lower: waits */
	apic_icr(0, 0xa1 | APIC_SHORTHAND_SELF); /* higher: comes now */
	irq_enable();
	delay_us(20);
	irq_disable();
	order[orders++ & 7] = 1;
	apic_eoi();
}

APIC_TEST(ipi_nested, "IPI: a higher class nests, others wait for the EOI, in order of priority")
{
	static const unsigned expected[] = { 0x81, 0xa1, 1, 0x82, 0x74 };

	orders = 0;
	/* A spurious interrupt is allowed when an IPI of lower priority arrives (Bochs 2.7 gives one); it takes no EOI. */
	count_only(VECTOR_SPURIOUS);
	trap_handle(0x81, on_nesting);
	trap_handle(0x82, on_high);
	trap_handle(0x74, on_high);
	trap_handle(0xa1, on_high);
	irq_enable();
	apic_icr(0, 0x81 | APIC_SHORTHAND_SELF);
	delay_us(100);
	irq_disable();
	CHECK_EQUAL("events", orders, ARRAY_SIZE(expected));
	for (unsigned i = 0; i < ARRAY_SIZE(expected); i++)
		CHECK(order[i] == expected[i], "event %u: expected %x, saw %x", i, expected[i], order[i]);
}

APIC_TEST(ipi_burst, "IPI: sixteen classes pending at once come highest first")
{
	unsigned last = 16;

	orders = 0;
	for (unsigned class = 3; class < 16; class++)
		count_apic(class << 4 | 1);
	for (unsigned class = 3; class < 16; class++)
		apic_icr(0, (class << 4 | 1) | APIC_SHORTHAND_SELF);
	irq_enable();
	delay_us(100);
	irq_disable();
	for (unsigned class = 15; class >= 3; class--) {
		CHECK(seen[class << 4 | 1].count == 1, "class %u came %u times", class, seen[class << 4 | 1].count);
		if (last != 16)
			CHECK(seen[class << 4 | 1].tsc > seen[last << 4 | 1].tsc, "class %u came before class %u", class, last);
		last = class;
	}
}

static volatile unsigned nmis, nmi_depth, nmi_depth_max;

static void on_nmi(struct trap_frame *frame)
{
	(void)frame;
	nmis++;
	if (++nmi_depth > nmi_depth_max)
		nmi_depth_max = nmi_depth;
	if (nmis == 1) { /* NMIs are blocked until IRET: this one waits */
		apic_icr(apic_id(), APIC_DELIVERY_NMI);
		delay_us(20);
	}
	nmi_depth--;
}

APIC_TEST(ipi_nmi, "IPI: NMI to self, even with interrupts off; a second waits for IRET")
{
	nmis = nmi_depth = nmi_depth_max = 0;
	trap_handle(VECTOR_NMI, on_nmi);
	irq_disable();
	apic_icr(apic_id(), APIC_DELIVERY_NMI);
	CHECK(WAIT_FOR(nmis == 2, 1), "%u NMIs instead of 2", nmis);
	CHECK_EQUAL("NMIs at a time", nmi_depth_max, 1);
	nmis = 1;
	apic_icr(apic_id(), APIC_DELIVERY_NMI);
	CHECK(WAIT_FOR(nmis == 2, 1), "the third NMI did not come");
}

APIC_TEST(apic_errors, "APIC: illegal vectors show in ESR, and through the error LVT")
{
	uint32_t esr;

	count_apic(0x75);
	apic_write(APIC_LVT_ERROR, 0x75);
	apic_write(APIC_ESR, 0);
	irq_enable();
	apic_icr(apic_id(), 5 | APIC_SHORTHAND_SELF);
	delay_us(20);
	apic_write(APIC_ESR, 0);
	esr = apic_read(APIC_ESR);
	irq_disable();
	/* Send illegal vector, or received illegal vector, or both. */
	CHECK(esr & 0x60, "ESR %x after an IPI with vector 5", esr);
	/* Bochs 2.7 does not deliver the error interrupt. */
	CHECK(seen[0x75].count >= 1 || !under_lamina(), "the error LVT brought no interrupt");
	apic_write(APIC_ESR, 0);
	apic_write(APIC_ESR, 0);
	CHECK_EQUAL("ESR when cleared", apic_read(APIC_ESR), 0);
}

APIC_TEST(apic_svr, "APIC: the software-enable bit masks every LVT entry")
{
	apic_write(APIC_LVT_TIMER, 0x61);
	apic_write(APIC_SVR, VECTOR_SPURIOUS);
	CHECK(apic_read(APIC_LVT_TIMER) & APIC_MASKED, "the timer's LVT entry is not masked: %x", apic_read(APIC_LVT_TIMER));
	apic_write(APIC_LVT_TIMER, 0x61);
	CHECK(apic_read(APIC_LVT_TIMER) & APIC_MASKED, "an LVT entry can be unmasked while the APIC is disabled");
	apic_write(APIC_SVR, 0x100 | VECTOR_SPURIOUS);
	CHECK_EQUAL("SVR", apic_read(APIC_SVR) & 0x1ff, 0x1ff);
	apic_write(APIC_LVT_TIMER, 0x61);
	CHECK(!(apic_read(APIC_LVT_TIMER) & APIC_MASKED), "an LVT entry stays masked after the APIC was enabled");
	apic_write(APIC_LVT_TIMER, APIC_MASKED);
}

APIC_TEST(apic_registers, "APIC: ID, version, masks of the LVT, access rules of the mode")
{
	uint32_t version = apic_read(APIC_VERSION);
	uint64_t value;

	CHECK_EQUAL("ID", apic_id(), cpuid(1, 0).ebx >> 24);
	CHECK((version & 0xff) >= 0x10 && (version & 0xff) <= 0x15, "version %x", version);
	CHECK((version >> 16 & 0xff) >= 3, "version %x: too few LVT entries", version);
	if (!apic_is_x2apic()) {
		rdmsr_safe(MSR_X2APIC + APIC_ID, &value);
		CHECK(fault.vector == VECTOR_GP, "an x2APIC MSR in xAPIC mode: expected #GP, saw %d", fault.vector);
		return;
	}
	CHECK(wrmsr_safe(MSR_X2APIC + APIC_ID, 0) == VECTOR_GP, "writing the ID: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_X2APIC + APIC_VERSION, 0) == VECTOR_GP, "writing the version: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_X2APIC + APIC_IRR, 0) == VECTOR_GP, "writing IRR: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_X2APIC + APIC_EOI, 1) == VECTOR_GP, "EOI with a value: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_X2APIC + APIC_ESR, 1) == VECTOR_GP, "ESR with a value: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_X2APIC + APIC_TPR, 0x100) == VECTOR_GP, "TPR bit 8: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_X2APIC + APIC_DFR, 0) == VECTOR_GP, "DFR: expected #GP, saw %d", fault.vector);
	CHECK(rdmsr_safe(MSR_X2APIC + APIC_DFR, &value) == VECTOR_GP, "reading DFR: expected #GP, saw %d", fault.vector);
	CHECK(rdmsr_safe(MSR_X2APIC + APIC_ICR_HIGH, &value) == VECTOR_GP, "MSR 0x831: expected #GP, saw %d", fault.vector);
	CHECK(rdmsr_safe(MSR_X2APIC + APIC_EOI, &value) == VECTOR_GP, "reading EOI: expected #GP, saw %d", fault.vector);
	CHECK(rdmsr_safe(MSR_X2APIC + APIC_SELF_IPI, &value) == VECTOR_GP, "reading SELF IPI: expected #GP, saw %d", fault.vector);
	CHECK(rdmsr_safe(MSR_X2APIC + 0x40, &value) == VECTOR_GP, "MSR 0x840: expected #GP, saw %d", fault.vector);
	CHECK(wrmsr_safe(MSR_X2APIC + APIC_LVT_TIMER, BIT(32)) == VECTOR_GP, "LVT bit 32: expected #GP, saw %d", fault.vector);
	CHECK(rdmsr_safe(MSR_X2APIC + APIC_ICR, &value) == NO_FAULT, "reading ICR raises %d", fault.vector);
}

/* Several CPUs: start, interrupts among them, locks, clocks, TLB shootdown. */
#include "lib/spinlock.h"
#include "lib/string.h"
#include "tests/guests/lib/window.h"
#include "tests/guests/smp/cpus.h"

#define ALONE() \
	do { \
		if (cpu_count == 1) \
			SKIP("this machine has one CPU"); \
	} while (0)

/* Like TEST(), and again when every CPU is in x2APIC mode. */
#define SMP_TEST(ident, title) \
	static void ident(void); \
	static const struct test ident##_x2_test __attribute__((section(".tests_x2apic"), used, aligned(16))) = \
		{ title ", x2APIC", ident }; \
	TEST(ident, title)

static unsigned interrupts_of_all(void)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < cpu_count; i++)
		sum += cpus[i].interrupts;
	return sum;
}

static void clear_counts(void)
{
	for (unsigned i = 0; i < cpu_count; i++)
		cpus[i].interrupts = cpus[i].nmis = 0;
}

TEST(start, "SMP: every CPU of the MADT starts by INIT, SIPI, SIPI")
{
	unsigned started = cpus_start();

	CHECK(madt.cpus >= 1, "no MADT");
	CHECK(started == MIN(madt.cpus, CPUS_MAX), "the MADT names %u CPUs, %u came up", madt.cpus, started);
	for (unsigned i = 0; i < started; i++) {
		bool named = false;

		for (unsigned j = 0; j < madt.cpus; j++)
			named = named || madt.apic_id[j] == cpus[i].apic_id;
		CHECK(named, "CPU %u has APIC ID %x, which the MADT does not name", i, cpus[i].apic_id);
		for (unsigned j = 0; j < i; j++)
			CHECK(cpus[i].apic_id != cpus[j].apic_id, "CPUs %u and %u have the same APIC ID", i, j);
	}
}

/* SDM vol. 3, table 9-1, "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT". */
TEST(first_state, "SMP: the state in which a startup IPI leaves a CPU")
{
	ALONE();
	for (unsigned i = 1; i < cpu_count; i++) {
		CHECK(first_states[i].cs == 0x800, "CPU %u: CS %x instead of 800", i, first_states[i].cs);
		CHECK((first_states[i].cr0 & ~(CR0_CD | CR0_NW)) == 0x10, "CPU %u: CR0 %x", i, first_states[i].cr0);
		/* EDX has the family, model and stepping. Bochs 2.7 and others agree only in that it is no address. */
		if (under_lamina())
			CHECK((first_states[i].edx & 0xf00) != 0, "CPU %u: EDX %x names no family", i, first_states[i].edx);
	}
}

static void look_at_msrs(unsigned cpu)
{
	cpus[cpu].value = rdmsr(MSR_APIC_BASE);
}

TEST(bsp_flag, "SMP: IA32_APIC_BASE's BSP flag is set on one CPU")
{
	ALONE();
	look_at_msrs(0);
	CHECK(cpus[0].value & APIC_BASE_BSP, "the boot processor's IA32_APIC_BASE is %llx", (unsigned long long)cpus[0].value);
	for (unsigned i = 1; i < cpu_count; i++) {
		cpu_start_work(i, look_at_msrs);
		CHECK(cpu_wait(i), "CPU %u does not answer", i);
		CHECK(!(cpus[i].value & APIC_BASE_BSP), "CPU %u's IA32_APIC_BASE is %llx", i, (unsigned long long)cpus[i].value);
	}
}

static void look_at_cpuid(unsigned cpu)
{
	cpus[cpu].value = cpuid(1, 0).ebx >> 24;
}

SMP_TEST(apic_ids, "SMP: CPUID leaf 1 gives each CPU its APIC ID")
{
	ALONE();
	for (unsigned i = 1; i < cpu_count; i++) {
		cpu_start_work(i, look_at_cpuid);
		CHECK(cpu_wait(i), "CPU %u does not answer", i);
		CHECK_EQUAL("CPUID's APIC ID", cpus[i].value, cpus[i].apic_id);
	}
}

SMP_TEST(ipi_each, "SMP: an IPI to each CPU reaches that one only")
{
	ALONE();
	for (unsigned i = 1; i < cpu_count; i++) {
		clear_counts();
		send_ipi(cpus[i].apic_id, VECTOR_IPI);
		CHECK(WAIT_FOR(cpus[i].interrupts == 1, PATIENCE), "CPU %u got no interrupt", i);
		delay_us(50);
		CHECK_EQUAL("interrupts of all CPUs", interrupts_of_all(), 1);
	}
}

SMP_TEST(ipi_broadcast, "SMP: broadcasts, with and without the sender")
{
	ALONE();
	clear_counts();
	irq_enable();
	send_ipi(0, VECTOR_IPI | APIC_SHORTHAND_OTHERS);
	CHECK(WAIT_FOR(interrupts_of_all() == cpu_count - 1, PATIENCE), "all but self: %u interrupts", interrupts_of_all());
	CHECK_EQUAL("interrupts of the sender", cpus[0].interrupts, 0);
	send_ipi(0, VECTOR_IPI | APIC_SHORTHAND_ALL);
	CHECK(WAIT_FOR(interrupts_of_all() == 2 * cpu_count - 1, PATIENCE), "all: %u interrupts", interrupts_of_all());
	send_ipi(apic_is_x2apic() ? 0xffffffff : 0xff, VECTOR_IPI);
	CHECK(WAIT_FOR(interrupts_of_all() == 3 * cpu_count - 1, PATIENCE), "physical broadcast: %u interrupts", interrupts_of_all());
	delay_us(50);
	for (unsigned i = 1; i < cpu_count; i++)
		CHECK_EQUAL("interrupts of one CPU", cpus[i].interrupts, 3);
}

SMP_TEST(ipi_logical, "SMP: logical destinations")
{
	uint32_t all = 0;

	ALONE();
	if (cpu_count > 8)
		SKIP("more CPUs than the flat model has bits");
	clear_counts();
	for (unsigned i = 1; i < cpu_count; i++) {
		uint32_t logical = apic_is_x2apic() ? (cpus[i].apic_id >> 4) << 16 | 1U << (cpus[i].apic_id & 15) : 1U << i;

		send_ipi(logical, VECTOR_IPI | APIC_LOGICAL);
		CHECK(WAIT_FOR(cpus[i].interrupts == 1, PATIENCE), "CPU %u, logical ID %x: no interrupt", i, logical);
		all |= logical;
	}
	delay_us(50);
	CHECK_EQUAL("interrupts of all CPUs", interrupts_of_all(), cpu_count - 1);
	send_ipi(all, VECTOR_IPI | APIC_LOGICAL);
	CHECK(WAIT_FOR(interrupts_of_all() == 2 * (cpu_count - 1), PATIENCE), "logical mask %x: %u interrupts", all, interrupts_of_all());
	/* Lowest priority: one of them takes it. (Not in x2APIC mode, where the ICR has no such delivery mode on all models.) */
	if (apic_is_x2apic())
		return;
	clear_counts();
	send_ipi(all, VECTOR_IPI | APIC_LOGICAL | 0x100);
	CHECK(WAIT_FOR(interrupts_of_all() >= 1, PATIENCE), "lowest priority: nobody was interrupted");
	delay_us(50);
	CHECK_EQUAL("interrupts of all CPUs by lowest priority", interrupts_of_all(), 1);
}

static void sleep_deeply(unsigned cpu)
{
	unsigned before = cpus[cpu].nmis;

	irq_disable();
	cpus[cpu].value = 1;
	while (cpus[cpu].nmis == before)
		__asm__ volatile("hlt" : : : "memory");
	cpus[cpu].value = 2;
	irq_enable();
}

SMP_TEST(ipi_nmi, "SMP: an NMI wakes a CPU that halts with interrupts off")
{
	ALONE();
	for (unsigned i = 1; i < cpu_count; i++) {
		clear_counts();
		cpus[i].value = 0;
		cpu_start_work(i, sleep_deeply);
		CHECK(WAIT_FOR(cpus[i].value == 1, PATIENCE), "CPU %u does not answer", i);
		delay_us(50);
		send_ipi(cpus[i].apic_id, VECTOR_IPI); /* waits: interrupts are off there */
		delay_us(50);
		CHECK(cpus[i].value == 1 && cpus[i].interrupts == 0, "CPU %u woke by an interrupt that it had off", i);
		send_ipi(cpus[i].apic_id, APIC_DELIVERY_NMI);
		CHECK(cpu_wait(i), "CPU %u did not wake", i);
		CHECK(cpus[i].nmis == 1, "CPU %u got %u NMIs", i, cpus[i].nmis);
		CHECK(WAIT_FOR(cpus[i].interrupts == 1, PATIENCE), "CPU %u lost the interrupt that waited", i);
	}
}

static volatile bool stop_sleeping;

static void sleep_lightly(unsigned cpu)
{
	irq_disable();
	while (!stop_sleeping) {
		cpus[cpu].value++;
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	}
	irq_enable();
}

SMP_TEST(ipi_halt, "SMP: two hundred wake-ups from HLT, none lost")
{
	unsigned cpu = cpu_count - 1;

	ALONE();
	clear_counts();
	stop_sleeping = false;
	cpu_start_work(cpu, sleep_lightly);
	for (unsigned i = 1; i <= 200; i++) {
		send_ipi(cpus[cpu].apic_id, VECTOR_IPI);
		CHECK(WAIT_FOR(cpus[cpu].interrupts == i, PATIENCE), "wake-up %u was lost", i);
	}
	stop_sleeping = true;
	send_ipi(cpus[cpu].apic_id, VECTOR_IPI);
	CHECK(cpu_wait(cpu), "CPU %u sleeps on", cpu);
}

static void pass_on(unsigned cpu)
{
	unsigned next = (cpu + 1) % cpu_count;

	cpus[cpu].value = WAIT_FOR(cpus[cpu].interrupts, PATIENCE);
	if (cpus[cpu].value)
		send_ipi(cpus[next].apic_id, VECTOR_IPI);
}

SMP_TEST(ipi_ring, "SMP: an IPI goes round from CPU to CPU")
{
	ALONE();
	clear_counts();
	irq_enable();
	for (unsigned i = 1; i < cpu_count; i++)
		cpu_start_work(i, pass_on);
	send_ipi(cpus[1].apic_id, VECTOR_IPI);
	CHECK(WAIT_FOR(cpus[0].interrupts, PATIENCE), "it did not come back to the boot processor");
	for (unsigned i = 1; i < cpu_count; i++)
		CHECK(cpu_wait(i) && cpus[i].value == 1, "CPU %u did not get it", i);
}

#define ROUNDS 5000

static volatile uint64_t atomic_sum, locked_sum;
static struct spinlock lock;

static void add_up(unsigned cpu)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		__atomic_add_fetch(&atomic_sum, cpu + 1, __ATOMIC_RELAXED);
		spin_lock(&lock);
		locked_sum = locked_sum + 1;
		spin_unlock(&lock);
	}
}

TEST(locks, "SMP: locked instructions and a spin lock")
{
	uint64_t expected = ROUNDS;

	ALONE();
	atomic_sum = locked_sum = 0;
	for (unsigned i = 1; i < cpu_count; i++)
		cpu_start_work(i, add_up);
	add_up(0);
	for (unsigned i = 1; i < cpu_count; i++) {
		CHECK(cpu_wait(i), "CPU %u does not end", i);
		expected += (i + 1) * ROUNDS;
	}
	CHECK_EQUAL("the sum by locked additions", atomic_sum, expected);
	CHECK_EQUAL("the sum under the lock", locked_sum, ROUNDS * cpu_count);
}

static volatile uint64_t ball;
#define TSC_ROUNDS 200

/* Answer each time that the boot processor writes with one's own: odd values are questions. */
static void answer_time(unsigned cpu)
{
	for (unsigned i = 0; i < TSC_ROUNDS; i++) {
		if (!WAIT_FOR(ball == 1, PATIENCE))
			return;
		cpus[cpu].value = rdtsc();
		__atomic_store_n(&ball, 2, __ATOMIC_SEQ_CST);
	}
}

TEST(tsc, "SMP: the TSCs agree")
{
	ALONE();
	for (unsigned cpu = 1; cpu < cpu_count; cpu++) {
		ball = 0;
		cpu_start_work(cpu, answer_time);
		for (unsigned i = 0; i < TSC_ROUNDS; i++) {
			uint64_t before = rdtsc(), after, theirs;

			__atomic_store_n(&ball, 1, __ATOMIC_SEQ_CST);
			CHECK(WAIT_FOR(ball == 2, PATIENCE), "CPU %u does not answer", cpu);
			after = rdtsc();
			theirs = cpus[cpu].value;
			/* What came later must read later, within what a guest can notice. */
			CHECK(theirs + 50 >= before, "CPU %u is %llu ticks behind", cpu, (unsigned long long)(before - theirs));
			CHECK(theirs <= after + 50, "CPU %u is %llu ticks ahead", cpu, (unsigned long long)(theirs - after));
		}
		CHECK(cpu_wait(cpu), "CPU %u does not end", cpu);
	}
}

static uint8_t pages[2][4096] __attribute__((aligned(4096)));

static void read_page(unsigned cpu)
{
	cpus[cpu].value = *(volatile uint64_t *)window_page(0);
}

static void flush_page(unsigned cpu)
{
	(void)cpu;
	invlpg(window_page(0));
}

TEST(shootdown, "SMP: a translation changed and flushed everywhere")
{
	ALONE();
	for (unsigned round = 0; round < 8; round++) {
		uint8_t *page = pages[round & 1];

		*(volatile uint64_t *)page = 0x1000 + round;
		window_map(0, page, PTE_P | PTE_W);
		for (unsigned i = 1; i < cpu_count; i++) {
			cpu_start_work(i, flush_page);
			CHECK(cpu_wait(i), "CPU %u does not answer", i);
			cpu_start_work(i, read_page);
			CHECK(cpu_wait(i), "CPU %u does not answer", i);
			CHECK_EQUAL("what another CPU reads through the page", cpus[i].value, 0x1000 + round);
		}
	}
	window_map(0, pages, 0);
}

TEST(restart, "SMP: a startup IPI to a running CPU is ignored; INIT brings it back to the start")
{
	unsigned cpu = cpu_count - 1;

	ALONE();
	clear_counts();
	send_ipi(cpus[cpu].apic_id, APIC_DELIVERY_STARTUP | 8);
	delay_us(100);
	send_ipi(cpus[cpu].apic_id, VECTOR_IPI);
	CHECK(WAIT_FOR(cpus[cpu].interrupts == 1, PATIENCE), "CPU %u no longer answers after a startup IPI", cpu);
	memset(&first_states[cpu], 0, sizeof(first_states[cpu]));
	CHECK(cpu_restart(cpu), "CPU %u did not come back", cpu);
	CHECK_EQUAL("CS", first_states[cpu].cs, 0x800);
	clear_counts();
	send_ipi(cpus[cpu].apic_id, VECTOR_IPI);
	CHECK(WAIT_FOR(cpus[cpu].interrupts == 1, PATIENCE), "CPU %u does not answer after its restart", cpu);
}

static void to_x2apic(unsigned cpu)
{
	irq_disable();
	apic_init(true);
	cpus[cpu].apic_id = apic_id();
	irq_enable();
}

TEST(x2apic, "SMP: every CPU changes to x2APIC mode")
{
	if (!apic_has_x2apic())
		SKIP("no x2APIC");
	for (unsigned i = 1; i < cpu_count; i++) {
		cpu_start_work(i, to_x2apic);
		CHECK(cpu_wait(i), "CPU %u does not answer", i);
	}
	to_x2apic(0);
	CHECK(apic_is_x2apic(), "the boot processor is not in x2APIC mode");
}

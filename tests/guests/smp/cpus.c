#include "tests/guests/smp/cpus.h"

#include "lib/string.h"

#define TRAMPOLINE 0x8000U

struct cpu cpus[CPUS_MAX];
struct first_state first_states[CPUS_MAX];
unsigned cpu_count = 1;
struct madt madt;

static uint8_t stacks[CPUS_MAX][16384] __attribute__((aligned(4096)));

extern const uint8_t trampoline_image[], trampoline_image_end[];
extern const uint8_t enter_long_mode_ap[];
extern const uint8_t gdt_pointer[];

/* The parameters in the trampoline (trampoline.asm16). */
struct PACKED parameters {
	uint16_t gdt_limit;
	uint32_t gdt_base;
	uint16_t unused;
	volatile uint32_t ticket;
	uint32_t stacks, entry, enter, records;
};
static struct parameters *volatile const parameters = (struct parameters *)(TRAMPOLINE + 8);

unsigned this_cpu(void)
{
	uint32_t id = apic_id();

	for (unsigned i = 0; i < CPUS_MAX; i++) {
		if (cpus[i].online && cpus[i].apic_id == id)
			return i;
	}
	return 0;
}

static void on_ipi(struct trap_frame *frame)
{
	(void)frame;
	__atomic_add_fetch(&cpus[this_cpu()].interrupts, 1, __ATOMIC_SEQ_CST);
	apic_eoi();
}

static void on_nmi(struct trap_frame *frame)
{
	(void)frame;
	__atomic_add_fetch(&cpus[this_cpu()].nmis, 1, __ATOMIC_SEQ_CST);
}

/* Allowed at any time, and takes no EOI. */
static void on_spurious(struct trap_frame *frame)
{
	(void)frame;
}

static void ap_main(unsigned long ticket)
{
	unsigned index = (unsigned)ticket;

	trap_load_idt();
	apic_init(rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC);
	if (index >= CPUS_MAX)
		for (;;)
			__asm__ volatile("cli; hlt");
	cpus[index].apic_id = apic_id();
	if (!apic_is_x2apic())
		apic_write(APIC_LDR, 1U << (24 + index % 8));
	__atomic_store_n(&cpus[index].online, true, __ATOMIC_SEQ_CST);
	irq_enable();
	for (;;) {
		cpu_work *work = __atomic_load_n(&cpus[index].work, __ATOMIC_ACQUIRE);

		if (work) {
			work(index);
			__atomic_store_n(&cpus[index].work, NULL, __ATOMIC_RELEASE);
		}
		cpu_pause();
	}
}

void cpu_start_work(unsigned cpu, cpu_work *work)
{
	__atomic_store_n(&cpus[cpu].work, work, __ATOMIC_RELEASE);
}

bool cpu_wait(unsigned cpu)
{
	return WAIT_FOR(!__atomic_load_n(&cpus[cpu].work, __ATOMIC_ACQUIRE), PATIENCE);
}

void send_ipi(uint32_t destination, uint32_t command)
{
	apic_icr(destination, command);
}

static void wake(uint32_t id)
{
	send_ipi(id, APIC_DELIVERY_INIT | APIC_ASSERT | APIC_LEVEL);
	send_ipi(id, APIC_DELIVERY_INIT | APIC_LEVEL); /* de-assert */
	delay_us(10000);
	send_ipi(id, APIC_DELIVERY_STARTUP | TRAMPOLINE >> 12);
	delay_us(200);
	send_ipi(id, APIC_DELIVERY_STARTUP | TRAMPOLINE >> 12);
}

unsigned cpus_start(void)
{
	if (acpi_read_madt(&madt) != 0)
		return 1;
	apic_init(false);
	trap_set_gate(VECTOR_NMI, true, 0, 0); /* the other CPUs have no task register */
	trap_set_gate(VECTOR_DF, true, 0, 0);
	trap_handle(VECTOR_NMI, on_nmi);
	trap_handle(VECTOR_IPI, on_ipi);
	trap_handle(VECTOR_SPURIOUS, on_spurious);
	cpus[0].apic_id = apic_id();
	cpus[0].online = true;
	memcpy((uint8_t *)parameters - 8, trampoline_image, (size_t)(trampoline_image_end - trampoline_image));
	memcpy(&parameters->gdt_limit, gdt_pointer, 6);
	parameters->ticket = 1;
	parameters->stacks = (uint32_t)(uint64_t)stacks;
	parameters->entry = (uint32_t)(uint64_t)ap_main;
	parameters->enter = (uint32_t)(uint64_t)enter_long_mode_ap;
	parameters->records = (uint32_t)(uint64_t)first_states;
	for (unsigned i = 0; i < madt.cpus; i++) {
		if (madt.apic_id[i] == cpus[0].apic_id)
			continue;
		if (cpu_count == CPUS_MAX)
			break;
		wake(madt.apic_id[i]);
		if (!WAIT_FOR(cpus[cpu_count].online, PATIENCE))
			break;
		cpu_count++;
	}
	return cpu_count;
}

bool cpu_restart(unsigned cpu)
{
	uint32_t id = cpus[cpu].apic_id;

	cpus[cpu].online = false;
	cpus[cpu].work = NULL;
	parameters->ticket = cpu;
	wake(id);
	return WAIT_FOR(cpus[cpu].online, PATIENCE) && cpus[cpu].apic_id == id;
}

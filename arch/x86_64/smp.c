/* The start of the other cores, one at a time: each gets its stacks, INIT and up to two start-up messages, and a limited time to report
 * itself. */
#include "arch/x86_64/smp.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/host_apic.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/traps.h"
#include "lib/log.h"
#include "lib/string.h"

#define START_TIMEOUT_MS 200

extern const uint8_t trampoline_start[], trampoline_end[], trampoline_root[], trampoline_stack[], trampoline_cpu[];

NORETURN void ap_main(struct cpu *cpu);

/* The first C code of a started core. */
void ap_main(struct cpu *cpu)
{
	cpu_load(cpu);
	host_apic_enable();
	__atomic_store_n(&cpu->online, true, __ATOMIC_RELEASE);
	core_main();
}

static bool wait_online(const struct cpu *cpu, unsigned ms)
{
	for (unsigned i = 0; i < ms * 10; i++) {
		if (__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE))
			return true;
		clock_delay_us(100);
	}
	return false;
}

static void start_core(struct cpu *cpu, uint8_t *page, uint8_t number)
{
	*(uint64_t *)(page + (trampoline_root - trampoline_start)) = kernel_table.root;
	*(uint64_t *)(page + (trampoline_stack - trampoline_start)) = cpu->stack_top;
	*(uint64_t *)(page + (trampoline_cpu - trampoline_start)) = (uint64_t)cpu;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	host_apic_send_init(cpu->apic_id);
	clock_delay_us(10000);
	/* The second start-up message is for cores that missed the first one. */
	for (unsigned i = 0; i < 2; i++) {
		host_apic_send_startup(cpu->apic_id, number);
		if (wait_online(cpu, i ? START_TIMEOUT_MS : 2))
			return;
	}
}

void smp_start(const struct acpi_info *acpi, unsigned limit)
{
	uint64_t phys = frames_alloc(&frames, PAGE_SIZE, PAGE_SIZE, MIB(1));
	uint8_t *page;

	if (acpi->cpu_count <= 1)
		return;
	page = phys ? (uint8_t *)(uintptr_t)map_device(phys, PAGE_SIZE) : NULL;
	if (!page) {
		log_line("smp: no free page below 1 MiB: the other cores stay off");
		return;
	}
	memcpy(page, trampoline_start, (size_t)(trampoline_end - trampoline_start));
	for (unsigned i = 0; i < acpi->cpu_count; i++) {
		const struct acpi_cpu *entry = &acpi->cpu[i];
		struct cpu *cpu;

		if (!entry->enabled || entry->apic_id == cpus[0]->apic_id)
			continue;
		if (cpu_count == MIN(limit, CPUS_MAX)) {
			log_line("smp: only %u cores are used: the one with APIC ID %u and the following ones stay off", cpu_count, entry->apic_id);
			break;
		}
		if (entry->apic_id >= APIC_ID_BROADCAST && !host_apic_x2apic()) {
			log_line("smp: core with APIC ID %u cannot be addressed without x2APIC", entry->apic_id);
			continue;
		}
		cpu = cpu_alloc(cpu_count, entry->apic_id);
		if (!cpu) {
			log_line("smp: no pool memory for core %u: it and the following ones stay off", cpu_count);
			break;
		}
		start_core(cpu, page, (uint8_t)(phys >> 12));
		if (!cpu->online) {
			log_line("smp: core with APIC ID %u did not start within %u ms", entry->apic_id, START_TIMEOUT_MS);
			host_apic_send_init(entry->apic_id); /* the core waits for start-up again: its page tables are about to go */
			break; /* the core may wake late and run with the values that this page has then: no further core is started */
		}
		cpus[cpu_count++] = cpu;
	}
	/* The trampoline's page stays Lamina's: a core that wakes late must not run what a guest put there. */
}

void smp_kick(unsigned cpu)
{
	host_apic_send(cpus[cpu]->apic_id, VECTOR_KICK);
}

void smp_halt_others(void)
{
	if (cpu_count > 1)
		host_apic_send_others(VECTOR_HALT);
}

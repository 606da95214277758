/* This machine's cores as vmm/ sees them. */
#include "vmm/interface/core.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/host_apic.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/traps.h"
#include "drivers/console/console.h"

unsigned core_index(void)
{
	return this_cpu()->index;
}

unsigned core_count(void)
{
	return cpu_count;
}

void core_kick(unsigned core)
{
	smp_kick(core);
}

void core_timer_set(uint64_t deadline)
{
	deadline = MIN(deadline, __atomic_load_n(&console_due[this_cpu()->index != 0], __ATOMIC_RELAXED));
	if (deadline != this_cpu()->timer_deadline)
		host_apic_timer_set(deadline);
}

void core_timer_by(uint64_t deadline)
{
	if (deadline < this_cpu()->timer_deadline)
		host_apic_timer_set(deadline);
}

bool core_take_interrupts(void)
{
	bool armed = this_cpu()->timer_deadline != UINT64_MAX;

	sti_nop_cli();
	return armed && this_cpu()->timer_deadline == UINT64_MAX;
}

void core_idle(void)
{
	sti_hlt_cli();
}

bool core_interrupt(uint8_t vector)
{
	irq_handle(vector);
	return vector == VECTOR_TIMER;
}

void core_nmi(void)
{
	nmi_handle();
}

void core_machine_check(void)
{
	machine_check();
}

void core_fpu_init(void)
{
	__asm__ volatile("fninit");
}

uint16_t core_fpu_status(void)
{
	uint16_t status;

	__asm__ volatile("fnstsw %0" : "=m"(status));
	return status;
}

uint16_t core_fpu_control(void)
{
	uint16_t control;

	__asm__ volatile("fnstcw %0" : "=m"(control));
	return control;
}

void core_pause(void)
{
	pause();
}

void core_address_space(uint64_t root)
{
	this_cpu()->address_space = root;
	address_space_load(root);
}

void core_set_xcr0(uint64_t value)
{
	xsetbv(0, value);
}

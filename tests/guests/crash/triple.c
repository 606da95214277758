/* A triple fault, always: the machine must reset, which under Lamina is this VM alone. */
#include "tests/guests/lib/clock.h"
#include "tests/guests/lib/console.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/test.h"

void guest_main(void)
{
	struct PACKED {
		uint16_t limit;
		uint64_t base;
	} nothing = { 0, 0 };

	say("guest: triple fault\n");
	console_drain();
	/* Bochs 2.7 keeps interrupts from the hypervisor while its guest has them off, so this guest gives Lamina's console some time. */
	irq_enable();
	delay_us(20000);
	irq_disable();
	__asm__ volatile("lidt %0\n\tint3" : : "m"(nothing));
	say("guest: FAIL triple fault: the machine goes on\n");
}

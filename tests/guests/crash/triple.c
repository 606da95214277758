/* A triple fault, always: the machine must reset, which under Lamina is this VM alone. */
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
	__asm__ volatile("lidt %0\n\tint3" : : "m"(nothing));
	say("guest: FAIL triple fault: the machine goes on\n");
}

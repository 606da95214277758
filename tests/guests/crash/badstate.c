/* A guest that jumps into addresses that nothing claims: there is no instruction to run or to emulate. Lamina must stop this VM with a
 * dump, and go on itself. On the bare machine the bytes read as all ones, an undefined instruction, and the guest ends by itself. */
#include "tests/guests/lib/console.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"

void guest_main(void)
{
	say("guest: jump into a hole\n");
	console_drain();
	TRY("call *%0", : "r"(0xd0000000ULL) : "memory");
	say("guest: vector %d ended it\n", fault.vector);
}

#include "lib/string.h"
#include "tests/guests/lib/acpi.h"
#include "tests/guests/lib/clock.h"
#include "tests/guests/lib/console.h"
#include "tests/guests/lib/pic.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"

void guest_start(void);

bool under_lamina(void)
{
	struct cpuid_regs r = cpuid(0x40000000, 0);

	return memcmp(&r.ebx, "LaminaLamina", 12) == 0;
}

bool cpu_is_amd(void)
{
	return cpuid(0, 0).ebx == 0x68747541; /* "Auth" */
}

void guest_start(void)
{
	console_init();
	trap_init();
	pic_init();
	clock_init();
	say("guest: started %s, TSC %llu kHz\n", under_lamina() ? "under Lamina" : "on the bare machine",
	    (unsigned long long)tsc_hz / 1000);
	guest_main();
	power_off();
}

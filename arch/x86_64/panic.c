/* A panic seizes the console, prints its reason and the call chain, and stops every core. The first panic wins: a second one only halts
 * its core. */
#include "arch/x86_64/panic.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/power.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/traps.h"
#include "drivers/console/console.h"
#include "lib/log.h"
#include "lib/printf.h"

void panic(const char *fmt, ...)
{
	static bool panicking;
	char text[256];
	va_list args;

	cli();
	if (__atomic_exchange_n(&panicking, true, __ATOMIC_SEQ_CST))
		for (;;) /* another core's panic, or one in this function: the first one is printed */
			hlt();
	smp_halt_others();
	console_seize();
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_line("PANIC: %s", text);
	backtrace(0, (uint64_t)__builtin_frame_address(0));
	console_flush();
	power_panicked();
}

void boot_fatal(const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_line("fatal: %s", text);
	console_flush();
	power_halt();
}

uintptr_t __stack_chk_guard = 0x595e9fbd94fda766;
NORETURN void __stack_chk_fail(void);

void __stack_chk_fail(void)
{
	panic("stack smashed");
}

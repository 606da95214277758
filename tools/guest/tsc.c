/*
 * Prints the time-stamp counter as it was when this program started, for the guests' init: "lamina-guest: tsc N".
 * A static program without a C library, so that it starts in few instructions.
 */
static long system_call(long number, long first, long second, long third)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second), "d"(third) : "rcx", "r11", "memory");
	return result;
}

void _start(void)
{
	unsigned long long tsc = __builtin_ia32_rdtsc();
	char line[64] = "lamina-guest: tsc ";
	char digits[20];
	long length = 18, count = 0;

	do {
		digits[count++] = (char)('0' + tsc % 10);
		tsc /= 10;
	} while (tsc);
	while (count)
		line[length++] = digits[--count];
	line[length++] = '\n';
	system_call(1, 1, (long)line, length);	/* write(1, …) */
	system_call(60, 0, 0, 0);		/* exit(0) */
	__builtin_unreachable();
}

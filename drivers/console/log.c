/* Log lines on the machine: the text goes to the console. */
#include "lib/log.h"

#include "drivers/console/console.h"
#include "lib/printf.h"

#define LINE_MAX 320

void log_line(const char *fmt, ...)
{
	char line[LINE_MAX] = "lamina: ";
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(line + 8, sizeof(line) - 9, fmt, args);
	va_end(args);
	n = 8 + MIN(n, (int)sizeof(line) - 10);
	line[n] = '\n';
	line[n + 1] = 0;
	console_put_log(line);
}

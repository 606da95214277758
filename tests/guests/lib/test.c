#include "tests/guests/lib/test.h"

#include "lib/printf.h"
#include "tests/guests/lib/test_state.h"

struct test_state test_state;

void test_fail(const char *fmt, ...)
{
	va_list args;

	if (test_state.failed)
		return;
	va_start(args, fmt);
	vsnprintf(test_state.reason, sizeof(test_state.reason), fmt, args);
	va_end(args);
	test_state.failed = true;
}

void test_skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (!test_state.failed)
		vsnprintf(test_state.reason, sizeof(test_state.reason), fmt, args);
	va_end(args);
	test_state.skipped = true;
}

bool test_failed(void)
{
	return test_state.failed;
}

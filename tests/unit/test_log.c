/* SOURCES: */
#include "tests/unit/unit.h"

#include <string.h>

/* The fakes have a log of their own: the machine's gets another name here. */
#define log_line machine_log_line
#include "drivers/console/log.c"
#undef log_line

#define LINE_TEXT 310 /* the longest text of a line */

static char shown[1000];
static unsigned calls;

void console_put_log(const char *text)
{
	assert_true(strlen(text) < sizeof(shown));
	strcpy(shown, text);
	calls++;
}

static int setup(void **state)
{
	(void)state;
	memset(shown, 0, sizeof(shown));
	calls = 0;
	return 0;
}

static void test_line(void **state)
{
	(void)state;
	machine_log_line("vm %s: %u disks", "a", 3);
	assert_string_equal(shown, "lamina: vm a: 3 disks\n");
	machine_log_line("%s", "");
	assert_string_equal(shown, "lamina: \n");
	assert_int_equal(calls, 2);
}

/* A line that is too long is cut, and ends with a newline all the same. */
static void test_long_lines(void **state)
{
	char text[2 * LINE_TEXT];

	(void)state;
	for (unsigned length = LINE_TEXT - 2; length < sizeof(text); length++) {
		unsigned kept = MIN(length, LINE_TEXT);

		memset(text, 'x', length);
		text[length - 1] = 'y';
		text[length] = 0;
		machine_log_line("%s", text);
		assert_int_equal(strlen(shown), 8 + kept + 1);
		assert_memory_equal(shown, "lamina: ", 8);
		assert_memory_equal(shown + 8, text, kept);
		assert_int_equal(shown[8 + kept], '\n');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_line, setup),
		cmocka_unit_test_setup(test_long_lines, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

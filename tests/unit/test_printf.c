/* SOURCES: */
/* The formatter, compared with the C library's wherever both know a conversion. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

/* The C library keeps its names: the machine's functions get others here. */
#define snprintf machine_snprintf
#define vsnprintf machine_vsnprintf
#include "lib/printf.c"
#undef snprintf
#undef vsnprintf

#define GUARD 0x5a

/* In buffers of every size up to one in which there is room left. */
#define SAME(...) \
	do { \
		char ours[80], theirs[80]; \
		for (size_t size = 0; size < sizeof(ours) - 1; size++) { \
			memset(ours, GUARD, sizeof(ours)); \
			memset(theirs, GUARD, sizeof(theirs)); \
			assert_int_equal(machine_snprintf(ours, size, __VA_ARGS__), snprintf(theirs, size, __VA_ARGS__)); \
			assert_memory_equal(ours, theirs, sizeof(ours)); \
		} \
	} while (0)

static void test_text(void **state)
{
	(void)state;
	SAME("%s", "");
	SAME("plain");
	SAME("%s and %s", "one", "another");
	SAME("%7s|%-7s|%2s|", "abc", "abc", "abc");
	SAME("%3s|%-3s|", "abc", "abc");
	SAME("%.2s|%.0s|%.9s|%5.2s|", "abc", "abc", "abc", "abc");
	SAME("%.12s|", "abcdefghijklmnop");
	SAME("%.*s|%*s|", 2, "abc", 6, "abc");
	SAME("%c%5c|%-5c|", 'x', 'y', 'z');
	SAME("100%%");
}

static void test_numbers(void **state)
{
	(void)state;
	SAME("%d %d %d %i", 0, 1, -1, 1234567890);
	SAME("%d %d", INT32_MAX, INT32_MIN);
	SAME("%ld %ld %ld", INT64_MAX, INT64_MIN, -1L);
	SAME("%u %u %lu", 0U, UINT32_MAX, UINT64_MAX);
	SAME("%x %X %lx %lX", 0xdeadbeefU, 0xdeadbeefU, 0x123456789abcdefUL, UINT64_MAX);
	SAME("%zu %zx %llu", sizeof(int), (size_t)9, 5ULL);
	SAME("%9d|%-9d|%09d|%1d|", 42, 42, 42, 42);
	SAME("%9d|%-9d|%09d|%3d|%03d|", -42, -42, -42, -42, -42);
	SAME("%08x|%016lx|%12u|%2x|%02x|", 0xabcU, 0xabcUL, 7U, 0xffU, 5U);
	SAME("%*d|%0*x|", 6, 3, 6, 3U);
	SAME("%10s|%-10s|%010d", "a", "b", 10);
}

static char shown[40];

/* With a format that the compiler does not look at. */
static int show(const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = machine_vsnprintf(shown, sizeof(shown), format, args);
	va_end(args);
	return n;
}

/* Where the machine's own ways differ from the library's, or the library leaves the result open. */
static void test_own_ways(void **state)
{
	(void)state;
	assert_int_equal(show("%p", (void *)0), 3);
	assert_string_equal(shown, "0x0");
	assert_int_equal(show("%p|", (void *)0x1a2b), 7);
	assert_string_equal(shown, "0x1a2b|");
	show("%s", (const char *)NULL);
	assert_string_equal(shown, "(null)");
	show("%-05d|%05s|", 7, "a"); /* zeros are for numbers on the right alone */
	assert_string_equal(shown, "7    |    a|");
	show("%*s|", -5, "abc");
	assert_string_equal(shown, "abc|");
	show("%k|");
	assert_string_equal(shown, "k|");
	assert_int_equal(show("ab%"), 2);
	assert_string_equal(shown, "ab");
	assert_int_equal(show("ab%-08.3l"), 2);
	assert_string_equal(shown, "ab");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_own_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

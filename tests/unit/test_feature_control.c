/* SOURCES: */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/x86_64/vmx/feature_control.h"

static void test_locked_off(void **state)
{
	(void)state;
	assert_non_null(feature_control_problem(0x1));
	assert_non_null(strstr(feature_control_problem(0x1), "locked off by the firmware"));
	assert_non_null(strstr(feature_control_problem(0x1), "enable VT-x"));
	assert_non_null(strstr(feature_control_problem(0x1), "in the firmware set-up"));
	assert_non_null(feature_control_problem(0x3)); /* inside SMX only */
	assert_int_equal(feature_control_enabled(0x1), 0x1); /* a write to a locked register would raise #GP */
}

static void test_usable(void **state)
{
	(void)state;
	assert_null(feature_control_problem(0x5));
	assert_int_equal(feature_control_enabled(0x5), 0x5);
	/* Left open by the firmware: locked on. */
	assert_null(feature_control_problem(0));
	assert_int_equal(feature_control_enabled(0), 0x5);
	assert_int_equal(feature_control_enabled(0x100000), 0x100005);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locked_off),
		cmocka_unit_test(test_usable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

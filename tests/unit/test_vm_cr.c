/* SOURCES: */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/x86_64/svm/vm_cr.h"

static void test_off(void **state)
{
	(void)state;
	assert_non_null(vm_cr_problem(0x18));
	assert_non_null(strstr(vm_cr_problem(0x18), "locked off by the firmware"));
	assert_non_null(vm_cr_problem(0x10));
	assert_null(strstr(vm_cr_problem(0x10), "locked"));
}

static void test_usable(void **state)
{
	(void)state;
	assert_null(vm_cr_problem(0));
	assert_null(vm_cr_problem(0x8)); /* locked on */
	assert_null(vm_cr_problem(0x7));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_usable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/guests/lib/console.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/test_state.h"
#include "tests/guests/lib/trap.h"

extern const struct test tests_start[], tests_end[];

void guest_main(void)
{
	unsigned ok = 0, failed = 0, skipped = 0;

	for (const struct test *test = tests_start; test < tests_end; test++) {
		test_state = (struct test_state){ 0 };
		guarded_call(test->run);
		irq_disable();
		if (test_state.failed) {
			say("guest: FAIL %s: %s\n", test->name, test_state.reason);
			failed++;
		} else if (test_state.skipped) {
			say("guest: skip %s: %s\n", test->name, test_state.reason);
			skipped++;
		} else {
			say("guest: ok %s\n", test->name);
			ok++;
		}
	}
	say("guest: done %u ok, %u failed, %u skipped\n", ok, failed, skipped);
}

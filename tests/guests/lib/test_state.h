/* What the runner and the judgements of test.h share. */
#ifndef TESTS_GUESTS_LIB_TEST_STATE_H
#define TESTS_GUESTS_LIB_TEST_STATE_H

#include "lib/types.h"

struct test_state {
	bool failed;
	bool skipped;
	char reason[256];
};

extern struct test_state test_state;

#endif

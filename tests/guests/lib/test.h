/* The tests of one guest: TEST() registers, CHECK() judges, the runner prints a line each. */
#ifndef TESTS_GUESTS_LIB_TEST_H
#define TESTS_GUESTS_LIB_TEST_H

#include "lib/types.h"

struct test {
	const char *name;
	void (*run)(void);
};

#define TEST(ident, title) \
	static void ident(void); \
	static const struct test ident##_test __attribute__((section(".tests"), used, aligned(16))) = { title, ident }; \
	static void ident(void)

/* The running test failed; say what was expected and what was seen. Only the first reason is kept. */
void test_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* The running test does not apply here. */
void test_skip(const char *fmt, ...) PRINTF_LIKE(1, 2);
bool test_failed(void);

#define CHECK(condition, ...) \
	do { \
		if (!(condition)) { \
			test_fail(__VA_ARGS__); \
			return; \
		} \
	} while (0)

/* what: a literal; both values are shown in hexadecimal. */
#define CHECK_EQUAL(what, seen, expected) \
	do { \
		uint64_t seen_ = (uint64_t)(seen), expected_ = (uint64_t)(expected); \
		if (seen_ != expected_) { \
			test_fail("%s: expected %llx, saw %llx", what, (unsigned long long)expected_, (unsigned long long)seen_); \
			return; \
		} \
	} while (0)

/* The last TRY() ended by this exception with this error code. */
#define CHECK_FAULT(what, vector_, error_) \
	do { \
		if (fault.vector != (vector_) || ((vector_) != NO_FAULT && fault.error != (uint64_t)(error_))) { \
			test_fail("%s: expected vector %d with error code %llx, saw vector %d with %llx", what, vector_, \
				  (unsigned long long)(error_), fault.vector, (unsigned long long)fault.error); \
			return; \
		} \
	} while (0)

#define CHECK_NO_FAULT(what) \
	do { \
		if (fault.vector != NO_FAULT) { \
			test_fail("%s: expected no exception, saw vector %d with error code %llx", what, fault.vector, \
				  (unsigned long long)fault.error); \
			return; \
		} \
	} while (0)

#define SKIP(...) \
	do { \
		test_skip(__VA_ARGS__); \
		return; \
	} while (0)

/* QEMU 7.2 does not do what the rest of this test judges, neither on its bare machine nor for a guest of its AMD-V. Under Lamina nothing
 * shows QEMU but that its CPU is AMD's. */
#define SKIP_QEMU(what) \
	do { \
		if (cpu_is_amd()) \
			SKIP("QEMU 7.2: " what); \
	} while (0)

/* Each guest defines this; run_tests.c has the one for guests that are a set of TEST()s. */
void guest_main(void);

#endif

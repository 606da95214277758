/* SOURCES: vmm/vm/console_router.c vmm/vm/registry.c */
/* VMs come and end: what is typed goes to the VM that has the focus, and waits there until its UART takes it. */
#include "tests/unit/unit.h"

#include <string.h>

#include "vmm/sched/sched.h"
#include "vmm/vm/console_router.h"
#include "vmm/vm/registry.h"

static struct vm_handle *vm[REGISTRY_VMS_MAX];
static struct sched_slot slot[REGISTRY_VMS_MAX];
static const struct sched_slot *woken;
static unsigned wakes;

void sched_wake(struct sched_slot *of)
{
	woken = of;
	wakes++;
}

static void type(const char *text)
{
	wakes = 0;
	woken = NULL;
	for (; *text; text++)
		console_router_input((uint8_t)*text);
}

static void expect(struct vm_handle *of, const char *text)
{
	uint8_t byte = 0;

	for (; *text; text++) {
		assert_true(console_input_waiting(of));
		assert_true(console_input_take(of, &byte));
		assert_int_equal(byte, *text);
	}
	assert_false(console_input_waiting(of));
	assert_false(console_input_take(of, &byte));
}

static struct vm_handle *add(unsigned n, const char *name)
{
	vm[n] = registry_add(name, 0x1000 * (n + 1));
	assert_non_null(vm[n]);
	vm[n]->boot_slot = &slot[n];
	return vm[n];
}

/* The tests go on from each other: a registry is not reset. */

static void test_nobody_is_there(void **state)
{
	(void)state;
	assert_null(registry_first());
	type("lost");
	assert_int_equal(wakes, 0);
}

static void test_before_it_has_a_vcpu(void **state)
{
	(void)state;
	add(0, "first")->boot_slot = NULL;
	assert_string_equal(vm[0]->name, "first");
	assert_int_equal(vm[0]->root, 0x1000);
	assert_ptr_equal(registry_first(), vm[0]);
	type("lost");
	assert_int_equal(wakes, 0);
	expect(vm[0], "");
	vm[0]->boot_slot = &slot[0];
}

static void test_the_first_has_the_focus(void **state)
{
	(void)state;
	add(1, "second");
	add(2, "a name of thirty-two characters and more");
	assert_int_equal(strlen(vm[2]->name), sizeof(vm[2]->name) - 1);
	type("ab");
	assert_int_equal(wakes, 2);
	assert_ptr_equal(woken, &slot[0]);
	expect(vm[1], "");
	expect(vm[2], "");
	type("c"); /* before the others were taken */
	expect(vm[0], "abc");
}

/* Bytes that nobody takes are lost when the ring is full, and only then; a full ring wakes nobody. */
static void test_full(void **state)
{
	uint8_t byte;

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < CONSOLE_INPUT_SIZE; i++)
			console_router_input((uint8_t)(i + round));
		type("x");
		assert_int_equal(wakes, 0);
		assert_true(console_input_take(vm[0], &byte));
		assert_int_equal(byte, round);
		type("yz"); /* room for one */
		assert_int_equal(wakes, 1);
		for (unsigned i = 1; i < CONSOLE_INPUT_SIZE; i++) {
			assert_true(console_input_take(vm[0], &byte));
			assert_int_equal(byte, (uint8_t)(i + round));
		}
		expect(vm[0], "y");
	}
}

static void test_focus_passes_on(void **state)
{
	(void)state;
	type("old");
	assert_int_equal(registry_end(vm[1]), 2); /* it had not the focus */
	type("er");
	expect(vm[0], "older");
	assert_int_equal(registry_end(vm[0]), 1);
	assert_ptr_equal(registry_first(), vm[2]);
	type("new");
	assert_ptr_equal(woken, &slot[2]);
	expect(vm[2], "new");
	expect(vm[0], "");
	assert_int_equal(registry_end(vm[2]), 0);
	assert_null(registry_first());
	type("lost");
	assert_int_equal(wakes, 0);
	add(3, "late");
	type("late");
	expect(vm[3], "late");
	add(4, "later"); /* no VM that comes takes the focus from another */
	type("still");
	expect(vm[3], "still");
}

static void test_no_room(void **state)
{
	(void)state;
	for (unsigned n = 5; n < REGISTRY_VMS_MAX; n++)
		add(n, "one more");
	assert_null(registry_add("one too many", 0));
	assert_int_equal(registry_end(vm[7]), REGISTRY_VMS_MAX - 4); /* three have ended before */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_is_there),
		cmocka_unit_test(test_before_it_has_a_vcpu),
		cmocka_unit_test(test_the_first_has_the_focus),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_focus_passes_on),
		cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

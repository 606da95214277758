/* The focus, and the rings of console input. */
#include "vmm/vm/console_router.h"

#include "vmm/sched/sched.h"
#include "vmm/vm/registry.h"

static struct vm_handle *focus; /* may have ended: look before use */

void console_router_input(uint8_t byte)
{
	struct console_input *input;

	if (!focus || !focus->alive)
		focus = registry_first();
	if (!focus || !focus->boot_slot)
		return;
	input = &focus->input;
	if (input->written - __atomic_load_n(&input->taken, __ATOMIC_ACQUIRE) == CONSOLE_INPUT_SIZE)
		return;
	input->ring[input->written % CONSOLE_INPUT_SIZE] = byte;
	__atomic_store_n(&input->written, input->written + 1, __ATOMIC_RELEASE);
	sched_wake(focus->boot_slot);
}

bool console_input_waiting(const struct vm_handle *vm)
{
	return __atomic_load_n(&vm->input.written, __ATOMIC_ACQUIRE) != vm->input.taken;
}

bool console_input_take(struct vm_handle *vm, uint8_t *byte)
{
	struct console_input *input = &vm->input;

	if (!console_input_waiting(vm))
		return false;
	*byte = input->ring[input->taken % CONSOLE_INPUT_SIZE];
	__atomic_store_n(&input->taken, input->taken + 1, __ATOMIC_RELEASE);
	return true;
}

/* The console's way in: which VM gets what is typed, and the ring in which each VM's bytes wait for its UART. The way out is
 * vm_console_put(). */
#ifndef VMM_VM_CONSOLE_ROUTER_H
#define VMM_VM_CONSOLE_ROUTER_H

#include "lib/types.h"

#define CONSOLE_INPUT_SIZE 256 /* bytes, a power of two */

struct vm_handle;

/* What has been typed for a VM: written by the core that takes the console's interrupts, read by the core of the VM's vCPU 0. */
struct console_input {
	uint32_t written, taken; /* bytes so far, free running; each written by one side alone */
	uint8_t ring[CONSOLE_INPUT_SIZE];
};

/* A byte has come from the console: it goes to the VM that has the focus. That is the VM that came first; when a VM with the focus ends, the
 * first one that is still there. The byte is lost, as on a real line, where there is no VM or where its ring is full. */
void console_router_input(uint8_t byte);
/* Whether bytes wait for a VM; take the next one (returns false where there is none). In any address space, on the core of its vCPU 0. */
bool console_input_waiting(const struct vm_handle *vm);
bool console_input_take(struct vm_handle *vm, uint8_t *byte);

#endif

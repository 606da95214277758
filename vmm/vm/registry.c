/* The table of VMs that have been added, and how many of them are alive. */
#include "vmm/vm/registry.h"

#include "lib/string.h"

static struct vm_handle handles[REGISTRY_VMS_MAX];
static unsigned handle_count;
static unsigned alive_count; /* atomic: several VMs may end at once */

struct vm_handle *registry_add(const char *name, uint64_t root)
{
	struct vm_handle *vm;

	if (handle_count == ARRAY_SIZE(handles))
		return NULL;
	vm = &handles[handle_count++];
	memcpy(vm->name, name, strnlen(name, sizeof(vm->name) - 1));
	vm->root = root;
	vm->alive = true;
	alive_count++;
	return vm;
}

unsigned registry_end(struct vm_handle *vm)
{
	vm->alive = false;
	return __atomic_sub_fetch(&alive_count, 1, __ATOMIC_SEQ_CST);
}

struct vm_handle *registry_first(void)
{
	for (unsigned i = 0; i < handle_count; i++)
		if (handles[i].alive)
			return &handles[i];
	return NULL;
}

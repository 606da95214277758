/* The boot loader's files that a VM names: its kernel and what belongs to it. */
#include "lib/log.h"
#include "lib/string.h"
#include "mm/address_space.h"
#include "vmm/vm/vm_parts.h"

struct vm_file *vm_file_find(const struct vm_resources *resources, const char *name, size_t len)
{
	for (unsigned i = 0; i < resources->file_count; i++)
		if (strlen(resources->files[i].name) == len && !strncmp(resources->files[i].name, name, len))
			return &resources->files[i];
	return NULL;
}

void *vm_file_map(struct vm *vm, struct vm_file *file, bool writable)
{
	uint64_t size = ALIGN_UP(file->size, (uint64_t)PAGE_SIZE);
	uint64_t va = MODULES_BASE + file->phys, pa;

	if (file->written || (writable && file->read))
		return NULL;
	/* The file is mapped already where the VM names it twice. */
	if (page_table_lookup(&vm->space, va, &pa, NULL, NULL) &&
	    (!size || page_table_map(&vm->space, va, file->phys, size, PT_READ | (writable ? PT_WRITE : 0))))
		return NULL;
	file->read = true;
	file->written = writable;
	return (void *)va;
}

static int find_file(struct vm *vm, const struct vm_resources *resources, const char *key, const char *text, struct loader_file *file)
{
	size_t len = config_module_name(text);
	struct vm_file *module;

	module = vm_file_find(resources, text, len);
	if (!module) {
		log_line("vm %s: %s = \"%s\": no boot module has this name", vm->config.name, key, text);
		return ERR_NOENT;
	}
	file->name = module->name;
	file->string = text;
	file->len = module->size;
	file->data = vm_file_map(vm, module, false);
	if (!file->data) {
		log_line("vm %s: %s = \"%s\": the module is empty, or a disk that is written", vm->config.name, key, text);
		return ERR_INVALID;
	}
	return 0;
}

int vm_files_find(struct vm *vm, const struct vm_resources *resources)
{
	struct loader_input *in = &vm->files;
	char key[] = "module0";
	int err;

	in->mem = &vm->memory;
	in->cmdline = vm->config.cmdline;
	err = find_file(vm, resources, "kernel", vm->config.kernel, &in->kernel);
	if (!err && vm->config.initrd[0])
		err = find_file(vm, resources, "initrd", vm->config.initrd, &in->initrd);
	for (unsigned i = 0; i < CONFIG_MODULES_MAX && !err; i++) {
		if (!vm->config.module[i][0])
			continue;
		key[6] = (char)('0' + i);
		err = find_file(vm, resources, key, vm->config.module[i], &in->module[in->modules]);
		in->modules++;
	}
	return err;
}

/* lamina-check, a program for the host: says of a lamina.cfg and the files that it names what Lamina would say of them at the machine, by
 * Lamina's own parser and loaders. tools/lamina-run and tools/lamina-image run it before they make an image.
 *
 *     lamina-check CONFIG [--set KEY=VALUE] [--file NAME=PATH] …
 *
 * Prints one finding a line; the exit status is 0 where there is none, 1 where there are some, 2 where it could not check. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/config/config.h"
#include "vmm/loader/loader.h"
#include "vmm/memory/layout.h"

#define FILES_MAX 256

/* A boot module: its name in lamina.cfg, and its content. */
struct module {
	const char *name;
	const uint8_t *data;
	uint64_t size;
};

static struct lamina_config config;
static struct module modules[FILES_MAX];
static unsigned module_count, findings;
static const char *config_name;

static void cannot(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(2);
}

/* A whole file, mapped; an empty one has no address. */
static const uint8_t *map(const char *path, uint64_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *data;

	if (fd < 0 || fstat(fd, &status))
		cannot(path, strerror(errno));
	*size = (uint64_t)status.st_size;
	data = *size ? mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
	if (data == MAP_FAILED)
		cannot(path, strerror(errno));
	close(fd);
	return data;
}

static void wrong_line(void *ctx, unsigned line, const char *message)
{
	(void)ctx;
	findings++;
	if (line)
		printf("%s:%u: %s\n", config_name, line, message);
	else
		printf("--set: %s\n", message);
}

static const struct module *find_module(const char *name, size_t len)
{
	for (unsigned i = 0; i < module_count; i++)
		if (strlen(modules[i].name) == len && !strncmp(modules[i].name, name, len))
			return &modules[i];
	return NULL;
}

/* The boot module that the key's value begins with. Returns false, with a finding, where there is no such file or nothing in it. */
static bool find_file(const struct vm_config *vm, const char *key, const char *text, struct loader_file *file)
{
	size_t len = config_module_name(text);
	const struct module *module = find_module(text, len);

	if (!module || !module->size) {
		printf("vm %s: %s = \"%s\": %s\n", vm->name, key, text, module ? "the file is empty" : "there is no such file");
		findings++;
		return false;
	}
	*file = (struct loader_file){ .name = module->name, .data = module->data, .len = module->size, .string = text };
	return true;
}

/* The VM's RAM, of which only what the loader writes is ever there. */
static void make_memory(const struct vm_config *vm, struct guest_memory *mem)
{
	uint64_t size = MIB(vm->memsize), low = layout_low_ram(size), high = layout_high_ram(size);
	uint8_t *ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (ram == MAP_FAILED)
		cannot(vm->name, "its memory cannot be modelled on this machine");
	memset(mem, 0, sizeof(*mem));
	(void)guest_memory_add(mem, 0, low, ram);
	if (high)
		(void)guest_memory_add(mem, LAYOUT_HIGH_RAM, high, ram + low);
}

/* Load the VM's kernel as Lamina would. */
static void check_guest(const struct vm_config *vm)
{
	char error[LOADER_ERROR_SIZE], key[] = "module0";
	struct guest_memory mem;
	struct loader_input in = { .mem = &mem, .cmdline = vm->cmdline };
	struct guest_start start;
	bool complete = find_file(vm, "kernel", vm->kernel, &in.kernel);

	if (vm->initrd[0])
		complete &= find_file(vm, "initrd", vm->initrd, &in.initrd);
	for (unsigned i = 0; i < CONFIG_MODULES_MAX; i++) {
		key[6] = (char)('0' + i);
		if (vm->module[i][0])
			complete &= find_file(vm, key, vm->module[i], &in.module[in.modules++]);
	}
	if (!complete)
		return;
	make_memory(vm, &mem);
	if (loader_load(&in, &start, error)) {
		printf("vm %s: %s\n", vm->name, error);
		findings++;
	}
	munmap(mem.region[0].base, MIB(vm->memsize));
}

/* A boot module as a disk: it must be there, and whole VMs of one machine write it alone. */
static void check_disks(unsigned index)
{
	const struct vm_config *vm = &config.vm[index];
	char key[] = "disk0";

	for (unsigned n = 0; n < CONFIG_DISKS_MAX; n++) {
		const struct disk_config *disk = &vm->disk[n];
		struct loader_file file;

		key[4] = (char)('0' + n);
		if (!disk->module[0] || !find_file(vm, key, disk->module, &file))
			continue;
		for (unsigned i = 0; i <= index; i++) {
			for (unsigned m = 0; m < (i == index ? n : CONFIG_DISKS_MAX); m++) {
				const struct disk_config *other = &config.vm[i].disk[m];

				if (config.vm[i].broken || strcmp(other->module, disk->module) || (other->read_only && disk->read_only))
					continue;
				printf("vm %s: %s = \"module:%s\": disk%u of vm %s is this file too, and one of them writes it\n", vm->name, key,
				       disk->module, m, config.vm[i].name);
				findings++;
			}
		}
	}
}

static void add_file(char *text)
{
	char *path = strchr(text, '=');

	if (!path || module_count == FILES_MAX)
		cannot("--file", "expected NAME=PATH, at most 256 of them");
	*path++ = 0;
	modules[module_count].name = text;
	modules[module_count].data = map(path, &modules[module_count].size);
	module_count++;
}

static void apply_setting(char *text)
{
	char *value = strchr(text, '=');

	if (!value)
		cannot("--set", "expected KEY=VALUE");
	*value++ = 0;
	config_set(&config, text, value, wrong_line, NULL);
}

int main(int argc, char **argv)
{
	uint64_t size;
	const char *text;

	if (argc < 2)
		cannot("lamina-check", "usage: lamina-check CONFIG [--set KEY=VALUE] [--file NAME=PATH] ...");
	config_name = strrchr(argv[1], '/') ? strrchr(argv[1], '/') + 1 : argv[1];
	text = (const char *)map(argv[1], &size);
	config_parse(&config, text ? text : "", size, wrong_line, NULL);
	for (int i = 2; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--set"))
			apply_setting(argv[i + 1]);
		else if (!strcmp(argv[i], "--file"))
			add_file(argv[i + 1]);
		else
			cannot(argv[i], "unknown option");
	}
	config_check(&config, wrong_line, NULL);
	for (unsigned i = 0; i < config.count; i++) {
		if (config.vm[i].broken)
			continue;
		check_guest(&config.vm[i]);
		check_disks(i);
	}
	return findings ? 1 : 0;
}

/* lamina.efi: started by UEFI firmware as \EFI\BOOT\BOOTX64.EFI, reads Lamina and the guests' files from its own volume, leaves the boot
 * services and hands a struct boot_info to the kernel's 32-bit entry, in the place of a Multiboot2 loader. */
#include "boot/boot_info.h"
#include "boot/efi/efi_console.h"
#include "boot/efi/efi_facts.h"
#include "boot/efi/efi_file.h"
#include "boot/efi/efi_memory.h"
#include "boot/efi/handoff.h"
#include "boot/efi/kernel_image.h"
#include "boot/efi/uefi.h"
#include "lib/printf.h"
#include "lib/string.h"
#include "vmm/config/config.h"

#define KERNEL_FILE "lamina.elf"
#define CONFIG_FILE "lamina.cfg"
#define CMDLINE_FILE "lamina.cmdline"
#define LOADER_NAME "lamina.efi " LAMINA_VERSION
#define BELOW_4G GIB(4)

EFI_SYSTEM_TABLE *efi_system;

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

static struct lamina_config config;
static struct kernel_image kernel;
static struct efi_file kernel_file;

/* Refusals carry the file's name. */
static char refusal[256];

static const char *refuse(const char *name, const char *why)
{
	snprintf(refusal, sizeof(refusal), "%s: %s", name, why);
	return refusal;
}

static const char *load_kernel(void)
{
	const char *error = efi_file_read(KERNEL_FILE, BELOW_4G, &kernel_file);

	if (!error)
		error = kernel_image_parse((const void *)kernel_file.address, kernel_file.size, EFI_ALLOC_LOWEST, &kernel);
	return error ? refuse(KERNEL_FILE, error) : NULL;
}

/* A module of the kernel's, unless it is one already. */
static const char *add_module(struct boot_info *info, const char *name, size_t length)
{
	struct boot_module *module = &info->module[info->module_count];
	struct efi_file file;
	const char *error;

	for (unsigned i = 0; i < info->module_count; i++)
		if (strlen(info->module[i].cmdline) == length && !strncmp(info->module[i].cmdline, name, length))
			return NULL;
	if (info->module_count == BOOT_MODULES_MAX)
		return refuse(CONFIG_FILE, "it names more than 31 files");
	memcpy(module->cmdline, name, length);
	module->cmdline[length] = 0;
	error = efi_file_read(module->cmdline, 0, &file);
	if (error)
		return refuse(module->cmdline, error);
	module->start = file.address;
	module->end = file.address + file.size;
	info->module_count++;
	return NULL;
}

static void config_error_line(void *ctx, unsigned line, const char *message)
{
	(void)ctx;
	efi_print(CONFIG_FILE ":%u: %s\n", line, message);
}

/* The files of one VM. */
static const char *load_vm(struct boot_info *info, const struct vm_config *vm)
{
	const char *error = add_module(info, vm->kernel, strlen(vm->kernel));

	if (!error && vm->initrd[0])
		error = add_module(info, vm->initrd, strlen(vm->initrd));
	for (unsigned i = 0; !error && i < CONFIG_MODULES_MAX; i++) {
		size_t length = config_module_name(vm->module[i]);

		if (length)
			error = add_module(info, vm->module[i], length);
	}
	for (unsigned i = 0; !error && i < CONFIG_DISKS_MAX; i++)
		if (vm->disk[i].module[0])
			error = add_module(info, vm->disk[i].module, strlen(vm->disk[i].module));
	return error;
}

/* Load lamina.cfg and the files that it names for the VMs that can start. What is wrong with the other VMs Lamina says again in its log. */
static const char *load_files(struct boot_info *info)
{
	const char *error = add_module(info, CONFIG_FILE, strlen(CONFIG_FILE));
	bool any = false;

	if (error)
		return error;
	config_parse(&config, (const char *)info->module[0].start, info->module[0].end - info->module[0].start, config_error_line, NULL);
	config_check(&config, config_error_line, NULL);
	for (unsigned i = 0; i < config.count; i++) {
		if (config.vm[i].broken)
			continue;
		any = true;
		error = load_vm(info, &config.vm[i]);
		if (error)
			return error;
	}
	return any ? NULL : refuse(CONFIG_FILE, "it describes no virtual machine that could start");
}

/* Lamina's own command line: a file's first line, as GRUB's entry has it behind the kernel's name. */
static const char *load_cmdline(struct boot_info *info)
{
	struct efi_file file;
	const char *text, *error;
	size_t length = 0;

	if (!efi_file_exists(CMDLINE_FILE))
		return NULL;
	error = efi_file_read(CMDLINE_FILE, 0, &file);
	if (error)
		return refuse(CMDLINE_FILE, error);
	text = (const char *)file.address;
	while (length < file.size && text[length] != '\r' && text[length] != '\n' && text[length])
		length++;
	if (length >= sizeof(info->cmdline))
		return refuse(CMDLINE_FILE, "its line is longer than 1023 bytes");
	memcpy(info->cmdline, text, length);
	info->cmdline[length] = 0;
	return NULL;
}

/* Do everything up to the end of the boot services. Returns NULL, or a sentence that says why the end was not reached. */
static const char *prepare(EFI_HANDLE image, uint64_t *code)
{
	uint64_t address = efi_alloc(sizeof(struct boot_info), BELOW_4G, false);
	struct boot_info *info = (struct boot_info *)address;
	struct handoff *handoff;
	const char *error;

	*code = efi_alloc((uint64_t)(handoff_end - handoff_start), BELOW_4G, true);
	if (!address || !*code)
		return "there is too little memory between 16 MiB and 4 GiB";
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	memcpy(info->loader_name, LOADER_NAME, sizeof(LOADER_NAME));
	error = efi_volume_open(image);
	if (!error)
		error = load_kernel();
	if (!error)
		error = load_cmdline(info);
	if (!error)
		error = load_files(info);
	if (error)
		return error;

	memcpy((void *)*code, handoff_start, (size_t)(handoff_end - handoff_start));
	handoff = (struct handoff *)(*code + (uint64_t)(handoff_data - handoff_start));
	*handoff = (struct handoff){ .entry = kernel.entry, .magic = BOOT_INFO_MAGIC, .info = (uint32_t)address, .count = kernel.count };
	for (unsigned i = 0; i < kernel.count; i++) {
		const struct kernel_segment *segment = &kernel.segment[i];

		handoff->segment[i].to = segment->address;
		handoff->segment[i].from = (uint32_t)kernel_file.address + segment->offset;
		handoff->segment[i].copy = segment->file_size;
		handoff->segment[i].zero = segment->size - segment->file_size;
	}
	efi_facts(info);
	efi_print("leaving the firmware for Lamina\n");
	return efi_leave(image, info, kernel.start, kernel.end);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
	const char *error;
	uint64_t code;

	efi_system = system;
	/* Without this the firmware resets the machine after five minutes, which a slow stick and a large disk may need. */
	system->BootServices->SetWatchdogTimer(0, 0, 0, NULL);
	efi_print(LOADER_NAME ": loading\n");
	error = prepare(image, &code);
	if (!error)
		handoff_run(code);
	efi_print("lamina.efi: %s\nlamina.efi: press a key to return to the firmware\n", error);
	efi_wait_key();
	efi_free_all();
	return EFI_LOAD_ERROR;
}

/* From the loader's hand-over to the guests, in order. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/debug.h"
#include "arch/x86_64/engines.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/host_apic.h"
#include "arch/x86_64/host_devices.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/power.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/traps.h"
#include "boot/boot_info.h"
#include "boot/console_setup.h"
#include "boot/multiboot2.h"
#include "drivers/acpi/acpi.h"
#include "drivers/console/console.h"
#include "drivers/disk/disk.h"
#include "drivers/ioapic_host.h"
#include "drivers/iommu_host.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/time.h"
#include "lib/x86/pc.h"
#include "vmm/config/config.h"
#include "vmm/exits/cpuid.h"
#include "vmm/sched/sched.h"
#include "vmm/vm/vm_create.h"

#define BOOT_INFO_MAX MIB(1)
#define CONFIG_MODULE "lamina.cfg"

/* The TSC when the loader handed over (entry.asm). */
extern uint64_t boot_start_tsc;

NORETURN void boot_main(uint32_t magic, uint32_t address);

/* The data that only the boot needs. It lies in pool pages, so that it is no part of the image. */
static struct boot_info *info;
static struct boot_data {
	struct acpi_info acpi;
	struct cpuid_host cpuid;
	struct lamina_config config;
	struct vm_file files[BOOT_MODULES_MAX];
} *boot;

/* The rest of the boot needs a bigger stack than the entry's, with a guard page: it runs on core 0's own. */
NORETURN static void main_on_own_stack(void);

static const struct engine_set *engines;
static bool list_disks;

static void enter_virtualization(void)
{
	const char *error = engines_cpu_enable(), *mode = engines_cpu_mode();

	if (error)
		boot_fatal("core %u: %s", this_cpu()->index, error);
	log_line("core %u: APIC ID %u%s%s", this_cpu()->index, this_cpu()->apic_id, mode ? ", " : "", mode ? mode : "");
}

void core_main(void)
{
	enter_virtualization();
	sched_run();
}

static void report_cores(void)
{
	unsigned enabled = 0, later = 0;

	for (unsigned i = 0; i < boot->acpi.cpu_count; i++) {
		enabled += boot->acpi.cpu[i].enabled;
		later += boot->acpi.cpu[i].online_capable;
	}
	log_line("acpi: MADT: %u cores enabled, %u switched off, %u that could be added later; %u I/O APIC(s)", enabled, boot->acpi.cpu_disabled, later,
		 boot->acpi.io_apic_count);
}

static void read_acpi(void)
{
	const uint8_t *area;
	int64_t offset;

	if (!info->rsdp_size) {
		/* A loader that does not hand the RSDP over: look where a BIOS puts it. */
		area = map_firmware(0xe0000, 0x20000);
		offset = area ? acpi_find_rsdp(area, 0x20000) : -1;
		if (offset >= 0) {
			info->rsdp_size = 0x20000 - offset >= 36 ? 36 : 20;
			memcpy(info->rsdp, area + offset, info->rsdp_size);
		}
	}
	if (acpi_read(&boot->acpi, info->rsdp, info->rsdp_size, map_firmware))
		log_line("acpi: no usable tables: one core, no power-off");
	else
		report_cores();
}

static void route_serial_interrupt(void)
{
	uint16_t flags = 0;
	uint32_t gsi = 0;
	bool routed = false, wanted = console_has_serial() && console_setup_serial_gsi(&boot->acpi, &gsi, &flags) && this_cpu()->apic_id < APIC_ID_BROADCAST;

	for (unsigned i = 0; i < boot->acpi.io_apic_count; i++) {
		const struct acpi_io_apic *io = &boot->acpi.io_apic[i];
		volatile void *registers = map_device(io->address, PAGE_SIZE);
		unsigned pins;

		if (!registers)
			continue;
		pins = ioapic_host_mask_all(registers);
		if (wanted && gsi >= io->gsi_base && gsi - io->gsi_base < pins) {
			ioapic_host_route(registers, gsi - io->gsi_base, VECTOR_SERIAL, (uint8_t)this_cpu()->apic_id, flags);
			console_interrupts_on();
			routed = true;
		}
	}
	if (console_has_serial() && !routed) {
		log_line("serial: no interrupt that is known leads from it: it is polled");
		console_poll_on();
	}
}

/* The 8259s stay masked for ever: Lamina's interrupts come through the I/O APIC. */
static void silence_8259s(void)
{
	outb(PORT_PIC_MASTER + 1, 0xff);
	outb(PORT_PIC_SLAVE + 1, 0xff);
}

static void config_error_line(void *ctx, unsigned line, const char *message)
{
	(void)ctx;
	if (line)
		log_line(CONFIG_MODULE ":%u: %s", line, message);
	else
		log_line("boot command line: %s", message);
}

/* An option of the machine's, else a key of lamina.cfg. */
static void machine_option(const char *key, const char *value)
{
	if (!strcmp(key, "debug")) {
		debug_fault(value, &boot->acpi);
	} else if (!strcmp(key, "disks") && !strcmp(value, "list")) {
		list_disks = true;
	} else if (!strcmp(key, "end")) {
		if (!power_set_end(value))
			log_line("boot command line: end=%s: expected power-off, reset or halt", value);
	} else if (!strcmp(key, "panic")) {
		if (!power_set_panic(value))
			log_line("boot command line: panic=%s: expected halt or reset", value);
	} else if (strcmp(key, "serial") != 0) { /* console_setup.c has read that */
		config_set(&boot->config, key, value, config_error_line, NULL);
	}
}

/* `vm.NAME.key=value` and `key=value` of the boot command line override lamina.cfg; values may be quoted. The machine's own: debug=WORD
 * (debug.h), end=WHAT and panic=WHAT (power.h), serial=WHERE (console_setup.h). */
static void apply_command_line(void)
{
	static char word[BOOT_CMDLINE_SIZE];
	const char *p = info->cmdline;

	while (*p) {
		bool quoted = false;
		char *equals;
		size_t n = 0;

		for (; *p && (quoted || *p != ' '); p++) {
			if (*p == '"')
				quoted = !quoted;
			else
				word[n++] = *p;
		}
		while (*p == ' ')
			p++;
		word[n] = 0;
		equals = strchr(word, '=');
		if (!equals)
			continue;
		*equals = 0;
		machine_option(word, equals + 1);
	}
}

static void read_config(void)
{
	const struct boot_module *module = NULL;
	const char *text;

	for (unsigned i = 0; i < info->module_count; i++)
		if (!strcmp(info->module[i].cmdline, CONFIG_MODULE))
			module = &info->module[i];
	if (!module)
		boot_fatal("no boot module named " CONFIG_MODULE ": add \"module2 /boot/" CONFIG_MODULE " " CONFIG_MODULE "\" to GRUB's entry");
	text = map_firmware(module->start, MAX(module->end - module->start, 1UL));
	if (!text)
		boot_fatal("the boot module " CONFIG_MODULE " cannot be mapped");
	config_parse(&boot->config, text, module->end - module->start, config_error_line, NULL);
	apply_command_line();
	config_check(&boot->config, config_error_line, NULL);
}

/* The machine's disks are looked for only where a VM is to have one, or `disks=list` on the boot command line asks for it. */
static void find_disks(void)
{
	bool wanted = list_disks;

	for (unsigned i = 0; i < boot->config.count; i++)
		for (unsigned n = 0; n < CONFIG_DISKS_MAX; n++)
			wanted |= boot->config.vm[i].disk[n].disk[0] != 0;
	if (wanted)
		disks_find(&boot->acpi);
}

static void start_vms(void)
{
	struct vm_resources resources = {
		.files = boot->files,
		.file_count = info->module_count,
		.cpuid = &boot->cpuid,
		.engines = engines,
		.unix_seconds = clock_wall_seconds(),
		.boot_ticks = boot_start_tsc,
	};
	unsigned started = 0;

	engines_monitor_caps(&resources.monitor);
	if (resources.monitor.no_nested_paging)
		log_line("cpu: no nested paging for guests: %s", resources.monitor.no_nested_paging);
	for (unsigned i = 0; i < info->module_count; i++) {
		log_line("boot: module %s: %lu bytes at %lx", info->module[i].cmdline, info->module[i].end - info->module[i].start,
			 info->module[i].start);
		boot->files[i] = (struct vm_file){ .name = info->module[i].cmdline, .phys = info->module[i].start,
						   .size = info->module[i].end - info->module[i].start };
	}

	for (unsigned i = 0; i < boot->config.count; i++) {
		struct vm_config *vm = &boot->config.vm[i];

		if (vm->broken) {
			log_line("vm %s: not started: its configuration is wrong (" CONFIG_MODULE ":%u)", vm->name, vm->line);
			continue;
		}
		if (!vm_create(vm, &resources))
			started++;
		/* The next VM is built in an address space that does not map this VM. */
		address_space_load(kernel_table.root);
	}
	if (!boot->config.count)
		boot_fatal(CONFIG_MODULE " has no [vm NAME] section: there is nothing to run");
	if (!engines->count)
		boot_fatal("%s", engines_why_none()); /* true until there is an engine that every CPU can run */
	if (!started)
		boot_fatal("no virtual machine could be started");
}

static void report_memory(void)
{
	uint64_t image = (uint64_t)(image_end - image_start);

	log_line("memory: image %lu KiB, pool %u KiB of %lu KiB, %lu MiB free for guests", image >> 10, pool_used_pages(&lamina_pool) * 4,
		 lamina_pool.pages * 4UL, frames_free_bytes(&frames) >> 20);
	log_line("memory: %u pages of Lamina are writable and executable", memory_count_wx(&kernel_table));
}

static void main_on_own_stack(void)
{
	log_line("Lamina " LAMINA_VERSION ", a type-1 hypervisor; loaded by %s", info->loader_name);
	if (info->efi_system_table)
		log_line("firmware: UEFI, system table at %lx", info->efi_system_table);
	if (info->smbios_address)
		log_line("firmware: SMBIOS at %lx", info->smbios_address);
	console_setup_screen(info);
	read_acpi();
	host_devices_init(&boot->acpi);
	console_setup_serial(&boot->acpi);
	power_init(&boot->acpi);
	features_report(boot->acpi.dmar_present, boot->acpi.ivrs_present);
	cpuid_capture(&boot->cpuid, cpuid_count);
	engines = engines_find();
	silence_8259s();
	host_apic_init(boot->acpi.local_apic_address, boot->acpi.dmar_x2apic_opt_out);
	host_apic_enable();
	this_cpu()->apic_id = host_apic_id();
	clock_calibrate(&boot->acpi);
	console_set_rate(time_hz());
	enter_virtualization();
	read_config();
	/* Before any DMA, and before an interrupt is routed that a unit could hold back. */
	iommu_host_off(&boot->acpi);
	route_serial_interrupt();
	smp_start(&boot->acpi, CPUS_MAX);
	memory_free_scratch();
	log_line("smp: %u of %u cores run", cpu_count, MAX(boot->acpi.cpu_count, 1U));
	find_disks();
	start_vms();
	report_memory();
	sched_run();
}

NORETURN static void switch_stack(uint64_t top, void (*next)(void))
{
	__asm__ volatile("mov %0, %%rsp\n\txor %%ebp, %%ebp\n\tcall *%1\n\tud2" : : "r"(top), "r"(next) : "memory");
	__builtin_unreachable();
}

/* What the loader hands over, copied and checked. `magic` is EAX and `address` EBX of the entry. */
static int read_boot_info(uint32_t magic, uint32_t address, struct boot_info *out, const char **error)
{
	const void *from = (const void *)(uintptr_t)address;

	if (magic == MULTIBOOT2_BOOT_MAGIC)
		return multiboot2_parse(from, BOOT_INFO_MAX, out, error);
	memcpy(out, from, sizeof(*out));
	return boot_info_check(out, error);
}

void boot_main(uint32_t magic, uint32_t address)
{
	static struct boot_info early __attribute__((section(".scratch")));
	const char *error;

	if (read_boot_info(magic, address, &early, &error)) {
		memset(&early, 0, sizeof(early)); /* none of its fields counts */
		console_setup_early(&early);
		boot_fatal("the boot information is unusable: %s", error);
	}
	console_setup_early(&early);
	features_detect();
	traps_init();
	info = memory_init(&early);
	console_setup_leave_screen();
	boot = pool_alloc(&lamina_pool, (sizeof(*boot) + PAGE_SIZE - 1) / PAGE_SIZE);
	cpus[0] = boot ? cpu_alloc(0, 0) : NULL;
	if (!cpus[0])
		panic("no memory for the boot processor");
	cpu_count = 1;
	cpus[0]->online = true;
	cpu_load(cpus[0]);
	switch_stack(cpus[0]->stack_top, main_on_own_stack);
}

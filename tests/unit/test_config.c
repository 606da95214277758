/* SOURCES: vmm/config/config.c vmm/config/config_key.c vmm/config/config_disk.c vmm/config/monitor_mode.c */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config/config.h"

static struct lamina_config cfg;
static struct {
	unsigned count;
	unsigned line[64];
	char message[64][512];
} errors;

static void record(void *ctx, unsigned line, const char *message)
{
	assert_ptr_equal(ctx, &errors);
	assert_true(errors.count < 64);
	assert_true(strlen(message) < 512);
	errors.line[errors.count] = line;
	strcpy(errors.message[errors.count++], message);
}

/* Parse from an exact heap copy, so that the sanitizer sees a read past the end. */
static int parse_bytes(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);
	int err;

	memcpy(copy, text, len);
	errors.count = 0;
	err = config_parse(&cfg, copy, len, record, &errors);
	free(copy);
	assert_int_equal(err, errors.count ? ERR_INVALID : 0);
	return err;
}

static int parse(const char *text)
{
	return parse_bytes(text, strlen(text));
}

static void expect_error(unsigned line, const char *part)
{
	for (unsigned i = 0; i < errors.count; i++)
		if (errors.line[i] == line && strstr(errors.message[i], part))
			return;
	for (unsigned i = 0; i < errors.count; i++)
		print_message("line %u: %s\n", errors.line[i], errors.message[i]);
	fail_msg("no error on line %u with \"%s\"", line, part);
}

static void whole_file(void **state)
{
	(void)state;
	assert_int_equal(parse("\xef\xbb\xbf# Lamina\r\n"
			       "monitor.virtual_mmu = \"hardware\"\r\n"
			       "\r\n"
			       "[vm debian]   # the first\r\n"
			       "  memsize = \"1024\"\r\n"
			       "\tnumvcpus=2# two\r\n"
			       "kernel = \"vmlinuz\"\r\n"
			       "initrd = initrd.img\r\n"
			       "cmdline = \"console=ttyS0 a=\\\"b # c\\\" d\\\\e\" # end\r\n"
			       "disk0 = \"module:root.img\"\r\n"
			       "disk3 = \"module:data,ro\"\r\n"
			       "disk1 = \"nvme:0n1/part3,ro\"\r\n"
			       "disk2 = \"serial:WD-1 /x,y/bytes=1048576+512\"\r\n"
			       "guestOS = \"linux-64\"\r\n"
			       "monitor.virtual_exec = \"software\"\r\n"
			       "[ vm mach-1.8_x ]\n"
			       "kernel = \"gnumach\"\n"
			       "module0 = \"ext2fs.static --readonly\"\n"
			       "module7 = \"exec\"\n"
			       "monitor.virtual_mmu = automatic"), 0);
	assert_int_equal(config_check(&cfg, record, &errors), 0);
	assert_int_equal(cfg.count, 2);

	struct vm_config *vm = &cfg.vm[0];

	assert_string_equal(vm->name, "debian");
	assert_int_equal(vm->memsize, 1024);
	assert_int_equal(vm->numvcpus, 2);
	assert_string_equal(vm->kernel, "vmlinuz");
	assert_string_equal(vm->initrd, "initrd.img");
	assert_string_equal(vm->cmdline, "console=ttyS0 a=\"b # c\" d\\e");
	assert_string_equal(vm->disk[0].module, "root.img");
	assert_false(vm->disk[0].read_only);
	assert_string_equal(vm->disk[1].module, "");
	assert_string_equal(vm->disk[3].module, "data");
	assert_true(vm->disk[3].read_only);
	assert_string_equal(vm->disk[1].disk, "nvme:0n1");
	assert_int_equal(vm->disk[1].part, 3);
	assert_true(vm->disk[1].read_only);
	assert_string_equal(vm->disk[2].disk, "serial:WD-1 /x,y");
	assert_true(vm->disk[2].offset == 1048576 && vm->disk[2].length == 512);
	assert_string_equal(vm->disk[0].disk, "");
	assert_int_equal(vm->guest_os, GUEST_LINUX_64);
	assert_int_equal(vm->monitor.exec, MONITOR_SOFTWARE);
	assert_int_equal(vm->monitor.mmu, MONITOR_HARDWARE);
	assert_false(vm->broken);
	assert_int_equal(vm->line, 4);

	vm = &cfg.vm[1];
	assert_string_equal(vm->name, "mach-1.8_x");
	assert_int_equal(vm->memsize, 256);
	assert_int_equal(vm->numvcpus, 1);
	assert_string_equal(vm->module[0], "ext2fs.static --readonly");
	assert_string_equal(vm->module[1], "");
	assert_string_equal(vm->module[7], "exec");
	assert_int_equal(vm->guest_os, GUEST_OTHER_64);
	assert_int_equal(vm->monitor.exec, MONITOR_AUTOMATIC);
	assert_int_equal(vm->monitor.mmu, MONITOR_AUTOMATIC);
	assert_int_equal(vm->line, 16);
}

/* Each wrong line alone between right ones: named with its number, its VM is broken, the next VM is not. */
static void wrong_lines(void **state)
{
	static const struct { const char *line, *expected; } wrong[] = {
		{ "memsize = \"3\"", "expected a whole number from 4 to 1048576" },
		{ "memsize = 1048577", "from 4 to 1048576 (MiB)" },
		{ "memsize = \"\"", "whole number" },
		{ "memsize = \"12x\"", "memsize is \"12x\"" },
		{ "memsize = \" 12\"", "whole number" },
		{ "memsize = \"-1\"", "whole number" },
		{ "memsize = \"99999999999999999999999999\"", "whole number" },
		{ "memsize = 64 65", "expected one value" },
		{ "memsize =", "expected one value" },
		{ "memsize", "expected key = \"value\"" },
		{ "memsize \"64\"", "expected key = \"value\"" },
		{ "= 64", "expected key = \"value\"" },
		{ "numvcpus = 0", "from 1 to 64" },
		{ "numvcpus = 65", "from 1 to 64" },
		{ "memsise = 64", "unknown key \"memsise\": expected memsize, numvcpus, kernel, initrd, module0 to module7, cmdline, "
		  "disk0 to disk3, guestOS, monitor.virtual_exec, monitor.virtual_mmu or monitor.shadow_memory" },
		{ "Memsize = 64", "unknown key" },
		{ "monitor.virtual_mmu2 = x", "unknown key" },
		{ "monitor.shadow_memory = 0", "from 1 to 24 (MiB)" },
		{ "monitor.shadow_memory = 25", "from 1 to 24 (MiB)" },
		{ "cmdline = \"abc", "not closed" },
		{ "cmdline = \"", "not closed" },
		{ "cmdline = \"a\\", "backslash" },
		{ "cmdline = \"a\\n\"", "backslash" },
		{ "cmdline = \"a\" b", "expected one value" },
		{ "cmdline = \"a\"\"b\"", "expected one value" },
		{ "cmdline = a=b", "needs quotes" },
		{ "cmdline = \"a\x01\"", "character of code 1" },
		{ "initrd = \"\"", "expected the name of a boot module" },
		{ "initrd = \"a b\"", "without blanks" },
		{ "module0 = \" a\"", "then its arguments" },
		{ "module8 = \"a\"", "unknown key" },
		{ "disk4 = \"module:a\"", "unknown key" },
		{ "disk0 = \"ata:\"", "expected \"module:NAME\"" },
		{ "disk0 = \"scsi:0\"", "expected \"module:NAME\"" },
		{ "disk0 = \"serial:/part1\"", "expected \"module:NAME\"" },
		{ "disk0 = \"nvme:0n1/part0\"", "a partition's number" },
		{ "disk0 = \"nvme:0n1/part129\"", "a partition's number" },
		{ "disk0 = \"nvme:0n1/part\"", "a partition's number" },
		{ "disk0 = \"nvme:0n1/part1x\"", "a partition's number" },
		{ "disk0 = \"nvme:0n1/part99999999999999999999\"", "a partition's number" },
		{ "disk0 = \"nvme:0n1/bytes=0\"", "multiples of 512" },
		{ "disk0 = \"nvme:0n1/bytes=0+0\"", "multiples of 512" },
		{ "disk0 = \"nvme:0n1/bytes=1+512\"", "multiples of 512" },
		{ "disk0 = \"nvme:0n1/bytes=0+512x\"", "multiples of 512" },
		{ "disk0 = \"nvme:0n1/bytes=0+18446744073709551616\"", "multiples of 512" },
		{ "disk0 = \"serial:0123456789012345678901234567890123456789012345678901234567890123\"", "at most 63 characters" },
		{ "disk0 = \"root.img\"", "expected \"module:NAME\"" },
		{ "disk0 = \"module:\"", "boot module's name" },
		{ "disk0 = \"module:,ro\"", "boot module's name" },
		{ "disk0 = \"module:a,rw\"", "nothing or \",ro\"" },
		{ "disk0 = \"module:a,ro,ro\"", "nothing or \",ro\"" },
		{ "disk0 = \"module: b\"", "boot module's name" },
		{ "disk0 = \"module:a b\"", "nothing or \",ro\"" },
		{ "guestOS = \"linux\"", "expected one of other-64, linux-64" },
		{ "monitor.virtual_exec = \"fast\"", "\"software\", \"hardware\" or \"automatic\"" },
		{ "kernel = \"again\"", "a second time" },
	};
	char text[512];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(text, sizeof(text), "[vm a]\nkernel = \"k\"\n%s\n[vm b]\nkernel = \"k\"\nmemsize = 77\n", wrong[i].line);
		parse(text);
		expect_error(3, wrong[i].expected);
		assert_int_equal(errors.count, 1);
		assert_int_equal(cfg.count, 2);
		assert_true(cfg.vm[0].broken);
		assert_false(cfg.vm[1].broken);
		assert_int_equal(cfg.vm[1].memsize, 77);
		assert_int_equal(config_check(&cfg, record, &errors), 0);
	}
}

/* The message names every system, and nothing else. */
static void wrong_guest_os(void **state)
{
	char expected[512] = "guestOS is \"no\": expected one of ";

	(void)state;
	for (unsigned i = 0; guest_os_name(i); i++) {
		strcat(expected, i ? ", " : "");
		strcat(expected, guest_os_name(i));
	}
	parse("[vm a]\nkernel = k\nguestOS = no\n");
	assert_int_equal(errors.count, 1);
	assert_string_equal(errors.message[0], expected);
}

static void wrong_sections(void **state)
{
	static const char *const wrong[] = {
		"[vm]", "[vm ]", "[vm a b]", "[vm a", "[vm a] x", "[VM a]", "[vma]", "[]", "[", "[vm a/b]", "[disk a]",
		"[vm 12345678901234567890123456789012]", "[vm a\x02]",
	};
	char text[512];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(text, sizeof(text), "[vm first]\nkernel=k\n%s\nmemsize = junk\nkernel=l\n[vm last]\nkernel=m\n", wrong[i]);
		parse(text);
		assert_int_equal(errors.count, 1);
		assert_int_equal(errors.line[0], 3);
		assert_int_equal(cfg.count, 2);
		assert_false(cfg.vm[0].broken);
		assert_string_equal(cfg.vm[0].kernel, "k");
		assert_string_equal(cfg.vm[1].name, "last");
		assert_false(cfg.vm[1].broken);
	}
	parse("[vm 1234567890123456789012345678901]\nkernel=k\n");
	assert_int_equal(errors.count, 0);
}

static void duplicates_and_limits(void **state)
{
	char text[4096];
	size_t used = 0;

	(void)state;
	parse("[vm a]\nkernel=k\n[vm b]\nkernel=k\n[vm a]\nmemsize=64\n");
	expect_error(5, "second section [vm a]");
	assert_int_equal(cfg.count, 2);
	assert_true(cfg.vm[0].broken);
	assert_false(cfg.vm[1].broken);
	assert_int_equal(cfg.vm[0].memsize, 256);
	assert_int_equal(cfg.vm[1].memsize, 256);

	for (unsigned i = 0; i < 9; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "[vm v%u]\nkernel=k\n", i);
	parse(text);
	expect_error(17, "at most 8");
	assert_int_equal(cfg.count, 8);

	parse("memsize = 64\nmonitor.virtual_exec=hardware\nmonitor.virtual_exec=hardware\nfoo=1\n[vm a]\nkernel=k\n");
	expect_error(1, "belongs to a VM");
	expect_error(3, "a second time");
	expect_error(4, "expected monitor.virtual_exec or monitor.virtual_mmu");
	assert_int_equal(errors.count, 3);
	assert_false(cfg.vm[0].broken);

	parse("");
	expect_error(1, "no VM");
	parse("# nothing\n");
	expect_error(2, "no VM");

	parse("[vm a]\nmemsize=64\n[vm b]\nkernel=k\n");
	assert_int_equal(errors.count, 0);
	assert_int_equal(config_check(&cfg, record, &errors), ERR_INVALID);
	expect_error(1, "[vm a] has no kernel");
	assert_true(cfg.vm[0].broken);
	assert_false(cfg.vm[1].broken);
}

/* A file that is no text gets one report, not one for each line. */
static void other_files(void **state)
{
	static const struct { const char *text; size_t len; const char *expected; } other[] = {
		{ "\xff\xfe[\0v\0m\0", 8, "UTF-16" },
		{ "\xfe\xff\0[\0v\0m", 8, "UTF-16" },
		{ "[vm a]\nkernel=k\n\0\n\0", 20, "not text" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(other); i++) {
		memset(&errors, 0, sizeof(errors));
		assert_int_equal(config_parse(&cfg, other[i].text, other[i].len, record, &errors), ERR_INVALID);
		assert_int_equal(errors.count, 1);
		expect_error(1, other[i].expected);
		assert_int_equal(cfg.count, 0);
	}
	/* The mark of UTF-8 is none of these. */
	parse("\xef\xbb\xbf[vm a]\nkernel=k\n");
	assert_int_equal(errors.count, 0);
	assert_int_equal(cfg.count, 1);
}

static void long_values(void **state)
{
	static char value[5000], text[11000];

	(void)state;
	for (size_t len = 2040; len < 2060; len++) {
		memset(value, 'x', len);
		value[len] = 0;
		snprintf(text, sizeof(text), "[vm a]\nkernel=k\ncmdline = \"%s\"\n", value);
		parse(text);
		assert_int_equal(errors.count, len > 2047);
		assert_int_equal(strlen(cfg.vm[0].cmdline), len > 2047 ? 0 : len);
	}
	for (size_t len = 55; len < 70; len++) {
		memset(value, 'x', len);
		value[len] = 0;
		snprintf(text, sizeof(text), "[vm a]\nkernel=%s\n", value);
		parse(text);
		assert_int_equal(errors.count, len > 63);
		snprintf(text, sizeof(text), "[vm a]\nkernel=k\ndisk0=\"module:%s,ro\"\n", value);
		parse(text);
		assert_int_equal(errors.count, len > 63);
		snprintf(text, sizeof(text), "[vm a]\nkernel=k\nmodule1=\"%s arguments\"\n", value);
		parse(text);
		assert_int_equal(errors.count, len > 63);
	}
	memset(value, 'x', 4500);
	value[4500] = 0;
	snprintf(text, sizeof(text), "[vm a]\n%s = \"1\"\n%s\n[vm %s]\nmemsize = \"%s\"", "y", value, "b", value);
	parse(text);
	assert_int_equal(errors.count, 3);
}

static void overrides(void **state)
{
	static struct vm_config none;

	(void)state;
	parse("[vm a]\nkernel=k\n[vm a.b]\nkernel=k\nmemsize=64\n[vm c]\n");
	none = cfg.vm[3];
	assert_int_equal(errors.count, 0);
	assert_int_equal(config_set(&cfg, "memsize", "128", record, &errors), 0);
	assert_int_equal(cfg.vm[0].memsize, 128);
	assert_int_equal(cfg.vm[1].memsize, 128);
	assert_int_equal(config_set(&cfg, "vm.a.b.memsize", "512", record, &errors), 0);
	assert_int_equal(cfg.vm[0].memsize, 128);
	assert_int_equal(cfg.vm[1].memsize, 512);
	assert_int_equal(config_set(&cfg, "vm.a.monitor.virtual_mmu", "software", record, &errors), 0);
	assert_int_equal(cfg.vm[0].monitor.mmu, MONITOR_SOFTWARE);
	assert_int_equal(cfg.vm[1].monitor.mmu, MONITOR_AUTOMATIC);
	assert_int_equal(config_set(&cfg, "vm.c.kernel", "late", record, &errors), 0);
	assert_int_equal(config_check(&cfg, record, &errors), 0);
	assert_string_equal(cfg.vm[2].kernel, "late");
	assert_int_equal(errors.count, 0);

	/* What is no VM stays untouched. */
	assert_memory_equal(&cfg.vm[3], &none, sizeof(none));

	assert_int_equal(config_set(&cfg, "vm.zz.memsize", "128", record, &errors), ERR_INVALID);
	expect_error(0, "unknown setting \"vm.zz.memsize\"");
	assert_int_equal(config_set(&cfg, "vm.a.nothing", "128", record, &errors), ERR_INVALID);
	assert_int_equal(config_set(&cfg, "vm.a.", "128", record, &errors), ERR_INVALID);
	assert_int_equal(config_set(&cfg, "vm.", "128", record, &errors), ERR_INVALID);
	assert_int_equal(config_set(&cfg, "", "128", record, &errors), ERR_INVALID);
	assert_int_equal(config_set(&cfg, "memsise", "128", record, &errors), ERR_INVALID);
	assert_false(cfg.vm[0].broken || cfg.vm[1].broken || cfg.vm[2].broken);

	errors.count = 0;
	assert_int_equal(config_set(&cfg, "vm.a.memsize", "junk", record, &errors), ERR_INVALID);
	assert_int_equal(cfg.vm[0].memsize, 128);
	assert_true(cfg.vm[0].broken);
	assert_false(cfg.vm[1].broken);
	assert_int_equal(config_set(&cfg, "cmdline", "a\nb", record, &errors), ERR_INVALID);
	assert_int_equal(errors.count, 2);
	assert_true(cfg.vm[1].broken);
}

static void machine_wide(void **state)
{
	(void)state;
	parse("monitor.virtual_exec=software\nmonitor.virtual_mmu=\"hardware\"\n[vm a]\nkernel=k\n[vm b]\nkernel=k\nmonitor.virtual_exec=automatic\n");
	assert_int_equal(config_check(&cfg, record, &errors), 0);
	assert_int_equal(cfg.vm[0].monitor.exec, MONITOR_SOFTWARE);
	assert_int_equal(cfg.vm[1].monitor.exec, MONITOR_AUTOMATIC);
	assert_int_equal(cfg.vm[1].monitor.mmu, MONITOR_HARDWARE);
}

static void many_errors(void **state)
{
	static char text[100000];

	(void)state;
	memset(text, '\n', sizeof(text));
	for (size_t i = 0; i < sizeof(text); i += 2)
		text[i] = 'x';
	parse_bytes(text, sizeof(text));
	assert_int_equal(errors.count, 33);
	expect_error(33, "not shown");
}

/* Every truncation, and bytes replaced at random: no crash, and the texts stay terminated. */
static void hostile(void **state)
{
	static const char good[] = "monitor.virtual_mmu = \"hardware\"\n[vm a]\nkernel = \"k\"\ncmdline = \"a \\\"b\\\"\" # c\n"
				   "disk0 = \"module:d,ro\"\nmodule0 = \"m n\"\nguestOS = linux-64\r\n[vm b]\nmemsize = 64\n";
	char text[sizeof(good)];
	uint32_t seed = 1;

	(void)state;
	for (size_t len = 0; len < sizeof(good); len++)
		parse_bytes(good, len);
	for (unsigned round = 0; round < 20000; round++) {
		memcpy(text, good, sizeof(good));
		for (unsigned i = 0; i < 1 + round % 8; i++) {
			seed = seed * 1664525 + 1013904223;
			text[(seed >> 8) % (sizeof(good) - 1)] = "\"[]=#\\\r\n \t:,.av\0\xff\x7f" "0"[(seed >> 24) % 19];
		}
		parse_bytes(text, sizeof(good) - 1);
		config_check(&cfg, record, &errors);
		assert_true(cfg.count <= CONFIG_VMS_MAX);
		for (unsigned i = 0; i < cfg.count; i++) {
			assert_true(strnlen(cfg.vm[i].name, CONFIG_NAME_SIZE) - 1 < CONFIG_NAME_SIZE - 1);
			assert_true(strnlen(cfg.vm[i].kernel, CONFIG_FILE_SIZE) < CONFIG_FILE_SIZE);
			assert_true(strnlen(cfg.vm[i].cmdline, CONFIG_CMDLINE_SIZE) < CONFIG_CMDLINE_SIZE);
			assert_true(strnlen(cfg.vm[i].disk[0].module, CONFIG_FILE_SIZE) < CONFIG_FILE_SIZE);
			assert_true(cfg.vm[i].broken || cfg.vm[i].kernel[0]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_file), cmocka_unit_test(wrong_lines), cmocka_unit_test(wrong_guest_os), cmocka_unit_test(other_files),
		cmocka_unit_test(wrong_sections),
		cmocka_unit_test(duplicates_and_limits), cmocka_unit_test(long_values), cmocka_unit_test(overrides),
		cmocka_unit_test(machine_wide), cmocka_unit_test(many_errors), cmocka_unit_test(hostile),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}

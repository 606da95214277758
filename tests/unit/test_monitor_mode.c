/* SOURCES: vmm/config/monitor_mode.c */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "vmm/config/monitor_mode.h"

#define P "MONITOR MODE: "
#define BUILD_ALL (BIT(MONITOR_BT) | BIT(MONITOR_HV) | BIT(MONITOR_HWMMU))
#define BUILD_HWMMU BIT(MONITOR_HWMMU)

static char lines[4096];

static void record(void *ctx, const char *line)
{
	assert_ptr_equal(ctx, lines);
	assert_true(strlen(line) < MONITOR_LINE_MAX);
	strcat(lines, line);
	strcat(lines, "\n");
}

static const struct monitor_caps nehalem = { .vtx = true, .nested_paging = true, .apic_virtualization = true, .tpr_shadow = true,
					     .long_mode = true, .build = BUILD_ALL };
static const struct monitor_caps penryn = { .vtx = true, .apic_virtualization = true, .tpr_shadow = true, .long_mode = true, .build = BUILD_ALL };
static const struct monitor_caps merom_flexpriority = { .vtx = true, .tpr_shadow = true, .long_mode = true, .build = BUILD_ALL };
static const struct monitor_caps merom = { .vtx = true, .long_mode = true, .build = BUILD_ALL };
static const struct monitor_caps no_vtx = { .long_mode = true, .build = BUILD_ALL };
static const struct monitor_caps old_32 = { .build = BUILD_ALL };

/* The first choice, as VMware's monitors of the ESX 4.0 time made it with `automatic` settings. '-' is "cannot run". */
static void vmware_table(void **state)
{
	static const struct {
		enum guest_os os;
		const char *best[6]; /* nehalem, penryn, merom_flexpriority, merom, no_vtx, old_32 */
	} rows[] = {
#define ROW_64 { "HWMMU", "HV", "HV", "HV", "-", "-" }
#define ROW_UNIX { "HWMMU", "HV", "BT", "BT", "BT", "BT" }
#define ROW_WINDOWS { "HWMMU", "HV", "HV", "BT", "BT", "BT" }
#define ROW_BT { "BT", "BT", "BT", "BT", "BT", "BT" }
#define ROW_RARE { "HWMMU", "HV", "HV", "HV", "BT", "BT" }
		{ GUEST_OTHER_64, ROW_64 }, { GUEST_LINUX_64, ROW_64 }, { GUEST_FREEBSD_64, ROW_64 }, { GUEST_SOLARIS_64, ROW_64 },
		{ GUEST_WINDOWS_64, ROW_64 }, { GUEST_LINUX_32, ROW_UNIX }, { GUEST_FREEBSD_32, ROW_UNIX },
		{ GUEST_WINXP, ROW_WINDOWS }, { GUEST_WINVISTA, ROW_WINDOWS }, { GUEST_WIN2003, ROW_WINDOWS }, { GUEST_WIN2008, ROW_WINDOWS },
		{ GUEST_WIN2000, ROW_BT }, { GUEST_WINNT, ROW_BT }, { GUEST_DOS, ROW_BT }, { GUEST_WIN9X, ROW_BT }, { GUEST_NETWARE, ROW_BT },
		{ GUEST_SOLARIS_32, ROW_BT },
		{ GUEST_OPENSERVER, ROW_RARE }, { GUEST_UNIXWARE, ROW_RARE }, { GUEST_OS2, ROW_RARE }, { GUEST_OTHER_32, ROW_RARE },
	};
	const struct monitor_caps *const cpus[] = { &nehalem, &penryn, &merom_flexpriority, &merom, &no_vtx, &old_32 };
	static const char *const names[MONITOR_MODES] = { "BT", "HV", "HWMMU" };
	const struct monitor_settings automatic = { 0 };

	(void)state;
	assert_int_equal(ARRAY_SIZE(rows), GUEST_OS_COUNT);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned c = 0; c < ARRAY_SIZE(cpus); c++) {
			enum monitor_mode mode = MONITOR_MODES;
			int err;

			lines[0] = 0;
			err = monitor_mode_select(cpus[c], &automatic, rows[i].os, record, lines, &mode);
			if (!strcmp(rows[i].best[c], "-")) {
				assert_int_equal(err, ERR_UNSUPPORTED);
				assert_int_equal(mode, MONITOR_MODES);
				assert_non_null(strstr(lines, P "no mode can run this guest"));
				continue;
			}
			assert_int_equal(err, 0);
			if (strcmp(names[mode], rows[i].best[c]))
				fail_msg("%s on CPU %u: got %s, expected %s", guest_os_name(rows[i].os), c, names[mode], rows[i].best[c]);
		}
	}
}

struct log_case {
	const struct monitor_caps *cpu;
	unsigned build;
	enum monitor_setting exec, mmu;
	enum guest_os os;
	const char *log;
};

static void exact_log(void **state)
{
	static const struct log_case cases[] = {
		{ &nehalem, BUILD_ALL, MONITOR_AUTOMATIC, MONITOR_AUTOMATIC, GUEST_LINUX_64,
		  P "allowed modes          : BT32 HV HWMMU\n"
		  P "user requested modes   : BT32 HV HWMMU\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : HWMMU HV BT32\n" },
		{ &nehalem, BUILD_HWMMU, MONITOR_AUTOMATIC, MONITOR_AUTOMATIC, GUEST_OTHER_64,
		  P "allowed modes          : HWMMU\n"
		  P "user requested modes   : BT32 HV HWMMU\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : HWMMU\n" },
		{ &nehalem, BUILD_HWMMU, MONITOR_HARDWARE, MONITOR_HARDWARE, GUEST_OTHER_64,
		  P "allowed modes          : HWMMU\n"
		  P "user requested modes   : HWMMU\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : HWMMU\n" },
		{ &nehalem, BUILD_ALL, MONITOR_SOFTWARE, MONITOR_AUTOMATIC, GUEST_WINXP,
		  P "allowed modes          : BT32 HV HWMMU\n"
		  P "user requested modes   : BT32\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : BT32\n" },
		{ &nehalem, BUILD_HWMMU, MONITOR_SOFTWARE, MONITOR_AUTOMATIC, GUEST_OTHER_64,
		  P "allowed modes          : HWMMU\n"
		  P "user requested modes   : BT32\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : HWMMU\n"
		  P "ignored monitor.virtual_exec = \"software\": BT32 is not in this build\n" },
		{ &nehalem, BUILD_HWMMU, MONITOR_AUTOMATIC, MONITOR_SOFTWARE, GUEST_OTHER_64,
		  P "allowed modes          : HWMMU\n"
		  P "user requested modes   : BT32 HV\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : HWMMU\n"
		  P "ignored monitor.virtual_mmu = \"software\": BT32 and HV are not in this build\n" },
		{ &nehalem, BUILD_HWMMU, MONITOR_HARDWARE, MONITOR_SOFTWARE, GUEST_OTHER_64,
		  P "allowed modes          : HWMMU\n"
		  P "user requested modes   : HV\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : HWMMU\n"
		  P "ignored monitor.virtual_mmu = \"software\": HV is not in this build\n" },
		{ &nehalem, BUILD_HWMMU, MONITOR_SOFTWARE, MONITOR_SOFTWARE, GUEST_OTHER_64,
		  P "allowed modes          : HWMMU\n"
		  P "user requested modes   : BT32\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : HWMMU\n"
		  P "ignored monitor.virtual_exec = \"software\": BT32 is not in this build\n"
		  P "ignored monitor.virtual_mmu = \"software\": BT32 and HV are not in this build\n" },
		{ &nehalem, BUILD_HWMMU, MONITOR_SOFTWARE, MONITOR_HARDWARE, GUEST_OTHER_64,
		  P "allowed modes          : HWMMU\n"
		  P "user requested modes   : none\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : HWMMU\n"
		  P "ignored monitor.virtual_exec = \"software\" with monitor.virtual_mmu = \"hardware\": "
		    "binary translation with a hardware MMU is no valid pair\n" },
		{ &penryn, BUILD_ALL, MONITOR_AUTOMATIC, MONITOR_HARDWARE, GUEST_LINUX_64,
		  P "allowed modes          : BT32 HV\n"
		  P "user requested modes   : HWMMU\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : HV BT32\n"
		  P "ignored monitor.virtual_mmu = \"hardware\": this CPU has VT-x without EPT\n" },
		{ &penryn, BUILD_HWMMU, MONITOR_AUTOMATIC, MONITOR_AUTOMATIC, GUEST_OTHER_64,
		  P "allowed modes          : none\n"
		  P "user requested modes   : BT32 HV HWMMU\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : none\n"
		  P "no mode can run this guest (other-64): this CPU has VT-x without EPT, and BT32 and HV are not in this build\n" },
		{ &no_vtx, BUILD_HWMMU, MONITOR_AUTOMATIC, MONITOR_AUTOMATIC, GUEST_OTHER_64,
		  P "allowed modes          : none\n"
		  P "user requested modes   : BT32 HV HWMMU\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : none\n"
		  P "no mode can run this guest (other-64): this CPU has no VT-x or AMD-V, or the firmware has locked it off\n" },
		{ &no_vtx, BUILD_HWMMU, MONITOR_AUTOMATIC, MONITOR_AUTOMATIC, GUEST_LINUX_32,
		  P "allowed modes          : none\n"
		  P "user requested modes   : BT32 HV HWMMU\n"
		  P "guestOS preferred modes: HWMMU BT32 HV\n"
		  P "filtered list          : none\n"
		  P "no mode can run this guest (linux-32): this CPU has no VT-x or AMD-V, or the firmware has locked it off, "
		    "and BT32 is not in this build\n" },
		{ &old_32, BUILD_ALL, MONITOR_AUTOMATIC, MONITOR_AUTOMATIC, GUEST_OTHER_64,
		  P "allowed modes          : none\n"
		  P "user requested modes   : BT32 HV HWMMU\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : none\n"
		  P "no mode can run this guest (other-64): this CPU is not a 64-bit one, and the guest is\n" },
		{ &no_vtx, BUILD_ALL, MONITOR_HARDWARE, MONITOR_HARDWARE, GUEST_OS2,
		  P "allowed modes          : BT32\n"
		  P "user requested modes   : HWMMU\n"
		  P "guestOS preferred modes: HWMMU HV BT32\n"
		  P "filtered list          : BT32\n"
		  P "ignored monitor.virtual_exec = \"hardware\": this CPU has no VT-x or AMD-V, or the firmware has locked it off\n"
		  P "ignored monitor.virtual_mmu = \"hardware\": this CPU has no VT-x or AMD-V, or the firmware has locked it off\n" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct monitor_caps caps = *cases[i].cpu;
		struct monitor_settings settings = { cases[i].exec, cases[i].mmu };
		enum monitor_mode mode;

		caps.build = cases[i].build;
		lines[0] = 0;
		monitor_mode_select(&caps, &settings, cases[i].os, record, lines, &mode);
		assert_string_equal(lines, cases[i].log);
	}
}

/* The modes of the line "filtered list", as bits; *first is the one that stands first, or MONITOR_MODES. */
static unsigned filtered(enum monitor_mode *first)
{
	const char *word = strstr(lines, P "filtered list          :") + sizeof(P "filtered list          :") - 1;
	unsigned modes = 0;

	*first = MONITOR_MODES;
	while (*word == ' ') {
		enum monitor_mode mode;

		word++;
		if (!strncmp(word, "none", 4))
			break;
		mode = !strncmp(word, "HWMMU", 5) ? MONITOR_HWMMU : !strncmp(word, "HV", 2) ? MONITOR_HV : MONITOR_BT;
		assert_false(modes & (1U << mode));
		if (!modes)
			*first = mode;
		modes |= 1U << mode;
		word += strcspn(word, " \n");
	}
	return modes;
}

/* Whatever the input: a mode is chosen wherever one is allowed, only allowed ones are, and settings that can be honoured are. */
static void all_combinations(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 1U << 7; bits++) {
		for (unsigned rest = 0; rest < 8 * 9 * GUEST_OS_COUNT; rest++) {
			struct monitor_caps caps = { .vtx = bits & 1, .amdv = bits & 2, .nested_paging = bits & 4, .apic_virtualization = bits & 8,
						     .tpr_shadow = bits & 16, .long_mode = bits & 32, .bt_64bit = bits & 64, .build = rest & 7 };
			struct monitor_settings settings = { (enum monitor_setting)(rest / 8 % 3), (enum monitor_setting)(rest / 24 % 3) };
			enum monitor_mode mode = MONITOR_MODES, automatic, first;
			const struct monitor_settings none = { 0 };
			unsigned allowed, chosen, wanted = 0;
			enum guest_os os = (enum guest_os)(rest / 72);
			int err;

			lines[0] = 0;
			monitor_mode_select(&caps, &none, os, record, lines, &automatic);
			allowed = filtered(&first);
			lines[0] = 0;
			err = monitor_mode_select(&caps, &settings, os, record, lines, &mode);
			chosen = filtered(&first);
			assert_int_equal(err, chosen ? 0 : ERR_UNSUPPORTED);
			assert_int_equal(mode, first);
			for (unsigned m = 0; m < MONITOR_MODES; m++)
				if ((allowed & (1U << m)) &&
				    (settings.exec == MONITOR_AUTOMATIC || (settings.exec == MONITOR_SOFTWARE) == (m == MONITOR_BT)) &&
				    (settings.mmu == MONITOR_AUTOMATIC || (settings.mmu == MONITOR_HARDWARE) == (m == MONITOR_HWMMU)))
					wanted |= 1U << m;
			assert_int_equal(chosen & ~allowed, 0);
			assert_int_equal(chosen & ~caps.build, 0);
			assert_true(!allowed == !chosen);
			if (wanted)
				assert_int_equal(chosen, wanted);
			if (settings.exec == MONITOR_SOFTWARE && settings.mmu == MONITOR_HARDWARE)
				assert_non_null(strstr(lines, "no valid pair"));
			else
				assert_int_equal(!wanted && allowed, !!strstr(lines, "ignored"));
			assert_null(strstr(lines, ": \n"));
		}
	}
}

static void chosen(void **state)
{
	const struct monitor_engine_text ept = { "VT-x", "EPT", "1 GiB pages, VPID 1" };
	const struct monitor_engine_text rvi = { "AMD-V", "RVI", NULL };
	const struct monitor_engine_text bt = { "binary translation", NULL, NULL };

	(void)state;
	lines[0] = 0;
	monitor_mode_log_chosen(MONITOR_HWMMU, &ept, record, lines);
	monitor_mode_log_chosen(MONITOR_HWMMU, &rvi, record, lines);
	monitor_mode_log_chosen(MONITOR_BT, &bt, record, lines);
	assert_string_equal(lines, P "chosen mode            : HV-hwMMU (VT-x with EPT, 1 GiB pages, VPID 1)\n"
				   P "chosen mode            : HV-hwMMU (AMD-V with RVI)\n"
				   P "chosen mode            : BT-swMMU (binary translation with shadow page tables)\n");
}

static void names(void **state)
{
	enum monitor_setting setting = MONITOR_HARDWARE;
	enum guest_os os = GUEST_OS2;

	(void)state;
	assert_int_equal(monitor_setting_parse("automatic", &setting), 0);
	assert_int_equal(setting, MONITOR_AUTOMATIC);
	assert_int_equal(monitor_setting_parse("soft", &setting), ERR_INVALID);
	for (unsigned i = 0; i < GUEST_OS_COUNT; i++) {
		assert_int_equal(guest_os_parse(guest_os_name(i), &os), 0);
		assert_int_equal(os, i);
	}
	assert_null(guest_os_name(GUEST_OS_COUNT));
	assert_int_equal(guest_os_parse("", &os), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vmware_table), cmocka_unit_test(exact_log), cmocka_unit_test(all_combinations), cmocka_unit_test(chosen),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests_name("monitor_mode", tests, NULL, NULL);
}

/* The tables and rules of the choice: orders of preference by class of guest, the modes that CPU, build and settings allow, and the lines
 * of the log that tell about them. */
#include "vmm/config/monitor_mode.h"

#include "lib/printf.h"
#include "lib/string.h"

/* Guests that want the same order of modes. */
enum guest_class {
	CLASS_64,           /* the hardware modes first */
	CLASS_UNIX_32,      /* hardware MMU or APIC virtualization first, else binary translation */
	CLASS_WINDOWS_32,   /* the same, and a TPR shadow suffices: these systems write the TPR most */
	CLASS_BT_FIRST_32,  /* systems of the time when binary translation served them best */
	CLASS_BT_LAST_32,   /* binary translation is discouraged */
};

static const struct {
	const char *name;
	enum guest_class class;
} guests[GUEST_OS_COUNT] = {
	[GUEST_OTHER_64] = { "other-64", CLASS_64 },
	[GUEST_LINUX_64] = { "linux-64", CLASS_64 },
	[GUEST_FREEBSD_64] = { "freebsd-64", CLASS_64 },
	[GUEST_SOLARIS_64] = { "solaris-64", CLASS_64 },
	[GUEST_WINDOWS_64] = { "windows-64", CLASS_64 },
	[GUEST_OTHER_32] = { "other-32", CLASS_BT_LAST_32 },
	[GUEST_LINUX_32] = { "linux-32", CLASS_UNIX_32 },
	[GUEST_FREEBSD_32] = { "freebsd-32", CLASS_UNIX_32 },
	[GUEST_SOLARIS_32] = { "solaris-32", CLASS_BT_FIRST_32 },
	[GUEST_WINXP] = { "winxp", CLASS_WINDOWS_32 },
	[GUEST_WINVISTA] = { "winvista", CLASS_WINDOWS_32 },
	[GUEST_WIN2003] = { "win2003", CLASS_WINDOWS_32 },
	[GUEST_WIN2008] = { "win2008", CLASS_WINDOWS_32 },
	[GUEST_WIN2000] = { "win2000", CLASS_BT_FIRST_32 },
	[GUEST_WINNT] = { "winnt", CLASS_BT_FIRST_32 },
	[GUEST_WIN9X] = { "win9x", CLASS_BT_FIRST_32 },
	[GUEST_DOS] = { "dos", CLASS_BT_FIRST_32 },
	[GUEST_NETWARE] = { "netware", CLASS_BT_FIRST_32 },
	[GUEST_OPENSERVER] = { "openserver", CLASS_BT_LAST_32 },
	[GUEST_UNIXWARE] = { "unixware", CLASS_BT_LAST_32 },
	[GUEST_OS2] = { "os2", CLASS_BT_LAST_32 },
};

static const enum monitor_mode hardware_first[MONITOR_MODES] = { MONITOR_HWMMU, MONITOR_HV, MONITOR_BT };
static const enum monitor_mode nested_then_bt[MONITOR_MODES] = { MONITOR_HWMMU, MONITOR_BT, MONITOR_HV };
static const enum monitor_mode bt_first[MONITOR_MODES] = { MONITOR_BT, MONITOR_HWMMU, MONITOR_HV };
static const enum monitor_mode naming_order[MONITOR_MODES] = { MONITOR_BT, MONITOR_HV, MONITOR_HWMMU };

#define MODE_BT BIT(MONITOR_BT)
#define MODE_HV BIT(MONITOR_HV)
#define MODE_HWMMU BIT(MONITOR_HWMMU)
#define MODES_ALL (MODE_BT | MODE_HV | MODE_HWMMU)

static const char *const setting_names[] = {
	[MONITOR_AUTOMATIC] = "automatic",
	[MONITOR_SOFTWARE] = "software",
	[MONITOR_HARDWARE] = "hardware",
};

int monitor_setting_parse(const char *text, enum monitor_setting *setting)
{
	for (unsigned i = 0; i < ARRAY_SIZE(setting_names); i++) {
		if (!strcmp(text, setting_names[i])) {
			*setting = (enum monitor_setting)i;
			return 0;
		}
	}
	return ERR_INVALID;
}

int guest_os_parse(const char *text, enum guest_os *os)
{
	for (unsigned i = 0; i < GUEST_OS_COUNT; i++) {
		if (!strcmp(text, guests[i].name)) {
			*os = (enum guest_os)i;
			return 0;
		}
	}
	return ERR_INVALID;
}

const char *guest_os_name(unsigned os)
{
	return os < GUEST_OS_COUNT ? guests[os].name : NULL;
}

static const char *mode_word(const struct monitor_caps *caps, enum monitor_mode mode)
{
	switch (mode) {
	case MONITOR_HWMMU:
		return "HWMMU";
	case MONITOR_HV:
		return "HV";
	default:
		return caps->bt_64bit ? "BT" : "BT32";
	}
}

/* One "MONITOR MODE" line with the modes of `set`, in the order given. */
static void log_modes(const struct monitor_caps *caps, const char *what, unsigned set, const enum monitor_mode *order,
		      monitor_log log, void *ctx)
{
	char line[MONITOR_LINE_MAX];
	size_t used = (size_t)snprintf(line, sizeof(line), "MONITOR MODE: %-23s:", what);

	for (unsigned i = 0; i < MONITOR_MODES; i++)
		if (set & BIT(order[i]))
			used += (size_t)snprintf(line + used, sizeof(line) - used, " %s", mode_word(caps, order[i]));
	if (!set)
		snprintf(line + used, sizeof(line) - used, " none");
	log(ctx, line);
}

/* The modes that this CPU can give this guest, whatever the build has. */
static unsigned cpu_modes(const struct monitor_caps *caps, enum guest_class class)
{
	bool hv = caps->vtx || caps->amdv;
	unsigned modes = 0;

	if (class == CLASS_64 && !caps->long_mode)
		return 0;
	if (hv)
		modes |= MODE_HV;
	if (hv && caps->nested_paging)
		modes |= MODE_HWMMU;
	/* BT32 runs a 64-bit guest only up to its first 64-bit instruction and then needs the hardware. */
	if (class != CLASS_64 || caps->bt_64bit || hv)
		modes |= MODE_BT;
	return modes;
}

static unsigned exec_modes(enum monitor_setting exec)
{
	return exec == MONITOR_SOFTWARE ? MODE_BT : exec == MONITOR_HARDWARE ? MODE_HV | MODE_HWMMU : MODES_ALL;
}

static unsigned mmu_modes(enum monitor_setting mmu)
{
	return mmu == MONITOR_SOFTWARE ? MODE_BT | MODE_HV : mmu == MONITOR_HARDWARE ? MODE_HWMMU : MODES_ALL;
}

static const enum monitor_mode *preferred_order(const struct monitor_caps *caps, enum guest_class class)
{
	switch (class) {
	case CLASS_BT_FIRST_32:
		return bt_first;
	case CLASS_UNIX_32:
		return caps->apic_virtualization ? hardware_first : nested_then_bt;
	case CLASS_WINDOWS_32:
		return caps->apic_virtualization || caps->tpr_shadow ? hardware_first : nested_then_bt;
	default:
		return hardware_first;
	}
}

/* Why none of the modes in `wanted` is allowed: what the CPU lacks, then what the build lacks. */
static void why_not(const struct monitor_caps *caps, unsigned wanted, enum guest_class class, char *why, size_t size)
{
	unsigned possible = cpu_modes(caps, class) & wanted;
	unsigned named = 0;
	size_t used = 0;

	why[0] = 0;
	if (class == CLASS_64 && !caps->long_mode)
		used += (size_t)snprintf(why, size, "this CPU is not a 64-bit one, and the guest is");
	else if (wanted == MODE_BT && !possible)
		used += (size_t)snprintf(why, size, "BT32 cannot run a 64-bit guest without VT-x or AMD-V");
	else if ((wanted & (MODE_HV | MODE_HWMMU)) && !caps->vtx && !caps->amdv)
		used += (size_t)snprintf(why, size, "this CPU has no VT-x or AMD-V, or the firmware has locked it off");
	else if ((wanted & MODE_HWMMU) && !caps->nested_paging)
		used += (size_t)snprintf(why, size, "this CPU has %s without %s", caps->vtx ? "VT-x" : "AMD-V", caps->vtx ? "EPT" : "RVI");
	for (unsigned i = 0; i < MONITOR_MODES; i++) {
		if (possible & BIT(naming_order[i])) {
			used += (size_t)snprintf(why + used, size - used, "%s%s", named ? " and " : used ? ", and " : "",
						 mode_word(caps, naming_order[i]));
			named++;
		}
	}
	if (named)
		snprintf(why + used, size - used, named > 1 ? " are not in this build" : " is not in this build");
}

static void log_ignored(const char *key, enum monitor_setting setting, const char *why, monitor_log log, void *ctx)
{
	char line[MONITOR_LINE_MAX];

	snprintf(line, sizeof(line), "MONITOR MODE: ignored %s = \"%s\": %s", key, setting_names[setting], why);
	log(ctx, line);
}

/* The settings are hints: where no allowed mode fits both, one of them gives way, and where neither fits, both do. */
static unsigned narrow(unsigned by_exec, unsigned by_mmu, unsigned allowed, bool *drop_exec, bool *drop_mmu)
{
	unsigned exec_only = by_exec & allowed;
	unsigned mmu_only = by_mmu & allowed;
	unsigned both = exec_only & by_mmu;

	*drop_exec = *drop_mmu = false;
	if (both || !allowed)
		return both;
	if (exec_only && (by_exec & by_mmu)) {
		*drop_mmu = true;
		return exec_only;
	}
	*drop_exec = true;
	if (mmu_only && (by_exec & by_mmu))
		return mmu_only;
	*drop_mmu = true;
	return allowed;
}

int monitor_mode_select(const struct monitor_caps *caps, const struct monitor_settings *settings, enum guest_os os,
			monitor_log log, void *ctx, enum monitor_mode *mode)
{
	enum guest_class class = guests[os].class;
	unsigned allowed = cpu_modes(caps, class) & caps->build;
	unsigned by_exec = exec_modes(settings->exec);
	unsigned by_mmu = mmu_modes(settings->mmu);
	const enum monitor_mode *order = preferred_order(caps, class);
	bool drop_exec, drop_mmu;
	unsigned list = narrow(by_exec, by_mmu, allowed, &drop_exec, &drop_mmu);
	char why[MONITOR_LINE_MAX / 2];

	log_modes(caps, "allowed modes", allowed, naming_order, log, ctx);
	log_modes(caps, "user requested modes", by_exec & by_mmu, naming_order, log, ctx);
	log_modes(caps, "guestOS preferred modes", MODES_ALL, order, log, ctx);
	log_modes(caps, "filtered list", list, order, log, ctx);
	if (!(by_exec & by_mmu)) {
		log(ctx, "MONITOR MODE: ignored " MONITOR_KEY_EXEC " = \"software\" with " MONITOR_KEY_MMU " = \"hardware\": "
			 "binary translation with a hardware MMU is no valid pair");
	} else {
		why_not(caps, by_exec, class, why, sizeof(why));
		if (drop_exec)
			log_ignored(MONITOR_KEY_EXEC, settings->exec, why, log, ctx);
		why_not(caps, drop_exec ? by_mmu : by_exec & by_mmu, class, why, sizeof(why));
		if (drop_mmu)
			log_ignored(MONITOR_KEY_MMU, settings->mmu, why, log, ctx);
	}

	if (!list) {
		char line[MONITOR_LINE_MAX];

		why_not(caps, MODES_ALL, class, why, sizeof(why));
		snprintf(line, sizeof(line), "MONITOR MODE: no mode can run this guest (%s): %s", guests[os].name, why);
		log(ctx, line);
		return ERR_UNSUPPORTED;
	}
	while (!(list & BIT(*order)))
		order++;
	*mode = *order;
	return 0;
}

void monitor_mode_log_chosen(enum monitor_mode mode, const struct monitor_engine_text *text, monitor_log log, void *ctx)
{
	static const char *const names[MONITOR_MODES] = {
		[MONITOR_BT] = "BT-swMMU",
		[MONITOR_HV] = "HV-swMMU",
		[MONITOR_HWMMU] = "HV-hwMMU",
	};
	char line[MONITOR_LINE_MAX];

	snprintf(line, sizeof(line), "MONITOR MODE: %-23s: %s (%s with %s%s%s)", "chosen mode", names[mode], text->engine,
		 text->mmu ? text->mmu : "shadow page tables", text->details ? ", " : "", text->details ? text->details : "");
	log(ctx, line);
}

/* Which monitor mode a VM runs in: the modes that CPU and build allow, narrowed by the settings, in the guest's preferred order. */
#ifndef VMM_CONFIG_MONITOR_MODE_H
#define VMM_CONFIG_MONITOR_MODE_H

#include "lib/types.h"

/* In the order in which the log names them. */
enum monitor_mode {
	MONITOR_BT,    /* BT-swMMU: binary translation and shadow page tables */
	MONITOR_HV,    /* HV-swMMU: VT-x or AMD-V and shadow page tables */
	MONITOR_HWMMU, /* HV-hwMMU: VT-x with EPT or AMD-V with RVI (nested paging) */
	MONITOR_MODES,
};

/* The two keys of lamina.cfg that restrict the choice, by their names. */
#define MONITOR_KEY_EXEC "monitor.virtual_exec"
#define MONITOR_KEY_MMU "monitor.virtual_mmu"

/* A value of these keys. */
enum monitor_setting {
	MONITOR_AUTOMATIC,
	MONITOR_SOFTWARE,
	MONITOR_HARDWARE,
};

struct monitor_settings {
	enum monitor_setting exec;
	enum monitor_setting mmu;
};

/* The value of guestOS. */
enum guest_os {
	GUEST_OTHER_64, /* the default */
	GUEST_LINUX_64,
	GUEST_FREEBSD_64,
	GUEST_SOLARIS_64,
	GUEST_WINDOWS_64,
	GUEST_OTHER_32,
	GUEST_LINUX_32,
	GUEST_FREEBSD_32,
	GUEST_SOLARIS_32,
	GUEST_WINXP,
	GUEST_WINVISTA,
	GUEST_WIN2003,
	GUEST_WIN2008,
	GUEST_WIN2000,
	GUEST_WINNT,
	GUEST_WIN9X,
	GUEST_DOS,
	GUEST_NETWARE,
	GUEST_OPENSERVER,
	GUEST_UNIXWARE,
	GUEST_OS2,
	GUEST_OS_COUNT,
};

/* What the CPU offers and what this build has. */
struct monitor_caps {
	bool vtx;                 /* VT-x, usable (present and not locked off) */
	bool amdv;                /* AMD-V, usable */
	bool nested_paging;       /* EPT or RVI */
	const char *no_nested_paging; /* why not: a sentence, or NULL */
	bool apic_virtualization; /* APIC-access page or more, with TPR shadow ("Penryn" and later) */
	bool tpr_shadow;          /* at least the TPR shadow */
	bool long_mode;           /* a 64-bit CPU */
	bool bt_64bit;            /* the build's translator runs 64-bit code too; else it is BT32 and hands over to VT-x or AMD-V */
	unsigned build;           /* BIT(enum monitor_mode) of each mode that this build has */
};

/* What an engine says of itself for the "chosen mode" line; `mmu` and `details` may be NULL. */
struct monitor_engine_text {
	const char *engine;  /* "VT-x", "AMD-V" */
	const char *mmu;     /* "EPT", "RVI"; NULL means shadow page tables */
	const char *details; /* "1 GiB pages, VPID 1" */
};

/* Room for any line that these functions make, with its NUL. */
#define MONITOR_LINE_MAX 256

typedef void (*monitor_log)(void *ctx, const char *line);

/* The value's number from its text ("software", "hardware", "automatic"; "linux-64" …). Returns 0 or ERR_INVALID. */
int monitor_setting_parse(const char *text, enum monitor_setting *setting);
int guest_os_parse(const char *text, enum guest_os *os);
/* The names of guestOS by number, for messages; NULL past the last. */
const char *guest_os_name(unsigned os);

/* Choose. Logs the four "MONITOR MODE: " lines, then one for each setting that could not be honoured and why. Returns 0 with *mode
 * set; or ERR_UNSUPPORTED where no mode can run this guest, after a "MONITOR MODE: " line that says why.
 * Source: VMware, "Software and Hardware Techniques for x86 Virtualization", "Choice of Monitor Mode". */
int monitor_mode_select(const struct monitor_caps *caps, const struct monitor_settings *settings, enum guest_os os,
			monitor_log log, void *ctx, enum monitor_mode *mode);

/* The line "MONITOR MODE: chosen mode …" for the mode that an engine really took, such as
 * "HV-hwMMU (VT-x with EPT, 1 GiB pages, VPID 1)". */
void monitor_mode_log_chosen(enum monitor_mode mode, const struct monitor_engine_text *text, monitor_log log, void *ctx);

#endif

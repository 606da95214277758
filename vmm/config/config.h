/* lamina.cfg: what each VM consists of. */
#ifndef VMM_CONFIG_CONFIG_H
#define VMM_CONFIG_CONFIG_H

#include "lib/types.h"
#include "vmm/config/monitor_mode.h"

#define CONFIG_VMS_MAX 8
#define CONFIG_MODULES_MAX 8
#define CONFIG_DISKS_MAX 4

/* Sizes of texts, with the NUL. */
#define CONFIG_NAME_SIZE 32
#define CONFIG_FILE_SIZE 64
#define CONFIG_MODULE_SIZE 128
#define CONFIG_CMDLINE_SIZE 2048

struct disk_config {
	char module[CONFIG_FILE_SIZE]; /* the boot module that holds it, or "" */
	char disk[CONFIG_FILE_SIZE];   /* one of the machine's own: "nvme:0n1", "serial:S" …, or "" */
	uint32_t part;                 /* the disk's partition; 0: the whole disk, or the bytes that the next two fields name */
	uint64_t offset, length;       /* in bytes; length 0: all of it */
	bool read_only;
};

struct vm_config {
	char name[CONFIG_NAME_SIZE];
	uint32_t memsize;                                 /* MiB */
	uint32_t numvcpus;
	char kernel[CONFIG_FILE_SIZE];                    /* a boot module's name */
	char initrd[CONFIG_FILE_SIZE];                    /* likewise, or "" */
	char module[CONFIG_MODULES_MAX][CONFIG_MODULE_SIZE]; /* Multiboot modules: a boot module's name, then optional arguments */
	char cmdline[CONFIG_CMDLINE_SIZE];
	struct disk_config disk[CONFIG_DISKS_MAX];
	enum guest_os guest_os;
	struct monitor_settings monitor;
	uint32_t shadow_memory;                           /* MiB of shadow page tables at most; 0: as memsize has it */
	bool broken;                                      /* has a wrong line: must not start */
	unsigned line;                                    /* of its [vm NAME] */
	uint64_t keys_set;                                /* one bit for each key that has been set */
};

struct lamina_config {
	unsigned count;
	struct vm_config vm[CONFIG_VMS_MAX];
	struct vm_config defaults; /* the machine-wide keys */
	unsigned errors;           /* wrong lines so far */
};

/* Told of each wrong line: its number (from 1; 0 for what comes from config_set) and what was expected there. */
typedef void (*config_error)(void *ctx, unsigned line, const char *message);

/* The length of the boot module's name at the start of a `module` key's value: it ends at the first blank or tab. */
size_t config_module_name(const char *value);

/* The three steps: config_parse, then config_set for each setting of the boot command line, then config_check.
 * Each returns 0, or ERR_INVALID where it reported an error; the VMs that are not `broken` can start all the same. */

/* Parse a whole file of `len` bytes (any bytes at all, no NUL needed). Sets *cfg from nothing. */
int config_parse(struct lamina_config *cfg, const char *text, size_t len, config_error error, void *ctx);

/* Override one key: "vm.NAME.key" for one VM, "key" for all. `value` without quotes. A wrong value leaves the VM as it was. */
int config_set(struct lamina_config *cfg, const char *key, const char *value, config_error error, void *ctx);

/* Apply the machine-wide keys to the VMs that do not set them, and mark as broken each VM that has no kernel. */
int config_check(struct lamina_config *cfg, config_error error, void *ctx);

#endif

/* The value of diskN in lamina.cfg. */
#ifndef VMM_CONFIG_CONFIG_DISK_H
#define VMM_CONFIG_CONFIG_DISK_H

#include "vmm/config/config.h"

/* Parse "module:NAME", or a disk of the machine's with a part of it, each with ",ro" or nothing behind. Returns NULL, with *disk set, or
 * what was expected. */
const char *config_parse_disk(const char *value, struct disk_config *disk);

#endif

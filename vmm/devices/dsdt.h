/* The compiled vmm/devices/dsdt.asl: a whole table with its header and checksum. */
#ifndef VMM_DEVICES_DSDT_H
#define VMM_DEVICES_DSDT_H

#include "lib/types.h"

extern const uint8_t dsdt_aml[];
extern const uint32_t dsdt_aml_len; /* bytes */

#endif

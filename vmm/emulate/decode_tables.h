/* Opcode attributes for the decoder, a byte an opcode (SDM vol. 2, appendix A). */
#ifndef VMM_EMULATE_DECODE_TABLES_H
#define VMM_EMULATE_DECODE_TABLES_H

#include "lib/types.h"

/* What follows the opcode, ModRM and displacement, in the low four bits. */
enum {
	IMM_NONE,
	IMM_B,      /* 1 byte */
	IMM_W,      /* 2 bytes */
	IMM_D,      /* 4 bytes */
	IMM_Z,      /* 2 bytes, or 4 for operand sizes 4 and 8 */
	IMM_V,      /* 2, 4 or 8 bytes, the operand size */
	IMM_WB,     /* ENTER: 2 and 1 bytes */
	IMM_FAR,    /* offset (2 or 4 bytes) and selector */
	IMM_MOFFS,  /* an address, as wide as the address size */
	IMM_REL_B,  /* branch displacements */
	IMM_REL_Z,
	IMM_GROUP3, /* F6 and F7: TEST has one */
	IMM_BB_SSE4A, /* 0F 78: two bytes after 66 or F2 */
	IMM_SPECIAL = 14, /* prefixes and escapes */
	IMM_UD = 15,
};

enum {
	ATTR_IMM = 0x0f,
	ATTR_MODRM = 0x10,
	ATTR_BYTE = 0x20,    /* byte operand */
	ATTR_D64 = 0x40,     /* 64-bit mode: operand size 8 without a prefix */
	ATTR_NOT_64 = 0x80,  /* #UD in 64-bit mode */
};

extern const uint8_t decode_one_byte[256]; /* by opcode */
extern const uint8_t decode_0f[256];       /* by the byte after 0F */

#endif

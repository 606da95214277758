/* The opcode maps as tables, with short names for the attributes so that a row is eight opcodes of the manual's map. */
#include "vmm/emulate/decode_tables.h"

#define __ IMM_NONE
#define UD IMM_UD
#define XX IMM_SPECIAL
#define M ATTR_MODRM
#define MB (ATTR_MODRM | ATTR_BYTE)
#define B ATTR_BYTE
#define D ATTR_D64
#define N ATTR_NOT_64
#define IB IMM_B
#define IBB (IMM_B | ATTR_BYTE)
#define IZ IMM_Z
#define IV IMM_V
#define MJ (ATTR_MODRM | IMM_B)
#define MJB (ATTR_MODRM | IMM_B | ATTR_BYTE)
#define MZ (ATTR_MODRM | IMM_Z)
#define G3 (ATTR_MODRM | IMM_GROUP3)
#define OF IMM_MOFFS
#define JB (IMM_REL_B | ATTR_D64)
#define JZ (IMM_REL_Z | ATTR_D64)

const uint8_t decode_one_byte[256] = {
	/*        0       1       2       3       4       5       6       7  */
	/*        8       9       a       b       c       d       e       f  */
	/* 00 */ MB,     M,      MB,     M,      IBB,    IZ,     N,      N,
	/* 08 */ MB,     M,      MB,     M,      IBB,    IZ,     N,      XX,
	/* 10 */ MB,     M,      MB,     M,      IBB,    IZ,     N,      N,
	/* 18 */ MB,     M,      MB,     M,      IBB,    IZ,     N,      N,
	/* 20 */ MB,     M,      MB,     M,      IBB,    IZ,     XX,     N,
	/* 28 */ MB,     M,      MB,     M,      IBB,    IZ,     XX,     N,
	/* 30 */ MB,     M,      MB,     M,      IBB,    IZ,     XX,     N,
	/* 38 */ MB,     M,      MB,     M,      IBB,    IZ,     XX,     N,
	/* 40 */ __,     __,     __,     __,     __,     __,     __,     __, /* REX in 64-bit mode, seen before this table counts */
	/* 48 */ __,     __,     __,     __,     __,     __,     __,     __,
	/* 50 */ D,      D,      D,      D,      D,      D,      D,      D,
	/* 58 */ D,      D,      D,      D,      D,      D,      D,      D,
	/* 60 */ N,      N,      XX,     M,      XX,     XX,     XX,     XX,
	/* 68 */ D | IZ, M | IZ, D | IB, MJ,     B,      __,     B,      __,
	/* 70 */ JB,     JB,     JB,     JB,     JB,     JB,     JB,     JB,
	/* 78 */ JB,     JB,     JB,     JB,     JB,     JB,     JB,     JB,
	/* 80 */ MJB,    MZ,     N | MJB, MJ,    MB,     M,      MB,     M,
	/* 88 */ MB,     M,      MB,     M,      M,      M,      M,      XX,
	/* 90 */ __,     __,     __,     __,     __,     __,     __,     __,
	/* 98 */ __,     __,     N | IMM_FAR, __, D,     D,      __,     __,
	/* a0 */ B | OF, OF,     B | OF, OF,     B,      __,     B,      __,
	/* a8 */ IBB,    IZ,     B,      __,     B,      __,     B,      __,
	/* b0 */ IBB,    IBB,    IBB,    IBB,    IBB,    IBB,    IBB,    IBB,
	/* b8 */ IV,     IV,     IV,     IV,     IV,     IV,     IV,     IV,
	/* c0 */ MJB,    MJ,     D | IMM_W, D,   XX,     XX,     MJB,    MZ,
	/* c8 */ D | IMM_WB, D,  IMM_W,  __,     __,     IB,     N,      __,
	/* d0 */ MB,     M,      MB,     M,      N | IB, N | IB, N,      __,
	/* d8 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* e0 */ JB,     JB,     JB,     JB,     IBB,    IB,     IBB,    IB,
	/* e8 */ JZ,     JZ,     N | IMM_FAR, JB, B,     __,     B,      __,
	/* f0 */ XX,     __,     XX,     XX,     __,     __,     G3 | B, G3,
	/* f8 */ __,     __,     __,     __,     __,     __,     MB,     M,
};

const uint8_t decode_0f[256] = {
	/* 00 */ M,      M,      M,      M,      UD,     __,     __,     __,
	/* 08 */ __,     __,     UD,     __,     UD,     M,      __,     MJ, /* 0f: 3DNow!, the suffix like an immediate */
	/* 10 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* 18 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* 20 */ M,      M,      M,      M,      UD,     UD,     UD,     UD,
	/* 28 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* 30 */ __,     __,     __,     __,     __,     __,     UD,     __,
	/* 38 */ XX,     UD,     XX,     UD,     UD,     UD,     UD,     UD,
	/* 40 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* 48 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* 50 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* 58 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* 60 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* 68 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* 70 */ MJ,     MJ,     MJ,     MJ,     M,      M,      M,      __,
	/* 78 */ M | IMM_BB_SSE4A, M, UD, UD,    M,      M,      M,      M,
	/* 80 */ JZ,     JZ,     JZ,     JZ,     JZ,     JZ,     JZ,     JZ,
	/* 88 */ JZ,     JZ,     JZ,     JZ,     JZ,     JZ,     JZ,     JZ,
	/* 90 */ MB,     MB,     MB,     MB,     MB,     MB,     MB,     MB,
	/* 98 */ MB,     MB,     MB,     MB,     MB,     MB,     MB,     MB,
	/* a0 */ D,      D,      __,     M,      MJ,     M,      M,      M, /* a6, a7: VIA PadLock */
	/* a8 */ D,      D,      __,     M,      MJ,     M,      M,      M,
	/* b0 */ MB,     M,      M,      M,      M,      M,      M,      M,
	/* b8 */ M,      M,      MJ,     M,      M,      M,      M,      M,
	/* c0 */ MB,     M,      MJ,     M,      MJ,     MJ,     MJ,     M,
	/* c8 */ __,     __,     __,     __,     __,     __,     __,     __,
	/* d0 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* d8 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* e0 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* e8 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* f0 */ M,      M,      M,      M,      M,      M,      M,      M,
	/* f8 */ M,      M,      M,      M,      M,      M,      M,      M,
};

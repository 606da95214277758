/* The instruction decoder: length and operands' shape of any x86 instruction (SDM vol. 2, chapter 2 and appendix A; for XOP and
 * 3DNow! the AMD64 Architecture Programmer's Manual, vol. 3). */
#ifndef VMM_EMULATE_DECODE_H
#define VMM_EMULATE_DECODE_H

#include "lib/types.h"
#include "lib/x86/segment.h"

#define INSN_LENGTH_MAX 15

enum decode_mode { DECODE_16, DECODE_32, DECODE_64 };

/* Register numbers are those of the encodings: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8..r15. */
enum { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI };
#define REG_NONE 0xff
#define REG_RIP 0xfe /* base only: the address of the next instruction */

/* The first six have numbers in encodings. */

/* struct insn.flags */
enum {
	INSN_LOCK = 1 << 0,
	INSN_REPE = 1 << 1,    /* F3, where it is the last of the F2 and F3 prefixes; VEX and EVEX: the pp field says so */
	INSN_REPNE = 1 << 2,   /* F2, likewise */
	INSN_OPSIZE = 1 << 3,  /* 66, likewise */
	INSN_ADDRSIZE = 1 << 4,
	INSN_SEGMENT = 1 << 5, /* a segment prefix that counts in this mode */
	INSN_MODRM = 1 << 6,
	INSN_MEM = 1 << 7,     /* an explicit memory operand: ModRM's, or a moffs; not that of string or stack instructions */
	INSN_BRANCH = 1 << 8,  /* `imm` is a displacement relative to the next instruction */
};

enum insn_encoding { ENCODING_LEGACY, ENCODING_VEX, ENCODING_EVEX, ENCODING_XOP, ENCODING_3DNOW };

enum insn_map {
	MAP_ONE_BYTE = 0,
	MAP_0F = 1,
	MAP_0F38 = 2,
	MAP_0F3A = 3,
	/* EVEX maps 5 and 6 and XOP maps 8, 9 and 10 keep their numbers */
};

struct insn {
	uint8_t length;
	uint8_t encoding;
	uint8_t map;
	uint8_t opcode;       /* 3DNow!: the suffix */
	uint16_t flags;
	uint8_t rex;          /* REX as it stands, or W, R, X, B of VEX, EVEX and XOP in its low bits; 0 without either */
	uint8_t operand_size; /* bytes: 1 for byte forms, else 2, 4 or 8; the general-purpose meaning, also for vector instructions */
	uint8_t address_size; /* bytes: 2, 4 or 8 */
	uint8_t segment;      /* of the memory operand, or of a string source: the prefix or the default */
	uint8_t modrm;
	uint8_t sib;
	uint8_t mod;          /* the fields of ModRM, extended; `reg` without its extension is (modrm >> 3) & 7 */
	uint8_t reg;
	uint8_t rm;           /* the register, where mod is 3 */
	uint8_t base;         /* the memory operand's: a register, REG_NONE or REG_RIP */
	uint8_t index;        /* a register or REG_NONE (a vector register's low four bits for VSIB) */
	uint8_t scale;        /* shift count */
	uint8_t disp_size;    /* bytes in the instruction, 0, 1, 2, 4 or 8 */
	uint8_t imm_size;     /* likewise */
	uint8_t vex_vvvv;     /* VEX, EVEX, XOP: as a register number, 0..15 */
	uint8_t vex_l;        /* VEX.L, EVEX.L'L */
	int64_t disp;         /* sign-extended; EVEX: a disp8 is not scaled; moffs: the address */
	uint64_t imm;         /* sign-extended; a far pointer or ENTER's operands: the bytes as they stand */
};

/* Decode the first instruction of `bytes`, of which `avail` may be read. Returns 0; ERR_RANGE: it goes on behind `avail`;
 * ERR_INVALID: no such instruction (#UD, `insn->length` is 0), or one longer than 15 bytes (#GP, `insn->length` is 15). Only the
 * opcode maps' holes are refused: forms that the CPU refuses by group, prefix or feature decode with the length they would have.
 * Near branches in 64-bit mode ignore the operand-size prefix, as Intel's CPUs do. */
int decode(struct insn *insn, const uint8_t *bytes, unsigned avail, enum decode_mode mode);

#endif

/* The decoder's stages, each over the same cursor: prefixes, opcode or vector prefix, ModRM with its memory operand, immediate. */
#include "vmm/emulate/decode.h"

#include "lib/string.h"
#include "lib/x86/segment.h"
#include "vmm/emulate/decode_tables.h"

#define REX_W 8
#define REX_R 4
#define REX_X 2
#define REX_B 1

/* What the stages share; `p` and `end` bound the bytes, `end` being at most 15 from the start. */
struct cursor {
	const uint8_t *p;
	const uint8_t *end;
};

static inline unsigned left(const struct cursor *c)
{
	return (unsigned)(c->end - c->p);
}

/* Read `size` (1, 2, 4 or 8) bytes, which are there, and sign-extend them. */
static inline int64_t take_signed(struct cursor *c, unsigned size)
{
	const uint8_t *p = c->p;

	c->p += size;
	switch (size) {
	case 1:
		return (int8_t)*p;
	case 2: {
		int16_t v;

		memcpy(&v, p, 2);
		return v;
	}
	case 4: {
		int32_t v;

		memcpy(&v, p, 4);
		return v;
	}
	default: {
		int64_t v;

		memcpy(&v, p, 8);
		return v;
	}
	}
}

/* The memory operand of ModRM with 16-bit addresses (SDM vol. 2, table 2-1), by rm. */
static const uint8_t base_16[8] = { REG_RBX, REG_RBX, REG_RBP, REG_RBP, REG_RSI, REG_RDI, REG_RBP, REG_RBX };
static const uint8_t index_16[8] = { REG_RSI, REG_RDI, REG_RSI, REG_RDI, REG_NONE, REG_NONE, REG_NONE, REG_NONE };

/* Decode SIB and displacement after ModRM with mod below 3. Returns false where bytes are missing. */
static inline bool decode_memory(struct insn *insn, struct cursor *c, bool mode64)
{
	unsigned mod = insn->mod, rm = insn->modrm & 7, disp_size = mod == 1 ? 1 : 0;
	unsigned base;

	insn->flags |= INSN_MEM;
	if (insn->address_size == 2) {
		base = base_16[rm];
		insn->index = index_16[rm];
		if (mod == 2)
			disp_size = 2;
		if (mod == 0 && rm == 6) {
			base = REG_NONE;
			disp_size = 2;
		}
		if (base == REG_RBP && !(insn->flags & INSN_SEGMENT))
			insn->segment = SEG_SS;
	} else {
		base = rm;
		if (rm == 4) {
			unsigned index;

			if (!left(c))
				return false;
			insn->sib = *c->p++;
			base = insn->sib & 7;
			index = (insn->sib >> 3 & 7) | (insn->rex & REX_X ? 8 : 0);
			if (index != 4)
				insn->index = (uint8_t)index;
			insn->scale = insn->sib >> 6;
		}
		if (mod == 2)
			disp_size = 4;
		if (mod == 0 && base == 5) {
			base = mode64 && rm == 5 ? REG_RIP : REG_NONE;
			disp_size = 4;
		} else {
			base |= insn->rex & REX_B ? 8 : 0;
			if ((base == REG_RSP || base == REG_RBP) && !(insn->flags & INSN_SEGMENT))
				insn->segment = SEG_SS;
		}
	}
	insn->base = (uint8_t)base;
	if (disp_size) {
		if (left(c) < disp_size)
			return false;
		insn->disp_size = (uint8_t)disp_size;
		insn->disp = take_signed(c, disp_size);
	}
	return true;
}

/* How many bytes of immediate this kind takes. */
static unsigned imm_length(const struct insn *insn, unsigned kind, bool mode64)
{
	unsigned z = insn->operand_size == 2 ? 2 : 4;

	switch (kind) {
	case IMM_B:
	case IMM_REL_B:
		return 1;
	case IMM_W:
		return 2;
	case IMM_D:
		return 4;
	case IMM_Z:
		return z;
	case IMM_V:
		return insn->operand_size;
	case IMM_WB:
		return 3;
	case IMM_FAR:
		return z + 2;
	case IMM_MOFFS:
		return insn->address_size;
	case IMM_REL_Z:
		return mode64 ? 4 : z;
	case IMM_GROUP3:
		return (insn->modrm >> 3 & 6) ? 0 : insn->operand_size == 1 ? 1 : z;
	case IMM_BB_SSE4A:
		return insn->flags & (INSN_OPSIZE | INSN_REPNE) ? 2 : 0;
	default:
		return 0;
	}
}

/* Decode the immediate. Returns false where bytes are missing. */
static bool decode_immediate(struct insn *insn, struct cursor *c, unsigned kind, bool mode64)
{
	unsigned size = imm_length(insn, kind, mode64);

	if (left(c) < size)
		return false;
	if (kind == IMM_MOFFS) {
		/* An offset is unsigned, unlike a displacement. */
		insn->disp = take_signed(c, size);
		if (size < 8)
			insn->disp &= (int64_t)(BIT(8 * size) - 1);
		insn->disp_size = (uint8_t)size;
		insn->flags |= INSN_MEM;
		return true;
	}
	insn->imm_size = (uint8_t)size;
	if (kind == IMM_REL_B || kind == IMM_REL_Z)
		insn->flags |= INSN_BRANCH;
	if (kind == IMM_FAR || kind == IMM_WB) {
		for (unsigned i = 0; i < size; i++)
			insn->imm |= (uint64_t)*c->p++ << (8 * i);
	} else if (size) {
		insn->imm = (uint64_t)take_signed(c, size);
	}
	return true;
}

/* The implied prefix of VEX, EVEX and XOP. */
static uint16_t pp_flags(unsigned pp)
{
	static const uint8_t flags[4] = { 0, INSN_OPSIZE, INSN_REPE, INSN_REPNE };

	return flags[pp & 3];
}

/* Decode the rest of a VEX, EVEX or XOP prefix, whose first byte was `first`, up to and with the opcode. Sets *attr.
 * Returns 0, ERR_RANGE or ERR_INVALID. */
static int decode_vector_prefix(struct insn *insn, struct cursor *c, unsigned first, bool mode64, unsigned *attr)
{
	unsigned need = first == 0x62 ? 4 : first == 0xc5 ? 2 : 3;
	unsigned rxb, map, last;

	/* Legacy prefixes that VEX implies, LOCK and REX are #UD before any of them. */
	if (insn->rex || (insn->flags & (INSN_LOCK | INSN_REPE | INSN_REPNE | INSN_OPSIZE)))
		return ERR_INVALID;
	if (left(c) < need)
		return ERR_RANGE;
	if (first == 0xc5) {
		rxb = *c->p & 0x80 ? 0 : REX_R;
		map = MAP_0F;
		last = *c->p++ & 0x7f; /* VEX.W is 0 */
	} else {
		rxb = ~*c->p >> 5 & 7;
		map = first == 0x62 ? *c->p & 15 : *c->p & 31; /* bit 3 of EVEX's byte is reserved: see below */
		c->p++;
		last = *c->p++;
	}
	if (!mode64)
		rxb = 0;
	insn->rex = (uint8_t)(rxb | (last & 0x80 ? REX_W : 0));
	insn->vex_vvvv = ~last >> 3 & 15;
	insn->flags |= pp_flags(last);
	insn->map = (uint8_t)map;
	if (first == 0x62) {
		insn->encoding = ENCODING_EVEX;
		insn->vex_l = *c->p++ >> 5 & 3;
		if (!(last & 4) || map == 0 || map == 4 || map > 6)
			return ERR_INVALID;
	} else {
		insn->vex_l = last >> 2 & 1;
		insn->encoding = first == 0x8f ? ENCODING_XOP : ENCODING_VEX;
		if (first == 0x8f ? map < 8 || map > 10 : map < 1 || map > 3)
			return ERR_INVALID;
	}
	insn->opcode = *c->p++;
	*attr = ATTR_MODRM;
	if (map == MAP_0F) {
		unsigned legacy = decode_0f[insn->opcode];

		if (insn->opcode == 0x77 && first != 0x62)
			*attr = 0; /* VZEROUPPER, VZEROALL */
		else if (!(legacy & ATTR_MODRM) && first != 0x62)
			return ERR_INVALID; /* EVEX fills some of the legacy map's holes */
		else if ((legacy & ATTR_IMM) == IMM_B)
			*attr |= IMM_B;
	} else if (map == MAP_0F3A || map == 8) {
		*attr |= IMM_B;
	} else if (map == 10) {
		*attr |= IMM_D;
	}
	return 0;
}

/* In 64-bit mode Intel's CPUs ignore the operand-size prefix of near branches. */
static bool forced_64(const struct insn *insn, unsigned attr)
{
	unsigned kind = attr & ATTR_IMM;

	if (kind == IMM_REL_B || kind == IMM_REL_Z)
		return true;
	return insn->map == MAP_ONE_BYTE && (insn->opcode == 0xc2 || insn->opcode == 0xc3);
}

int decode(struct insn *insn, const uint8_t *bytes, unsigned avail, enum decode_mode mode)
{
	struct cursor c = { bytes, bytes + MIN(avail, INSN_LENGTH_MAX) };
	bool mode64 = mode == DECODE_64;
	unsigned b, attr, flags = 0;
	int err;

	*insn = (struct insn){
		.address_size = mode64 ? 8 : mode == DECODE_32 ? 4 : 2,
		.segment = SEG_DS,
		.base = REG_NONE,
		.index = REG_NONE,
	};

	/* Prefixes, up to the first byte that is none. */
	for (;;) {
		if (c.p == c.end)
			goto out_of_bytes;
		b = *c.p++;
		if (mode64 && (b & 0xf0) == 0x40) {
			insn->rex = (uint8_t)b;
			continue;
		}
		attr = decode_one_byte[b];
		if ((attr & ATTR_IMM) != IMM_SPECIAL)
			break;
		switch (b) {
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
			if (!mode64) {
				insn->segment = (uint8_t)(b >> 3 & 3);
				flags |= INSN_SEGMENT;
			}
			break;
		case 0x64:
		case 0x65:
			insn->segment = (uint8_t)(b - 0x64 + SEG_FS);
			flags |= INSN_SEGMENT;
			break;
		case 0x66:
			flags |= INSN_OPSIZE;
			break;
		case 0x67:
			flags |= INSN_ADDRSIZE;
			break;
		case 0xf0:
			flags |= INSN_LOCK;
			break;
		case 0xf2:
			flags = (flags & ~INSN_REPE) | INSN_REPNE;
			break;
		case 0xf3:
			flags = (flags & ~INSN_REPNE) | INSN_REPE;
			break;
		default:
			goto escape;
		}
		insn->rex = 0; /* REX counts only right before the opcode */
	}
	insn->opcode = (uint8_t)b;
	insn->flags = (uint16_t)flags;
	goto have_opcode;

escape:
	insn->flags = (uint16_t)flags;
	if (b == 0x0f) {
		if (c.p == c.end)
			goto out_of_bytes;
		insn->map = MAP_0F;
		insn->opcode = *c.p++;
		attr = decode_0f[insn->opcode];
		if ((attr & ATTR_IMM) == IMM_SPECIAL) {
			insn->map = insn->opcode == 0x38 ? MAP_0F38 : MAP_0F3A;
			attr = insn->opcode == 0x38 ? ATTR_MODRM : ATTR_MODRM | IMM_B;
			if (c.p == c.end)
				goto out_of_bytes;
			insn->opcode = *c.p++;
		}
	} else {
		/* 62, C4, C5 and 8F begin a vector prefix or are BOUND, LES, LDS and POP, which the next byte tells. */
		if (c.p == c.end)
			goto out_of_bytes;
		if (b == 0x8f ? (*c.p & 0x1f) >= 8 : mode64 || *c.p >= 0xc0) {
			err = decode_vector_prefix(insn, &c, b, mode64, &attr);
			if (err == ERR_RANGE)
				goto out_of_bytes;
			if (err)
				goto invalid;
		} else {
			insn->opcode = (uint8_t)b;
			attr = b == 0x8f ? ATTR_MODRM | ATTR_D64 : ATTR_MODRM;
		}
	}

have_opcode:
	if ((attr & ATTR_IMM) == IMM_UD || (mode64 && (attr & ATTR_NOT_64)))
		goto invalid;
	if (flags & INSN_ADDRSIZE)
		insn->address_size = mode == DECODE_32 ? 2 : 4;
	if (attr & ATTR_BYTE)
		insn->operand_size = 1;
	else if (mode64 && (insn->rex & REX_W))
		insn->operand_size = 8;
	else if (mode64 && (attr & ATTR_D64))
		insn->operand_size = (flags & INSN_OPSIZE) && !forced_64(insn, attr) ? 2 : 8;
	else
		insn->operand_size = (mode == DECODE_16) == !(flags & INSN_OPSIZE) ? 2 : 4;

	if (attr & ATTR_MODRM) {
		unsigned modrm;

		if (c.p == c.end)
			goto out_of_bytes;
		modrm = *c.p++;
		insn->flags |= INSN_MODRM;
		insn->modrm = (uint8_t)modrm;
		insn->mod = (uint8_t)(modrm >> 6);
		insn->reg = (uint8_t)((modrm >> 3 & 7) | (insn->rex & REX_R ? 8 : 0));
		insn->rm = (uint8_t)((modrm & 7) | (insn->rex & REX_B ? 8 : 0));
		if (insn->map == MAP_0F && (insn->opcode & 0xfc) == 0x20 && insn->encoding == ENCODING_LEGACY)
			insn->mod = 3; /* MOV to and from control and debug registers knows no memory */
		if (insn->mod != 3 && !decode_memory(insn, &c, mode64))
			goto out_of_bytes;
		/* Near CALL and JMP through memory or a register, PUSH: 64 bits without a prefix. */
		if (mode64 && insn->opcode == 0xff && insn->map == MAP_ONE_BYTE) {
			unsigned op = modrm >> 3 & 7;

			if (op == 2 || op == 4 || (op == 6 && !(flags & INSN_OPSIZE)))
				insn->operand_size = 8;
		}
	}
	if ((attr & ATTR_IMM) != IMM_NONE && !decode_immediate(insn, &c, attr & ATTR_IMM, mode64))
		goto out_of_bytes;
	if (insn->map == MAP_0F && insn->opcode == 0x0f && insn->encoding == ENCODING_LEGACY) {
		insn->encoding = ENCODING_3DNOW;
		insn->opcode = (uint8_t)insn->imm;
	}
	insn->length = (uint8_t)(c.p - bytes);
	return 0;

out_of_bytes:
	if (avail < INSN_LENGTH_MAX)
		return ERR_RANGE;
	insn->length = INSN_LENGTH_MAX;
	return ERR_INVALID;

invalid:
	insn->length = 0;
	return ERR_INVALID;
}

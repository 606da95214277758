/* A small parser of AML that finds the sleep types for power-off in \_S5, without an interpreter. */
#include "drivers/acpi/acpi.h"
#include "lib/string.h"

/* AML byte values (section 20.2). */
#define AML_ZERO_OP 0x00
#define AML_ONE_OP 0x01
#define AML_NAME_OP 0x08
#define AML_BYTE_PREFIX 0x0a
#define AML_WORD_PREFIX 0x0b
#define AML_DWORD_PREFIX 0x0c
#define AML_PACKAGE_OP 0x12
#define AML_ROOT_CHAR '\\'

#define SLP_TYP_MAX 7 /* SLP_TYP has three bits (section 4.8.3.2.1) */

/* Bytes that are still to be read. */
struct aml {
	const uint8_t *bytes;
	size_t left;
};

static bool take_byte(struct aml *aml, uint8_t *value)
{
	if (!aml->left)
		return false;
	*value = *aml->bytes++;
	aml->left--;
	return true;
}

/* PkgLength (section 20.2.4): it counts its own bytes. Cuts `aml` to the rest of the package. */
static bool take_package_length(struct aml *aml)
{
	size_t before = aml->left, length, own;
	uint8_t lead, next;

	if (!take_byte(aml, &lead))
		return false;
	length = lead >> 6 ? lead & 0x0f : lead & 0x3f;
	if (lead >> 6 && (lead & 0x30))
		return false;
	for (unsigned i = 0; i < lead >> 6; i++) {
		if (!take_byte(aml, &next))
			return false;
		length |= (size_t)next << (4 + 8 * i);
	}
	own = before - aml->left;
	if (length < own || length > before)
		return false;
	aml->left = length - own;
	return true;
}

/* A constant integer (section 20.2.3). */
static bool take_integer(struct aml *aml, uint32_t *value)
{
	uint8_t op, byte;
	unsigned size;

	if (!take_byte(aml, &op))
		return false;
	*value = 0;
	switch (op) {
	case AML_ZERO_OP:
		return true;
	case AML_ONE_OP:
		*value = 1;
		return true;
	case AML_BYTE_PREFIX:
		size = 1;
		break;
	case AML_WORD_PREFIX:
		size = 2;
		break;
	case AML_DWORD_PREFIX:
		size = 4;
		break;
	default:
		return false;
	}
	for (unsigned i = 0; i < size; i++) {
		if (!take_byte(aml, &byte))
			return false;
		*value |= (uint32_t)byte << (8 * i);
	}
	return true;
}

/* What follows a NameOp. */
static bool parse_s5(struct aml aml, uint8_t *slp_typa, uint8_t *slp_typb)
{
	uint8_t op, elements;
	uint32_t a, b;

	if (aml.left && *aml.bytes == AML_ROOT_CHAR)
		take_byte(&aml, &op);
	if (aml.left < 4 || memcmp(aml.bytes, "_S5_", 4) != 0)
		return false;
	aml.bytes += 4;
	aml.left -= 4;
	if (!take_byte(&aml, &op) || op != AML_PACKAGE_OP || !take_package_length(&aml) || !take_byte(&aml, &elements) || !elements)
		return false;
	if (!take_integer(&aml, &a))
		return false;
	if (elements == 1) {
		/* Some firmware packs both into one integer. */
		b = a >> 8 & 0xff;
		a &= 0xff;
	} else if (!take_integer(&aml, &b)) {
		return false;
	}
	if (a > SLP_TYP_MAX || b > SLP_TYP_MAX)
		return false;
	*slp_typa = (uint8_t)a;
	*slp_typb = (uint8_t)b;
	return true;
}

bool acpi_find_s5(const uint8_t *aml, size_t size, uint8_t *slp_typa, uint8_t *slp_typb)
{
	for (size_t at = 0; at < size; at++)
		if (aml[at] == AML_NAME_OP && parse_s5((struct aml){ aml + at + 1, size - at - 1 }, slp_typa, slp_typb))
			return true;
	return false;
}

/* The parser of the value of diskN: a boot module, or a disk of the machine's with a partition or a range of bytes. */
#include "vmm/config/config_disk.h"

#include "lib/string.h"

static const char expected[] =
	"expected \"module:NAME\" with a boot module's name, \"nvme:CnN\", \"ahci:N\", \"ata:N\", \"virtio:N\" or \"serial:S\", "
	"for a part of a disk \"/partN\" or \"/bytes=OFFSET+LENGTH\" behind it, and \",ro\" at the end for a disk that is only read";
static const char expected_module[] = "expected a boot module's name of at most 63 characters, without blanks and commas, then nothing or \",ro\"";
static const char expected_name[] = "expected a disk's name or serial number of at most 63 characters";
static const char expected_part[] = "expected a partition's number, 1 to 128, after \"/part\"";
static const char expected_bytes[] =
	"expected \"/bytes=OFFSET+LENGTH\", whole numbers of bytes that are multiples of 512, the length not 0";

_Static_assert(CONFIG_FILE_SIZE == 64, "the messages name its limit");

/* A number at the front of the text. Returns false where there is none, or it is 2^63 or more. */
static bool take_number(const char **s, uint64_t *number)
{
	const char *start = *s;

	for (*number = 0; **s >= '0' && **s <= '9'; (*s)++) {
		if (*number >= BIT(63) / 10)
			return false;
		*number = *number * 10 + (uint64_t)(**s - '0');
	}
	return *s != start;
}

static bool is_module_name(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] == ' ' || s[i] == '\t' || s[i] == ',')
			return false;
	return len > 0 && len < CONFIG_FILE_SIZE;
}

/* The last place where `word` begins in the first `len` characters, or NULL. */
static const char *last_of(const char *s, size_t len, const char *word)
{
	size_t n = strlen(word);
	const char *found = NULL;

	for (size_t i = 0; i + n <= len; i++)
		if (!strncmp(s + i, word, n))
			found = s + i;
	return found;
}

static bool is_disk_name(const char *s, size_t len)
{
	static const char *const schemes[] = { "nvme:", "ahci:", "ata:", "virtio:", "serial:" };

	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++)
		if (len > strlen(schemes[i]) && !strncmp(s, schemes[i], strlen(schemes[i])))
			return true;
	return false;
}

static const char *parse_part(const char *s, const char *end, struct disk_config *disk)
{
	uint64_t number;

	s += strlen("/part");
	if (!take_number(&s, &number) || s != end || !number || number > 128)
		return expected_part;
	disk->part = (uint32_t)number;
	return NULL;
}

static const char *parse_bytes(const char *s, const char *end, struct disk_config *disk)
{
	s += strlen("/bytes=");
	if (!take_number(&s, &disk->offset) || *s++ != '+' || !take_number(&s, &disk->length) || s != end || !disk->length ||
	    disk->offset % 512 || disk->length % 512)
		return expected_bytes;
	return NULL;
}

static const char *parse_real(const char *value, const char *end, struct disk_config *disk)
{
	const char *part = last_of(value, (size_t)(end - value), "/part");
	const char *bytes = last_of(value, (size_t)(end - value), "/bytes=");
	const char *name_end = part ? part : bytes ? bytes : end;
	const char *wrong = NULL;

	if (!is_disk_name(value, (size_t)(name_end - value)))
		return expected;
	if (name_end - value >= CONFIG_FILE_SIZE)
		return expected_name;
	if (part)
		wrong = parse_part(part, end, disk);
	else if (bytes)
		wrong = parse_bytes(bytes, end, disk);
	memcpy(disk->disk, value, (size_t)(name_end - value));
	return wrong;
}

const char *config_parse_disk(const char *value, struct disk_config *disk)
{
	static const char scheme[] = "module:";
	struct disk_config parsed;
	const char *end = value + strlen(value), *wrong;

	memset(&parsed, 0, sizeof(parsed));
	if (end - value >= 3 && !strcmp(end - 3, ",ro")) {
		parsed.read_only = true;
		end -= 3;
	}
	if (strncmp(value, scheme, sizeof(scheme) - 1) != 0) {
		wrong = parse_real(value, end, &parsed);
	} else {
		value += sizeof(scheme) - 1;
		wrong = end < value || !is_module_name(value, (size_t)(end - value)) ? expected_module : NULL;
		if (!wrong)
			memcpy(parsed.module, value, (size_t)(end - value));
	}
	if (!wrong)
		*disk = parsed;
	return wrong;
}

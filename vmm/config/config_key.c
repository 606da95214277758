/* The table of lamina.cfg's keys, how each kind of value is read and stored in struct vm_config, and the reports of wrong values. */
#include "vmm/config/config_key.h"

#include "lib/printf.h"
#include "lib/string.h"
#include "vmm/config/config_disk.h"

#define ERRORS_SHOWN_MAX 32
#define MESSAGE_SIZE 512

#define FIELD(f) .offset = offsetof(struct vm_config, f), .size = sizeof(((struct vm_config *)0)->f)
#define MODULE_KEY(n) { .name = "module" #n, .kind = KEY_MODULE, FIELD(module[n]) }
#define DISK_KEY(n) { .name = "disk" #n, .kind = KEY_DISK, FIELD(disk[n]) }

static const struct config_key keys[] = {
	{ .name = "memsize", .kind = KEY_NUMBER, FIELD(memsize), .min = 4, .max = 1048576, .unit = " (MiB)" },
	{ .name = "numvcpus", .kind = KEY_NUMBER, FIELD(numvcpus), .min = 1, .max = 64, .unit = "" },
	{ .name = "kernel", .kind = KEY_FILE, FIELD(kernel) },
	{ .name = "initrd", .kind = KEY_FILE, FIELD(initrd) },
	MODULE_KEY(0), MODULE_KEY(1), MODULE_KEY(2), MODULE_KEY(3), MODULE_KEY(4), MODULE_KEY(5), MODULE_KEY(6), MODULE_KEY(7),
	{ .name = "cmdline", .kind = KEY_TEXT, FIELD(cmdline) },
	DISK_KEY(0), DISK_KEY(1), DISK_KEY(2), DISK_KEY(3),
	{ .name = "guestOS", .kind = KEY_GUEST_OS, FIELD(guest_os) },
	{ .name = MONITOR_KEY_EXEC, .kind = KEY_SETTING, .machine_wide = true, FIELD(monitor.exec) },
	{ .name = MONITOR_KEY_MMU, .kind = KEY_SETTING, .machine_wide = true, FIELD(monitor.mmu) },
	{ .name = "monitor.shadow_memory", .kind = KEY_NUMBER, FIELD(shadow_memory), .min = 1, .max = 24, .unit = " (MiB)" },
};
_Static_assert(ARRAY_SIZE(keys) <= 64, "vm_config.given has a bit for each key");

/* The keys of one series, module0 to module7, stand side by side. */
static bool same_series(const struct config_key *a, const struct config_key *b)
{
	return a->kind == b->kind && (a->kind == KEY_MODULE || a->kind == KEY_DISK);
}

const char *config_key_names(char out[CONFIG_KEY_NAMES_SIZE], bool machine)
{
	size_t used = 0;

	for (const struct config_key *key = keys, *last, *next; key < &keys[ARRAY_SIZE(keys)]; key = last + 1) {
		for (last = key; last + 1 < &keys[ARRAY_SIZE(keys)] && same_series(key, last + 1); last++)
			;
		if (machine && !key->machine_wide)
			continue;
		for (next = last + 1; next < &keys[ARRAY_SIZE(keys)] && machine && !next->machine_wide; next++)
			;
		if (used)
			used += (size_t)snprintf(out + used, CONFIG_KEY_NAMES_SIZE - used, "%s", next < &keys[ARRAY_SIZE(keys)] ? ", " : " or ");
		used += (size_t)snprintf(out + used, CONFIG_KEY_NAMES_SIZE - used, last > key ? "%s to %s" : "%s", key->name, last->name);
	}
	return out;
}

void config_report(struct config_reporter *p, const char *fmt, ...)
{
	char message[MESSAGE_SIZE];
	va_list args;

	p->errors++;
	if (p->cfg->errors++ > ERRORS_SHOWN_MAX)
		return;
	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	if (p->cfg->errors > ERRORS_SHOWN_MAX)
		p->error(p->ctx, p->line, "further wrong lines are not shown");
	else
		p->error(p->ctx, p->line, message);
}

const char *config_shown_part(char out[CONFIG_SHOWN_SIZE], const char *s, size_t len)
{
	size_t n;

	for (n = 0; n < len && n < CONFIG_SHOWN_SIZE - 4; n++)
		out[n] = (char)(s[n] >= ' ' && s[n] <= '~' ? s[n] : '?');
	snprintf(out + n, CONFIG_SHOWN_SIZE - n, "%s", n < len ? "..." : "");
	return out;
}

const char *config_shown(char out[CONFIG_SHOWN_SIZE], const char *s)
{
	return config_shown_part(out, s, strlen(s));
}

bool config_is_control(char c)
{
	return ((uint8_t)c < ' ' && c != '\t') || c == 0x7f;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool parse_number(const char *s, uint32_t min, uint32_t max, uint32_t *number)
{
	uint64_t n = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		if (!is_digit(*s))
			return false;
		n = n * 10 + (uint64_t)(*s - '0');
		if (n > max)
			return false;
	}
	*number = (uint32_t)n;
	return n >= min;
}

size_t config_module_name(const char *value)
{
	size_t n = 0;

	while (value[n] && !is_blank(value[n]))
		n++;
	return n;
}

/* Does the text start with a boot module's name that ends at `end`, or, where that is NULL, at the first blank? */
static bool is_file(const char *s, const char *end)
{
	size_t n = config_module_name(s);

	return n > 0 && n < CONFIG_FILE_SIZE && (!end || s + n == end);
}

static int set_disk(struct config_reporter *p, const struct config_key *key, struct disk_config *disk, const char *value)
{
	const char *expected = config_parse_disk(value, disk);
	char text[CONFIG_SHOWN_SIZE];

	if (!expected)
		return 0;
	config_report(p, "%s is \"%s\": %s", key->name, config_shown(text, value), expected);
	return ERR_INVALID;
}

static int set_guest_os(struct config_reporter *p, enum guest_os *os, const char *value)
{
	char list[256], text[CONFIG_SHOWN_SIZE];
	size_t used = 0;

	if (!guest_os_parse(value, os))
		return 0;
	for (unsigned i = 0; guest_os_name(i) && used < sizeof(list); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", guest_os_name(i));
	config_report(p, "guestOS is \"%s\": expected one of %s", config_shown(text, value), list);
	return ERR_INVALID;
}

static int set_text(struct config_reporter *p, const struct config_key *key, char *field, const char *value)
{
	size_t len = strlen(value);
	char text[CONFIG_SHOWN_SIZE];

	if (len >= key->size) {
		config_report(p, "%s is too long: expected at most %zu characters", key->name, key->size - 1);
		return ERR_INVALID;
	}
	if (key->kind == KEY_FILE && !is_file(value, value + len)) {
		config_report(p, "%s is \"%s\": expected the name of a boot module, without blanks", key->name, config_shown(text, value));
		return ERR_INVALID;
	}
	if (key->kind == KEY_MODULE && !is_file(value, NULL)) {
		config_report(p, "%s is \"%s\": expected the name of a boot module of at most %u characters, then its arguments",
		       key->name, config_shown(text, value), CONFIG_FILE_SIZE - 1);
		return ERR_INVALID;
	}
	memcpy(field, value, len + 1);
	return 0;
}

static int set_number(struct config_reporter *p, const struct config_key *key, uint32_t *number, const char *value)
{
	char text[CONFIG_SHOWN_SIZE];

	if (parse_number(value, key->min, key->max, number))
		return 0;
	config_report(p, "%s is \"%s\": expected a whole number from %u to %u%s", key->name, config_shown(text, value), key->min, key->max, key->unit);
	return ERR_INVALID;
}

static int set_setting(struct config_reporter *p, const struct config_key *key, enum monitor_setting *setting, const char *value)
{
	char text[CONFIG_SHOWN_SIZE];

	if (!monitor_setting_parse(value, setting))
		return 0;
	config_report(p, "%s is \"%s\": expected \"software\", \"hardware\" or \"automatic\"", key->name, config_shown(text, value));
	return ERR_INVALID;
}

int config_set_key(struct config_reporter *p, struct vm_config *vm, const struct config_key *key, const char *value)
{
	void *field = (char *)vm + key->offset;
	int err = ERR_INVALID;

	switch (key->kind) {
	case KEY_NUMBER:
		err = set_number(p, key, field, value);
		break;
	case KEY_FILE:
	case KEY_MODULE:
	case KEY_TEXT:
		err = set_text(p, key, field, value);
		break;
	case KEY_DISK:
		err = set_disk(p, key, field, value);
		break;
	case KEY_GUEST_OS:
		err = set_guest_os(p, field, value);
		break;
	case KEY_SETTING:
		err = set_setting(p, key, field, value);
		break;
	}
	if (!err)
		vm->keys_set |= BIT(key - keys);
	return err;
}

const struct config_key *config_find_key(const char *name, size_t len)
{
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (strlen(keys[i].name) == len && !strncmp(keys[i].name, name, len))
			return &keys[i];
	return NULL;
}

bool config_key_given(const struct vm_config *vm, const struct config_key *key)
{
	return vm->keys_set & BIT(key - keys);
}

void config_inherit(struct vm_config *vm, const struct vm_config *defaults)
{
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].machine_wide && !config_key_given(vm, &keys[i]))
			memcpy((char *)vm + keys[i].offset, (const char *)defaults + keys[i].offset, keys[i].size);
}

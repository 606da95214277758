/* The parser of lamina.cfg's lines and sections, and the settings of the boot command line, which come after them. A wrong line is reported
 * and breaks its own VM only. */
#include "vmm/config/config.h"

#include "lib/string.h"
#include "vmm/config/config_key.h"

#define DEFAULT_MEMSIZE 256

/* Where the parser is. */
struct parser {
	struct config_reporter to;
	bool in_section;
	struct vm_config *vm; /* the section's VM (the defaults before the first one); NULL in a section that was refused */
};

static bool is_name_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct vm_config *find_vm(struct lamina_config *cfg, const char *name, size_t len)
{
	for (unsigned i = 0; i < cfg->count; i++)
		if (strlen(cfg->vm[i].name) == len && !strncmp(cfg->vm[i].name, name, len))
			return &cfg->vm[i];
	return NULL;
}

static void set_defaults(struct vm_config *vm)
{
	memset(vm, 0, sizeof(*vm));
	vm->memsize = DEFAULT_MEMSIZE;
	vm->numvcpus = 1;
}

/* What is left of a line. */
struct rest {
	const char *s, *end;
};

static void skip_blanks(struct rest *r)
{
	while (r->s < r->end && is_blank(*r->s))
		r->s++;
}

/* Is nothing left but a comment? */
static bool at_end(struct rest *r)
{
	skip_blanks(r);
	return r->s == r->end || *r->s == '#';
}

static void parse_section(struct parser *p, struct rest r)
{
	const char *name;
	size_t len;
	bool ok = false;

	r.s++;
	skip_blanks(&r);
	if (r.end - r.s > 3 && !strncmp(r.s, "vm", 2) && is_blank(r.s[2])) {
		r.s += 2;
		skip_blanks(&r);
		ok = true;
	}
	name = r.s;
	while (r.s < r.end && is_name_char(*r.s))
		r.s++;
	len = (size_t)(r.s - name);
	skip_blanks(&r);
	ok = ok && len > 0 && len < CONFIG_NAME_SIZE && r.s < r.end && *r.s == ']';
	r.s += ok;
	if (!ok || !at_end(&r)) {
		config_report(&p->to, "expected [vm NAME], the name of 1 to %u letters, digits, '_', '.' and '-'", CONFIG_NAME_SIZE - 1);
		return;
	}
	if (find_vm(p->to.cfg, name, len)) {
		char text[CONFIG_SHOWN_SIZE];

		find_vm(p->to.cfg, name, len)->broken = true;
		config_report(&p->to, "a second section [vm %s]: expected each name once", config_shown_part(text, name, len));
		return;
	}
	if (p->to.cfg->count == CONFIG_VMS_MAX) {
		config_report(&p->to, "one VM too many: expected at most %u sections", CONFIG_VMS_MAX);
		return;
	}
	p->vm = &p->to.cfg->vm[p->to.cfg->count++];
	set_defaults(p->vm);
	memcpy(p->vm->name, name, len);
	p->vm->line = p->to.line;
}

/* The value after '=': "text" with \" and \\, or a bare word. Returns 0, or ERR_INVALID after a report. */
static int parse_value(struct parser *p, struct rest *r, char *value, size_t size)
{
	size_t len = 0;
	bool quoted = r->s < r->end && *r->s == '"';

	r->s += quoted;
	for (; r->s < r->end; r->s++) {
		char c = *r->s;

		if (quoted ? c == '"' : is_blank(c) || c == '#')
			break;
		if (!quoted && !is_name_char(c)) {
			config_report(&p->to, "a value with such characters needs quotes: expected key = \"value\"");
			return ERR_INVALID;
		}
		if (c == '\\') {
			if (r->end - r->s < 2 || (r->s[1] != '"' && r->s[1] != '\\')) {
				config_report(&p->to, "expected \\\" or \\\\ after a backslash is written inside a value");
				return ERR_INVALID;
			}
			c = *++r->s;
		}
		if (len + 1 < size)
			value[len] = c;
		len++;
	}
	if (quoted && r->s == r->end) {
		config_report(&p->to, "the value's quotation mark is not closed: expected key = \"value\"");
		return ERR_INVALID;
	}
	r->s += quoted;
	if (!at_end(r) || (!quoted && !len)) {
		config_report(&p->to, "expected one value, key = \"value\", then nothing or a # comment");
		return ERR_INVALID;
	}
	/* No key takes a text as long as `size`: a longer text is cut to that length, so that its key refuses it. */
	value[MIN(len, size - 1)] = 0;
	return 0;
}

/* A line "key = value". Returns 0, or ERR_INVALID after a report. */
static int parse_setting(struct parser *p, struct rest r)
{
	char value[CONFIG_CMDLINE_SIZE + 1];
	const struct config_key *key;
	const char *name = r.s;
	size_t len;

	while (r.s < r.end && is_name_char(*r.s))
		r.s++;
	len = (size_t)(r.s - name);
	skip_blanks(&r);
	if (!len || r.s == r.end || *r.s != '=') {
		config_report(&p->to, "expected key = \"value\", [vm NAME] or a # comment");
		return ERR_INVALID;
	}
	r.s++;
	skip_blanks(&r);
	key = config_find_key(name, len);
	if (!key) {
		char text[CONFIG_SHOWN_SIZE], names[CONFIG_KEY_NAMES_SIZE];

		config_report(&p->to, "unknown key \"%s\": expected %s", config_shown_part(text, name, len), config_key_names(names, !p->in_section));
		return ERR_INVALID;
	}
	if (!p->in_section && !key->machine_wide) {
		config_report(&p->to, "%s belongs to a VM: expected a [vm NAME] line before it", key->name);
		return ERR_INVALID;
	}
	if (parse_value(p, &r, value, sizeof(value)))
		return ERR_INVALID;
	if (config_key_given(p->vm, key)) {
		config_report(&p->to, "%s is given a second time: expected each key once", key->name);
		return ERR_INVALID;
	}
	return config_set_key(&p->to, p->vm, key, value);
}

static void parse_line(struct parser *p, struct rest r)
{
	bool section;
	int err = 0;

	if (r.s < r.end && r.end[-1] == '\r')
		r.end--;
	skip_blanks(&r);
	section = r.s < r.end && *r.s == '[';
	if (section) {
		/* Whatever is wrong with the section's line, the lines that follow do not belong to the VM before it. */
		p->vm = NULL;
		p->in_section = true;
	}
	for (const char *s = r.s; s < r.end && !err; s++) {
		if (config_is_control(*s)) {
			config_report(&p->to, "a character of code %u: expected printable text", (unsigned)(uint8_t)*s);
			err = ERR_INVALID;
		}
	}
	if (!err && section)
		parse_section(p, r);
	else if (!err && p->vm && !at_end(&r))
		err = parse_setting(p, r);
	if (err && p->vm)
		p->vm->broken = true;
}

/* What the file is, where it is no text of bytes at all: one report says more than one for each line. NULL: it may be text. */
static const char *what_else(const char *text, size_t len)
{
	if (len >= 2 && (!strncmp(text, "\xff\xfe", 2) || !strncmp(text, "\xfe\xff", 2)))
		return "the file is UTF-16 text: expected UTF-8 or ASCII, so save it as that";
	for (size_t i = 0; i < len; i++)
		if (!text[i])
			return "the file is not text, as it holds bytes of 0: expected lines key = \"value\" and [vm NAME]";
	return NULL;
}

int config_parse(struct lamina_config *cfg, const char *text, size_t len, config_error error, void *ctx)
{
	struct parser p = { .to = { .cfg = cfg, .error = error, .ctx = ctx }, .vm = &cfg->defaults };
	const char *end = text + len, *other = what_else(text, len);

	cfg->count = 0;
	cfg->errors = 0;
	set_defaults(&cfg->defaults);
	if (other) {
		p.to.line = 1;
		config_report(&p.to, "%s", other);
		return ERR_INVALID;
	}
	if (len >= 3 && !strncmp(text, "\xef\xbb\xbf", 3))
		text += 3; /* some editors put a byte order mark there */
	while (text < end) {
		struct rest r = { .s = text, .end = text };

		while (r.end < end && *r.end != '\n')
			r.end++;
		p.to.line++;
		parse_line(&p, r);
		text = r.end < end ? r.end + 1 : end;
	}
	if (!cfg->count) {
		p.to.line++;
		config_report(&p.to, "no VM: expected a section [vm NAME]");
	}
	return p.to.errors ? ERR_INVALID : 0;
}

/* "vm.NAME.key": names may hold dots, so try each place where a name may end; a longer name wins. Returns the key or NULL. */
static const struct config_key *split_key(struct lamina_config *cfg, const char *path, struct vm_config **vm)
{
	const struct config_key *found = NULL;

	*vm = NULL;
	for (const char *dot = strchr(path, '.'); dot; dot = strchr(dot + 1, '.')) {
		struct vm_config *named = find_vm(cfg, path, (size_t)(dot - path));

		if (named) {
			*vm = named;
			found = config_find_key(dot + 1, strlen(dot + 1));
		}
	}
	return found;
}

int config_set(struct lamina_config *cfg, const char *key, const char *value, config_error error, void *ctx)
{
	struct config_reporter p = { .cfg = cfg, .error = error, .ctx = ctx };
	struct vm_config *only = NULL;
	const struct config_key *found = config_find_key(key, strlen(key));
	bool wrong = false;

	if (!strncmp(key, "vm.", 3))
		found = split_key(cfg, key + 3, &only);
	if (!found) {
		char text[CONFIG_SHOWN_SIZE], names[CONFIG_KEY_NAMES_SIZE];

		config_report(&p, "unknown setting \"%s\": expected vm.NAME.KEY or KEY, where KEY is %s", config_shown(text, key),
			      config_key_names(names, false));
		return ERR_INVALID;
	}
	for (const char *s = value; *s && !wrong; s++)
		wrong = config_is_control(*s);
	if (wrong)
		config_report(&p, "%s: a control character: expected printable text", found->name);
	for (unsigned i = 0; i < cfg->count; i++) {
		struct vm_config *vm = &cfg->vm[i];

		if (only && vm != only)
			continue;
		/* A value that is wrong for one VM is wrong for all: say so once. */
		if (!wrong)
			wrong = config_set_key(&p, vm, found, value) != 0;
		if (wrong)
			vm->broken = true;
	}
	return wrong ? ERR_INVALID : 0;
}

int config_check(struct lamina_config *cfg, config_error error, void *ctx)
{
	struct config_reporter p = { .cfg = cfg, .error = error, .ctx = ctx };

	for (unsigned i = 0; i < cfg->count; i++) {
		struct vm_config *vm = &cfg->vm[i];

		config_inherit(vm, &cfg->defaults);
		p.line = vm->line;
		if (!vm->kernel[0] && !vm->broken) {
			vm->broken = true;
			config_report(&p, "[vm %s] has no kernel: expected a line kernel = \"NAME\" with the name of a boot module", vm->name);
		}
	}
	return p.errors ? ERR_INVALID : 0;
}

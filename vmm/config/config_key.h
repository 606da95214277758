/* The keys of lamina.cfg and their values, and the reports of what is wrong with them. */
#ifndef VMM_CONFIG_CONFIG_KEY_H
#define VMM_CONFIG_CONFIG_KEY_H

#include "vmm/config/config.h"

enum config_key_kind {
	KEY_NUMBER,
	KEY_FILE,
	KEY_MODULE,
	KEY_TEXT,
	KEY_DISK,
	KEY_GUEST_OS,
	KEY_SETTING,
};

struct config_key {
	const char *name;
	enum config_key_kind kind;
	bool machine_wide; /* may stand before the first section */
	size_t offset;     /* in struct vm_config */
	size_t size;       /* of the field; a text's with its NUL */
	uint32_t min, max;
	const char *unit;
};

/* The keys' names for messages, such as "memsize, module0 to module7 or guestOS": all keys, or only the keys that may stand before the
 * first section. Returns `out`. */
#define CONFIG_KEY_NAMES_SIZE 256
const char *config_key_names(char out[CONFIG_KEY_NAMES_SIZE], bool machine);

/* Whom to tell about wrong lines, and where they are. */
struct config_reporter {
	struct lamina_config *cfg;
	config_error error;
	void *ctx;
	unsigned line;
	unsigned errors; /* reported so far */
};

/* Report one wrong line. After the first few, the report says only that there are more. */
void config_report(struct config_reporter *p, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A text for a message: shortened, and only with characters that cannot upset a terminal. Returns `out`. */
#define CONFIG_SHOWN_SIZE 44
const char *config_shown_part(char out[CONFIG_SHOWN_SIZE], const char *s, size_t len);
const char *config_shown(char out[CONFIG_SHOWN_SIZE], const char *s);

/* A character that no line may hold. */
bool config_is_control(char c);

/* The key of this name, or NULL. */
const struct config_key *config_find_key(const char *name, size_t len);

/* Set one key of one VM. Returns 0, or ERR_INVALID after a report, with the VM as it was. */
int config_set_key(struct config_reporter *p, struct vm_config *vm, const struct config_key *key, const char *value);

/* Has config_set_key set this key? */
bool config_key_given(const struct vm_config *vm, const struct config_key *key);

/* Give a VM the defaults' value of each machine-wide key that it does not set itself. */
void config_inherit(struct vm_config *vm, const struct vm_config *defaults);

#endif

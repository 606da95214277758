/* SOURCES: vmm/config/config.c vmm/config/config_key.c vmm/config/config_disk.c vmm/config/monitor_mode.c */
/* TEST: 20000 runs of up to 4096 bytes */
/* lamina.cfg: the input is the file up to a NUL, then keys and values of the boot command line, each up to a NUL. */
#include "tests/fuzz/fuzz.h"

#include "vmm/config/config.h"

static struct lamina_config cfg;
static unsigned errors, shown; /* in all so far */

static void record(void *ctx, unsigned line, const char *message)
{
	(void)line;
	FUZZ_CHECK(ctx == &cfg && message[0] && strlen(message) < 1024);
	shown++;
}

/* The next piece up to a NUL, as a string in a block of its own. */
static char *take_text(struct input *in)
{
	size_t n = strnlen((const char *)in->at, in->left);
	char *text = malloc(n + 1);

	FUZZ_CHECK(text);
	memcpy(text, in->at, n);
	text[n] = 0;
	in->at += n + (n < in->left);
	in->left -= n + (n < in->left);
	return text;
}

#define ENDS(text) (strnlen(text, sizeof(text)) < sizeof(text))

static void check_vm(const struct vm_config *vm)
{
	FUZZ_CHECK(ENDS(vm->name) && ENDS(vm->kernel) && ENDS(vm->initrd) && ENDS(vm->cmdline));
	for (unsigned i = 0; i < CONFIG_MODULES_MAX; i++) {
		FUZZ_CHECK(ENDS(vm->module[i]));
		FUZZ_CHECK(config_module_name(vm->module[i]) <= strlen(vm->module[i]));
	}
	for (unsigned i = 0; i < CONFIG_DISKS_MAX; i++) {
		const struct disk_config *disk = &vm->disk[i];

		FUZZ_CHECK(ENDS(disk->module) && ENDS(disk->disk));
		FUZZ_CHECK(!disk->module[0] || !disk->disk[0]);
		FUZZ_CHECK(!disk->part || !disk->length);
		FUZZ_CHECK(disk->offset + disk->length >= disk->offset);
	}
}

static void check(int err)
{
	FUZZ_CHECK(err == (cfg.errors != errors ? ERR_INVALID : 0));
	/* Of many only the first ones are shown, and a last line says so. */
	FUZZ_CHECK(shown == cfg.errors || (shown > 10 && shown < cfg.errors && shown < 50));
	FUZZ_CHECK(cfg.count <= CONFIG_VMS_MAX);
	for (unsigned i = 0; i < cfg.count; i++)
		check_vm(&cfg.vm[i]);
	check_vm(&cfg.defaults);
	errors = cfg.errors;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size }, file = { data, strnlen((const char *)data, size) };
	size_t len;
	uint8_t *text = take_block(&file, SIZE_MAX, &len);

	errors = shown = 0;
	check(config_parse(&cfg, (char *)text, len, record, &cfg));
	free(text);
	free(take_text(&in));
	while (in.left) {
		char *key = take_text(&in), *value = take_text(&in);

		check(config_set(&cfg, key, value, record, &cfg));
		free(key);
		free(value);
	}
	check(config_check(&cfg, record, &cfg));
	for (unsigned i = 0; i < cfg.count; i++) {
		FUZZ_CHECK(cfg.vm[i].broken || (cfg.vm[i].kernel[0] && cfg.vm[i].memsize && cfg.vm[i].numvcpus));
		for (unsigned j = 0; j < i; j++)
			FUZZ_CHECK(strcmp(cfg.vm[i].name, cfg.vm[j].name) != 0);
	}
	return 0;
}

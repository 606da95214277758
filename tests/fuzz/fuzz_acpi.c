/* SOURCES: drivers/acpi/acpi.c drivers/acpi/acpi_madt.c drivers/acpi/acpi_fadt.c drivers/acpi/acpi_iommu.c drivers/acpi/acpi_s5.c */
/* TEST: 20000 runs of up to 1024 bytes */
/* The host's ACPI tables: the input is a list of (kind, flags, length, body). A table gets its right length and checksum unless its flags
 * say otherwise, and the FADT the address of the DSDT; the XSDT lists them all, or an RSDT does. */
#include "tests/unit/acpi_fixture.h"
#include "tests/fuzz/fuzz.h"

#define TABLES_MAX 24
#define WRONG_CHECKSUM BIT(0)
#define WRONG_LENGTH BIT(1)
#define KEEP_POINTERS BIT(2)
#define TWICE BIT(3)

static const char signatures[][5] = { "FACP", "APIC", "DSDT", "SSDT", "SPCR", "MCFG", "HPET", "DMAR", "IVRS", "XSDT", "RSDT", "\xff\x1b\0x" };

static void add_table(struct input *in, uint64_t phys)
{
	unsigned kind = take_below(in, ARRAY_SIZE(signatures)), flags = (unsigned)take(in, 1);
	size_t n = take(in, 2) % 2048;
	struct acpi_header *header;
	uint8_t *body = take_block(in, n, &n);

	if (!strcmp(signatures[kind], "FACP") && !(flags & KEEP_POINTERS)) {
		const unsigned at = sizeof(struct acpi_header);

		if (n >= offsetof(struct acpi_fadt, dsdt) + 4 - at)
			memcpy(body + offsetof(struct acpi_fadt, dsdt) - at, &(uint32_t){ 0x10000 }, 4);
		if (n >= offsetof(struct acpi_fadt, x_dsdt) + 8 - at)
			memcpy(body + offsetof(struct acpi_fadt, x_dsdt) - at, &(uint64_t){ 0x10000 }, 8);
	}
	table(!strcmp(signatures[kind], "DSDT") ? 0x10000 : phys, signatures[kind]);
	add_bytes(body, n);
	free(body);
	seal(last_area());
	header = (void *)last_area()->bytes;
	if (flags & WRONG_LENGTH)
		header->length = (uint32_t)take(in, 4);
	if (flags & WRONG_CHECKSUM)
		header->checksum ^= 0x40;
	else
		sum_up(last_area()->bytes, last_area()->size, &header->checksum);
}

static void check(void)
{
	FUZZ_CHECK(info.table_count <= ACPI_TABLES_MAX && info.mcfg_count <= ACPI_MCFG_MAX);
	for (unsigned i = 0; i < info.table_count; i++)
		FUZZ_CHECK(strnlen(info.table[i].signature, sizeof(info.table[i].signature)) == 4 && info.table[i].length >= sizeof(struct acpi_header));
	FUZZ_CHECK(!info.s5_present || (info.slp_typa <= 7 && info.slp_typb <= 7));
	for (unsigned irq = 0; irq < 256; irq++) {
		uint16_t flags;

		(void)acpi_irq_to_gsi(&info, (uint8_t)irq, &flags);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(signatures); i++)
		for (unsigned n = 0; n < 3; n++)
			(void)acpi_find_table(&info, signatures[i], n);
}

static void read_tables(struct input *in, bool use_rsdt, unsigned revision, size_t rsdp_size)
{
	uint64_t entries[AREAS_MAX];
	unsigned count = 0;

	setup(NULL);
	while (in->left && areas < TABLES_MAX) {
		bool twice = in->left > 1 && in->at[1] & TWICE;

		add_table(in, 0x20000 + areas * 0x1000);
		entries[count++] = last_area()->phys;
		if (twice)
			entries[count++] = last_area()->phys;
	}
	rsdp.revision = (uint8_t)revision;
	seal_rsdp();
	if (use_rsdt) {
		table(0x2000, "RSDT");
		for (unsigned i = 0; i < count; i++)
			add_bytes(&entries[i], 4);
		seal(last_area());
	} else {
		xsdt(count, entries);
	}
	(void)acpi_read(&info, &rsdp, rsdp_size, map);
	check();
	teardown(NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)take(&in, 1);
	uint8_t *raw, a = 0, b = 0;
	size_t n;

	switch (how & 7) {
	case 0:
		raw = take_block(&in, SIZE_MAX, &n);
		if (acpi_find_s5(raw, n, &a, &b))
			FUZZ_CHECK(a <= 7 && b <= 7);
		free(raw);
		break;
	case 1: {
		int64_t at;

		raw = take_block(&in, SIZE_MAX, &n);
		if (n >= 20)
			sum_up(raw, 20, raw + 8);
		at = acpi_find_rsdp(raw, n);
		FUZZ_CHECK(at < 0 || ((size_t)at + 20 <= n && at % 16 == 0));
		free(raw);
		break;
	}
	default:
		read_tables(&in, how & 8, how >> 4 & 3, how & 0x40 ? 20 : 36);
		break;
	}
	return 0;
}

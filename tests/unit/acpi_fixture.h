/* ACPI tables in a physical memory of our own, for the test_acpi*.c files on the host's tables. */
#ifndef TESTS_UNIT_ACPI_FIXTURE_H
#define TESTS_UNIT_ACPI_FIXTURE_H

#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "drivers/acpi/acpi_tables.h"
#include "tests/unit/fakes.h"

/* Physical memory: tables at chosen addresses. */
#define AREAS_MAX 300
static struct area { uint64_t phys; uint32_t size; uint8_t bytes[9000]; } area[AREAS_MAX];
static unsigned areas;
static unsigned maps;
static void *mapped; /* the last mapping: gone at the next */
static struct acpi_info info;
static struct acpi_rsdp rsdp;

/* A fresh copy of exactly the bytes asked for, so that the sanitizer sees every other access. */
static inline const void *map(uint64_t phys, uint64_t len)
{
	free(mapped);
	mapped = NULL;
	maps++;
	for (unsigned i = 0; i < areas; i++) {
		if (phys != area[i].phys || len > area[i].size)
			continue;
		mapped = malloc(len);
		memcpy(mapped, area[i].bytes, len);
		break;
	}
	return mapped;
}

static inline void sum_up(void *bytes, size_t size, uint8_t *checksum)
{
	uint8_t sum = 0;

	*checksum = 0;
	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + ((uint8_t *)bytes)[i]);
	*checksum = (uint8_t)-sum;
}

static inline struct area *last_area(void)
{
	return &area[areas - 1];
}

static inline void add_bytes(const void *bytes, size_t size)
{
	assert_true(last_area()->size + size <= sizeof(area[0].bytes));
	memcpy(last_area()->bytes + last_area()->size, bytes, size);
	last_area()->size += (uint32_t)size;
}

static inline void seal(struct area *a)
{
	struct acpi_header *header = (void *)a->bytes;

	header->length = a->size;
	sum_up(a->bytes, a->size, &header->checksum);
}

/* Begin a table; add_bytes() its body, then seal(). */
static inline void table(uint64_t phys, const char *signature)
{
	struct acpi_header header = { .revision = 1, .oem_id = "LAMINA" };

	memcpy(header.signature, signature, 4);
	assert_true(areas < AREAS_MAX);
	area[areas++] = (struct area){ .phys = phys };
	add_bytes(&header, sizeof(header));
}

static inline void seal_rsdp(void)
{
	sum_up(&rsdp, 20, &rsdp.checksum);
	sum_up(&rsdp, 36, &rsdp.extended_checksum);
}

static inline int setup(void **state)
{
	(void)state;
	fake_reset();
	areas = 0;
	maps = 0;
	rsdp = (struct acpi_rsdp){
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.oem_id = "LAMIN",
		.revision = 2,
		.length = 36,
		.xsdt_address = 0x1000,
		.rsdt_address = 0x2000,
	};
	seal_rsdp();
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	free(mapped);
	mapped = NULL;
	return 0;
}

static inline void xsdt(unsigned count, const uint64_t *entries)
{
	table(0x1000, "XSDT");
	add_bytes(entries, count * 8);
	seal(last_area());
}

/* The RSDP and the XSDT with the tables that stand in the areas already. */
static inline int read_areas(void)
{
	uint64_t entries[AREAS_MAX];

	for (unsigned i = 0; i < areas; i++)
		entries[i] = area[i].phys;
	xsdt(areas, entries);
	return acpi_read(&info, &rsdp, sizeof(rsdp), map);
}

#endif

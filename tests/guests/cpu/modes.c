/* Compatibility, 32-bit, PAE, 16-bit protected and real mode, toured by modes.asm16 in low memory. */
#include "lib/string.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/console.h"
#include "tests/guests/lib/pic.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"

#define MARKER 0x6d61726bU
#define MULTIBOOT_MAGIC 0x1badb002U

extern const uint8_t modes_image[], modes_image_end[];
extern uint64_t page_directories[2048];

/* The places that modes.asm16 knows by number; volatile, so that no compiler thinks about low addresses. */
static volatile uint32_t *const results = (volatile uint32_t *)0x7000;
static uint8_t *volatile const image = (uint8_t *)0x8000;
static volatile uint32_t *const page_directory = (volatile uint32_t *)0xa000;
static volatile uint64_t *const pdpt = (volatile uint64_t *)0xb000;

static void set_up(void)
{
	memcpy(image, modes_image, (size_t)(modes_image_end - modes_image));
	for (unsigned i = 0; i < 64; i++)
		results[i] = 0xdeadbeef;
	*(volatile uint32_t *)0x7ff0 = MARKER;
	for (unsigned i = 0; i < 1024; i++)
		page_directory[i] = 0;
	page_directory[0] = page_directory[1] = 0x83;
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (uint64_t)&page_directories[512 * i] | 1;
	apic_init(false);
	apic_write(APIC_LVT_LINT0, APIC_DELIVERY_EXTINT);
	pit_set(0, 2, PIT_HZ / 500);
	pic_unmask(0);
}

TEST(modes, "Modes: compatibility, 32-bit, 4 MiB pages, PAE, 16-bit, real mode and back")
{
	uint32_t version, vendor = cpuid(0, 0).ebx;

	set_up();
	version = apic_read(APIC_VERSION);
	((void (*)(void))image)();
	pic_mask(0);
	apic_write(APIC_LVT_LINT0, APIC_MASKED);

	const struct { unsigned index; const char *what; uint32_t expected; } cases[] = {
		{ 63, "the last stage", 12 },
		{ 0, "compatibility mode: the APIC version", version },
		{ 1, "compatibility mode: bytes pushed", 4 },
		{ 3, "32-bit mode: the APIC version", version },
		{ 4, "32-bit mode: MOVZX of a word of the APIC version", version & 0xffff },
		{ 5, "32-bit mode: CPUID", vendor },
		{ 6, "32-bit mode: #GP's error code", 0x1238 },
		{ 7, "32-bit mode: INT 0x30 handled", 1 },
		{ 8, "4 MiB pages: the marker through the second page", MARKER },
		{ 9, "4 MiB pages: #PF's error code", 2 },
		{ 10, "4 MiB pages: CR2", 0x800123 },
		{ 11, "PAE: the APIC version", version },
		{ 12, "PAE: the marker", MARKER },
		{ 13, "16-bit protected mode: bytes pushed", 2 },
		{ 14, "16-bit protected mode: [BX+SI]", MARKER },
		{ 15, "16-bit protected mode: the APIC version", version },
		{ 16, "16-bit protected mode: LOOP", 5 },
		{ 18, "real mode: the marker through ES", MARKER },
		{ 19, "real mode: ffff:0010", MULTIBOOT_MAGIC },
		{ 20, "real mode: INT 0x60's saved IP, relative", 0 },
		{ 21, "real mode: #DE, IP and vector", 0 },
		{ 22, "real mode: #UD, IP and vector", 6 },
		{ 23, "real mode: #GP by the limit, IP and vector", 13 },
		{ 24, "real mode: CPUID", vendor },
		{ 25, "real mode: RDMSR of IA32_APIC_BASE", 0xfee00900 },
		{ 26, "real mode: OUT and IN", 0x42 },
		{ 27, "real mode: REP OUTSB and REP INSB", 0x7a7a7a },
		{ 28, "real mode: OUTSB through GS", 'w' },
		{ 29, "big real mode: 1 MiB", MULTIBOOT_MAGIC },
		{ 30, "big real mode: the APIC version", version },
		{ 31, "big real mode: a word of the APIC version", version & 0xffff },
		{ 32, "real mode: timer interrupts", 3 },
		{ 33, "real mode: single steps", 8 },
		{ 34, "real mode: far call", 0x600dca11 },
		{ 35, "real mode: bytes pushed with 32-bit operands", 4 },
		{ 36, "real mode: the 32-bit operand", 0xcafef00d },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		if (cases[i].index == 23 && cpu_is_amd())
			continue; /* QEMU 7.2 does not look at segment limits */
		CHECK(results[cases[i].index] == cases[i].expected, "%s: expected %x, saw %x", cases[i].what, cases[i].expected,
		      results[cases[i].index]);
	}
	CHECK(!(results[2] & EFER_LMA), "EFER %x shows LMA after paging was switched off", results[2]);
	CHECK(!(results[17] & CR0_PE), "CR0 %x shows PE in real mode", results[17]);
}

/* The tables are built one behind the other in a single area of guest memory, and each gets its checksum when it is complete. */
#include "vmm/devices/acpi_tables.h"

#include "lib/string.h"
#include "vmm/devices/acpi_pm.h"
#include "vmm/devices/dsdt.h"
#include "vmm/devices/ioapic.h"
#include "vmm/memory/layout.h"

_Static_assert(LAYOUT_IOAPIC == IOAPIC_BASE, "one address of the I/O APIC");

/* Section 5.2.6, "System Description Table Header". */
struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} PACKED;
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 5.2.6");

/* Section 5.2.5.3. */
struct acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} PACKED;
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 5.2.5.3");
#define RSDP_REVISION_1_LENGTH 20

/* Sections 5.2.7 and 5.2.8. */
#define SDT_ENTRIES 2
struct acpi_rsdt {
	struct acpi_header h;
	uint32_t table[SDT_ENTRIES];
} PACKED;
_Static_assert(sizeof(struct acpi_rsdt) == 44, "ACPI 5.2.7");

struct acpi_xsdt {
	struct acpi_header h;
	uint64_t table[SDT_ENTRIES];
} PACKED;
_Static_assert(sizeof(struct acpi_xsdt) == 52, "ACPI 5.2.8");

/* Section 5.2.3.2, "Generic Address Structure". */
struct acpi_gas {
	uint8_t space;       /* 1: system I/O */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size; /* 1 byte, 2 word, 3 dword */
	uint64_t address;
} PACKED;
_Static_assert(sizeof(struct acpi_gas) == 12, "ACPI 5.2.3.2");

/* Section 5.2.9, revision 6. */
struct acpi_fadt {
	struct acpi_header h;
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved0, preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk, pm2_cnt_blk, pm_tmr_blk, gpe0_blk, gpe1_blk;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_blk_len, gpe1_blk_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct acpi_gas x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk, x_pm2_cnt_blk, x_pm_tmr_blk, x_gpe0_blk, x_gpe1_blk;
	struct acpi_gas sleep_control_reg, sleep_status_reg;
	char hypervisor_vendor[8];
} PACKED;
_Static_assert(offsetof(struct acpi_fadt, pm1a_evt_blk) == 56, "ACPI 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, century) == 108, "ACPI 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, flags) == 112, "ACPI 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, reset_value) == 128, "ACPI 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, x_pm_tmr_blk) == 208, "ACPI 5.2.9");
_Static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 5.2.9");

#define FADT_WBINVD BIT(0)
#define FADT_PROC_C1 BIT(2)
#define FADT_PWR_BUTTON BIT(4) /* no fixed power button */
#define FADT_SLP_BUTTON BIT(5) /* no fixed sleep button */
#define FADT_FIX_RTC BIT(6)    /* no RTC wake in the fixed registers */
#define FADT_TMR_VAL_EXT BIT(8)
#define FADT_RESET_REG_SUP BIT(10)
#define IAPC_LEGACY_DEVICES BIT(0)
#define IAPC_8042 BIT(1)
#define IAPC_NO_VGA BIT(2)
#define P_LVL2_NONE 101  /* above 100 µs: no C2 */
#define P_LVL3_NONE 1001 /* above 1000 µs: no C3 */

/* Section 5.2.10. */
struct acpi_facs {
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} PACKED;
_Static_assert(sizeof(struct acpi_facs) == 64, "ACPI 5.2.10");
#define FACS_ALIGN 64

/* Section 5.2.12 and its interrupt controller structures. */
struct acpi_madt {
	struct acpi_header h;
	uint32_t lapic_address;
	uint32_t flags; /* 1: there are 8259s too */
} PACKED;
_Static_assert(sizeof(struct acpi_madt) == 44, "ACPI 5.2.12");

struct madt_lapic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
} PACKED;
_Static_assert(sizeof(struct madt_lapic) == 8, "ACPI 5.2.12.2");

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} PACKED;
_Static_assert(sizeof(struct madt_ioapic) == 12, "ACPI 5.2.12.3");

struct madt_override {
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} PACKED;
_Static_assert(sizeof(struct madt_override) == 10, "ACPI 5.2.12.5");

struct madt_lapic_nmi {
	uint8_t type, length, uid;
	uint16_t flags;
	uint8_t lint;
} PACKED;
_Static_assert(sizeof(struct madt_lapic_nmi) == 6, "ACPI 5.2.12.7");

struct madt_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t x2apic_id, flags, uid;
} PACKED;
_Static_assert(sizeof(struct madt_x2apic) == 16, "ACPI 5.2.12.12");

struct madt_x2apic_nmi {
	uint8_t type, length;
	uint16_t flags;
	uint32_t uid;
	uint8_t lint, reserved[3];
} PACKED;
_Static_assert(sizeof(struct madt_x2apic_nmi) == 12, "ACPI 5.2.12.13");

enum {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_X2APIC = 9,
	MADT_X2APIC_NMI = 10,
};
#define MADT_PCAT_COMPAT 1
#define MADT_ENABLED 1
#define MADT_ACTIVE_HIGH 1
#define MADT_LEVEL (3 << 2)
#define XAPIC_ID_LIMIT 255 /* 255 is the broadcast ID */

/* The area that the tables go to, front to back. */
struct area {
	const struct guest_memory *mem;
	uint64_t next;
};

/* Room for `len` bytes of zeros at an aligned place, whose address goes to *gpa; NULL where the area is full. */
static void *take(struct area *a, uint64_t len, uint64_t align, uint64_t *gpa)
{
	void *p;

	*gpa = ALIGN_UP(a->next, align);
	if (len > LAYOUT_ACPI_END - *gpa)
		return NULL;
	p = guest_ptr(a->mem, *gpa, len);
	if (!p)
		return NULL;
	a->next = *gpa + len;
	memset(p, 0, len);
	return p;
}

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

/* Fill a table's header, last of all: the checksum covers the whole table. */
static void finish(struct acpi_header *h, const char *signature, uint8_t revision, uint32_t length)
{
	memcpy(h->signature, signature, 4);
	h->length = length;
	h->revision = revision;
	memcpy(h->oem_id, "LAMINA", 6);
	memcpy(h->oem_table_id, "LAMINAPC", 8);
	h->oem_revision = 1;
	memcpy(h->creator_id, "LMNA", 4);
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(h, length);
}

static int build_dsdt(struct area *a, uint64_t *gpa)
{
	uint8_t *dsdt = take(a, dsdt_aml_len, 16, gpa);

	if (!dsdt)
		return ERR_RANGE;
	memcpy(dsdt, dsdt_aml, dsdt_aml_len);
	return 0;
}

static int build_facs(struct area *a, uint64_t *gpa)
{
	struct acpi_facs *facs = take(a, sizeof(*facs), FACS_ALIGN, gpa);

	if (!facs)
		return ERR_RANGE;
	memcpy(facs->signature, "FACS", 4);
	facs->length = sizeof(*facs);
	facs->version = 2;
	return 0;
}

static struct acpi_gas port(uint64_t address, uint8_t bits, uint8_t access_size)
{
	return (struct acpi_gas){ .space = 1, .bit_width = bits, .access_size = access_size, .address = address };
}

static int build_fadt(struct area *a, uint64_t dsdt, uint64_t facs, uint64_t *gpa)
{
	struct acpi_fadt *fadt = take(a, sizeof(*fadt), 16, gpa);

	if (!fadt)
		return ERR_RANGE;
	fadt->firmware_ctrl = (uint32_t)facs;
	fadt->dsdt = (uint32_t)dsdt;
	fadt->x_dsdt = dsdt; /* X_FIRMWARE_CTRL stays 0 where FIRMWARE_CTRL is given */
	fadt->sci_int = ACPI_PM_SCI;
	/* No SMI_CMD: the machine is in ACPI mode from the start. */
	fadt->pm1a_evt_blk = ACPI_PM_EVENT_PORT;
	fadt->pm1_evt_len = 4;
	fadt->x_pm1a_evt_blk = port(ACPI_PM_EVENT_PORT, 32, 2);
	fadt->pm1a_cnt_blk = ACPI_PM_CONTROL_PORT;
	fadt->pm1_cnt_len = 2;
	fadt->x_pm1a_cnt_blk = port(ACPI_PM_CONTROL_PORT, 16, 2);
	fadt->pm_tmr_blk = ACPI_PM_TIMER_PORT;
	fadt->pm_tmr_len = 4;
	fadt->x_pm_tmr_blk = port(ACPI_PM_TIMER_PORT, 32, 3);
	fadt->p_lvl2_lat = P_LVL2_NONE;
	fadt->p_lvl3_lat = P_LVL3_NONE;
	fadt->century = LAYOUT_CMOS_CENTURY;
	fadt->iapc_boot_arch = IAPC_LEGACY_DEVICES | IAPC_8042 | IAPC_NO_VGA;
	fadt->flags = FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP;
	fadt->reset_reg = port(LAYOUT_RESET_PORT, 8, 1);
	fadt->reset_value = LAYOUT_RESET_VALUE;
	memcpy(fadt->hypervisor_vendor, "LAMINA", 6);
	finish(&fadt->h, "FACP", 6, sizeof(*fadt));
	return 0;
}

/* Append one interrupt controller structure. */
static void put(uint8_t **at, const void *entry, size_t len)
{
	memcpy(*at, entry, len);
	*at += len;
}

static void put_cpus(uint8_t **at, unsigned vcpus)
{
	for (unsigned i = 0; i < vcpus && i < XAPIC_ID_LIMIT; i++) {
		struct madt_lapic lapic = { .type = MADT_LAPIC, .length = sizeof(lapic), .uid = (uint8_t)i, .apic_id = (uint8_t)i,
					    .flags = MADT_ENABLED };

		put(at, &lapic, sizeof(lapic));
	}
	for (unsigned i = XAPIC_ID_LIMIT; i < vcpus; i++) {
		struct madt_x2apic x2apic = { .type = MADT_X2APIC, .length = sizeof(x2apic), .x2apic_id = i, .flags = MADT_ENABLED, .uid = i };

		put(at, &x2apic, sizeof(x2apic));
	}
}

static int build_madt(struct area *a, unsigned vcpus, uint64_t *gpa)
{
	const struct madt_ioapic ioapic = { .type = MADT_IOAPIC, .length = sizeof(ioapic), .id = LAYOUT_IOAPIC_ID, .address = LAYOUT_IOAPIC };
	const struct madt_override timer = { .type = MADT_OVERRIDE, .length = sizeof(timer), .source = 0, .gsi = 2 };
	const struct madt_override sci = { .type = MADT_OVERRIDE, .length = sizeof(sci), .source = ACPI_PM_SCI, .gsi = ACPI_PM_SCI,
					   .flags = MADT_ACTIVE_HIGH | MADT_LEVEL };
	const struct madt_lapic_nmi nmi = { .type = MADT_LAPIC_NMI, .length = sizeof(nmi), .uid = 0xff, .lint = 1 };
	const struct madt_x2apic_nmi x2apic_nmi = { .type = MADT_X2APIC_NMI, .length = sizeof(x2apic_nmi), .uid = 0xffffffff, .lint = 1 };
	unsigned xapics = MIN(vcpus, (unsigned)XAPIC_ID_LIMIT);
	bool x2apics = vcpus > XAPIC_ID_LIMIT;
	size_t length = sizeof(struct acpi_madt) + xapics * sizeof(struct madt_lapic) + (vcpus - xapics) * sizeof(struct madt_x2apic) +
			sizeof(ioapic) + sizeof(timer) + sizeof(sci) + sizeof(nmi) + (x2apics ? sizeof(x2apic_nmi) : 0);
	struct acpi_madt *madt = take(a, length, 16, gpa);
	uint8_t *at;

	if (!madt)
		return ERR_RANGE;
	madt->lapic_address = LAYOUT_LAPIC;
	madt->flags = MADT_PCAT_COMPAT;
	at = (uint8_t *)(madt + 1);
	put_cpus(&at, vcpus);
	put(&at, &ioapic, sizeof(ioapic));
	put(&at, &timer, sizeof(timer));
	put(&at, &sci, sizeof(sci));
	put(&at, &nmi, sizeof(nmi));
	if (x2apics)
		put(&at, &x2apic_nmi, sizeof(x2apic_nmi));
	finish(&madt->h, "APIC", 3, (uint32_t)length);
	return 0;
}

static int build_roots(struct area *a, struct acpi_rsdp *rsdp, uint64_t fadt, uint64_t madt)
{
	uint64_t rsdt_gpa, xsdt_gpa;
	struct acpi_rsdt *rsdt = take(a, sizeof(*rsdt), 16, &rsdt_gpa);
	struct acpi_xsdt *xsdt = take(a, sizeof(*xsdt), 16, &xsdt_gpa);

	if (!rsdt || !xsdt)
		return ERR_RANGE;
	rsdt->table[0] = (uint32_t)fadt;
	rsdt->table[1] = (uint32_t)madt;
	finish(&rsdt->h, "RSDT", 1, sizeof(*rsdt));
	xsdt->table[0] = fadt;
	xsdt->table[1] = madt;
	finish(&xsdt->h, "XSDT", 1, sizeof(*xsdt));

	memcpy(rsdp->signature, "RSD PTR ", 8);
	memcpy(rsdp->oem_id, "LAMINA", 6);
	rsdp->revision = 2;
	rsdp->rsdt = (uint32_t)rsdt_gpa;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = xsdt_gpa;
	rsdp->checksum = checksum(rsdp, RSDP_REVISION_1_LENGTH);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
	return 0;
}

int acpi_tables_build(const struct guest_memory *mem, unsigned vcpus, uint64_t *rsdp_gpa)
{
	struct area a = { .mem = mem, .next = LAYOUT_ACPI };
	uint64_t dsdt, facs, fadt, madt;
	struct acpi_rsdp *rsdp;

	if (!vcpus || vcpus > ACPI_TABLES_VCPUS_MAX)
		return ERR_INVALID;
	rsdp = take(&a, sizeof(*rsdp), 16, rsdp_gpa);
	if (!rsdp || build_dsdt(&a, &dsdt) || build_facs(&a, &facs) || build_fadt(&a, dsdt, facs, &fadt) || build_madt(&a, vcpus, &madt) ||
	    build_roots(&a, rsdp, fadt, madt))
		return ERR_RANGE;
	return 0;
}

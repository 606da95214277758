/* Layouts of the ACPI tables that Lamina reads (ACPI Specification 6.5, chapter 5), and the functions that read one kind each.
 * Private to drivers/acpi*.c. */
#ifndef DRIVERS_ACPI_ACPI_TABLES_H
#define DRIVERS_ACPI_ACPI_TABLES_H

#include "drivers/acpi/acpi.h"
#include "lib/types.h"

/* Section 5.2.5.3. */
struct acpi_rsdp {
	char signature[8]; /* "RSD PTR " */
	uint8_t checksum;  /* the first 20 bytes sum to 0 */
	char oem_id[6];
	uint8_t revision;  /* 0: ACPI 1.0, without what follows rsdt_address */
	uint32_t rsdt_address;
	uint32_t length;
	uint64_t xsdt_address;
	uint8_t extended_checksum; /* `length` bytes sum to 0 */
	uint8_t reserved[3];
} PACKED;
_Static_assert(sizeof(struct acpi_rsdp) == 36 && offsetof(struct acpi_rsdp, length) == 20, "section 5.2.5.3");

/* Section 5.2.6. */
struct acpi_header {
	char signature[4];
	uint32_t length; /* of the table, this header included */
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} PACKED;
_Static_assert(sizeof(struct acpi_header) == 36, "section 5.2.6");

/* Generic address structure, section 5.2.3.2. */
struct acpi_gas {
	uint8_t space;
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size;
	uint64_t address;
} PACKED;
_Static_assert(sizeof(struct acpi_gas) == 12, "section 5.2.3.2");

/* Section 5.2.9. ACPI 1.0's ends before reset_register. */
struct acpi_fadt {
	struct acpi_header header;
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved;
	uint8_t preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable;
	uint8_t acpi_disable;
	uint8_t s4bios_req;
	uint8_t pstate_cnt;
	uint32_t pm1a_evt_blk;
	uint32_t pm1b_evt_blk;
	uint32_t pm1a_cnt_blk;
	uint32_t pm1b_cnt_blk;
	uint32_t pm2_cnt_blk;
	uint32_t pm_tmr_blk;
	uint32_t gpe0_blk;
	uint32_t gpe1_blk;
	uint8_t pm1_evt_len;
	uint8_t pm1_cnt_len;
	uint8_t pm2_cnt_len;
	uint8_t pm_tmr_len;
	uint8_t gpe0_blk_len;
	uint8_t gpe1_blk_len;
	uint8_t gpe1_base;
	uint8_t cst_cnt;
	uint16_t p_lvl2_lat;
	uint16_t p_lvl3_lat;
	uint16_t flush_size;
	uint16_t flush_stride;
	uint8_t duty_offset;
	uint8_t duty_width;
	uint8_t day_alrm;
	uint8_t mon_alrm;
	uint8_t century;
	uint16_t iapc_boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct acpi_gas x_pm1a_evt_blk;
	struct acpi_gas x_pm1b_evt_blk;
	struct acpi_gas x_pm1a_cnt_blk;
	struct acpi_gas x_pm1b_cnt_blk;
	struct acpi_gas x_pm2_cnt_blk;
	struct acpi_gas x_pm_tmr_blk;
	struct acpi_gas x_gpe0_blk;
	struct acpi_gas x_gpe1_blk;
	struct acpi_gas sleep_control_reg;
	struct acpi_gas sleep_status_reg;
	uint64_t hypervisor_vendor_id;
} PACKED;
_Static_assert(offsetof(struct acpi_fadt, pm_tmr_blk) == 76 && offsetof(struct acpi_fadt, pm_tmr_len) == 91, "section 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, flags) == 112 && offsetof(struct acpi_fadt, reset_reg) == 116, "section 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140 && offsetof(struct acpi_fadt, x_pm_tmr_blk) == 208, "section 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, sleep_control_reg) == 244 && sizeof(struct acpi_fadt) == 276, "section 5.2.9");

/* Section 5.2.12; the interrupt controller structures follow. */
struct acpi_madt {
	struct acpi_header header;
	uint32_t local_apic_address;
	uint32_t flags; /* bit 0: PCAT_COMPAT */
} PACKED;
_Static_assert(sizeof(struct acpi_madt) == 44, "section 5.2.12");

/* Types of the interrupt controller structures. */
enum {
	MADT_LOCAL_APIC = 0,
	MADT_IO_APIC = 1,
	MADT_INTERRUPT_OVERRIDE = 2,
	MADT_NMI_SOURCE = 3,
	MADT_LOCAL_APIC_NMI = 4,
	MADT_LOCAL_APIC_ADDRESS = 5,
	MADT_LOCAL_X2APIC = 9,
	MADT_LOCAL_X2APIC_NMI = 10,
};

struct madt_entry {
	uint8_t type;
	uint8_t length; /* with these two bytes */
} PACKED;

#define MADT_CPU_ENABLED BIT(0)
#define MADT_CPU_ONLINE_CAPABLE BIT(1)

struct madt_local_apic {
	struct madt_entry entry;
	uint8_t uid;
	uint8_t apic_id;
	uint32_t flags;
} PACKED;
_Static_assert(sizeof(struct madt_local_apic) == 8, "section 5.2.12.2");

struct madt_io_apic {
	struct madt_entry entry;
	uint8_t id;
	uint8_t reserved;
	uint32_t address;
	uint32_t gsi_base;
} PACKED;
_Static_assert(sizeof(struct madt_io_apic) == 12, "section 5.2.12.3");

struct madt_interrupt_override {
	struct madt_entry entry;
	uint8_t bus; /* 0: ISA */
	uint8_t source;
	uint32_t gsi;
	uint16_t flags;
} PACKED;
_Static_assert(sizeof(struct madt_interrupt_override) == 10, "section 5.2.12.5");

struct madt_nmi_source {
	struct madt_entry entry;
	uint16_t flags;
	uint32_t gsi;
} PACKED;
_Static_assert(sizeof(struct madt_nmi_source) == 8, "section 5.2.12.6");

struct madt_local_apic_nmi {
	struct madt_entry entry;
	uint8_t uid; /* 0xff: all */
	uint16_t flags;
	uint8_t lint;
} PACKED;
_Static_assert(sizeof(struct madt_local_apic_nmi) == 6, "section 5.2.12.7");

struct madt_local_apic_address {
	struct madt_entry entry;
	uint16_t reserved;
	uint64_t address;
} PACKED;
_Static_assert(sizeof(struct madt_local_apic_address) == 12, "section 5.2.12.8");

struct madt_local_x2apic {
	struct madt_entry entry;
	uint16_t reserved;
	uint32_t apic_id;
	uint32_t flags;
	uint32_t uid;
} PACKED;
_Static_assert(sizeof(struct madt_local_x2apic) == 16, "section 5.2.12.12");

struct madt_local_x2apic_nmi {
	struct madt_entry entry;
	uint16_t flags;
	uint32_t uid; /* 0xffffffff: all */
	uint8_t lint;
	uint8_t reserved[3];
} PACKED;
_Static_assert(sizeof(struct madt_local_x2apic_nmi) == 12, "section 5.2.12.13");

/* IA-PC HPET Specification 1.0a, section 3.2.4. */
struct acpi_hpet {
	struct acpi_header header;
	uint32_t block_id;
	struct acpi_gas address;
	uint8_t number;
	uint16_t min_tick;
	uint8_t page_protection;
} PACKED;
_Static_assert(sizeof(struct acpi_hpet) == 56, "HPET 1.0a, section 3.2.4");

/* PCI Firmware Specification 3.0, section 4.1.2; the allocations follow. */
struct acpi_mcfg_table {
	struct acpi_header header;
	uint64_t reserved;
} PACKED;
_Static_assert(sizeof(struct acpi_mcfg_table) == 44, "PCI Firmware 3.0, section 4.1.2");

struct mcfg_allocation {
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus;
	uint8_t last_bus;
	uint32_t reserved;
} PACKED;
_Static_assert(sizeof(struct mcfg_allocation) == 16, "PCI Firmware 3.0, section 4.1.2");

/* VT-d 4.0, section 8.1; the remapping structures follow. */
struct acpi_dmar {
	struct acpi_header header;
	uint8_t address_width;
	uint8_t flags;
	uint8_t reserved[10];
} PACKED;
_Static_assert(sizeof(struct acpi_dmar) == 48, "VT-d 4.0, section 8.1");
#define DMAR_X2APIC_OPT_OUT BIT(1)

/* A DMA remapping hardware unit: VT-d 4.0, section 8.3. Which devices are behind it follows. */
#define DMAR_DRHD 0
struct dmar_drhd {
	uint16_t type;
	uint16_t length; /* of the structure, with what follows */
	uint8_t flags;
	uint8_t size;
	uint16_t segment;
	uint64_t address;
} PACKED;
_Static_assert(sizeof(struct dmar_drhd) == 16, "VT-d 4.0, section 8.3");

/* AMD I/O Virtualization Technology Specification 3.08, section 5.2.1; the blocks follow. */
struct acpi_ivrs {
	struct acpi_header header;
	uint32_t info;
	uint8_t reserved[8];
} PACKED;
_Static_assert(sizeof(struct acpi_ivrs) == 48, "IOMMU 3.08, section 5.2.1");

/* An I/O virtualization hardware definition: section 5.2.2. A unit has one of each of these types, each with more to say. */
#define IVRS_IVHD_10 0x10
#define IVRS_IVHD_11 0x11
#define IVRS_IVHD_40 0x40
struct ivrs_ivhd {
	uint8_t type;
	uint8_t flags;
	uint16_t length; /* of the block, with what follows */
	uint16_t device;
	uint16_t capability;
	uint64_t address;
	uint16_t segment;
} PACKED;
_Static_assert(sizeof(struct ivrs_ivhd) == 18, "IOMMU 3.08, section 5.2.2.1");

/* Serial Port Console Redirection Table, up to the fields that Lamina reads. */
struct acpi_spcr {
	struct acpi_header header;
	uint8_t interface_type;
	uint8_t reserved[3];
	struct acpi_gas address;
	uint8_t interrupt_type; /* SPCR_IRQ, SPCR_GSI */
	uint8_t irq;
	uint32_t gsi;
	uint8_t baud;           /* a code; 0: as the firmware set it */
} PACKED;
_Static_assert(sizeof(struct acpi_spcr) == 59 && offsetof(struct acpi_spcr, gsi) == 54, "SPCR");
#define SPCR_IRQ BIT(0)
#define SPCR_GSI BIT(1)

/* A register from a generic address structure; absent where its address is 0. */
struct acpi_register acpi_register_from(const struct acpi_gas *gas);

/* Read one kind of table, whose signature, length and checksum are right: `length` bytes at `table`. */
void acpi_read_madt(struct acpi_info *info, const uint8_t *table, uint32_t length);
void acpi_read_fadt(struct acpi_info *info, const uint8_t *table, uint32_t length);
void acpi_read_dmar(struct acpi_info *info, const uint8_t *table, uint32_t length);
void acpi_read_ivrs(struct acpi_info *info, const uint8_t *table, uint32_t length);

#endif

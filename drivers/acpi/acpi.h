/* What Lamina wants to know from the machine's ACPI tables (ACPI Specification 6.5, chapter 5). Read once at boot.
 *
 * The tables are firmware's, and firmware errs: everything is bounded and checked, a broken table is logged and ignored, and what is
 * absent is marked absent. */
#ifndef DRIVERS_ACPI_ACPI_H
#define DRIVERS_ACPI_ACPI_H

#include "lib/types.h"

#define ACPI_TABLES_MAX 128
#define ACPI_CPUS_MAX 512
#define ACPI_IO_APICS_MAX 64
#define ACPI_OVERRIDES_MAX 32
#define ACPI_NMI_SOURCES_MAX 16
#define ACPI_LOCAL_NMIS_MAX 64
#define ACPI_MCFG_MAX 16
#define ACPI_IOMMUS_MAX 64

/* Address spaces of struct acpi_register (section 5.2.3.2). */
#define ACPI_SPACE_MEMORY 0
#define ACPI_SPACE_IO 1
#define ACPI_SPACE_PCI_CONFIG 2

/* Flags of the FADT (table 5.10) that matter here. */
#define ACPI_FADT_TMR_VAL_EXT BIT(8)
#define ACPI_FADT_RESET_REG_SUP BIT(10)
#define ACPI_FADT_HW_REDUCED BIT(20)

/* PM1 control (section 4.8.3.2.1) and the sleep control register (section 4.8.3.7). */
#define ACPI_PM1_SCI_EN 0x0001U
#define ACPI_PM1_SLP_TYP_SHIFT 10
#define ACPI_PM1_SLP_EN 0x2000U
#define ACPI_SLEEP_TYP_SHIFT 2
#define ACPI_SLEEP_EN 0x20U

/* The MADT's flags of an interrupt (table 5.26); 0 is as the bus has it. */
#define ACPI_POLARITY 0x3U
#define ACPI_POLARITY_LOW 0x3U
#define ACPI_TRIGGER 0xcU
#define ACPI_TRIGGER_LEVEL 0xcU

/* A register block somewhere in the machine. */
struct acpi_register {
	bool present;
	uint8_t space;       /* ACPI_SPACE_* */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size; /* 0 undefined, 1 byte, 2 word, 3 dword, 4 qword */
	uint64_t address;
};

struct acpi_table {
	char signature[5]; /* NUL-terminated */
	uint64_t address;
	uint32_t length;   /* bytes; its checksum was right */
};

struct acpi_cpu {
	uint32_t apic_id;    /* x2APIC ids included */
	uint32_t uid;        /* the ACPI processor UID */
	bool enabled;        /* to be started */
	bool online_capable; /* not enabled: may come later; do not start it */
};

struct acpi_io_apic {
	uint8_t id;
	uint64_t address;
	uint32_t gsi_base;
};

/* Flags of MADT interrupts (table 5.26): polarity in bits 1:0 and trigger mode in bits 3:2; 0 as the bus says, 1 high or edge,
 * 3 low or level. */
struct acpi_override {
	uint8_t source; /* ISA IRQ */
	uint32_t gsi;
	uint16_t flags;
};

struct acpi_nmi_source {
	uint32_t gsi;
	uint16_t flags;
};

struct acpi_local_nmi {
	uint32_t uid; /* ACPI processor UID, UINT32_MAX: all */
	uint8_t lint; /* 0 or 1 */
	uint16_t flags;
};

struct acpi_mcfg {
	uint64_t base; /* of bus 0, even where first_bus is not 0 */
	uint16_t segment;
	uint8_t first_bus;
	uint8_t last_bus;
};

/* A unit that translates the addresses and interrupts of devices. */
struct acpi_iommu {
	uint64_t address; /* of its registers: a page's */
	uint16_t segment; /* of PCI */
	bool amd;         /* AMD's registers, else VT-d's */
};

struct acpi_info {
	bool present;            /* a valid RSDP and root table were found */
	uint8_t revision;        /* of the RSDP */
	char oem_id[7];
	unsigned table_count;
	struct acpi_table table[ACPI_TABLES_MAX]; /* the valid ones, DSDT included */

	/* MADT */
	bool madt_present;
	uint64_t local_apic_address; /* 0xfee00000 where no table says otherwise */
	bool pc_at_compatible;       /* there are 8259s to mask */
	unsigned cpu_count;
	unsigned cpu_disabled; /* entries that are neither */
	struct acpi_cpu cpu[ACPI_CPUS_MAX]; /* only enabled or online-capable ones, no APIC id twice */
	unsigned io_apic_count;
	struct acpi_io_apic io_apic[ACPI_IO_APICS_MAX];
	unsigned override_count;
	struct acpi_override override[ACPI_OVERRIDES_MAX];
	unsigned nmi_source_count;
	struct acpi_nmi_source nmi_source[ACPI_NMI_SOURCES_MAX];
	unsigned local_nmi_count;
	struct acpi_local_nmi local_nmi[ACPI_LOCAL_NMIS_MAX];

	/* FADT */
	bool fadt_present;
	uint32_t fadt_flags;
	uint16_t sci_irq;
	uint32_t smi_command;        /* port; 0 where there is no legacy mode to leave */
	uint8_t acpi_enable;         /* write it to smi_command for ACPI mode */
	struct acpi_register pm_timer;      /* 3.579545 MHz */
	bool pm_timer_32bit;                /* TMR_VAL_EXT: 32 bits, else 24 */
	struct acpi_register pm1a_event, pm1b_event;
	struct acpi_register pm1a_control, pm1b_control;
	struct acpi_register reset;         /* present only where RESET_REG_SUP is set */
	uint8_t reset_value;
	struct acpi_register sleep_control; /* where HW_REDUCED is set, instead of PM1 control: SLP_TYP in bits 4:2, SLP_EN bit 5 */
	uint64_t dsdt_address;              /* 0: none, or broken */

	/* \_S5 of the DSDT */
	bool s5_present;
	uint8_t slp_typa, slp_typb;  /* for bits 12:10 of PM1a/PM1b control */

	/* HPET, MCFG, DMAR, SPCR */
	struct acpi_register hpet;
	uint8_t hpet_number;
	unsigned mcfg_count;
	struct acpi_mcfg mcfg[ACPI_MCFG_MAX];
	bool dmar_present;
	uint64_t dmar_address;
	uint32_t dmar_length;
	bool dmar_x2apic_opt_out; /* the firmware asks to leave x2APIC mode alone (VT-d 4.0, section 8.1) */
	bool ivrs_present; /* I/O virtualization reporting structure: AMD's IOMMUs */
	unsigned iommu_count;
	struct acpi_iommu iommu[ACPI_IOMMUS_MAX]; /* of the DMAR and the IVRS, no address twice */
	bool spcr_present;
	uint8_t spcr_type;                  /* 0 or 1: 16550, 0x12: 16550 with a register description; see DBG2 */
	struct acpi_register spcr;
	uint32_t spcr_baud;                 /* bits a second; 0: as the firmware set it */
	bool spcr_irq_present, spcr_gsi_present;
	uint8_t spcr_irq;                   /* ISA interrupt */
	uint32_t spcr_gsi;
};

/* Makes `len` bytes at `phys` readable. The pointer need only be good until the next call. Returns NULL where it cannot. */
typedef const void *acpi_map_fn(uint64_t phys, uint64_t len);

/* Read everything into *info (cleared first). `rsdp` is the RSDP or a copy of it, `rsdp_size` how much of it may be read (20 or 36).
 * Returns 0; ERR_NOENT (no RSDP given) or ERR_INVALID (RSDP or root table broken), logged: then everything is marked absent. */
int acpi_read(struct acpi_info *info, const void *rsdp, size_t rsdp_size, acpi_map_fn *map);

/* Search a mapped area for the RSDP signature with a right checksum (section 5.2.5.1: 16-byte boundaries of the EBDA's first KiB and of
 * 0xe0000..0xfffff). Returns its offset, or ERR_NOENT. */
int64_t acpi_find_rsdp(const void *area, size_t size);

/* The n-th valid table with this signature; NULL where there is none. */
const struct acpi_table *acpi_find_table(const struct acpi_info *info, const char *signature, unsigned n);

/* Find \_S5 in AML (section 20.2; "Name (_S5, Package () {a, b, ...})"). A bounded scan for a well-formed NameOp, not an interpreter.
 * Returns whether it was found, with the two sleep types (0..7). */
bool acpi_find_s5(const uint8_t *aml, size_t size, uint8_t *slp_typa, uint8_t *slp_typb);

/* GSI and flags of an ISA IRQ: its override, or itself with flags 0. */
uint32_t acpi_irq_to_gsi(const struct acpi_info *info, uint8_t irq, uint16_t *flags);

#endif

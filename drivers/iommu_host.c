/* IOMMUs are switched off before a driver of Lamina's has a device read or write memory. A unit that does not obey costs a line in the log
 * and a tenth of a second for each part that stays on: the machine may have no device behind it. */
#include "drivers/iommu_host.h"

#include "drivers/host.h"
#include "drivers/mmio.h"
#include "lib/log.h"
#include "lib/time.h"

#define WAIT_MS 100
#define ABSENT UINT32_MAX /* what a bus reads where nothing answers */

/* VT-d 4.0, section 11.4: registers. */
#define VTD_SIZE 0x1000
#define VTD_CAP 0x08
#define VTD_CAP_PROTECTED_LOW BIT(5)
#define VTD_CAP_PROTECTED_HIGH BIT(6)
#define VTD_COMMAND 0x18
#define VTD_STATUS 0x1c
#define VTD_ROOT 0x20
#define VTD_PROTECTED 0x64
#define VTD_PROTECTED_ENABLE BIT(31)
#define VTD_PROTECTED_STATUS BIT(0)
#define VTD_QUEUE_HEAD 0x80
#define VTD_QUEUE_TAIL 0x88
#define VTD_QUEUE_MASK 0x7ffffU /* offsets in the queue */

/* Bits of the command, and where the status shows that they have come into effect. */
#define VTD_TRANSLATION BIT(31)
#define VTD_ROOT_SET BIT(30)
#define VTD_QUEUE BIT(26)
#define VTD_INTERRUPTS BIT(25)
/* The bits of the status that a command must repeat so that they stay: the others of the command are done once. */
#define VTD_LASTING 0x96ffffffU

/* AMD I/O Virtualization Technology Specification 3.08, section 3.4: registers. */
#define AMD_SIZE 0x4000
#define AMD_CONTROL 0x18
#define AMD_ENABLE BIT(0)
#define AMD_EVENT_LOG BIT(2)
#define AMD_EVENT_INTERRUPT BIT(3)
#define AMD_WAIT_INTERRUPT BIT(4)
#define AMD_COMMANDS BIT(12)
#define AMD_REQUEST_LOG BIT(13)
#define AMD_REQUEST_INTERRUPT BIT(14)
#define AMD_GUEST_LOG BIT(28)
#define AMD_GUEST_INTERRUPT BIT(29)
#define AMD_STATUS 0x2020
#define AMD_STATUS_EVENT_LOG BIT(3)
#define AMD_STATUS_COMMANDS BIT(4)
#define AMD_STATUS_REQUEST_LOG BIT(7)
#define AMD_STATUS_GUEST_LOG BIT(8)
#define AMD_QUEUES (AMD_COMMANDS | AMD_EVENT_LOG | AMD_EVENT_INTERRUPT | AMD_WAIT_INTERRUPT | AMD_REQUEST_LOG | AMD_REQUEST_INTERRUPT | \
		    AMD_GUEST_LOG | AMD_GUEST_INTERRUPT)
#define AMD_STATUS_QUEUES (AMD_STATUS_COMMANDS | AMD_STATUS_EVENT_LOG | AMD_STATUS_REQUEST_LOG | AMD_STATUS_GUEST_LOG)

/* A part of a unit that can be on by itself. */
enum part {
	PART_TRANSLATION = 1,
	PART_INTERRUPTS = 2,
	PART_QUEUES = 4,
	PART_PROTECTED = 8,
};

/* Wait until the bits of `mask` are `value`. Returns whether they are. */
static bool wait_for(const volatile uint8_t *at, uint32_t mask, uint32_t value)
{
	uint64_t end = time_now() + time_hz() / 1000 * WAIT_MS;

	while ((mmio_read32(at) & mask) != value) {
		if (time_now() > end)
			return false;
		host_relax();
	}
	return true;
}

/* Section 11.4.4.1: one bit changes with each command, and the status shows when. Returns whether it has. */
static bool vtd_command(volatile uint8_t *unit, uint32_t bit, bool on)
{
	uint32_t lasting = mmio_read32(unit + VTD_STATUS) & VTD_LASTING;

	mmio_write32(unit + VTD_COMMAND, on ? lasting | bit : lasting & ~bit);
	return wait_for(unit + VTD_STATUS, bit, on ? bit : 0);
}

/* The queue ends last: what waits in it may be the end of the translation. */
static bool vtd_queue_off(volatile uint8_t *unit)
{
	uint64_t end = time_now() + time_hz() / 1000 * WAIT_MS;

	while ((mmio_read32(unit + VTD_QUEUE_HEAD) & VTD_QUEUE_MASK) != (mmio_read32(unit + VTD_QUEUE_TAIL) & VTD_QUEUE_MASK) &&
	       time_now() <= end)
		host_relax(); /* a queue that does not empty itself has stopped at an error: it is switched off all the same */
	return vtd_command(unit, VTD_QUEUE, false);
}

/* Section 11.4.8.1. Returns whether the regions are open. */
static bool vtd_protected_off(volatile uint8_t *unit)
{
	mmio_write32(unit + VTD_PROTECTED, mmio_read32(unit + VTD_PROTECTED) & ~(uint32_t)VTD_PROTECTED_ENABLE);
	return wait_for(unit + VTD_PROTECTED, VTD_PROTECTED_STATUS, 0);
}

/* Each of these switches off what is on. Returns the parts that were on; *stuck is the parts that still are. */
static unsigned vtd_off(volatile uint8_t *unit, unsigned *stuck)
{
	uint32_t status = mmio_read32(unit + VTD_STATUS), capabilities = mmio_read32(unit + VTD_CAP);
	unsigned on = 0;

	if (status & VTD_TRANSLATION) {
		on |= PART_TRANSLATION;
		if (!vtd_command(unit, VTD_TRANSLATION, false))
			*stuck |= PART_TRANSLATION;
	}
	if (status & VTD_INTERRUPTS) {
		on |= PART_INTERRUPTS;
		if (!vtd_command(unit, VTD_INTERRUPTS, false))
			*stuck |= PART_INTERRUPTS;
	}
	if (status & VTD_QUEUE) {
		on |= PART_QUEUES;
		if (!vtd_queue_off(unit))
			*stuck |= PART_QUEUES;
	}
	if (capabilities & (VTD_CAP_PROTECTED_LOW | VTD_CAP_PROTECTED_HIGH) &&
	    mmio_read32(unit + VTD_PROTECTED) & (VTD_PROTECTED_ENABLE | VTD_PROTECTED_STATUS)) {
		on |= PART_PROTECTED;
		if (!vtd_protected_off(unit))
			*stuck |= PART_PROTECTED;
	}
	return on;
}

/* AMD's unit remaps interrupts by the same bit as addresses. The queues end first: section 3.4.1.7 wants the unit on for that. */
static unsigned amd_off(volatile uint8_t *unit, unsigned *stuck)
{
	uint32_t control = mmio_read32(unit + AMD_CONTROL);
	unsigned on = 0;

	if (control & AMD_QUEUES || mmio_read32(unit + AMD_STATUS) & AMD_STATUS_QUEUES) {
		on |= PART_QUEUES;
		control &= ~(uint32_t)AMD_QUEUES;
		mmio_write32(unit + AMD_CONTROL, control);
		if (!wait_for(unit + AMD_STATUS, AMD_STATUS_QUEUES, 0))
			*stuck |= PART_QUEUES;
	}
	if (control & AMD_ENABLE) {
		on |= PART_TRANSLATION | PART_INTERRUPTS;
		mmio_write32(unit + AMD_CONTROL, control & ~(uint32_t)AMD_ENABLE);
		if (!wait_for(unit + AMD_CONTROL, AMD_ENABLE, 0))
			*stuck |= PART_TRANSLATION | PART_INTERRUPTS;
	}
	return on;
}

static void report(const struct acpi_iommu *iommu, unsigned on, unsigned stuck)
{
	unsigned parts = stuck ? stuck : on;

	log_line("iommu: the %s unit at %lx was left on by the firmware;%s%s%s%s %s", iommu->amd ? "AMD" : "VT-d", iommu->address,
		 parts & PART_TRANSLATION ? " DMA translation," : "", parts & PART_INTERRUPTS ? " interrupt remapping," : "",
		 parts & PART_QUEUES ? " its queues," : "", parts & PART_PROTECTED ? " protected memory," : "",
		 stuck ? "which cannot be switched off: disks' DMA may fault" : "now off");
}

static volatile uint8_t *map_unit(const struct acpi_iommu *iommu)
{
	volatile uint8_t *unit = host_map_registers(iommu->address, iommu->amd ? AMD_SIZE : VTD_SIZE);

	if (unit && mmio_read32(unit + (iommu->amd ? AMD_CONTROL : VTD_STATUS)) != ABSENT)
		return unit;
	log_line("iommu: the %s unit at %lx does not answer: if it is on, disks' DMA may fault", iommu->amd ? "AMD" : "VT-d", iommu->address);
	return NULL;
}

void iommu_host_off(const struct acpi_info *acpi)
{
	unsigned off = 0;

	for (unsigned i = 0; i < acpi->iommu_count; i++) {
		const struct acpi_iommu *iommu = &acpi->iommu[i];
		volatile uint8_t *unit = map_unit(iommu);
		unsigned on, stuck = 0;

		if (!unit)
			continue;
		on = iommu->amd ? amd_off(unit, &stuck) : vtd_off(unit, &stuck);
		if (on)
			report(iommu, on, stuck);
		else
			off++;
	}
	if (off)
		log_line("iommu: %u unit(s) were off already", off);
}

void iommu_host_block(const struct acpi_info *acpi)
{
	uint64_t root;

	for (unsigned i = 0; i < acpi->iommu_count; i++) {
		volatile uint8_t *unit = acpi->iommu[i].amd ? NULL : map_unit(&acpi->iommu[i]);

		if (!unit || !host_dma_alloc(1, &root))
			continue;
		mmio_write64(unit + VTD_ROOT, root);
		if (vtd_command(unit, VTD_ROOT_SET, true) && vtd_command(unit, VTD_TRANSLATION, true))
			log_line("iommu: the unit at %lx translates by an empty table now", acpi->iommu[i].address);
	}
}

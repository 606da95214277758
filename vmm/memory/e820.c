/* The guest's memory map is the VM's RAM regions, with the PC's reserved areas of the first MiB and the APICs' pages laid between them. */
#include "vmm/memory/e820.h"

#include "vmm/memory/layout.h"

static void add(struct e820_entry *map, unsigned *count, uint64_t base, uint64_t end, enum e820_type type)
{
	if (base < end)
		map[(*count)++] = (struct e820_entry){ .base = base, .size = end - base, .type = type };
}

unsigned e820_build(const struct guest_memory *mem, struct e820_entry map[E820_MAX])
{
	unsigned count = 0;
	unsigned i = 0;

	for (; i < mem->count && mem->region[i].gpa < LAYOUT_EBDA; i++)
		add(map, &count, mem->region[i].gpa, MIN(mem->region[i].gpa + mem->region[i].size, LAYOUT_EBDA), E820_RAM);
	add(map, &count, LAYOUT_EBDA, LAYOUT_HOLE, E820_RESERVED);
	add(map, &count, LAYOUT_ACPI, LAYOUT_ACPI_END, E820_RESERVED);
	/* The last region of the loop above may reach past the hole. */
	for (i = i ? i - 1 : 0; i < mem->count && mem->region[i].gpa < LAYOUT_LOW_RAM_MAX; i++)
		add(map, &count, MAX(mem->region[i].gpa, LAYOUT_HOLE_END), mem->region[i].gpa + mem->region[i].size, E820_RAM);
	add(map, &count, LAYOUT_IOAPIC, LAYOUT_IOAPIC + LAYOUT_APIC_SIZE, E820_RESERVED);
	add(map, &count, LAYOUT_LAPIC, LAYOUT_LAPIC + LAYOUT_APIC_SIZE, E820_RESERVED);
	for (; i < mem->count; i++)
		add(map, &count, mem->region[i].gpa, mem->region[i].gpa + mem->region[i].size, E820_RAM);
	return count;
}

uint64_t e820_low_ram_end(const struct guest_memory *mem)
{
	uint64_t end = LAYOUT_HOLE_END;

	for (unsigned i = 0; i < mem->count; i++)
		if (mem->region[i].gpa <= end && end - mem->region[i].gpa < mem->region[i].size)
			end = mem->region[i].gpa + mem->region[i].size;
	return end;
}

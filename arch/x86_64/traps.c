/* The interrupt descriptor table and what its vectors lead to: exceptions end in a dump with a backtrace by function names, interrupts are
 * handed to their drivers, an NMI is only noted, a machine check ends everything. */
#include "arch/x86_64/traps.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/host_apic.h"
#include "arch/x86_64/host_devices.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/symbols.h"
#include "drivers/console/console.h"
#include "lib/log.h"
#include "lib/x86/msr.h"
#include "lib/x86/pc.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/vm/console_router.h"

/* SDM vol. 3, "64-Bit IDT Gate Descriptors". */
struct PACKED gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "64-bit gate");

#define GATE_INTERRUPT (SEGMENT_P | TYPE_INTERRUPT_GATE32)
#define STUB_SIZE 16
#define FRAMES_SHOWN 16

extern const uint8_t trap_entries[256][STUB_SIZE];

static struct gate idt[256];

static const char *const exception_names[32] = {
	"divide error", "debug", "NMI", "breakpoint", "overflow", "BOUND range exceeded", "invalid opcode", "device not available",
	"double fault", "coprocessor segment overrun", "invalid TSS", "segment not present", "stack fault", "general protection",
	"page fault", "15", "x87 error", "alignment check", "machine check", "SIMD error", "virtualization", "control protection",
	"22", "23", "24", "25", "26", "27", "28", "29", "30", "31",
};

void traps_init(void)
{
	for (unsigned v = 0; v < 256; v++) {
		uint64_t entry = (uint64_t)trap_entries[v];

		idt[v] = (struct gate){
			.offset_low = (uint16_t)entry,
			.selector = GDT_CODE,
			.ist = v == VECTOR_DF ? 1 : v == VECTOR_NMI ? 2 : v == VECTOR_MC ? 3 : 0,
			.type = GATE_INTERRUPT,
			.offset_middle = (uint16_t)(entry >> 16),
			.offset_high = (uint32_t)(entry >> 32),
		};
	}
}

void traps_load(void)
{
	struct table_pointer pointer = { sizeof(idt) - 1, (uint64_t)idt };

	__asm__ volatile("lidt %0" : : "m"(pointer));
}

static const void *expected_fault, *expected_resume;

void trap_expect(const void *fault, const void *resume)
{
	expected_fault = fault;
	expected_resume = resume;
}

static void dump(const struct trap_frame *f)
{
	log_line("core %u: %s (vector %lu, error %lx) at %lx, CR2 %lx, CR3 %lx", this_cpu()->index,
		 f->vector < 32 ? exception_names[f->vector] : "interrupt", f->vector, f->error, f->rip, read_cr2(), read_cr3());
	log_line("  RAX %016lx RBX %016lx RCX %016lx RDX %016lx", f->rax, f->rbx, f->rcx, f->rdx);
	log_line("  RSI %016lx RDI %016lx RBP %016lx RSP %016lx", f->rsi, f->rdi, f->rbp, f->rsp);
	log_line("  R8  %016lx R9  %016lx R10 %016lx R11 %016lx", f->r8, f->r9, f->r10, f->r11);
	log_line("  R12 %016lx R13 %016lx R14 %016lx R15 %016lx", f->r12, f->r13, f->r14, f->r15);
	log_line("  RFLAGS %lx CS %lx SS %lx CR0 %lx CR4 %lx", f->rflags, f->cs, f->ss, read_cr0(), read_cr4());
	backtrace(f->rip, f->rbp);
}

static void report_nmi(void);

void irq_handle(uint8_t vector)
{
	switch (vector) {
	case VECTOR_SPURIOUS:
		return; /* no EOI (SDM vol. 3, "Spurious Interrupt") */
	case VECTOR_SERIAL:
		console_interrupt(console_router_input);
		break;
	case VECTOR_TIMER:
		this_cpu()->timer_deadline = UINT64_MAX;
		if (console_due[this_cpu()->index != 0] != UINT64_MAX)
			console_service(rdtsc(), console_router_input);
		break;
	case VECTOR_HALT:
		for (;;)
			hlt();
	default:
		/* VECTOR_KICK only had to end what the core was doing. */
		if (vector >= VECTOR_FIRST_DEVICE && vector < VECTOR_FIRST_DEVICE + VECTOR_DEVICES)
			host_device_interrupt(vector);
		break;
	}
	host_apic_eoi();
	report_nmi();
}

/* Nothing of Lamina's sends NMIs: a button, a watchdog or failing hardware. It may have come in the middle of anything, also of a
 * line for the console, so it is only noted here and reported with the next interrupt. */
void nmi_handle(void)
{
	this_cpu()->nmi_seen = true;
}

static void report_nmi(void)
{
	struct cpu *cpu = this_cpu();

	if (!cpu->nmi_seen || cpu->nmi_reported)
		return;
	cpu->nmi_reported = true;
	log_line("core %u: NMI from the hardware (port 0x61 says %02x); further ones on this core are not reported", cpu->index,
		 inb(PORT_SYSTEM_B));
}

void machine_check(void)
{
	unsigned banks = (unsigned)(rdmsr(MSR_MCG_CAP) & 0xff);

	console_seize();
	log_line("core %u: machine check: MCG_STATUS %lx", this_cpu()->index, rdmsr(MSR_MCG_STATUS));
	for (unsigned i = 0; i < banks && i < 32; i++) {
		uint64_t status = rdmsr(MSR_MC0_STATUS + 4 * i);

		if (status & MCI_STATUS_VALID)
			log_line("  bank %u: status %016lx address %016lx", i, status, status & MCI_STATUS_ADDRESS_VALID ? rdmsr(MSR_MC0_ADDR + 4 * i) : 0);
	}
	panic("the hardware reported a machine check");
}

void trap_handle(struct trap_frame *frame)
{
	if (frame->vector >= VECTOR_FIRST_IRQ) {
		irq_handle((uint8_t)frame->vector);
		return;
	}
	if (frame->vector == VECTOR_NMI) {
		nmi_handle();
		return;
	}
	if (expected_fault && frame->rip == (uint64_t)expected_fault) {
		frame->rip = (uint64_t)expected_resume;
		return;
	}
	if (frame->vector == VECTOR_MC)
		machine_check();
	dump(frame);
	panic("%s in Lamina itself", exception_names[frame->vector]);
}

const char *symbol_name(uint64_t address, uint64_t *offset)
{
	uint32_t low = 0, high = symbols_count;
	uint32_t key = (uint32_t)(address - KERNEL_BASE);

	*offset = 0;
	if (address < (uint64_t)text_start || address >= (uint64_t)text_end || !high)
		return "?";
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (symbols[middle].address <= key)
			low = middle;
		else
			high = middle;
	}
	*offset = key - symbols[low].address;
	return symbol_names + symbols[low].name;
}

static void show_frame(uint64_t rip)
{
	uint64_t offset;
	const char *name = symbol_name(rip, &offset);

	log_line("  [<%016lx>] %s+0x%lx", rip, name, offset);
}

void backtrace(uint64_t rip, uint64_t rbp)
{
	if (rip)
		show_frame(rip);
	for (unsigned n = 0; n < FRAMES_SHOWN; n++) {
		const uint64_t *frame = (const uint64_t *)rbp;
		uint64_t stack = (uint64_t)&frame;

		/* Only this core's stacks: a broken chain must not fault again. */
		if (rbp % 8 || ((rbp < STACKS_BASE || rbp >= DEVICES_BASE) && (rbp < (uint64_t)image_start || rbp >= (uint64_t)image_end)) ||
		    rbp < stack || !frame[1])
			break;
		show_frame(frame[1] - 1); /* in the call, not behind it: that may be the next function */
		if (frame[0] <= rbp)
			break;
		rbp = frame[0];
	}
}

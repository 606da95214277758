#include "tests/guests/lib/trap.h"

#include "tests/guests/lib/console.h"
#include "tests/guests/lib/test.h"

/* SDM vol. 3, section 6.14.1, "64-Bit Mode IDT". */
struct PACKED gate {
	uint16_t offset_low;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t offset_middle;
	uint32_t offset_high;
	uint32_t reserved;
};
_Static_assert(sizeof(struct gate) == 16, "SDM vol. 3, section 6.14.1");

struct PACKED idt_pointer {
	uint16_t limit;
	const void *base;
};

static struct gate idt[256];
static trap_handler *handlers[256];

volatile struct fault fault;
volatile uint64_t fault_resume, fault_rsp, fault_rflags;
volatile uint64_t guard_rsp;

extern const uint64_t trap_entries[256];
extern const uint8_t guarded_abort[];

void trap(struct trap_frame *frame);

static const char *const names[32] = {
	"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP", "#PF", "15",
	"#MF", "#AC", "#MC", "#XM", "#VE", "#CP", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31",
};

static void resume_at(struct trap_frame *frame, uint64_t rip, uint64_t rsp, uint64_t rflags)
{
	frame->rip = rip;
	frame->cs = SEL_CODE64;
	frame->rsp = rsp;
	frame->ss = SEL_DATA;
	frame->rflags = rflags;
}

/* TRY() and guarded_call() are the boot processor's alone (IA32_APIC_BASE's BSP flag). */
static bool on_boot_cpu(void)
{
	return rdmsr(MSR_APIC_BASE) & BIT(8);
}

void trap(struct trap_frame *frame)
{
	unsigned vector = (unsigned)frame->vector;

	if (handlers[vector]) {
		handlers[vector](frame);
		return;
	}
	if (fault_resume && on_boot_cpu()) {
		fault.vector = (int)vector;
		fault.error = frame->error;
		fault.cr2 = read_cr2();
		fault.dr6 = read_dr6();
		fault.frame = *frame;
		resume_at(frame, fault_resume, fault_rsp, fault_rflags);
		fault_resume = 0;
		return;
	}
	if (vector >= 32) {
		test_fail("unexpected interrupt, vector 0x%x, at %llx", vector, (unsigned long long)frame->rip);
		return;
	}
	test_fail("unexpected %s, error code %llx, at %llx, CR2 %llx", names[vector], (unsigned long long)frame->error,
		  (unsigned long long)frame->rip, (unsigned long long)read_cr2());
	if (guard_rsp && on_boot_cpu()) {
		resume_at(frame, (uint64_t)guarded_abort, guard_rsp, 2);
		return;
	}
	say("guest: stopped by %s, error code %llx, at %llx, CR2 %llx\n", names[vector], (unsigned long long)frame->error,
	    (unsigned long long)frame->rip, (unsigned long long)read_cr2());
	for (;;)
		__asm__ volatile("cli; hlt");
}

void trap_handle(unsigned vector, trap_handler *handler)
{
	handlers[vector] = handler;
}

static void set_gate(unsigned vector, uint64_t entry, bool present, unsigned dpl, unsigned ist)
{
	idt[vector] = (struct gate){
		.offset_low = (uint16_t)entry,
		.selector = SEL_CODE64,
		.ist = (uint8_t)ist,
		.type = (uint8_t)((present ? 0x8e : 0x0e) | dpl << 5),
		.offset_middle = (uint16_t)(entry >> 16),
		.offset_high = (uint32_t)(entry >> 32),
	};
}

void trap_set_gate(unsigned vector, bool present, unsigned dpl, unsigned ist)
{
	set_gate(vector, trap_entries[vector], present, dpl, ist);
}

void trap_set_entry(unsigned vector, const void *entry)
{
	set_gate(vector, (uint64_t)entry, true, 0, 0);
}

void trap_load_idt(void)
{
	struct idt_pointer pointer = { sizeof(idt) - 1, idt };

	__asm__ volatile("lidt %0" : : "m"(pointer));
}

void trap_init(void)
{
	for (unsigned vector = 0; vector < 256; vector++)
		trap_set_gate(vector, true, 0, 0);
	trap_set_gate(VECTOR_NMI, true, 0, 2);
	trap_set_gate(VECTOR_DF, true, 0, 1);
	trap_set_gate(18, true, 0, 1);
	trap_set_gate(VECTOR_USER_END, true, 3, 0);
	trap_load_idt();
}

int rdmsr_safe(uint32_t msr, uint64_t *value)
{
	uint32_t lo = 0, hi = 0;

	TRY("rdmsr", "+a"(lo), "+d"(hi) : "c"(msr) : "memory");
	*value = fault.vector == NO_FAULT ? (uint64_t)hi << 32 | lo : 0;
	return fault.vector;
}

int wrmsr_safe(uint32_t msr, uint64_t value)
{
	TRY("wrmsr", : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
	return fault.vector;
}

void run_user64(const void *code, uint64_t argument)
{
	static uint8_t stack[4096] __attribute__((aligned(16)));

	fault.vector = NO_FAULT;
	run_user(code, SEL_USER_CODE64, 2, stack + sizeof(stack) - 8, argument);
}

/* Why a vCPU left guest mode, in terms that both vendors' engines share. Handlers see this and nothing of the hardware. */
#ifndef VMM_EXITS_VM_EXIT_H
#define VMM_EXITS_VM_EXIT_H

#include "lib/types.h"

/* X(kind, name in the log and in the exit statistics) */
#define VM_EXIT_KINDS(X) \
	X(UNKNOWN, "unknown exit") \
	X(EXTERNAL_INTERRUPT, "external interrupt") \
	X(NMI, "host NMI") \
	X(INTERRUPT_WINDOW, "interrupt window") \
	X(NMI_WINDOW, "NMI window") \
	X(TPR_BELOW_THRESHOLD, "TPR below threshold") \
	X(CPUID, "CPUID") \
	X(HLT, "HLT") \
	X(IO, "port I/O") \
	X(MSR_READ, "RDMSR") \
	X(MSR_WRITE, "WRMSR") \
	X(CR_WRITE, "control-register write") \
	X(CR_READ, "control-register read") \
	X(CR3_WRITE, "CR3 write") \
	X(CR3_READ, "CR3 read") \
	X(XSETBV, "XSETBV") \
	X(NESTED_FAULT, "nested page fault") \
	X(PAGE_FAULT, "page fault") \
	X(INVLPG, "INVLPG") \
	X(APIC_ACCESS, "APIC access") \
	X(APIC_WRITE, "APIC write") \
	X(EOI, "EOI of a level interrupt") \
	X(WBINVD, "WBINVD or INVD") \
	X(PAUSE, "PAUSE") \
	X(TIME_SLICE, "time slice") \
	X(EXCEPTION, "exception") \
	X(REFUSED, "refused instruction") \
	X(TRIPLE_FAULT, "triple fault") \
	X(TASK_SWITCH, "task switch") \
	X(MACHINE_CHECK, "machine check") \
	X(ENGINE, "engine's own") \
	X(ENTRY_FAILED, "failed VM entry")

enum vm_exit_kind {
#define VM_EXIT_ENUM(kind, name) EXIT_##kind,
	VM_EXIT_KINDS(VM_EXIT_ENUM)
#undef VM_EXIT_ENUM
	EXIT_KINDS,
};

enum vm_exit_access {
	ACCESS_READ = 1 << 0,
	ACCESS_WRITE = 1 << 1,
	ACCESS_FETCH = 1 << 2,
};

struct vm_exit {
	enum vm_exit_kind kind;
	uint32_t length; /* of the instruction, in bytes; only for kinds that an instruction causes. 0: the CPU did not say */
	union {
		uint8_t vector; /* EXTERNAL_INTERRUPT: acknowledged already; 0: still pending in the CPU. EOI: whose. REFUSED: the exception that the guest gets */
		struct {
			uint8_t vector;
			bool has_error;
			uint32_t error;
		} exception;    /* the guest's own, for the guest's handler; DR6 is up to date */
		struct {
			uint16_t port;
			uint8_t size; /* bytes */
			bool in, string, rep;
			uint8_t address_size; /* bytes; string instructions only */
			uint8_t segment;      /* enum segment_register, OUTS only */
		} io;
		struct {
			uint8_t cr;
			uint8_t gpr; /* index in struct vcpu's gpr (CR3_WRITE, CR3_READ: this alone); for CLTS and LMSW `value` holds the whole new CR0 */
			bool immediate;
			uint64_t value;
		} cr;
		struct {
			uint64_t gpa;
			uint8_t access;  /* enum vm_exit_access */
			bool translated; /* gpa is that of an operand or fetch, not of a page-table walk */
			bool vectoring;  /* during the delivery of an event */
		} fault;
		struct {
			uint64_t linear;
			uint32_t error;
			bool vectoring;
		} page_fault; /* PAGE_FAULT, with shadow paging. INVLPG: linear only */
		struct {
			uint32_t offset;
			uint8_t access;
			bool linear; /* caused by an instruction's data access, not by a walk or an event's delivery */
		} apic;
		struct {
			uint16_t selector;
		} task;
		struct {
			uint64_t reason, qualification;
		} raw; /* ENTRY_FAILED, UNKNOWN */
	};
};

/* The name of a kind, as in the table above. */
const char *vm_exit_name(enum vm_exit_kind kind);

#endif

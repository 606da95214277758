/* Why a vCPU left guest mode, in terms that both vendors' engines share. Handlers see this and nothing of the hardware. */
#ifndef VMM_EXITS_VM_EXIT_H
#define VMM_EXITS_VM_EXIT_H

#include "lib/types.h"

/* X(kind, what caused it, handler, name in the log and in the exit statistics).
 * INSTRUCTION: the instruction at RIP, which the handler may find carried out: then RIP moves behind it. EVENT: anything else, an instruction
 * that is over or that is not executed included: RIP stays, which the handler's type sees to (vmm/exits/handlers.h). */
#define VM_EXIT_KINDS(X) \
	X(UNKNOWN, EVENT, handle_unknown, "unknown exit") \
	X(EXTERNAL_INTERRUPT, EVENT, handle_external_interrupt, "external interrupt") \
	X(NMI, EVENT, handle_nmi, "host NMI") \
	X(INTERRUPT_WINDOW, EVENT, handle_interrupt_window, "interrupt window") \
	X(NMI_WINDOW, EVENT, handle_nmi_window, "NMI window") \
	X(TPR_BELOW_THRESHOLD, EVENT, handle_tpr_below_threshold, "TPR below threshold") \
	X(CPUID, INSTRUCTION, handle_cpuid, "CPUID") \
	X(HLT, INSTRUCTION, handle_hlt, "HLT") \
	X(IO, INSTRUCTION, handle_io, "port I/O") \
	X(MSR_READ, INSTRUCTION, handle_msr_read, "RDMSR") \
	X(MSR_WRITE, INSTRUCTION, handle_msr_write, "WRMSR") \
	X(RDPMC, INSTRUCTION, handle_rdpmc, "RDPMC") \
	X(CR_WRITE, INSTRUCTION, handle_cr_write, "control-register write") \
	X(CR_READ, INSTRUCTION, handle_cr_read, "control-register read") \
	X(CLTS, INSTRUCTION, handle_clts, "CLTS") \
	X(LMSW, INSTRUCTION, handle_lmsw, "LMSW") \
	X(SMSW, INSTRUCTION, handle_smsw, "SMSW") \
	X(CR3_WRITE, INSTRUCTION, handle_cr3_write, "CR3 write") \
	X(CR3_READ, INSTRUCTION, handle_cr3_read, "CR3 read") \
	X(XSETBV, INSTRUCTION, handle_xsetbv, "XSETBV") \
	X(NESTED_FAULT, INSTRUCTION, handle_nested_fault, "nested page fault") \
	X(PAGE_FAULT, INSTRUCTION, handle_page_fault, "page fault") \
	X(INVLPG, INSTRUCTION, handle_invlpg, "INVLPG") \
	X(APIC_ACCESS, INSTRUCTION, handle_apic_access, "APIC access") \
	X(APIC_WRITE, EVENT, handle_apic_write, "APIC write") \
	X(EOI, EVENT, handle_eoi, "EOI of a level interrupt") \
	X(WBINVD, INSTRUCTION, handle_wbinvd, "WBINVD or INVD") \
	X(PAUSE, INSTRUCTION, handle_pause, "PAUSE") \
	X(TIME_SLICE, EVENT, handle_time_slice, "time slice") \
	X(EXCEPTION, EVENT, handle_exception, "exception") \
	X(REFUSED, EVENT, handle_refused, "refused instruction") \
	X(TRIPLE_FAULT, EVENT, handle_triple_fault, "triple fault") \
	X(TASK_SWITCH, EVENT, handle_task_switch, "task switch") \
	X(MACHINE_CHECK, EVENT, handle_machine_check, "machine check") \
	X(ENGINE, EVENT, handle_engine, "engine's own") \
	X(ENTRY_FAILED, EVENT, handle_entry_failed, "failed VM entry")

enum vm_exit_kind {
#define VM_EXIT_ENUM(kind, cause, handler, name) EXIT_##kind,
	VM_EXIT_KINDS(VM_EXIT_ENUM)
#undef VM_EXIT_ENUM
	EXIT_KINDS,
};

enum vm_exit_access {
	ACCESS_READ = 1 << 0,
	ACCESS_WRITE = 1 << 1,
	ACCESS_FETCH = 1 << 2,
};

/* Where LMSW and SMSW have their operand. */
enum msw_operand {
	MSW_GPR,
	MSW_MEMORY,
	MSW_VALUE, /* the CPU has read it */
};

struct insn;

struct vm_exit {
	enum vm_exit_kind kind;
	uint32_t length; /* of the instruction, in bytes; only for kinds that an instruction causes. 0: the CPU did not say */
	union {
		/* EXTERNAL_INTERRUPT: acknowledged already; 0: still pending in the CPU. EOI: its vector. REFUSED: the exception that the guest gets. */
		uint8_t vector;
		struct {
			uint8_t vector;
			bool has_error;
			uint32_t error;
		} exception;    /* an exception of the guest's own, to be injected; DR6 is up to date */
		struct {
			uint16_t port;
			uint8_t size; /* bytes */
			bool in, string, rep;
			uint8_t address_size; /* bytes; string instructions only */
			uint8_t segment;      /* enum segment_register, OUTS only */
		} io;
		struct {
			uint8_t cr;      /* CR_WRITE, CR_READ */
			uint8_t gpr;     /* index in struct vcpu's gpr (CR3_WRITE, CR3_READ: this alone) */
			uint8_t operand; /* enum msw_operand; LMSW, SMSW */
			uint8_t size;    /* of SMSW's register, in bytes: what it gets is not always a word */
			uint16_t value;  /* MSW_VALUE: LMSW's operand */
			const struct insn *insn; /* MSW_MEMORY: see exit_instruction() */
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

/* Interrupts and exceptions: handlers by vector, expected exceptions, guarded tests. */
#ifndef TESTS_GUESTS_LIB_TRAP_H
#define TESTS_GUESTS_LIB_TRAP_H

#include "tests/guests/lib/cpu.h"

enum {
	VECTOR_DE = 0, VECTOR_DB = 1, VECTOR_NMI = 2, VECTOR_BP = 3, VECTOR_OF = 4, VECTOR_UD = 6, VECTOR_NM = 7, VECTOR_DF = 8,
	VECTOR_TS = 10, VECTOR_NP = 11, VECTOR_SS = 12, VECTOR_GP = 13, VECTOR_PF = 14, VECTOR_MF = 16, VECTOR_AC = 17, VECTOR_XM = 19,
	VECTOR_USER_END = 0x80, /* open to user mode: ends run_user() */
};

#define NO_FAULT (-1)

/* What trap_entry.asm saves, lowest address first. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* The exception that ended the last TRY() or run_user(). */
struct fault {
	int vector; /* NO_FAULT where there was none */
	uint64_t error, cr2, dr6;
	struct trap_frame frame;
};

extern volatile struct fault fault;
extern volatile uint64_t fault_resume, fault_rsp, fault_rflags;

/* Run an instruction (or a few) that may raise an exception; afterwards fault.vector and its fellows tell which. The rest of the
 * arguments is what follows the first colon of an asm statement. Not for use in interrupt handlers, nor on several CPUs at once. */
#define TRY(instructions, ...) \
	do { \
		fault.vector = NO_FAULT; \
		__asm__ volatile("pushfq\n\tpopq fault_rflags\n\tmovq $77f, fault_resume\n\tmovq %%rsp, fault_rsp\n\t" instructions \
				 "\n77:\tmovq $0, fault_resume" : __VA_ARGS__); \
	} while (0)

/* MSR accesses that may fault: the vector or NO_FAULT; *value is 0 after a fault. */
int rdmsr_safe(uint32_t msr, uint64_t *value);
int wrmsr_safe(uint32_t msr, uint64_t value);

/* SDM vol. 3, section 7.7, "Task Management in 64-bit Mode". */
struct PACKED tss {
	uint32_t reserved;
	uint64_t rsp[3], reserved2, ist[7], reserved3;
	uint16_t reserved4, io_map;
};
_Static_assert(sizeof(struct tss) == 0x68, "SDM vol. 3, figure 7-11");

/* The boot processor's, in start.asm. */
extern struct tss tss;
extern uint64_t gdt[16];

typedef void trap_handler(struct trap_frame *frame);

/* Handle a vector (NULL: back to the default, which takes it for the end of a TRY(), or for a failure of the running test). */
void trap_handle(unsigned vector, trap_handler *handler);
/* Load the IDT (on each CPU). */
void trap_load_idt(void);
void trap_init(void);
/* Change a gate: present or not, DPL 3 or 0, interrupt stack 0 to 2. */
void trap_set_gate(unsigned vector, bool present, unsigned dpl, unsigned ist);

/* Send a vector straight to code of the guest's own, which ends with IRETQ and sees what the CPU has pushed; trap_set_gate() undoes it. */
void trap_set_entry(unsigned vector, const void *entry);

/* Run fn; 1 where an exception that nobody expected ended it (already reported as the test's failure), else 0. */
int guarded_call(void (*fn)(void));

/* Run code in user mode until an exception or INT 0x80; the result is in `fault`. */
void run_user(const void *code, uint64_t selector, uint64_t rflags, void *stack, uint64_t argument);
/* The same on a stack of its own, in 64-bit mode with interrupts off. */
void run_user64(const void *code, uint64_t argument);

#endif

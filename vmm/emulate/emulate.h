/* Emulation of a guest's instruction on its behalf: accesses to memory-mapped registers, and INS and OUTS. */
#ifndef VMM_EMULATE_EMULATE_H
#define VMM_EMULATE_EMULATE_H

#include "lib/types.h"
#include "lib/x86/segment.h"
#include "vmm/emulate/code_memory.h"
#include "vmm/emulate/decode.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/memory/guest_walk.h"

#define EMULATE_STRING_MAX 256 /* elements of a repeated string instruction that one call handles */
#define EMULATE_IO_MAX 64      /* likewise for INS and OUTS */

/* A vCPU as the emulator sees it. Embed one in each vCPU, zeroed at first; before a call set what can have changed. */
struct emulator {
	uint64_t *gpr;         /* 16 of them: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8..r15; rsp is written back too */
	uint64_t rip;          /* in and out */
	uint64_t rflags;       /* in and out */
	enum decode_mode mode; /* from CS.L (with EFER.LMA) and CS.D */
	bool fault_write;      /* the access that faulted was a write (VMX: exit qualification bit 1) */
	uint8_t segments;      /* bit n: seg[n] is filled; set it to 0 before each call */
	struct segment_state seg[SEG_COUNT];
	const struct guest_memory *mem;
	struct guest_paging paging;
	struct code_memory code; /* what is remembered of the guest's code: code_memory_init() */

	void *ctx;             /* for the callbacks */
	/* Fill in a segment register. In 64-bit mode asked for FS and GS only, for SEG_LDTR and SEG_TR by emulate_step() only. */
	void (*segment)(void *ctx, enum segment_register which, struct segment_state *seg);
	/* An access to an address without RAM; `size` is 1, 2, 4 or 8. Bits of a value above the size are ignored. */
	uint64_t (*mmio_read)(void *ctx, uint64_t gpa, unsigned size);
	void (*mmio_write)(void *ctx, uint64_t gpa, unsigned size, uint64_t value);
	/* Where not NULL: RAM [gpa, gpa+size) has been written. With it, emulate_mmio() also serves writes to RAM that the hardware did not
	 * let through: writes to traced page tables. */
	void (*written)(void *ctx, uint64_t gpa, unsigned size);
	/* Set together with `written`: a repeated string instruction begins to write at `gpa`. Returns true where the hardware lets such
	 * writes through from now on. */
	bool (*rewritten)(void *ctx, uint64_t gpa);
	/* For emulate_string_io and emulate_step only; `size` is 1, 2 or 4. */
	uint32_t (*port_read)(void *ctx, uint16_t port, unsigned size);
	void (*port_write)(void *ctx, uint16_t port, unsigned size, uint32_t value);

	struct step_state *step; /* emulate_step() and emulate_interrupt() only: vmm/emulate/step.h */
};

enum emulate_verdict {
	EMULATE_DONE,        /* executed: rip, rflags and registers are those after the instruction */
	EMULATE_RETRY,       /* enter the guest as it is now: a repeated instruction goes on, or memory changed meanwhile */
	EMULATE_EXCEPTION,   /* inject the exception in the result; registers are as the exception's handler must see them */
	EMULATE_UNSUPPORTED, /* nothing happened; the result has the instruction's bytes */
	EMULATE_SHUTDOWN,    /* emulate_step() and emulate_interrupt() only: a triple fault */
};

struct emulate_result {
	/* EMULATE_EXCEPTION */
	uint8_t vector;
	bool has_error_code;
	uint32_t error_code;
	uint64_t cr2;         /* page faults only: load it into CR2 */
	/* EMULATE_DONE and EMULATE_UNSUPPORTED */
	uint8_t length;       /* of the instruction; 0 where it could not be decoded */
	uint8_t byte_count;   /* how many of `bytes` were fetched */
	uint8_t bytes[16];
	/* EMULATE_DONE of emulate_step() */
	bool halted;          /* HLT: wait for an interrupt */
	bool iret;            /* IRET: no longer blocks NMIs */
	bool delivered;       /* an exception or a software interrupt, `vector`, has been delivered */
};

/* Execute the instruction at CS:RIP, which faulted at `fault_gpa`, where there is no RAM. Returns an enum emulate_verdict.
 * After EMULATE_DONE the caller deals with what follows an instruction: interrupt shadow, RFLAGS.TF. RFLAGS.RF is cleared here. */
int emulate_mmio(struct emulator *e, uint64_t fault_gpa, struct emulate_result *r);

/* Read the memory operand, of `size` bytes, of the instruction at CS:RIP, which is `insn`. Returns EMULATE_DONE with *value, or another
 * verdict; nothing in `e` but what it remembers has changed. */
int emulate_operand(struct emulator *e, const struct insn *insn, unsigned size, uint64_t *value, struct emulate_result *r);

/* Write the memory operand of that instruction; likewise. */
int emulate_operand_write(struct emulator *e, const struct insn *insn, unsigned size, uint64_t value, struct emulate_result *r);
/* The linear address of that operand, unchecked, as INVLPG takes it. */
uint64_t emulate_linear(struct emulator *e, const struct insn *insn);

/* An INS or OUTS, as the exit tells it (VMX: exit qualification and VM-exit instruction information). */
struct string_io {
	uint16_t port;
	uint8_t size;         /* 1, 2 or 4 bytes an element */
	bool in;              /* INS */
	bool rep;
	uint8_t address_size; /* 2, 4 or 8; 0: the exit does not say, read the instruction (segment and length then too) */
	uint8_t segment;      /* enum segment_register; OUTS only, INS always uses ES */
	uint8_t length;       /* the instruction's */
};

/* Execute an INS or OUTS whose port the guest may access. Moves up to EMULATE_IO_MAX elements and updates rcx, rsi or rdi.
 * Returns an enum emulate_verdict; EMULATE_RETRY: more elements are left, the guest's instruction will exit again. */
int emulate_string_io(struct emulator *e, const struct string_io *given, struct emulate_result *r);

#endif

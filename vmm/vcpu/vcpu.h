/* A virtual CPU. It lives in its VM's arena and is touched by the core that it is pinned to; `pending`, and the local APIC's posted
 * interrupts, are the ways in for other cores. */
#ifndef VMM_VCPU_VCPU_H
#define VMM_VCPU_VCPU_H

#include "lib/types.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "vmm/devices/lapic.h"
#include "vmm/emulate/emulate.h"
#include "vmm/exits/vm_exit.h"
#include "vmm/interface/engine.h"
#include "vmm/sched/timer.h"

struct arena_plan;
struct cpuid_table;
struct guest_memory;
struct io_space;
struct msr_state;
struct real_mode;
struct shadow_mmu;
struct shadow_vcpu;
struct vm;
struct sched_slot;

/* Encoding order (SDM vol. 2, ModRM). */
enum { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI, GPR_R8, GPR_R9, GPR_R10, GPR_R11, GPR_R12, GPR_R13,
       GPR_R14, GPR_R15, GPR_COUNT };

enum vcpu_state { VCPU_RUNNING, VCPU_HALTED, VCPU_WAIT_FOR_SIPI, VCPU_PARKED };

struct vcpu {
	uint64_t gpr[GPR_COUNT]; /* first: the entry stub's operand. [GPR_RSP] is the engine's (VCPU_RSP) */
	uint32_t pending;        /* atomic: why it must look around before it enters the guest again (vmm/vcpu/pending.h) */
	bool hw_delivery;        /* the CPU delivers the local APIC's interrupts itself */
	bool held_back;          /* an interrupt of the local APIC's waits for an interrupt window all the same */
	uint8_t nmis_pending;    /* NMIs to deliver: two at most, one of which waits for the other's handler to end */
	uint8_t nmis_posted;     /* atomic: NMIs that have come since PENDING_NMI was last taken; beyond two they are not counted */
	bool has_core;           /* it is in vcpu_run(), on its core */
	bool kickable;           /* other vCPUs must know whether it runs guest code, because they share shadow page tables with it */
	bool in_guest;           /* atomic: it runs guest code, or is about to; kept only where `kickable` */
	bool by_emulation;       /* in a mode that the CPU does not run */
	bool park_unreported;    /* it has parked for a request of the VM, and vm_vcpu_parked() has not been told */
	uint8_t sipi_vector;
	enum vcpu_state state;
	const struct engine *engine;
	struct vm *vm;           /* whose parts that a vCPU uses all the time follow; vm_attach_vcpu sets them */
	const char *vm_name;
	struct engine_vm *engine_vm;
	const struct guest_memory *memory;
	const struct cpuid_table *cpuid;
	struct msr_state *msr;
	struct io_space *pio, *mmio;
	struct shadow_mmu *shadow_mmu; /* NULL with nested paging */
	const bool *pic_line;    /* atomic: the 8259s' INTR, for vCPU 0, to whose LINT0 it is wired; NULL for the others */
	unsigned index;
	void *hw;                /* the engine's own */
	struct sched_slot *slot;
	struct shadow_vcpu *shadow; /* NULL with nested paging */
	uint64_t shadow_root;    /* the root that the engine was last given */
	uint64_t cr3;            /* with shadow paging: as the guest knows it */
	struct real_mode *real_mode; /* NULL where the CPU runs all modes */
	struct lapic lapic;
	struct timer_queue timers;
	struct emulator emulator;
	struct vcpu_context context; /* of the instruction being emulated */
	struct emulate_result emulated;
	int64_t tsc_adjust;      /* IA32_TSC_ADJUST as the guest wrote it */
	uint64_t xcr0;
	uint64_t misc_enable;
	uint32_t exit_start;     /* core_ticks() when its handling began */
	uint32_t turn_start, turn_ticks; /* core_ticks() when interrupts were last let in, and the ticks after which to let them in again */
	struct vm_exit exit;     /* the exit being handled: the engine's word to its handler */
	uint64_t msr_value;      /* what RDMSR gives */
	uint64_t exit_count[EXIT_KINDS];
	uint64_t exit_ticks[EXIT_KINDS];
	uint64_t emulated_instructions; /* instructions emulated because the CPU does not run the guest's mode */
};

static inline uint64_t vcpu_read(struct vcpu *v, enum vcpu_register reg)
{
	return v->engine->read(v, reg);
}

static inline void vcpu_write(struct vcpu *v, enum vcpu_register reg, uint64_t value)
{
	v->engine->write(v, reg, value);
}

static inline bool vcpu_in_64bit_code(const struct vcpu_context *c)
{
	return c->efer & EFER_LMA && c->cs_access & SEGMENT_L;
}

/* A general-purpose register by its encoding, RSP included. */
uint64_t vcpu_read_gpr(struct vcpu *v, unsigned gpr);
void vcpu_write_gpr(struct vcpu *v, unsigned gpr, uint64_t value);

/* For tests of the dump: start the guest with a code segment that VM entry refuses. */
extern bool vcpu_debug_bad_entry;

/* Make the control structures. Returns 0 or an error, logged. */
int vcpu_create(struct vcpu *v, struct vm *vm, unsigned index);
/* What that allocates. */
void vcpu_plan(struct arena_plan *plan, const struct engine *engine, bool shadow);
/* The state after power-up: vCPU 0 runs (the loader sets where), the others wait for SIPI. */
void vcpu_reset(struct vcpu *v);
/* INIT and SIPI have come (SDM vol. 3, "MP Initialization Protocol"; the vector is in sipi_vector). */
void vcpu_take_init(struct vcpu *v);
void vcpu_take_sipi(struct vcpu *v);

/* The four entries that PAE paging loads from `cr3`. Returns 0 or ERR_RANGE. */
int vcpu_read_pdptes(struct vcpu *v, uint64_t cr3, uint64_t pdpte[4]);

/* Queue an exception; `error` counts only where the vector has an error code. */
void vcpu_inject_exception(struct vcpu *v, uint8_t vector, uint32_t error);

/* Tell the engine of the local APIC's mode and of the interrupts in its page. */
void vcpu_apply_apic_mode(struct vcpu *v);

/* Run the guest until it must leave the core or waits; the vCPU's `state` then says why. */
void vcpu_run(struct vcpu *v);

/* Print every register, where the guest is and the bytes there. */
void vcpu_dump(struct vcpu *v);

#endif

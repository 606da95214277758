/* What a hardware (or software) engine does for the rest of the monitor. There is one struct engine for each way to run a guest's
 * instructions; vmm/ calls nothing else of it. An engine gives each exit to vcpu_exit() (vmm/exits/exit.h) and goes on as long as that says so:
 * the way from the exit to the handler and back is then one call, with no state saved that nobody needs. */
#ifndef VMM_INTERFACE_ENGINE_H
#define VMM_INTERFACE_ENGINE_H

#include "lib/types.h"
#include "lib/x86/events.h"
#include "lib/x86/segment.h"

struct arena_plan;
struct monitor_caps;
struct page_table;
struct page_table_policy;
struct vcpu;
struct vm;

/* The registers that are not in struct vcpu's gpr. */
enum vcpu_register {
	VCPU_RIP,
	VCPU_RSP,
	VCPU_RFLAGS,
	VCPU_CR0,
	VCPU_CR2,
	VCPU_CR3,
	VCPU_CR4,
	VCPU_EFER,
	VCPU_GDT_BASE,
	VCPU_GDT_LIMIT,
	VCPU_IDT_BASE,
	VCPU_IDT_LIMIT,
	VCPU_DR0,
	VCPU_DR1,
	VCPU_DR2,
	VCPU_DR3,
	VCPU_DR6,
	VCPU_DR7,
	VCPU_INTERRUPTIBILITY, /* VT-x only: what INTERRUPTIBILITY_* says */
	VCPU_PAT,
	VCPU_FS_BASE,
	VCPU_GS_BASE,
	VCPU_SYSENTER_CS,
	VCPU_SYSENTER_ESP,
	VCPU_SYSENTER_EIP,
	VCPU_XCR0, /* read only: XSETBV exits */
	VCPU_REGISTERS,
};

/* What the emulation of one instruction needs of a vCPU, read in one go. */
struct vcpu_context {
	uint64_t rip, rsp, rflags, cr0, cr3, cr4, efer;
	uint32_t cs_access, ss_access;
};

enum vcpu_event_type { EVENT_INTERRUPT, EVENT_NMI, EVENT_EXCEPTION };

struct vcpu_event {
	enum vcpu_event_type type;
	uint8_t vector;
	bool has_error;
	uint32_t error;
};

/* A VM in its engine's eyes: a part of struct vm, to which each of the VM's vCPUs has a pointer. */
struct engine_vm {
	struct vm *vm;             /* whose arena the engine allocates from (vmm/vm/arena.h) */
	struct page_table *nested; /* guest-physical to physical */
	bool shadow;               /* the CPU walks shadow page tables in place of `nested` */
	uint16_t first_tag;        /* of the vCPUs' translations: a tag for each vCPU, in order */
	void *hw;                  /* the engine's own; vm_create sets it */
};

enum vcpu_apic_mode { APIC_MODE_DISABLED, APIC_MODE_XAPIC, APIC_MODE_X2APIC };

struct engine {
	const char *name;     /* "VT-x" */
	const char *mmu_name; /* "EPT" */
	const char *tag_name; /* of its translations: "VPID" */
	const char *cpu_mode; /* what a core is in, once it can run guests: "VMX root mode"; NULL with cpu_enable */
	unsigned modes;       /* BIT(enum monitor_mode) of each mode that this build has with it */
	const struct page_table_policy *nested_policy;
	bool shadow_real_mode; /* the CPU runs real mode on shadow page tables too; else it is emulated, with the two functions below */

	/* NULL where the engine needs no mode of the CPU's, or: make this core ready to run guests. Returns NULL or a sentence. */
	const char *(*cpu_enable)(void);
	/* Add what the CPU offers with this engine, to choose a monitor mode from. */
	void (*monitor_caps)(struct monitor_caps *caps);
	/* The largest leaf that nested paging takes (PT_LEVEL_*), and what the granted controls let guests have (CPUID_GRANT_*). */
	unsigned (*nested_max_level)(void);
	uint32_t (*granted)(void);
	/* The CPU delivers this VM's virtual interrupts without exits. */
	bool (*hw_delivery)(const struct engine_vm *vm);

	/* What all vCPUs of a VM share, from its arena; before the first vcpu_create. Returns 0 or an error, logged. */
	int (*vm_create)(struct engine_vm *vm);
	/* Make the vCPU's control structures, from its VM's arena. Returns 0, or an error, logged. */
	int (*vcpu_create)(struct vcpu *v);
	/* What vm_create (with the tables that it adds to `nested`) and vcpu_create will allocate. */
	void (*plan_vm)(struct arena_plan *plan, bool shadow);
	void (*plan_vcpu)(struct arena_plan *plan);
	/* Bring these structures to the state after RESET, or after INIT, which leaves the FPU and most MSRs alone (SDM vol. 3, "Processor
	 * State After Reset"), except for the GPRs. */
	void (*vcpu_reset)(struct vcpu *v, bool init);
	/* Make this vCPU current on this core, and take it off the core again. */
	void (*load)(struct vcpu *v);
	void (*unload)(struct vcpu *v);
	/* Run until vcpu_exit() says to leave. The vCPU is loaded. */
	void (*run)(struct vcpu *v);

	uint64_t (*read)(struct vcpu *v, enum vcpu_register reg);
	void (*write)(struct vcpu *v, enum vcpu_register reg, uint64_t value);
	void (*read_context)(struct vcpu *v, struct vcpu_context *context);
	void (*read_segment)(struct vcpu *v, enum segment_register seg, struct segment_state *state);
	void (*write_segment)(struct vcpu *v, enum segment_register seg, const struct segment_state *state);
	/* The guest's own MOV to CR0, CR4 or WRMSR EFER: check as the CPU does and take it. ERR_INVALID: #GP, nothing changed. */
	int (*set_cr0)(struct vcpu *v, uint64_t value);
	int (*set_cr4)(struct vcpu *v, uint64_t value);
	int (*set_efer)(struct vcpu *v, uint64_t value);

	/* Move RIP over an instruction of `length` bytes, and end the shadow of STI or MOV SS. With `length` 0 the engine finds out how
	 * long the instruction at RIP is, which caused this exit. */
	void (*advance)(struct vcpu *v, unsigned length);
	/* Whether an event of this type could be delivered at the next entry: nothing else is queued and nothing blocks it. */
	bool (*can_inject)(struct vcpu *v, enum vcpu_event_type type);
	void (*inject)(struct vcpu *v, const struct vcpu_event *event);
	/* Whether an NMI has been injected and its handler has not ended: the CPU takes no other one until IRET. */
	bool (*nmi_in_service)(struct vcpu *v);
	/* Ask for an exit as soon as an interrupt (or an NMI) could be delivered. */
	void (*interrupt_window)(struct vcpu *v, bool on);
	void (*nmi_window)(struct vcpu *v, bool on);
	/* NULL, or: have the guest take this vector of its local APIC as soon as it can, without an exit, in place of the vector offered
	 * before (-1: offer none). The engine calls lapic_acknowledge() at the first exit after the guest has taken it. Returns false where
	 * the vector cannot be offered: then inject it. */
	bool (*offer_interrupt)(struct vcpu *v, int vector);
	/* Exit when the guest lowers its TPR class below `threshold` (0..15; 0: never). */
	void (*tpr_threshold)(struct vcpu *v, unsigned threshold);
	/* The next three only with hw_delivery. The highest requested and in-service vectors (0: none). */
	void (*virtual_interrupts)(struct vcpu *v, uint8_t highest_irr, uint8_t highest_isr);
	void (*eoi_exits)(struct vcpu *v, const uint64_t bitmap[4]);
	void (*apic_mode)(struct vcpu *v, enum vcpu_apic_mode mode);
	void (*tsc_offset)(struct vcpu *v, int64_t offset);
	/* The guest's memory map changed, or its paging was changed behind its back: drop this vCPU's cached translations. */
	void (*flush)(struct vcpu *v);
	/* With shadow paging only: the root of the shadow tables; drop the cached translation of one linear address. */
	void (*shadow_root)(struct vcpu *v, uint64_t root);
	void (*flush_address)(struct vcpu *v, uint64_t linear);
	/* For modes that are emulated: take the event that is queued for the next entry out of the queue. Returns false where there is
	 * none. */
	bool (*take_event)(struct vcpu *v, struct vcpu_event *event);
	/* MSRs that the guest otherwise reads and writes without exits. Returns 0, or ERR_INVALID where `msr` is none of them or the value
	 * is wrong. */
	int (*read_direct_msr)(struct vcpu *v, uint32_t msr, uint64_t *value);
	int (*write_direct_msr)(struct vcpu *v, uint32_t msr, uint64_t value);
	/* Print the state that only the engine knows. */
	void (*dump)(struct vcpu *v);
};

/* The engines that a machine has. */
#define ENGINES_MAX 3
struct engine_set {
	unsigned count;
	const struct engine *engine[ENGINES_MAX];
};

/* The engine that serves a monitor mode (its number), or NULL. */
static inline const struct engine *engine_for_mode(const struct engine_set *set, unsigned mode)
{
	for (unsigned i = 0; i < set->count; i++)
		if (set->engine[i]->modes & BIT(mode))
			return set->engine[i];
	return NULL;
}

#endif

/* VT-x inside: shared by the engine's own files and nobody else. */
#ifndef ARCH_X86_64_VMX_VMX_H
#define ARCH_X86_64_VMX_VMX_H

#include "arch/x86_64/vmx/vmcs.h"
#include "lib/x86/events.h"
#include "lib/x86/segment.h"
#include "lib/x86/vmx.h"
#include "vmm/vcpu/vcpu.h"

/* The operand of INVVPID and INVEPT (SDM vol. 3, "Operations that Invalidate Cached Mappings"): a VPID or EPT pointer, and a linear
 * address that only type 0 of INVVPID looks at. */
struct vmx_invalidation {
	uint64_t what, address;
};

_Static_assert(sizeof(struct vmx_invalidation) == 16, "the CPU reads it");

/* What this CPU granted; the same on every core. */
struct vmx_controls {
	uint32_t revision;
	uint32_t pin, proc, proc2, exit, entry;
	uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	uint64_t eptp_flags;       /* memory type, walk length, A/D */
	uint64_t ept_vpid_capability;
	unsigned preemption_shift; /* the preemption timer counts the TSC's ticks shifted right by this */
	const char *no_nested_paging; /* NULL, or why guests cannot run on EPT: a sentence */
	uint8_t flush_type;        /* of INVVPID, for all of a vCPU's translations; 0: they have no tags */
	bool flush_address;        /* INVVPID has type 0 too */
	bool apic_virtualization;  /* APIC-access page (or x2APIC mode) with register virtualization and interrupt delivery */
};

extern struct vmx_controls vmx_controls;

#define VMX_SWITCHED_MSRS 6

/* The engine's part of a vCPU, in the VM's arena. */
struct vmx_vcpu {
	uint64_t vmcs_phys;
	bool launched;
	bool loaded_once;
	uint32_t proc, proc2;      /* as now in the VMCS */
	uint64_t cr0_owned, cr4_owned, cr4_offered; /* guest-owned bits; bits that the guest may set */
	uint64_t pat;              /* where the CPU does not switch it: kept, without effect */
	uint64_t efer;             /* with shadow paging: as the guest knows it */
	struct vmx_invalidation tag; /* its VPID */
	uint8_t rvi, svi;
	unsigned cpu;              /* core whose host state the VMCS holds */
	uint64_t switched_msr[VMX_SWITCHED_MSRS];
	uint64_t cr2, dr[4], dr6;
	void *fpu;                 /* XSAVE area */
};

/* The engine's part of a VM. */
struct vmx_vm {
	uint64_t io_bitmap_a, io_bitmap_b, msr_bitmap, msr_bitmap_x2apic, apic_access;
};

static inline struct vmx_vcpu *vmx_of(struct vcpu *v)
{
	return v->hw;
}

/* Negotiate every control against the capability MSRs. Returns NULL, or a sentence that names what is missing. */
const char *vmx_controls_negotiate(void);
/* Enter VMX root mode on this core. Returns NULL or a sentence. */
const char *vmx_cpu_enable(void);

/* The engine's part of a VM (vmx_vm.c). Returns 0 or ERR_NOMEM. */
int vmx_vm_create(struct engine_vm *vm);
/* What it, and the tables that it adds to nested paging's, will allocate; and what a vCPU will. */
void vmx_plan_vm(struct arena_plan *plan, bool shadow);
void vmx_plan_vcpu(struct arena_plan *plan);
/* Whether the CPU delivers the VM's interrupts without exits. */
bool vmx_hw_delivery(const struct engine_vm *vm);
/* A vCPU's VMCS (vmx_vcpu.c). vmx_create() returns 0 or ERR_NOMEM; an INIT leaves some of what a reset sets. */
int vmx_create(struct vcpu *v);
void vmx_reset(struct vcpu *v, bool init);
/* A vCPU on this core (vmx_switch.c). */
void vmx_load(struct vcpu *v);
void vmx_unload(struct vcpu *v);
void vmx_run(struct vcpu *v);
/* MSRs that the guest uses without exits (vmx_direct_msr.c): a page of bitmaps for the VMCS, without and with x2APIC mode; the values that
 * change hands between vCPUs; one value for an emulated access, which is 0 or ERR_INVALID where the MSR is none of these or refuses it. */
void vmx_fill_msr_bitmap(const struct engine_vm *vm, uint8_t *bitmap);
void vmx_fill_x2apic_bitmap(const struct engine_vm *vm, uint8_t *bitmap);
void vmx_reset_switched_msrs(void);
void vmx_save_switched_msrs(struct vmx_vcpu *x);
void vmx_load_switched_msrs(const struct vmx_vcpu *x);
int vmx_read_direct_msr(struct vcpu *v, uint32_t msr, uint64_t *value);
int vmx_write_direct_msr(struct vcpu *v, uint32_t msr, uint64_t value);
/* Registers (vmx_registers.c). */
uint64_t vmx_read(struct vcpu *v, enum vcpu_register reg);
void vmx_write(struct vcpu *v, enum vcpu_register reg, uint64_t value);
void vmx_read_context(struct vcpu *v, struct vcpu_context *context);
void vmx_read_segment(struct vcpu *v, enum segment_register seg, struct segment_state *state);
void vmx_write_segment(struct vcpu *v, enum segment_register seg, const struct segment_state *state);
void vmx_shadow_root(struct vcpu *v, uint64_t root);
int vmx_set_cr0(struct vcpu *v, uint64_t value);
int vmx_set_cr4(struct vcpu *v, uint64_t value);
int vmx_set_efer(struct vcpu *v, uint64_t value);
void vmx_advance(struct vcpu *v, unsigned length);
/* Events (vmx_events.c). */
bool vmx_can_inject(struct vcpu *v, enum vcpu_event_type type);
void vmx_inject(struct vcpu *v, const struct vcpu_event *event);
bool vmx_nmi_in_service(struct vcpu *v);
bool vmx_take_event(struct vcpu *v, struct vcpu_event *event);
/* After an exit during the delivery of an event: deliver it again at the next entry. */
void vmx_requeue_vectoring(void);
void vmx_interrupt_window(struct vcpu *v, bool on);
void vmx_nmi_window(struct vcpu *v, bool on);
void vmx_tpr_threshold(struct vcpu *v, unsigned threshold);
void vmx_virtual_interrupts(struct vcpu *v, uint8_t highest_irr, uint8_t highest_isr);
void vmx_eoi_exits(struct vcpu *v, const uint64_t bitmap[4]);
void vmx_apic_mode(struct vcpu *v, enum vcpu_apic_mode mode);
/* Invalidation (vmx_tlb.c; SDM vol. 3, "Invalidating Cached Translation Information"). */
void vmx_flush(struct vcpu *v);
void vmx_flush_address(struct vcpu *v, uint64_t linear);
void vmx_flush_all(void);
/* The dump and the named checks of guest state (vmx_dump.c). */
void vmx_dump(struct vcpu *v);
void vmx_explain_entry_failure(struct vcpu *v);
/* Decode the exit and hand it on; called by vmx_entry.asm. */
bool vmx_handle_exit(struct vcpu *v);

/* vmx_entry.asm */
bool vmx_enter(struct vcpu *v, bool launched);
void vmx_unblock_nmi(void);
extern const uint8_t vmx_exit_point[];

#endif

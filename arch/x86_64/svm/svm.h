/* AMD-V inside: shared by the engine's own files and nobody else. */
#ifndef ARCH_X86_64_SVM_SVM_H
#define ARCH_X86_64_SVM_SVM_H

#include "arch/x86_64/svm/vmcb.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/vcpu/vcpu.h"

/* What this CPU has; the same on every core. */
struct svm_features {
	uint32_t asids;          /* how many there are, the host's 0 included */
	uint32_t clean;          /* VMCB clean bits to set, or 0 */
	uint8_t flush;           /* what flushes a guest's translations: TLB_FLUSH_... */
	bool next_rip;           /* the VMCB says where the instruction after an intercepted one begins */
	bool decode_assists;
	bool rdpru, mcommit;
	bool vm_cr;              /* the MSR exists */
	bool c1e;                /* a halt may stop the local APIC's timer */
	uint64_t cr4_possible;   /* bits that the CPU lets anyone set */
};

extern struct svm_features svm_features;

enum nmi_state {
	NMI_OPEN,
	NMI_BLOCKED,    /* delivered; the exit at the handler's IRET is awaited */
	NMI_IN_IRET,    /* that IRET begins: blocked until RIP has left it */
};

/* What Lamina steps the guest over, to see the end of what holds an NMI back. */
enum step {
	STEP_NONE,
	STEP_PLAIN,       /* an instruction that leaves RFLAGS.TF as Lamina has set it */
	STEP_LOADS_FLAGS, /* IRET, POPF or SYSRET: once RIP has left it, TF is the guest's own */
};

/* The exceptions that exit always. #MC is the machine's. #DB and #AC can recur without end inside their own delivery, on one instruction of
 * the guest's. With shadow paging #PF is for the shadow tables first. */
static inline uint32_t svm_exceptions(const struct vcpu *v)
{
	return BIT(VECTOR_MC) | BIT(VECTOR_AC) | BIT(VECTOR_DB) | (v->shadow ? BIT(VECTOR_PF) : 0);
}

/* The engine's part of a vCPU, in the VM's arena. */
struct svm_vcpu {
	struct vmcb vmcb; /* first, at the start of a page */
	uint64_t vmcb_phys;
	bool loaded_once;
	uint32_t clean;            /* VMCB clean bits to set at an exit */
	uint8_t tpr;               /* CR8 as the local APIC's page has it */
	bool offered;              /* V_IRQ is a vector of the local APIC's, which has not been acknowledged yet */
	uint16_t seen;             /* V_TPR and V_IRQ as Lamina last saw them, with which an exit compares them; or SVM_LOOK_CLOSER */
	bool tpr_waits;            /* a request that the TPR holds back */
	uint8_t nmi;               /* enum nmi_state */
	bool nmi_wanted;           /* an NMI waits: look at every exit whether it can be delivered */
	uint8_t step;              /* enum step; other than STEP_NONE: Lamina has set RFLAGS.TF */
	uint64_t step_rip;         /* the instruction that it steps over */
	uint64_t iret_rip;
	uint64_t cr0_cache;        /* CD and NW as the guest wrote them; never in the real CR0 */
	uint64_t cr0, cr4, efer; /* with shadow paging: as the guest knows them, but for CR0's TS and MP */
	uint64_t cr4_offered;      /* bits that the guest may set */
	uint64_t tsc_aux;
	uint64_t dr[4];
	void *fpu;                 /* XSAVE area */
};

/* The engine's part of a VM. */
struct svm_vm {
	uint64_t iopm, msrpm;
};

#define SVM_LOOK_CLOSER 0xffff /* no TPR: the next exit has more to do than to be handled */

static inline struct svm_vcpu *svm_of(struct vcpu *v)
{
	return v->hw;
}

static inline struct vmcb *vmcb_of(struct vcpu *v)
{
	return &svm_of(v)->vmcb;
}

/* Fields of these groups changed. */
static inline void svm_changed(struct vmcb *vmcb, uint32_t groups)
{
	vmcb->clean &= ~groups;
}

/* What the guest and its CPU change on their own: V_TPR, and V_IRQ, which is 0 once the interrupt is taken. */
static inline uint16_t svm_virtual_state(const struct vmcb *vmcb)
{
	return (uint16_t)(vmcb->v_tpr | vmcb->v_irq << 8);
}

/* V_TPR or V_IRQ was changed here. */
static inline void svm_seen(struct svm_vcpu *x)
{
	svm_changed(&x->vmcb, CLEAN_TPR);
	if (x->seen != SVM_LOOK_CLOSER)
		x->seen = svm_virtual_state(&x->vmcb);
}

/* The VMCB that holds this core's own FS, GS, TR, LDTR and system-call MSRs, by its physical address (svm_cpu.c). */
uint64_t svm_host_vmcb(void);
/* Enter SVM host mode on this core. Returns NULL or a sentence. */
const char *svm_cpu_enable(void);

/* Whether there are more vCPUs than ASIDs, so that some share one. */
extern bool svm_asids_shared;

/* The engine's part of a VM (svm_vm.c). Returns 0 or ERR_NOMEM. */
int svm_vm_create(struct engine_vm *vm);
/* What it will allocate, and what a vCPU will. */
void svm_plan_vm(struct arena_plan *plan, bool shadow);
void svm_plan_vcpu(struct arena_plan *plan);
/* A vCPU's VMCB (svm_vcpu.c). svm_create() returns 0 or ERR_NOMEM; an INIT leaves some of what a reset sets. */
int svm_create(struct vcpu *v);
void svm_reset(struct vcpu *v, bool init);
/* A vCPU on this core, and its cached translations (svm_switch.c). */
void svm_load(struct vcpu *v);
void svm_unload(struct vcpu *v);
void svm_run(struct vcpu *v);
void svm_flush(struct vcpu *v);
void svm_flush_address(struct vcpu *v, uint64_t linear);
/* Registers (svm_registers.c). */
uint64_t svm_read(struct vcpu *v, enum vcpu_register reg);
void svm_write(struct vcpu *v, enum vcpu_register reg, uint64_t value);
void svm_read_context(struct vcpu *v, struct vcpu_context *context);
void svm_read_segment(struct vcpu *v, enum segment_register seg, struct segment_state *state);
void svm_write_segment(struct vcpu *v, enum segment_register seg, const struct segment_state *state);
int svm_set_cr0(struct vcpu *v, uint64_t value);
int svm_set_cr4(struct vcpu *v, uint64_t value);
int svm_set_efer(struct vcpu *v, uint64_t value);
void svm_shadow_root(struct vcpu *v, uint64_t root);
/* Instructions (svm_instruction.c). With `length` 0, svm_advance() finds out how long the instruction is. */
void svm_advance(struct vcpu *v, unsigned length);
/* Events (svm_events.c). */
bool svm_can_inject(struct vcpu *v, enum vcpu_event_type type);
void svm_inject(struct vcpu *v, const struct vcpu_event *event);
bool svm_nmi_in_service(struct vcpu *v);
/* After an exit during the delivery of an event: deliver it again at the next entry. */
void svm_requeue(struct vcpu *v);
void svm_interrupt_window(struct vcpu *v, bool on);
bool svm_offer_interrupt(struct vcpu *v, int vector);
/* After an exit: tell the local APIC what the guest and its CPU changed in V_TPR and V_IRQ. */
void svm_virtual_changed(struct vcpu *v);
void svm_nmi_window(struct vcpu *v, bool on);
/* The guest is about to execute IRET, which may end an NMI's handler. */
void svm_iret(struct vcpu *v);
/* End Lamina's own single step. Returns whether there was one. */
bool svm_step_done(struct vcpu *v);
void svm_tpr_threshold(struct vcpu *v, unsigned threshold);
/* The dump and the named checks of guest state (svm_dump.c). */
void svm_dump(struct vcpu *v);
/* Returns how many checks fail; `aloud`: and print which. */
unsigned svm_explain_entry_failure(struct vcpu *v, bool aloud);
/* Decode the exit and hand it on; called by svm_entry.asm. */
bool svm_handle_exit(struct vcpu *v, struct svm_vcpu *x);

/* svm_entry.asm */
void svm_enter(struct vcpu *v, struct svm_vcpu *x, uint64_t vmcb_phys, uint64_t host_vmcb);

#endif

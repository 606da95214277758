/* Modes that the CPU does not run. On shadow page tables VT-x runs protected mode and long mode only, and these not with every content of
 * the segment registers (SDM vol. 3, "Guest Register State", "Checks on Guest Segment Registers"); unrestricted guest, which ends this,
 * needs EPT. A vCPU in real mode, or on its way out of it, goes on by emulation, one instruction after the other, until the CPU can take
 * over. Meanwhile v->by_emulation is set; v->real_mode is the state of the emulation, and NULL where the CPU runs all modes. */
#ifndef VMM_VCPU_REAL_MODE_H
#define VMM_VCPU_REAL_MODE_H

struct arena_plan;
struct engine;
struct vcpu;

/* Allocate what a vCPU needs for emulation from its VM's arena; it needs nothing where the CPU runs all modes. Returns 0 or ERR_NOMEM. */
int real_mode_create(struct vcpu *v);
/* What that allocates, where the VM has shadow page tables. */
void real_mode_plan(struct arena_plan *plan, const struct engine *engine);
/* CR0 is new: see whether the CPU runs the guest's mode. */
void real_mode_check(struct vcpu *v);
/* Instead of the engine's run(), while v->by_emulation: until the CPU can take over, or the vCPU must stop running. */
void real_mode_run(struct vcpu *v);

#endif

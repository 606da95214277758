/* What the files of this folder share: the engine is told what the shadow MMU has decided. */
#ifndef VMM_MMU_SETTLE_H
#define VMM_MMU_SETTLE_H

#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/vcpu.h"

/* Where tables changed under this vCPU, the engine drops its translations. */
static inline void carry_out_flush(struct vcpu *v)
{
	struct shadow_vcpu *sv = v->shadow;

	if (__atomic_load_n(&sv->flush, __ATOMIC_RELAXED) && shadow_take_flush(sv) != SHADOW_FLUSH_NONE)
		v->engine->flush(v);
}

/* The same, after the engine has been told of the root, where the vCPU has another one now. */
static inline void settle_shadow(struct vcpu *v)
{
	struct shadow_vcpu *sv = v->shadow;

	if (sv->root != v->shadow_root) {
		v->shadow_root = sv->root;
		v->engine->shadow_root(v, sv->root);
	}
	carry_out_flush(v);
}

#endif

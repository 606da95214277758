/* Flushes that a change of the tables makes due: each vCPU's flush is only noted, and another vCPU is kicked out of the guest, so that it
 * carries its own out before it runs on. */
#include "vmm/shadow/shadow_page.h"

void shadow_need_flush(struct shadow_vcpu *sv, enum shadow_flush kind)
{
	struct shadow_mmu *mmu = sv->mmu;
	uint32_t old = __atomic_load_n(&sv->flush, __ATOMIC_RELAXED);

	while (old < (uint32_t)kind &&
	       !__atomic_compare_exchange_n(&sv->flush, &old, (uint32_t)kind, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
	sv->flushed_entry_changes = mmu->entry_changes;
	if (kind == SHADOW_FLUSH_ALL)
		sv->flushed_upper_changes = mmu->upper_changes;
}

void shadow_flush_everywhere(struct shadow_mmu *mmu, struct shadow_vcpu *self)
{
	mmu->writable_unflushed = false;
	mmu->retired = false;
	for (unsigned i = 0; i < mmu->config.vcpus; i++) {
		struct shadow_vcpu *sv = mmu->vcpu[i];

		if (!sv)
			continue;
		shadow_need_flush(sv, SHADOW_FLUSH_ALL);
		if (sv != self && mmu->config.kick) {
			mmu->stats.remote_flushes++;
			mmu->config.kick(mmu->config.ctx, i);
		}
	}
}

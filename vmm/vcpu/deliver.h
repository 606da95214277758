/* Which interrupt gets into the guest at the next entry. */
#ifndef VMM_VCPU_DELIVER_H
#define VMM_VCPU_DELIVER_H

#include "lib/types.h"

struct vcpu;

/* Whether there is an interrupt or an NMI that ends HLT. */
bool vcpu_can_wake(struct vcpu *v);
/* Hand the engine what the guest can take now, an NMI before the local APIC's interrupt before the 8259s', and ask it for an exit when the guest
 * can take the rest. `apic_changed`: the local APIC's IRR or ISR changed in its page (lapic_sync). */
void vcpu_deliver(struct vcpu *v, bool apic_changed);

#endif

/* The format in which CPUs report an event that an exit interrupted and take one to deliver, and what holds a delivery back (SDM vol. 3,
 * "VM-Entry Interruption-Information Field", "Guest Non-Register State"; APM vol. 2, "Event Injection"). VT-x and AMD-V have the same
 * layout, AMD-V with the error code in the upper half. */
#ifndef LIB_X86_EVENTS_H
#define LIB_X86_EVENTS_H

#include "lib/types.h"

#define EVENT_VALID BIT(31)
#define EVENT_HAS_ERROR BIT(11)
#define EVENT_NMI_UNBLOCKING BIT(12) /* VT-x: the exit came of an IRET that had unblocked NMIs */
#define EVENT_KIND_SHIFT 8
#define EVENT_KIND_INTERRUPT 0
#define EVENT_KIND_NMI 2
#define EVENT_KIND_EXCEPTION 3
#define EVENT_KIND_SOFT_INTERRUPT 4
#define EVENT_KIND_PRIVILEGED 5     /* VT-x: INT1 */
#define EVENT_KIND_SOFT_EXCEPTION 6 /* VT-x: INT3, INTO */

/* The interruptibility state, as VT-x writes it. */
#define INTERRUPTIBILITY_STI BIT(0)
#define INTERRUPTIBILITY_MOV_SS BIT(1)
#define INTERRUPTIBILITY_NMI BIT(3)

#endif

/* The registers and bits of the local APIC and of the I/O APIC, and the address of interrupt messages (SDM vol. 3, "Local APIC Register
 * Address Map", "Message Signalled Interrupts"; Intel 82093AA data sheet, section 3). */
#ifndef LIB_X86_APIC_H
#define LIB_X86_APIC_H

#include "lib/types.h"

/* ---- The local APIC ---- */

#define LAPIC_BASE 0xfee00000ULL /* where every local APIC sits after a reset */

/* Register numbers: byte offset in the page divided by 16, and MSR number minus MSR_X2APIC_BASE. */
enum lapic_register {
	LAPIC_ID = 0x02,
	LAPIC_VERSION = 0x03,
	LAPIC_TPR = 0x08,
	LAPIC_APR = 0x09,
	LAPIC_PPR = 0x0a,
	LAPIC_EOI = 0x0b,
	LAPIC_RRD = 0x0c,
	LAPIC_LDR = 0x0d,
	LAPIC_DFR = 0x0e,
	LAPIC_SVR = 0x0f,
	LAPIC_ISR = 0x10, /* eight each */
	LAPIC_TMR = 0x18,
	LAPIC_IRR = 0x20,
	LAPIC_ESR = 0x28,
	LAPIC_ICR = 0x30,
	LAPIC_ICR_HIGH = 0x31, /* xAPIC */
	LAPIC_LVT_TIMER = 0x32,
	LAPIC_LVT_THERMAL = 0x33,
	LAPIC_LVT_PERF = 0x34,
	LAPIC_LVT_LINT0 = 0x35,
	LAPIC_LVT_LINT1 = 0x36,
	LAPIC_LVT_ERROR = 0x37,
	LAPIC_INITIAL_COUNT = 0x38,
	LAPIC_CURRENT_COUNT = 0x39,
	LAPIC_DIVIDE = 0x3e,
	LAPIC_SELF_IPI = 0x3f, /* x2APIC */
};

#define SVR_ENABLE 0x100U
#define SVR_SUPPRESS_EOI 0x1000U

#define LVT_MASKED 0x10000U
#define LVT_DELIVERY_MODE 0x700U
#define LVT_TIMER_MODE 0x60000U
#define LVT_TIMER_ONE_SHOT 0U
#define LVT_TIMER_PERIODIC 0x20000U
#define LVT_TIMER_DEADLINE 0x40000U
#define LAPIC_DIVIDE_BY_1 0xbU

#define ESR_SEND_ILLEGAL 0x20U
#define ESR_RECEIVE_ILLEGAL 0x40U
#define ESR_ILLEGAL_REGISTER 0x80U

#define ICR_LOGICAL 0x800U
#define ICR_PENDING 0x1000U
#define ICR_ASSERT 0x4000U
#define ICR_LEVEL 0x8000U
#define ICR_OTHERS 0xc0000U
#define ICR_DELIVERY_SHIFT 8

/* Delivery modes of messages, in the ICR, the LVT, the I/O APIC's redirections and MSIs' data. */
enum apic_delivery {
	APIC_FIXED = 0,
	APIC_LOWEST = 1,
	APIC_SMI = 2,
	APIC_NMI = 4,
	APIC_INIT = 5,
	APIC_SIPI = 6,
	APIC_EXTINT = 7,
};

/* ---- The I/O APIC ---- */

#define IOAPIC_BASE 0xfec00000ULL /* of a PC's first */

/* Offsets in its page. */
#define IOREGSEL 0x00
#define IOWIN 0x10
#define EOIR 0x40 /* version 0x20 and later */

/* Registers behind IOREGSEL. */
#define IOAPICID 0x00
#define IOAPICVER 0x01
#define IOAPICARB 0x02
#define IOREDTBL 0x10 /* two for each pin */

#define REDIR_DELIVERY_SHIFT 8
#define REDIR_LOGICAL BIT(11)
#define REDIR_ACTIVE_LOW BIT(13)
#define REDIR_REMOTE_IRR BIT(14)
#define REDIR_LEVEL BIT(15)
#define REDIR_MASKED BIT(16)
#define REDIR_DESTINATION_SHIFT 56

/* ---- Messages ---- */

#define MSI_ADDRESS 0xfee00000ULL /* of a write that is an interrupt, the destination's ID in bits 19:12 */
#define MSI_DESTINATION_SHIFT 12

#endif

/* The ports that every PC has at the same place, and the rates of its clocks (IBM PC/AT Technical Reference; Intel ICH data sheets,
 * "Fixed I/O Address Ranges"; ACPI 6.4 section 4.8.2.1). */
#ifndef LIB_X86_PC_H
#define LIB_X86_PC_H

#include "lib/types.h"

#define PORT_PIC_MASTER 0x20 /* command; data is the next port */
#define PORT_PIC_SLAVE 0xa0
#define PORT_PIT_CHANNEL_0 0x40 /* and 1, 2, the control word */
#define PORT_PIT_CHANNEL_2 0x42
#define PORT_PIT_CONTROL 0x43
#define PORT_KEYBOARD_DATA 0x60
#define PORT_SYSTEM_B 0x61
#define PORT_KEYBOARD_COMMAND 0x64
#define PORT_CMOS_INDEX 0x70
#define PORT_CMOS_DATA 0x71
#define PORT_POST 0x80
#define PORT_SYSTEM_A 0x92
#define PORT_COM1 0x3f8
#define PORT_RESET_CONTROL 0xcf9 /* of Intel's chipsets, and what is modelled on them */

/* System control port B. */
#define PORT_B_GATE2 0x01
#define PORT_B_SPEAKER 0x02
#define PORT_B_REFRESH 0x10
#define PORT_B_OUT2 0x20

/* The reset control register. */
#define RESET_SYSTEM 0x02
#define RESET_CPU 0x04
#define RESET_FULL 0x08

#define KEYBOARD_PULSE_RESET 0xfe /* a command of the keyboard controller */

#define PIT_HZ 1193182
#define PM_TIMER_HZ 3579545
#define UART_CLOCK_HZ 1843200

#define VGA_TEXT_PHYS 0xb8000 /* the colour text screen */

#endif

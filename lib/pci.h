/* PCI's configuration space: mechanism 1's ports, the header's registers and their bits, and the capabilities of message-signalled
 * interrupts (PCI Local Bus Specification 3.0, sections 3.2.2.3.2, 6.1, 6.2, 6.7, 6.8). */
#ifndef LIB_PCI_H
#define LIB_PCI_H

#include "lib/types.h"

/* Mechanism 1. */
#define PCI_CONFIG_ADDRESS 0xcf8
#define PCI_CONFIG_DATA 0xcfc
#define PCI_CONFIG_ENABLE 0x80000000U

/* Offsets in the header. */
#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_STATUS 0x06
#define PCI_REVISION 0x08
#define PCI_CLASS 0x09 /* three bytes: programming interface, subclass, class */
#define PCI_HEADER_TYPE 0x0e
#define PCI_BAR0 0x10
#define PCI_SUBSYSTEM_VENDOR 0x2c
#define PCI_SUBSYSTEM_ID 0x2e
#define PCI_CAPABILITIES 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_INTERRUPT_PIN 0x3d
#define PCI_HEADER_END 0x40 /* where capabilities may begin */

/* Class and subclass; NVMe with the programming interface. */
#define PCI_CLASS_BRIDGE 0x0604U /* to another PCI bus */
#define PCI_CLASS_RAID 0x0104U
#define PCI_CLASS_NVME 0x010802U

/* In a bridge's header. */
#define PCI_SECONDARY_BUS 0x19
#define PCI_SUBORDINATE_BUS 0x1a

#define PCI_BARS 6
#define PCI_VENDOR_INTEL 0x8086U
#define PCI_NO_VENDOR 0xffffU /* the vendor that is read where no function is */

#define PCI_COMMAND_IO 0x0001U
#define PCI_COMMAND_MEMORY 0x0002U
#define PCI_COMMAND_MASTER 0x0004U
#define PCI_COMMAND_INTX_DISABLE 0x0400U
#define PCI_STATUS_INTERRUPT 0x0008U
#define PCI_STATUS_CAPABILITIES 0x0010U

#define PCI_HEADER_LAYOUT 0x7fU
#define PCI_HEADER_BRIDGE 0x01U
#define PCI_HEADER_MULTIFUNCTION 0x80U

#define PCI_BAR_IO 0x1U
#define PCI_BAR_TYPE 0x6U
#define PCI_BAR_64 0x4U

#define PCI_CAP_POWER 0x01
#define PCI_CAP_MSI 0x05
#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX 0x11

/* Power management's control and status, 4 bytes into the capability (PCI Power Management 1.2, section 3.2.4). */
#define PCI_POWER_CONTROL 4U
#define PCI_POWER_STATE 0x3U  /* D0 to D3 */
#define PCI_POWER_EVENT 0x8000U /* a write of 1 clears it */

/* MSI's and MSI-X's message control, 2 bytes into the capability. */
#define PCI_MSI_CONTROL 2
#define PCI_MSI_ENABLE 0x0001U
#define PCI_MSI_MULTIPLE 0x0070U
#define PCI_MSI_64BIT 0x0080U
#define PCI_MSIX_FUNCTION_MASK 0x4000U
#define PCI_MSIX_ENABLE 0x8000U

/* An entry of MSI-X's table. */
#define PCI_MSIX_ENTRY_SIZE 16U
#define PCI_MSIX_ENTRY_DATA 8U
#define PCI_MSIX_ENTRY_CONTROL 12U
#define PCI_MSIX_ENTRY_MASKED 1U

#endif

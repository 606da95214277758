/* The exits of INS and OUTS. */
#ifndef VMM_EXITS_EXIT_STRING_IO_H
#define VMM_EXITS_EXIT_STRING_IO_H

#include "vmm/exits/exit.h"

/* Carry out an INS or OUTS, as far as one exit goes: a repeated one exits again. */
enum verdict exit_string_io(struct vcpu *v, struct vm_exit *exit);

#endif

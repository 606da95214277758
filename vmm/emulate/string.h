/* String instructions: MOVS, CMPS, STOS, LODS, SCAS, INS, OUTS. */
#ifndef VMM_EMULATE_STRING_H
#define VMM_EMULATE_STRING_H

#include "vmm/emulate/access.h"

/* Execute MOVS, CMPS, STOS, LODS or SCAS, at most EMULATE_STRING_MAX elements. Returns an enum emulate_verdict. */
int emulate_string(struct emulator *e, const struct insn *insn, struct emulate_result *r);

#endif

/* VT-x as the rest of Lamina sees it. */
#ifndef ARCH_X86_64_VMX_ENGINE_VMX_H
#define ARCH_X86_64_VMX_ENGINE_VMX_H

#include "vmm/interface/engine.h"

extern const struct engine engine_vmx;

/* Whether this CPU has VT-x at all. */
bool vmx_present(void);
/* Whether this machine can run guests with VT-x, asked once on the boot processor. Returns NULL, or a sentence that says what is missing. */
const char *vmx_probe(void);

#endif

/* The engines of this build, in one place: which one this machine can use, and each core's way into it. */
#ifndef ARCH_X86_64_ENGINES_H
#define ARCH_X86_64_ENGINES_H

#include "vmm/interface/engine.h"

/* Choose, once, on the boot processor. Returns NULL, with *why a sentence that says what was found and what is needed. */
const struct engine *engines_choose(const char **why);
/* Make this core ready to run guests. Returns NULL or a sentence. */
const char *engines_cpu_enable(void);
/* And no longer (before a reset of the machine). */
void engines_cpu_disable(void);

#endif

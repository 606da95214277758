/* The engines of this build, in one place: which of them this machine can use, and each core's way into what they need of it. */
#ifndef ARCH_X86_64_ENGINES_H
#define ARCH_X86_64_ENGINES_H

#include "vmm/interface/engine.h"

struct monitor_caps;

/* Look, once, on the boot processor. The set may be empty: then engines_why_none says in a sentence what was found and what is missing. */
const struct engine_set *engines_find(void);
const char *engines_why_none(void);
/* What the machine offers to choose a monitor mode from, by all engines of the set. */
void engines_monitor_caps(struct monitor_caps *caps);
/* Make this core ready for the engines of the set. Returns NULL or a sentence. */
const char *engines_cpu_enable(void);
/* What mode of the CPU's it is in then; NULL where no engine needs any. */
const char *engines_cpu_mode(void);

#endif

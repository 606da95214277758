/* AMD-V as the rest of Lamina sees it. */
#ifndef ARCH_X86_64_SVM_ENGINE_SVM_H
#define ARCH_X86_64_SVM_ENGINE_SVM_H

#include "vmm/interface/engine.h"

extern const struct engine engine_svm;

/* Whether this CPU has AMD-V at all. */
bool svm_present(void);
/* Whether this machine can run guests with AMD-V, asked once on the boot processor. Returns NULL, or a sentence that says what is missing. */
const char *svm_probe(void);

#endif

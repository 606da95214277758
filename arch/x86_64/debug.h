/* Faults on purpose, for the tests of how Lamina reports its own: `debug=WORD` on the boot command line. */
#ifndef ARCH_X86_64_DEBUG_H
#define ARCH_X86_64_DEBUG_H

/* page-fault, write-code, run-data, stack-overflow: do that now, and never return; vm-entry: have the CPU refuse the first VM entry.
 * Another word is logged and ignored. */
void debug_fault(const char *word);

#endif

#!/usr/bin/python3
"""Make the symbol table for backtraces: from `nm -n` of the linked image to a C file (twice linked: the first time without it)."""
import sys

KERNEL_BASE = 0xFFFFFFFF80000000


def main():
    symbols = []
    for line in sys.stdin:
        address, kind, name = line.split()
        if kind in "tT" and int(address, 16) >= KERNEL_BASE and name not in ("text_start", "text_end"):
            symbols.append((int(address, 16) - KERNEL_BASE, name))
    names, table = "", []
    for address, name in symbols:
        if table and table[-1][0] == address:
            continue
        table.append((address, len(names)))
        names += name + "\0"
    print('#include "arch/x86_64/symbols.h"\n')
    print("const struct symbol symbols[] = {")
    for address, offset in table:
        print(f"\t{{ 0x{address:x}, {offset} }},")
    print("\t{ 0, 0 }," if not table else "", end="")
    print("};\n")
    print(f"const uint32_t symbols_count = {len(table)};\n")
    print("const char symbol_names[] =")
    for name in names.split("\0")[:-1]:
        print(f'\t"{name}\\0"')
    print('\t"";')


if __name__ == "__main__":
    main()

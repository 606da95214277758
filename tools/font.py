#!/usr/bin/python3
"""Makes the framebuffer console's font, a C array of 8 by 16 glyphs, from a console font of a Debian package (PSF version 1).

    tools/font.py build/font.c [FONT.psf.gz]
"""
import gzip
import struct
import sys

FONT = "/usr/share/consolefonts/Unifont-APL8x16.psf.gz"     # psf-unifont
FIRST, LAST = 0x20, 0x7F        # of the glyphs; the last one stands for whatever is no printable ASCII character
REPLACEMENT = 0xFFFD
MAGIC, MODE_512, MODE_TABLE, HEIGHT = b"\x36\x04", 1, 2, 16
SEPARATOR, SEQUENCE = 0xFFFF, 0xFFFE


def characters(table, count):
    """Which glyph shows a character, from the PSF's Unicode table: for each glyph characters, then sequences, then a separator."""
    result, glyph, sequences = {}, 0, False
    for (code,) in struct.iter_unpack("<H", table):
        if code == SEPARATOR:
            glyph, sequences = glyph + 1, False
        elif code == SEQUENCE:
            sequences = True
        elif not sequences and glyph < count:
            result.setdefault(code, glyph)
    return result


def glyphs(path=FONT):
    """The glyphs FIRST to LAST, 16 bytes each, a byte a line with the leftmost pixel in its highest bit."""
    with gzip.open(path) as file:
        font = file.read()
    if font[:2] != MAGIC or font[3] != HEIGHT or not font[2] & MODE_TABLE:
        raise ValueError(f"{path}: not an 8 by 16 PSF font with a Unicode table")
    count = 512 if font[2] & MODE_512 else 256
    end = 4 + count * HEIGHT
    where = characters(font[end:], count)
    result = []
    for code in [*range(FIRST, LAST), REPLACEMENT]:
        if code not in where:
            raise ValueError(f"{path}: no glyph for U+{code:04X}")
        start = 4 + where[code] * HEIGHT
        result.append(font[start:start + HEIGHT])
    return result


def main():
    lines = ["/* Made by tools/font.py. */", '#include "drivers/console/font.h"', "", "const uint8_t font_glyphs[FONT_GLYPHS][FONT_HEIGHT] = {"]
    lines += ["\t{ " + ", ".join(f"0x{line:02x}" for line in glyph) + " }," for glyph in glyphs(*sys.argv[2:3])]
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n};\n")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"font: {error}; psf-unifont is installed by tools/setup.sh")

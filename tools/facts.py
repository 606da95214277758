"""The `facts` step of tools/check.py: a number of the hardware's that a header of lib/ states has no second definition anywhere.

What is refused, in C and in assembly:
- a definition (#define, enum member, equ) of a name that a header states;
- a definition of the same value under the header's name with a word before it (GUEST_CR0_PE, HOST_EFER_LMA) or without its beginning
  (COMMAND_IO of PCI_COMMAND_IO); a definition that refers to the header's name is an alias and passes;
- an MSR (MSR_...) outside lib/x86/msr.h;
- a bare number that is so long that it can only be the header's, but for the unit tests, which say what they expect;
- a name that two files give the same number, unless LOCAL says why that is chance.

tests/guests/ is not looked at: it states x86's numbers on its own, on purpose, for the judge does not copy from the judged. Formats that
only one file reads (ACPI's tables, the registers of a disk controller) stand in that file.
"""
import re

HEADERS = re.compile(r"lib/x86/\w+\.h|lib/(pci|uart)\.h")

# Names that two files may give the same number, and why.
LOCAL = {
    "ENTRIES": "of the table at hand: guests' and Lamina's own have 512 each",
    "MAX_SECTORS": "each driver's and the monitor's own limit",
    "READY_MS": "each driver's own time-out",
    "RESTARTS_MAX": "each walk's own limit",
}

IDENTIFIER = r"[A-Za-z_]\w*"
NUMBER = r"(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*"


def without_comments(text, assembly=False):
    """The text with its comments and strings blanked, lines kept."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    rest = r"|;[^\n]*" if assembly else r"|'(?:\\.|[^'\\\n])+'|/\*.*?\*/|//[^\n]*"
    return re.sub(r'"(?:\\.|[^"\\\n])*"' + rest, blank, text, flags=re.DOTALL)


def enum_members(text):
    """(name, value's text, offset) of every enum's members; a member without a value is one more than the member before."""
    for enum in re.finditer(r"\benum\b[^;{}()=]*\{([^}]*)\}", text):
        before = "-1"
        body = re.sub(r"^[ \t]*#[^\n]*", lambda match: " " * len(match.group(0)), enum.group(1), flags=re.MULTILINE)
        for member in re.finditer(r"(?:[^,(]|\([^()]*(?:\([^()]*\)[^()]*)*\))+", body):
            found = re.match(rf"\s*({IDENTIFIER})\s*(?:=(.*))?$", member.group(0), re.DOTALL)
            if found:
                before = found.group(2).strip() if found.group(2) else f"({before}) + 1"
                yield found.group(1), before, enum.start(1) + member.start() + found.start(1)


def definitions(path, text):
    """(name, value's text, line) of everything that a file defines. Macros with arguments are no constants."""
    assembly = path.endswith((".asm", ".inc"))
    text = re.sub(r"\\\n", "  ", without_comments(text, assembly)) if not assembly else without_comments(text, True)
    pattern = rf"^[ \t]*(?:%(?:define|assign)[ \t]+({IDENTIFIER})[ \t]+(.*)|({IDENTIFIER}):?[ \t]+equ[ \t]+(.*))$" if assembly else \
        rf"^[ \t]*#[ \t]*define[ \t]+({IDENTIFIER})[ \t]+(\S.*)$"
    for found in re.finditer(pattern, text, flags=re.MULTILINE):
        name, value = [group for group in found.groups() if group][:2]
        yield name, value.strip(), text.count("\n", 0, found.start()) + 1
    if not assembly:
        for name, value, offset in enum_members(text):
            yield name, value, text.count("\n", 0, offset) + 1


def evaluate(value, known):
    """The number that an expression of numbers and known names is, or None."""
    value = re.sub(r"\(\s*(?:u?int\d+_t|unsigned)\s*\)", "", value)
    value = re.sub(r"\bBIT\s*\(", "(1 << ", value)
    value = re.sub(rf"\b({NUMBER})\b", lambda match: str(int(re.sub(r"[uUlL]+$", "", match.group(1)), 0)), value)
    value = re.sub(rf"\b{IDENTIFIER}\b", lambda match: str(known.get(match.group(0), match.group(0))), value)
    if not re.fullmatch(r"[\d\s()|&~^<>+*-]+", value):
        return None
    try:
        return eval(value, {"__builtins__": {}}) & 0xffffffffffffffff  # pylint: disable=eval-used
    except (SyntaxError, TypeError, ValueError, OverflowError):
        return None


def collect(files):
    """What the headers state: {name: value}, and {name: header}."""
    values, homes = {}, {}
    for path, text in sorted(files.items()):
        if HEADERS.fullmatch(path):
            for name, value, _line in definitions(path, text):
                homes[name] = path
                number = evaluate(value, values)
                if number is not None:
                    values[name] = number
    return values, homes


def second_name(name, number, values):
    """The header's name that this one stands for, or None: one word before it, or its own first words left out."""
    for fact, value in values.items():
        if value == number and (re.fullmatch("[A-Z0-9]+_" + fact, name) or ("_" in name and fact.endswith("_" + name))):
            return fact
    return None


def distinctive(values):
    """{number: name} of the facts that no other thing is: neither short nor a few bits."""
    return {value: name for name, value in values.items()
            if value > 0xffff and bin(value).count("1") > 2 and bin(value ^ (1 << value.bit_length()) - 1).count("1") > 2}


def bare_numbers(path, text, long_facts):
    """(name, number, line) of every bare number that is one of these facts."""
    text = without_comments(text, path.endswith((".asm", ".inc")))
    for number, line in enumerate(text.splitlines(), 1):
        for found in re.finditer(rf"(?<![\w.])({NUMBER})\b", line):
            value = int(re.sub(r"[uUlL]+$", "", found.group(1)), 0) if not re.match(r"0\d", found.group(1)) else 0
            if value in long_facts:
                yield long_facts[value], found.group(1), number


def complaints(files):
    """What is wrong with these files, {path from the root: text}."""
    values, homes = collect(files)
    long_facts = distinctive(values)
    seen = {}
    for path, text in sorted(files.items()):
        if HEADERS.fullmatch(path):
            continue
        test = path.startswith("tests/")
        for name, value, line in definitions(path, text):
            where = f"{path}:{line}: {name}"
            number = evaluate(value, values)
            alias = any(word in homes for word in re.findall(IDENTIFIER, value))
            fact = None if alias or number is None else second_name(name, number, values)
            if name in homes:
                yield f"{where}: {homes[name]} defines it"
            elif fact:
                yield f"{where}: {homes[fact]} has it as {fact}"
            elif re.match(r"MSR_", name) and number is not None and not alias:
                yield f"{where}: model-specific registers are in lib/x86/msr.h"
            elif not test and number is not None and not alias and len(name) > 1:
                first = seen.setdefault((name, number), path)
                if first != path and name not in LOCAL:
                    yield f"{where}: {first} defines it, too: one of them includes the other, or LOCAL in tools/facts.py says why not"
        if not test:
            for fact, number, line in bare_numbers(path, text, long_facts):
                yield f"{path}:{line}: {number}: {homes[fact]} has it as {fact}"

"""Small mutations of C source text: where a file can be changed so that it still looks like code but does something else.

It reads C as tokens, not as a compiler does. What it takes for code and is none does no harm: it does not compile, and another
mutation is drawn. What it leaves out on purpose: comments, strings, directives other than #define, declarations of types, static
asserts, attributes, assembly, sizes of declared arrays, and code that only prints. Locks, pauses and fences stay too: a test of one
thread cannot see whether they are there. So does panic(), which is only reached where Lamina itself is broken.
"""
import collections
import re

# One change: text[start:end] becomes `new`. `kind` names the sort of change, `line` (from 1) is where it starts.
Mutation = collections.namedtuple("Mutation", "kind line start end new")
Token = collections.namedtuple("Token", "kind text start end")

TOKEN = re.compile(r"""
    (?P<num>(?:0[xX][0-9a-fA-F]+|[0-9]+)[uUlL]*(?![\w.]))
  | (?P<odd>\.?[0-9][\w.]*)
  | (?P<id>[A-Za-z_]\w*)
  | (?P<str>"[^"]*")
  | (?P<chr>'[^']*')
  | (?P<op><<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]])
""", re.VERBOSE)

KEYWORDS = set("""auto break case const continue default do else enum extern for goto if inline register return sizeof static struct switch
    typedef union volatile while _Alignas _Alignof _Noreturn _Static_assert __typeof__ __asm__ asm __attribute__""".split())
TYPES = set("void char short int long unsigned signed float double bool _Bool".split())

# What an operator becomes. The unary + - & | are told apart by what stands before them.
OPERATORS = {
    "<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"), "==": ("!=",), "!=": ("==",),
    "+": ("-",), "-": ("+",), "&&": ("||",), "||": ("&&",), "&": ("|",), "|": ("&",),
    "+=": ("-=",), "-=": ("+=",), "&=": ("|=",), "|=": ("&=",),
}
KINDS = {**dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), "comparison"), **dict.fromkeys(("+", "-", "+=", "-="), "arithmetic"),
         **dict.fromkeys(("&&", "||"), "logic"), **dict.fromkeys(("&", "|", "&=", "|="), "bits")}
ASSIGNMENTS = set("= += -= *= /= %= &= |= ^= <<= >>=".split())

# Skipped with their parentheses, wherever they stand.
NO_CODE = {"_Static_assert", "static_assert", "__attribute__", "_Alignas", "_Alignof", "__asm__", "asm", "sizeof", "__typeof__", "PRINTF_LIKE"}

# Calls that are not deleted, see above.
UNSEEN = re.compile(r"spin_|panic$|.*(?:relax|pause|fence|barrier|prefetch)")

# Functions that do nothing but print, if their body prints indeed.
PRINTS = re.compile(r"(?:log|print|dump)(?:_\w+)?$|\w*_(?:print|dump)(?:_\w+)?$|\w*_log_\w+$")

# Text goes into a buffer there, which the code then uses.
FORMATTERS = {"snprintf", "vsnprintf"}


def blanked(text):
    """The text with comments and what is inside strings blanked, every character at its place; and where the bodies of its
    #define lines are, the directives themselves being blanked too."""
    def spaces(part):
        return re.sub(r"[^\n]", " ", part)

    def literal(match):
        part = match.group(0)
        return part[0] + re.sub(r"[^\n]", "_", part[1:-1]) + part[-1] if part[0] in "\"'" else spaces(part)
    text = re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', literal, text, flags=re.DOTALL)

    macros = []

    def directive(match):
        part = match.group(0)
        define = re.match(r"\s*#\s*define\s+\w+(?:\([^)]*\))?", part)
        if not define:
            return spaces(part)
        macros.append((match.start() + define.end(), match.end()))
        return spaces(define.group(0)) + part[define.end():].replace("\\", " ")
    return re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", directive, text, flags=re.MULTILINE), macros


def tokens_of(text, start, end):
    return [Token(match.lastgroup, match.group(0), match.start(), match.end()) for match in TOKEN.finditer(text, start, end)]


def printers_of(texts):
    """The functions of all these files that are declared to take a format and print, or end, with it."""
    found = set()
    for text in texts:
        found.update(re.findall(r"\b(\w+)\([^()]*\)\s*PRINTF_LIKE\(", text))
    return found - FORMATTERS


class Source:
    """One stretch of code, a file without its macros or a macro's body, and what can be mutated in it."""

    def __init__(self, tokens, printers, errors):
        self.tokens = tokens
        self.printers = printers
        self.errors = errors
        self.partner = self.match()
        self.functions = list(self.find_functions())
        self.skipped = [False] * len(tokens)
        self.skip_all()

    def text(self, index):
        return self.tokens[index].text if 0 <= index < len(self.tokens) else ""

    def kind(self, index):
        return self.tokens[index].kind if 0 <= index < len(self.tokens) else ""

    def match(self):
        """For each bracket the index of its partner."""
        partner, stack = {}, []
        for index, token in enumerate(self.tokens):
            if token.kind == "op" and token.text in "([{":
                stack.append(index)
            elif token.kind == "op" and token.text in ")]}" and stack:
                partner[index] = stack.pop()
                partner[partner[index]] = index
        return partner

    def find_functions(self):
        """(name, index of the type's first token, of {, of }) of each function."""
        index, start = 0, 0
        while index < len(self.tokens):
            if self.text(index) == "{" and index in self.partner:
                end = self.partner[index]
                if self.text(index - 1) == ")" and index - 1 in self.partner:
                    yield self.text(self.partner[index - 1] - 1), start, index, end
                    start = end + 1
                index = end
            elif self.text(index) == ";":
                start = index + 1
            index += 1

    def skip(self, start, end):
        for index in range(start, min(end, len(self.tokens) - 1) + 1):
            self.skipped[index] = True

    def skip_all(self):
        for index, token in enumerate(self.tokens):
            after = self.partner.get(index + 1) if self.text(index + 1) == "(" else None
            if token.kind == "id" and after:
                if token.text in NO_CODE or token.text in self.printers:
                    self.skip(index, after)
                elif token.text == "__builtin_expect":
                    self.skip(after - 1, after)
                elif token.text in ("if", "for", "while") and self.only_prints(after + 1):
                    self.skip(index, after)
            if token.text in ("struct", "union", "enum"):
                brace = next(at for at in range(index + 1, len(self.tokens) + 1) if self.kind(at) != "id")
                if self.text(brace) == "{":
                    self.skip(index, self.partner.get(brace, brace))
            if token.text in ("typedef", "extern"):
                self.skip(index, self.end_of_statement(index) or index)
            if token.text == "[" and self.declares(index):
                self.skip(index, self.partner.get(index, index))
            if token.text == "{" and self.text(index + 1) == "0" and self.text(index + 2) == "}":
                self.skip(index, index + 2)
        for name, start, opening, end in self.functions:
            if PRINTS.match(name) and any(self.text(at) in self.printers for at in range(opening, end)):
                self.skip(start, end)

    def end_of_statement(self, index):
        """The index of the ; that ends what starts here, or None."""
        while index < len(self.tokens):
            if self.text(index) == ";":
                return index
            if self.text(index) in (")", "]", "}"):
                return None
            index = self.partner.get(index, index) + 1
        return None

    def only_prints(self, index):
        """Whether the statement here does nothing but print, and has no else."""
        end = self.partner.get(index) if self.text(index) == "{" else self.end_of_statement(index)
        if end is None or self.text(end + 1) == "else":
            return False
        at, last = (index + 1, end - 1) if self.text(index) == "{" else (index, end)
        while at <= last:
            if not (self.text(at) in self.printers and self.text(at) != "panic" and self.text(at + 1) == "("):
                return False
            stop = self.end_of_statement(at)
            if stop is None or self.partner.get(at + 1) != stop - 1:
                return False
            at = stop + 1
        return last >= index

    def declares(self, index):
        """Whether the [ here belongs to the declaration of an array: after `type name` or `type *name`, or another dimension."""
        name = index - 1
        while self.text(name) == "]" and name in self.partner:
            name = self.partner[name] - 1
        if self.kind(name) != "id":
            return False
        before = self.tokens[name - 1] if name else None
        if before and before.text == "*":
            return self.kind(name - 2) == "id" and self.text(name - 3) in ("", ";", "{", "}", ",", "(", "const", "struct", "static")
        if before and before.text == ",":   # int a, b[3];
            start = name - 1
            while start >= 0 and self.text(start) not in (";", "{", "}", "(", "["):
                start = self.partner[start] - 1 if self.text(start) in ")]" and start in self.partner else start - 1
            return self.text(start) in (";", "{", "}") and self.starts_declaration(start + 1)
        return bool(before) and before.kind == "id" and before.text not in ("return", "case", "else", "do", "sizeof")

    def starts_declaration(self, index):
        first, second = self.tokens[index], self.text(index + 1)
        if first.text in KEYWORDS or first.text in TYPES:
            return True
        return first.kind == "id" and (self.kind(index + 1) == "id" or (second == "*" and (self.kind(index + 2) == "id" or self.text(index + 2) == "*")))

    # ---- What can be changed ----

    def operand_before(self, index):
        """Whether what stands before makes the operator here a binary one."""
        before = index - 1
        if self.kind(before) in ("num", "chr", "odd") or self.text(before) == "]":
            return True
        if self.kind(before) == "id":
            return self.text(before) not in KEYWORDS
        return self.text(before) == ")" and not self.is_cast(before)

    def is_cast(self, closing):
        """Whether the parenthesis that closes here holds a type, and so is a cast."""
        opening = self.partner.get(closing)
        if opening is None or (self.kind(opening - 1) == "id" and self.text(opening - 1) not in KEYWORDS):
            return False
        inside = [self.text(at) for at in range(opening + 1, closing)]
        words = [word for word in inside if word != "*"]
        return bool(words) and all(word in TYPES or word in ("const", "volatile", "struct", "union", "enum", "unsigned") or word.endswith("_t")
                                   or re.fullmatch(r"[A-Za-z_]\w*", word) for word in words) and \
            (len(words) > 1 or "*" in inside or words[0] in TYPES or words[0].endswith("_t"))

    def operators(self):
        for index, token in enumerate(self.tokens):
            if token.kind == "op" and token.text in OPERATORS and not self.skipped[index]:
                if token.text not in ("+", "-", "&") or self.operand_before(index):
                    for new in OPERATORS[token.text]:
                        yield KINDS[token.text], token.start, token.end, new

    def constants(self):
        for index, token in enumerate(self.tokens):
            if self.skipped[index]:
                continue
            if token.text in ("true", "false"):
                yield "bool", token.start, token.end, "false" if token.text == "true" else "true"
            elif token.kind == "num":
                idle_loop = self.text(index - 1) == "(" and self.text(index - 2) == "while" and self.text(index + 1) == ")"
                for new in () if idle_loop else neighbours(token.text):
                    yield "bit" if self.in_bit(index) else "constant", token.start, token.end, new
            elif token.text == "BIT" and self.text(index + 1) == "(" and self.kind(index + 2) != "num" and index + 1 in self.partner:
                yield "bit", self.tokens[index + 1].end, self.tokens[index + 1].end, "1 + "

    def in_bit(self, index):
        return self.text(index - 1) == "(" and self.text(index - 2) == "BIT"

    def conditions(self, text):
        for index, token in enumerate(self.tokens):
            if token.text in ("if", "while") and token.kind == "id" and not self.skipped[index] and index + 1 in self.partner:
                start, end = self.tokens[index + 1].end, self.tokens[self.partner[index + 1]].start
                if self.partner[index + 1] - index > 3 or self.kind(index + 2) != "num":
                    yield "condition", start, end, f"!({text[start:end]})"

    def returns(self):
        for _, start, opening, end in self.functions:
            returns_int = any(self.text(at) == "int" for at in range(start, opening) if self.text(at - 1) not in ("(", ","))
            for index in range(opening, end - 2):
                if self.text(index) != "return" or self.text(index + 2) != ";" or self.skipped[index]:
                    continue
                value = self.tokens[index + 1]
                if value.text in self.errors:
                    for new in ["0", *(error for error in self.errors if error != value.text)]:
                        yield "return", value.start, value.end, new
                elif value.text == "0" and returns_int and self.text(start) != "unsigned":
                    for new in self.errors:
                        yield "return", value.start, value.end, new

    def statements(self, text):
        for _, _, opening, end in self.functions:
            for index in range(opening + 1, end):
                stop = self.end_of_statement(index) if self.starts_statement(index) and not self.skipped[index] else None
                if stop and self.can_go(index, stop):
                    start, last = self.tokens[index].start, self.tokens[stop].start
                    yield "deletion", start, last, re.sub(r"[^\n]", "", text[start:last])

    def starts_statement(self, index):
        before = self.text(index - 1)
        if before in (";", "{", "}", "else", "do"):
            return before != ";" or self.outside_parentheses(index)
        if before == ")":
            opening = self.partner.get(index - 1)
            return opening is not None and self.text(opening - 1) in ("if", "for", "while", "switch")
        if before == ":":     # a label's or a case's, not that of ?:
            at = index - 2
            while at >= 0 and self.text(at) not in (";", "{", "}", "?", "case"):
                at -= 1
            return self.text(at) == "case" or self.text(index - 2) == "default" or self.text(index - 3) in (";", "{", "}")
        return False

    def outside_parentheses(self, index):
        """Whether the ; before is a statement's, not one of a for's."""
        at = index - 1
        while at >= 0 and self.text(at) not in ("{", "}"):
            if self.text(at) == "(" and self.partner.get(at, at) > index:
                return False
            at -= 1
        return True

    def can_go(self, start, stop):
        """Whether the statement is an assignment, a call, ++ or --."""
        first = self.tokens[start]
        if (first.kind != "id" and first.text not in ("*", "++", "--", "(")) or self.starts_declaration(start):
            return False
        depth_zero, at = [], start
        while at < stop:
            depth_zero.append(self.text(at))
            at = self.partner.get(at, at) + 1
        if any(word in ASSIGNMENTS or word in ("++", "--") for word in depth_zero):
            return True
        if first.kind != "id" or self.text(stop - 1) != ")":
            return False
        called = self.text(self.partner[stop - 1] - 1)
        return not UNSEEN.match(called) and not PRINTS.match(called) and called != "log_line"

    def mutations(self, text):
        yield from self.operators()
        yield from self.constants()
        yield from self.conditions(text)
        yield from self.returns()
        yield from self.statements(text)


def neighbours(number):
    """The constants beside this one, in its notation."""
    digits, suffix = re.fullmatch(r"(0[xX][0-9a-fA-F]+|[0-9]+)([uUlL]*)", number).groups()
    octal = len(digits) > 1 and digits[0] == "0" and digits[1] not in "xX"
    value = int(digits, 8 if octal else 0)
    for other in (value - 1, value + 1):
        if other >= 0:
            yield (f"{digits[:2]}{other:0{len(digits) - 2}x}" if digits[:2] in ("0x", "0X") else f"0{other:o}" if octal else str(other)) + suffix


def find(text, printers=frozenset(), errors=()):
    """Every mutation of a source's text. `printers`: functions that only print; `errors`: the names of error constants."""
    code, macros = blanked(text)
    stretches, at = [], 0
    outside = []
    for start, end in macros:
        outside += tokens_of(code, at, start)
        stretches.append(tokens_of(code, start, end))
        at = end
    stretches.append(outside + tokens_of(code, at, len(code)))
    found = set()
    for tokens in stretches:
        for kind, start, end, new in Source(tokens, printers, errors).mutations(text):
            found.add(Mutation(kind, text.count("\n", 0, start) + 1, start, end, new))
    return sorted(found, key=lambda mutation: mutation[2:] + mutation[:1])


def apply(text, mutation):
    return text[:mutation.start] + mutation.new + text[mutation.end:]

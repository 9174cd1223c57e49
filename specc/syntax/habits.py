"""Habits of other languages: what is written in Python, YAML or a paper where this language has another form.

Promises: `habit` knows a mistake by the tokens around it, and names the form that it has here, with a fix
where no other reading is likely. `WORDS` has what other languages begin statements with.
"""

from __future__ import annotations

from collections.abc import Callable

from specc.frozen import dataclass
from specc.report import Fix
from specc.source import Span
from specc.syntax.forms import FORMS_OF_OTHERS, index_opening
from specc.syntax.inner import misspelt_word
from specc.syntax.told import Seen, Told, touching

FORMS = {
    "use": "use LIBRARY` or `use LIBRARY.BLOCK as NAME",
    "extends": "extends MODEL { … }",
    "drop": "drop NAME, NAME",
    "param": "param NAME = DEFAULT in {A, B}` or `param NAME = DEFAULT in LOW .. HIGH",
    "require": 'require CONDITION "message"',
    "table": "table NAME = vocab(MAX, WIDTH)",
    "space": "space NAME[AXIS <= BOUND] from request { FIELD: ENCODING, … }",
    "learned": "learned NAME[WIDTH]` or `learned NAME[AXIS, WIDTH]",
    "fixed": "fixed NAME[WIDTH] = VALUES` or `fixed NAME[AXIS, WIDTH] = VALUES",
    "layer": "layer NAME = LAYER",
    "block": "block NAME(INPUT[WIDTH]; STATIC = DEFAULT) -> [WIDTH] { return … }",
    "encoder": "encoder NAME(INPUT[AXIS, WIDTH]; STATIC = DEFAULT) -> [WIDTH] { return … }",
    "attention": "attention NAME(QUERY[WIDTH], KEY[AXIS, WIDTH]) -> [WIDTH] { weight = … return … }",
    "predict": "predict NAME: binary = EXPRESSION",
    "output": "output NAME = EXPRESSION",
    "loss": "loss NAME = EXPRESSION",
    "device": 'device NAME = "cpu"',
    "place": "place NAME, NAME on DEVICE` or `place rest on DEVICE",
    "train": "train { optimizer = adam(lr = 0.001), batch = 512 }",
    "scan": "scan STATE[WIDTH] over AXIS { next STATE = … }",
    "next": "next STATE = EXPRESSION",
    "return": "return EXPRESSION",
    "model": "model NAME",
    "library": "library NAME",
}


@dataclass(frozen=True)
class Word:
    """What another language's first word of a statement is here. `instead` replaces it, if that is all."""

    help: str
    instead: str | None = None
    title: str = ""


_LET = Word("a binding is written `NAME = …`, without a word before it", "", "remove the word")
_BLOCK = Word(f"a reusable piece is a block: `{FORMS['block']}`")
_LOOP = Word("nothing loops: `repeat(n, layer)` repeats a layer, `scan` walks a sequence")
_SPACE = Word(f"what comes in is a space: `{FORMS['space']}`")
_PREDICT = Word(f"what comes out is a prediction: `{FORMS['predict']}`")
WORDS: dict[str, Word] = {
    **dict.fromkeys(("let", "var", "val", "const", "auto", "set", "def_", "local"), _LET),
    **dict.fromkeys(("def", "fn", "func", "function", "class", "module", "struct", "macro"), _BLOCK),
    **dict.fromkeys(("for", "while", "loop", "foreach"), _LOOP),
    **dict.fromkeys(("input", "inputs", "feature", "features", "fields", "schema"), _SPACE),
    **dict.fromkeys(("output", "outputs", "target", "label", "task", "head"), _PREDICT),
    "embedding": Word("an embedding table is declared with `table`", "table", "write `table`"),
    "vocab": Word("an embedding table is declared as `table NAME = vocab(MAX, WIDTH)`"),
    **dict.fromkeys(
        ("parameter", "hyperparameter", "hparam", "arg", "option"),
        Word("a compile-time value is a `param`", "param", "write `param`"),
    ),
    **dict.fromkeys(
        ("weight", "weights", "variable", "bias"),
        Word("a free parameter is declared as `learned NAME[WIDTH]`"),
    ),
    "optimizer": Word("the optimizer stands in `train { optimizer = … }`"),
    "assert": Word("a condition on params is written with `require`", "require", "write `require`"),
    "check": Word("a condition on params is written with `require`", "require", "write `require`"),
    "if": Word("a choice is an expression: `NAME = if CONDITION then A else B`"),
    "print": Word("nothing is printed; `specc dump` and `specc show` show a model"),
}


def habit(seen: Seen, able: set[str]) -> Told | None:
    """Return the habit behind the token that does not fit, if it is one that is known."""
    for rule in _RULES:
        told = rule(seen, able)
        if told is not None:
            return told
    return None


def _colon_and_equals(seen: Seen, able: set[str]) -> Told | None:
    token = seen.token
    following = touching(seen, 1)
    at_start = seen.index == seen.place.first + 1 and seen.place.depth is not None
    if (
        token.kind == ":"
        and at_start
        and {t.text for t in seen.tokens[seen.index + 2 : seen.index + 3]}
        & {
            "=",
            "from",
        }
    ):
        here = Span(seen.source, seen.before.start, seen.before.start)
        fix = Fix(here, "predict ", "write `predict`") if seen.before.text not in FORMS else None
        return Told("E0103", "this prediction lacks the word `predict`", seen.span(seen.before),
                    f"write `predict {seen.before.text}: …`", "what comes out is declared",
                    "`predict` is missing before this", fix)  # fmt: skip
    if token.kind == ":" and "=" in able:
        walrus = following is not None and following.kind == "="
        span = seen.span(token) if not walrus else Span(seen.source, token.start, token.start + 2)
        told = "`:=`" if walrus else "`:`"
        begins = seen.index == seen.place.first + 1
        what = "an option" if seen.word != "param" and "," in able and not begins else "a name"
        return Told("E0103", f"unexpected {told}", span, "write `=`",
                    f"{what} is given its value with `=`", fix=Fix(span, "=", "write `=`"))  # fmt: skip
    if token.kind == "=" and ":" in able and "=" not in able:
        span = seen.span(token)
        if seen.word == "predict":
            return Told("E0103", "this prediction lacks its kind", span,
                        f"it is written `{FORMS['predict']}`",
                        "the kind says what the label is: `binary`, `real` or `class(n)`",
                        "expected `: binary` before this")  # fmt: skip
        return Told("E0103", "unexpected `=`", span, "write `:`", "a field has its encoding after `:`",
                    fix=Fix(span, ":", "write `:`"))  # fmt: skip
    if token.kind == "=" and "==" in able and "=" not in able:
        span = seen.span(token)
        return Told("E0103", "unexpected `=`", span, "to compare, write `==`",
                    fix=Fix(span, "==", "write `==`"))  # fmt: skip
    if token.kind in "+-*/" and following is not None and following.kind == "=" and "=" in able:
        span = Span(seen.source, token.start, following.stop)
        name = seen.before.text
        return Told("E0103", f"unexpected `{token.kind}=`", span, f"give the new value a name of its own: "
                    f"`NAME = {name} {token.kind} …`", "a name stands for one thing, for good")  # fmt: skip
    return None


def _numbers(seen: Seen, able: set[str]) -> Told | None:
    token, following = seen.token, touching(seen, 1)
    fraction = following is not None and following.kind == "NUMBER" and "NUMBER" in able
    if token.kind == "." and fraction and seen.before.kind != "..":
        assert following is not None
        span = Span(seen.source, token.start, following.stop)
        written = "0" + span.text
        return Told("E0103", f"`{span.text}` is no number", span, f"write `{written}`",
                    "a number begins with a digit", fix=Fix(span, written, f"write `{written}`"))  # fmt: skip
    previous = touching(seen, -1)
    if token.kind == "NAME" and previous is not None and previous.kind == "NUMBER":
        span = Span(seen.source, previous.start, token.stop)
        if set(token.text) <= set("_0123456789"):
            written = "_".join(part for part in span.text.split("_") if part)
            return Told("E0103", f"`{span.text}` is no number", span, f"write `{written}`",
                        "one `_` may stand between digits",
                        fix=Fix(span, written, f"write `{written}`"))  # fmt: skip
        return Told("E0103", f"`{span.text}` is no name and no number", span,
                    "begin the name with a letter", "names begin with a letter or `_`")  # fmt: skip
    if token.kind == "NUMBER" and following is not None and following.kind == "NAME" and "param" in able:
        span = Span(seen.source, token.start, following.stop)
        return Told("E0103", f"`{span.text}` is no name", span, "begin the name with a letter",
                    "names begin with a letter or `_`")  # fmt: skip
    return None


def _units(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `50%` and `epochs = 10 epochs`."""
    token, before = seen.token, seen.before
    if before.kind == "%" and seen.index > 1 and seen.tokens[seen.index - 2].kind == "NUMBER":
        if token.kind in (")", ",", "}", "]", "_NL", "$END"):
            span = Span(seen.source, seen.tokens[seen.index - 2].start, before.stop)
            try:
                share = f"{float(seen.tokens[seen.index - 2].text.replace('_', '')) / 100:g}"
            except ValueError:
                return None
            return Told("E0103", f"`{span.text}` is no number", span, f"write `{share}`",
                        "`%` is the remainder of a division",
                        fix=Fix(span, share, f"write `{share}`"))  # fmt: skip
    if token.text in ("epoch", "epochs", "step", "steps") and before.kind == "NUMBER":
        gap = Span(seen.source, before.stop, token.stop)
        return Told("E0103", f"unexpected `{token.text}`", seen.span(token), f"write `{before.text}`",
                    "units stand in schedules only, such as `decay = halve(every = 1 epoch)`",
                    fix=Fix(gap, "", f"write `{before.text}`"))  # fmt: skip
    return None


def _texts(seen: Seen, able: set[str]) -> Told | None:
    token, following = seen.token, touching(seen, 1)
    span = seen.span(token)
    if token.kind == "NAME" and following is not None and following.kind == "STRING":
        return Told("E0103", f"a text has no `{token.text}` before it", span, "remove it",
                    "texts are plain: nothing is put into them", fix=Fix(span, "", "remove it"))  # fmt: skip
    if token.kind == "NAME" and able == {"STRING"}:
        return Told("E0103", f"unexpected `{token.text}`", span, f'write `"{token.text}"`',
                    "this is a text, in double quotes",
                    fix=Fix(span, f'"{token.text}"', f'write `"{token.text}"`'))  # fmt: skip
    if token.kind == "STRING" and able == {"NAME"} and seen.word == "place":
        return Told("E0103", "a device is named here, and what is in quotes is no name", span,
                    f"declare it, `device host = {token.text}`, and write `host` here",
                    "devices are declared, so that `--device` can put them elsewhere")  # fmt: skip
    if token.kind == "STRING" and "NAME" in able and "STRING" not in able:
        plain = token.text.strip('"')
        name = plain if plain.isidentifier() and plain.isascii() else ""
        return Told("E0103", "a name has no quotes", span, f"write `{name}`" if name else "write a name",
                    fix=Fix(span, name, f"write `{name}`") if name else None)  # fmt: skip
    return None


def _expressions(seen: Seen, able: set[str]) -> Told | None:
    token, before = seen.token, seen.before
    span = seen.span(token)
    following = touching(seen, 1)
    if token.kind == "*" and before.kind == "*" and touching(seen, -1):
        both = Span(seen.source, before.start, token.stop)
        return Told("E0103", "unexpected `**`", both, "a power is written `^`",
                    fix=Fix(both, "^", "write `^`"))  # fmt: skip
    if token.kind == "->" and "|>" in able:
        return Told("E0103", "unexpected `->`", span, "a value is piped with `|>`",
                    fix=Fix(span, "|>", "write `|>`"))  # fmt: skip
    if token.kind == "." and "|>" in able and following is not None and following.kind == "NAME":
        return Told("E0103", "values have no methods", span, f"pipe it: `… |> {following.text}`",
                    "a layer or built-in is applied as `f(x)` or `x |> f`",
                    fix=Fix(span, " |> ", f"write `|> {following.text}`"))  # fmt: skip
    if (token.kind == "[" and "|>" in able and touching(seen, -1)) or (
        token.kind != "[" and ("]" in able or seen.before.kind == "[") and index_opening(seen) is not None
    ):
        return Told("E0103", "a value is not indexed with `[ ]`", span,
                    "positions: `first(x, over t)`, `last`, `take(x, k, over t)`; channels: `split`",
                    "values have named axes, and no numbered ones")  # fmt: skip
    if before.text == "if" and seen.index == seen.place.first + 1 and seen.place.depth is not None:
        return Told("E0103", "`if` begins no statement", seen.span(before),
                    "write `NAME = if CONDITION then A else B`",
                    "a choice is a value, with one for either case")  # fmt: skip
    if token.kind == "{" and "|>" in able and before.kind == ")":
        return Told("E0103", "unexpected `{` behind a call", span,
                    "give a layer as an argument, such as `repeat(3, linear(8))`",
                    "what is called has all it is given in `( )`")  # fmt: skip
    if token.text == "if" and "|>" in able:
        return Told("E0103", "unexpected `if`", span, "write `if CONDITION then A else B`",
                    "the condition of a choice comes first")  # fmt: skip
    if before.text == "lambda" and token.kind == "NAME":
        return Told("E0103", "there are no lambdas", seen.span(before),
                    f"name the piece: `{FORMS['block']}`, or pipe layers: `linear(8) |> relu`")  # fmt: skip
    return None


def _pipes(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `x |> f + y`: what is piped ends where the expression ends."""
    token = seen.token
    if token.kind not in ("+", "-", "*", "/", "%", "^") or "|>" not in able or token.kind in able:
        return None
    return Told("E0103", f"unexpected `{token.kind}` after a pipe", seen.span(token),
                "put the pipe in `( )`, such as `(x |> relu) + y`",
                "`|>` binds loosest: nothing but another `|>` can follow what is piped")  # fmt: skip


def _names(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `model my-shop`, and of an expression where a statement stands."""
    token, before = seen.token, seen.before
    span = seen.span(token)
    if token.kind == "-" and able <= {"_NL", "$END"} and before.kind == "NAME" and touching(seen, 1):
        return Told("E0103", "a name has no `-`", span, "write `_`",
                    "names are made of the letters a to z, digits and `_`",
                    fix=Fix(span, "_", "write `_`"))  # fmt: skip
    at_start = seen.index == seen.place.first + 1 and seen.place.depth is not None
    if at_start and able == {"=", ","} and seen.place.nested and token.kind not in ("NAME", "{", "(", ":"):
        return Told("E0103", "this value has no name", seen.span(before),
                    "write `return …` for the result of a block, `NAME = …` for what is used further on",
                    "a statement declares something, or returns it", "a value by itself")  # fmt: skip
    return None


def _comments_and_lines(seen: Seen, able: set[str]) -> Told | None:
    token = seen.token
    span = seen.span(token)
    if token.kind == ";" and "_NL" in able:
        following = seen.tokens[seen.index + 1]
        fix = Fix(span, "", "remove it") if following.kind in ("_NL", "$END", "}") else None
        return Told("E0103", "unexpected `;`", span, "remove it" if fix else "begin a new line",
                    "a statement ends with its line", fix=fix)  # fmt: skip
    if token.kind == ";" and "," in able:
        return Told("E0103", "unexpected `;`", span, "write `,`",
                    "`;` parts inputs from statics where a block is declared, not where it is called",
                    fix=Fix(span, ",", "write `,`"))  # fmt: skip
    return None


def _signatures(seen: Seen, able: set[str]) -> Told | None:
    token = seen.token
    span = seen.span(token)
    if seen.word in ("block", "encoder", "attention"):
        inside = not any(t.kind == "{" for t in seen.tokens[seen.place.first : seen.index])
        if inside and able == {"["} and seen.before.kind == "NAME":
            name = seen.before.text
            if token.kind == "=":
                return Told("E0103", f"`{name}` has no type", seen.span(seen.before),
                            f"write `;` before `{name}`", "statics stand after the inputs, behind a `;`",
                            "an input has no default")  # fmt: skip
            return Told("E0103", f"input `{name}` has no type", seen.span(seen.before),
                        f"write `{name}[d]`, or `{name}[t, d]` for a sequence",
                        "an input says which axes and which width it has", "its type is missing")  # fmt: skip
        if inside and able == {"->"}:
            return Told("E0103", f"this {seen.word} does not say what it returns", span,
                        "write `-> [d]` before it, or `-> [t, d]` for a sequence",
                        "a signature says the type of the result",
                        "`-> [WIDTH]` is missing before this")  # fmt: skip
    if seen.word == "space" and token.kind == "{" and "from" in able:
        return Told("E0103", "this space lacks its role", span,
                    "write `from request` or `from candidate` before the `{`",
                    "request: the same for every candidate that is scored; candidate: its own for each",
                    "`from ROLE` is missing before this")  # fmt: skip
    if seen.word == "space" and able == {"<="}:
        replaces = token.kind in ("<", "=", "==", ":")
        what = f"write `{seen.before.text} <= 100`, with the largest length that is kept"
        return Told("E0103", f"axis `{seen.before.text}` lacks its bound", span, what,
                    "every sequence has a largest length", "`<=` is missing here",
                    Fix(span, "<=", "write `<=`") if replaces else None)  # fmt: skip
    if seen.word == "space" and seen.before.kind == "NAME" and able == {":"}:
        name = seen.before.text
        return Told("E0103", f"field `{name}` has no encoding", seen.span(seen.before),
                    f"write `{name}: vocab(1000, 8)`, or the name of a table",
                    "an encoding says how the column becomes numbers", "`: ENCODING` is missing")  # fmt: skip
    return None


def _domains(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `in [2, 4]` and `in 2 - 8`, met at the end of the line, where `..` is still
    missing."""
    if ".." not in able or seen.token.kind not in ("_NL", "$END", ",", ")"):
        return None
    start = next(
        (i for i in range(seen.index - 1, seen.place.first, -1) if seen.tokens[i].text == "in"), None
    )
    if start is None or start + 1 >= seen.index:
        return None
    first, last = seen.tokens[start + 1], seen.before
    span = Span(seen.source, first.start, last.stop)
    if first.kind == "[" and last.kind == "]":
        written = "{" + span.text[1:-1] + "}"
        return Told("E0103", "a domain's choices stand in `{ }`", span, f"write `{written}`", label="",
                    fix=Fix(span, written, f"write `{written}`"))  # fmt: skip
    return Told("E0103", "this is no domain", span, "write `{A, B}` for choices, `LOW .. HIGH` for a range",
                "a domain says which values a param may have", "neither choices nor a range")  # fmt: skip


_RULES: tuple[Callable[[Seen, set[str]], Told | None], ...] = (
    misspelt_word,
    *FORMS_OF_OTHERS,
    _colon_and_equals,
    _signatures,
    _domains,
    _names,
    _pipes,
    _numbers,
    _units,
    _texts,
    _expressions,
    _comments_and_lines,
)

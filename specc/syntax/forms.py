"""Forms of Python, PyTorch, Keras and SQL that this language writes differently: `(8, 4)` for a list,
`linear(4)(x)`, `mlp[8, 4]`, `over [s, t]`, a line that begins with `+`.

Promises: each is told at its own place with the form that it has here, and a fix where that is all there
is to it. Leaves signs and single words to `habits`, names that only elaboration knows to `graph`.
"""

from __future__ import annotations

from collections.abc import Callable

from specc.report import Fix
from specc.report.elsewhere import LIBRARIES, NAMES, OBJECTS, TYPES
from specc.report.suggest import absent, translated
from specc.source import Span
from specc.syntax.token import SAME_LINE
from specc.syntax.told import Seen, Told, touching

_OPEN = {"(": ")", "[": "]", "{": "}"}
_CLOSE = {close: open for open, close in _OPEN.items()}
_OPERATORS = frozenset(["+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">="])
_WORD_OPERATORS = frozenset(["and", "or"])
_NEVER_TWICE = frozenset([",", ";", ":", "=", "|>", "->", "..", "+", "^", "%", "<="])
_TAKE_LISTS = frozenset(["mlp"])
_TAKE_ONE = frozenset(
    ["linear", "dropout", "repeat", "leaky_relu", "ids", "vocab", "hash", "bag", "number", "vector", "normal",
     "uniform", "constant", "adam", "adamw", "sgd", "adagrad", "rmsprop"]
)  # fmt: skip
_TAKE_VALUES = frozenset(
    ["concat", "stack", "dot", "sum", "mean", "max", "min", "softmax", "relu", "sigmoid"]
)


def _opening(seen: Seen, index: int) -> int | None:
    """Return the bracket that is open at a token of the statement."""
    depth = 0
    for at in range(index - 1, max(seen.place.first, 0) - 1, -1):
        kind = seen.tokens[at].kind
        if kind in _CLOSE:
            depth += 1
        elif kind in _OPEN:
            if depth == 0:
                return at
            depth -= 1
    return None


def _closing(seen: Seen, opening: int) -> int | None:
    """Return the bracket that closes another; one that was made up closes nothing."""
    depth = 0
    for at in range(opening + 1, len(seen.tokens)):
        token = seen.tokens[at]
        if token.kind in _OPEN:
            depth += 1
        elif token.kind in _CLOSE:
            if depth == 0:
                return at if token.text else None
            depth -= 1
        elif token.kind == "$END":
            return None
    return None


def _between(seen: Seen, first: int, last: int) -> Span:
    return Span(seen.source, seen.tokens[first].start, seen.tokens[last].stop)


def _is_call(seen: Seen, opening: int) -> bool:
    """Return whether a `(` stands right behind a name."""
    before = seen.tokens[opening - 1]
    return before.kind == "NAME" and before.stop == seen.tokens[opening].start


def _is_value(seen: Seen, opening: int) -> bool:
    """Return whether a bracket stands right behind the `=` of a binding, prediction or loss."""
    before = [token.kind for token in seen.tokens[seen.place.first : opening]]
    return before[-1:] == ["="] and "(" not in before and seen.word in ("", "predict", "loss")


def _round_list(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `(128, 64)`: a list, or the choices of a domain, in the brackets of a tuple."""
    if seen.token.kind != "," or ")" not in able or "," in able:
        return None
    opening = _opening(seen, seen.index)
    if opening is None or seen.tokens[opening].kind != "(" or _is_call(seen, opening):
        return None
    closing = _closing(seen, opening)
    if closing is None:
        return None
    span = _between(seen, opening, closing)
    inner = span.text[1:-1].strip()
    if seen.tokens[opening - 1].text == "in":
        written, message = "{" + inner.rstrip(", ") + "}", "a domain's choices stand in `{ }`"
    elif _is_value(seen, opening) and any(t.kind == "NAME" for t in seen.tokens[opening:closing]):
        written, message = f"concat({inner})", "values side by side are one of `concat`"
    else:
        written, message = f"[{inner}]", "a list stands in `[ ]`"
    return Told("E0103", message, span, f"write `{written}`", "round brackets only say what "
                "belongs together", "", Fix(span, written, f"write `{written}`"))  # fmt: skip


def _brace_below(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `block f(x[d]) -> [d]` with its `{` on the next line."""
    following = seen.tokens[min(seen.index + 1, len(seen.tokens) - 1)]
    if seen.token.kind != "_NL" or following.kind != "{" or "{" not in able:
        return None
    gap = Span(seen.source, seen.before.stop, following.start)
    comment = "#" in gap.text
    return Told("E0107", f"the `{{` of this {seen.word or 'statement'} stands on the next line",
                seen.span(following), "write the `{` at the end of the line above",
                "a statement ends with its line, except inside brackets", "too late here",
                None if comment else Fix(gap, " ", "write the `{` at the end of the line above"))  # fmt: skip


def _braces(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `x = {a, b}`."""
    if seen.token.kind != "{" or "[" not in able or "NUMBER" not in able:
        return None
    return Told("E0103", "unexpected `{`", seen.span(seen.token),
                "a list is `[a, b]`; values stand side by side in `concat(a, b)`",
                "`{ }` is around fields, settings, choices and the bodies of blocks")  # fmt: skip


def _called_call(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `linear(n)(x)`, as Keras and PyTorch apply a layer."""
    if seen.token.kind != "(" or seen.before.kind != ")" or "|>" not in able or not touching(seen, -1):
        return None
    start, closing = _opening(seen, seen.index - 1), _closing(seen, seen.index)
    if start is None or closing is None or seen.tokens[start - 1].kind != "NAME":
        return None
    first = start - 1
    if seen.tokens[first - 1].kind == ".":
        first -= 2
    layer = _between(seen, first, seen.index - 1).text
    inputs = seen.source.text[seen.token.stop : seen.tokens[closing].start].strip()
    span = _between(seen, first, closing)
    alone = _one_argument(seen, seen.index, closing) and "\n" not in span.text
    told = Told("E0103", "what a layer gives is not called again", seen.span(seen.token),
                f"write `{inputs} |> {layer}`" if alone else "the value comes first: `x |> linear(8)`",
                "a layer with its options is applied to what is piped into it")  # fmt: skip
    if not alone or not inputs:
        return told
    outside = (seen.tokens[first - 1].kind, seen.tokens[closing + 1].kind)
    bare = outside[0] in ("(", ",", "=", "return", "[") or seen.tokens[first - 1].text == "return"
    bare = bare and outside[1] in (")", ",", "_NL", "$END", "|>", "]", "}")
    written = f"{inputs} |> {layer}" if bare else f"({inputs} |> {layer})"
    return Told(*_parts(told), Fix(span, written, f"write `{inputs} |> {layer}`"))


def _one_argument(seen: Seen, opening: int, closing: int) -> bool:
    depth = 0
    for token in seen.tokens[opening + 1 : closing]:
        depth += (token.kind in _OPEN) - (token.kind in _CLOSE)
        if token.kind == "," and depth == 0:
            return False
    return True


def _parts(told: Told) -> tuple[str, str, Span, str, str, str]:
    return told.code, told.message, told.span, told.help, told.why, told.label


def index_opening(seen: Seen) -> int | None:
    """Return the `[` right behind a name that does not fit, or in which something does not."""
    opening = seen.index
    if seen.token.kind != "[":
        if seen.token.kind not in (",", ":", "]", ".."):
            return None
        depth = 0
        while opening > seen.place.first:
            opening -= 1
            kind = seen.tokens[opening].kind
            if kind in _OPEN and depth == 0:
                break
            depth += (kind in _CLOSE) - (kind in _OPEN)
    bracket, before = seen.tokens[opening], seen.tokens[opening - 1]
    behind_name = bracket.kind == "[" and before.kind == "NAME" and before.stop == bracket.start
    return opening if behind_name else None


def _bracket_call(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `mlp[8, 4]`: a layer's options in the wrong brackets."""
    opening = index_opening(seen)
    if opening is None:
        return None
    closing = _closing(seen, opening)
    name = seen.tokens[opening - 1].text
    piped = seen.tokens[opening - 2].kind == "|>"
    if closing is None or not (piped or name in _TAKE_LISTS | _TAKE_ONE | _TAKE_VALUES):
        return None
    inside = seen.tokens[opening + 1 : closing]
    span = _between(seen, opening, closing)
    inner = span.text[1:-1].strip()
    numbers = bool(inside) and all(t.kind in ("NUMBER", ",") for t in inside)
    listed = name in _TAKE_LISTS or (numbers and len(inside) > 1 and name not in _TAKE_ONE)
    written = f"([{inner}])" if listed else f"({inner})"
    return Told("E0103", f"what `{name}` is given stands in `( )`", seen.span(seen.tokens[opening]),
                f"write `{name}{written}`", "square brackets are for lists and types",
                fix=Fix(span, written, f"write `{name}{written}`"))  # fmt: skip


def _line_lead(seen: Seen, able: set[str]) -> Told | None:
    """Return an expression that goes on in the next line, outside of brackets."""
    token = seen.token
    if token.indent == SAME_LINE or seen.index != seen.place.first:
        return None
    if token.kind not in _OPERATORS | {"."} and token.text not in _WORD_OPERATORS:
        return None
    pipe = " or begin the line with `|>`" if token.kind == "." else ""
    return Told("E0103", f"unexpected `{token.text}` at the start of a line", seen.span(token),
                f"put the whole expression in `( )`{pipe}: a line break inside brackets does not end it",
                "the statement above has ended with its line; only `|>` goes on with it",
                "begins no statement")  # fmt: skip


def _foreign_path(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `tf.keras.layers.Dense(4)`: more dots than a name has here."""
    if seen.token.kind != "." or touching(seen, -1) is None:
        return None
    first = seen.index - 1
    while first >= 2 and seen.tokens[first - 1].kind == "." and seen.tokens[first - 2].kind == "NAME":
        first -= 2
    last = seen.index
    while (
        last + 2 < len(seen.tokens) and seen.tokens[last].kind == "." and seen.tokens[last + 1].kind == "NAME"
    ):
        last += 2
    last -= 1
    head, name = seen.tokens[first].text, seen.tokens[last].text
    if head not in LIBRARIES | OBJECTS or seen.tokens[last].kind != "NAME":
        return None
    span = _between(seen, first, last)
    if head in OBJECTS:
        return Told("E0103", f"there is no `{head}`", span, f"write `{name}`", "every name stands for itself",
                    "", Fix(span, name, f"write `{name}`"))  # fmt: skip
    ours = translated(name, {meant for names in NAMES.values() for meant in names})
    advice = (
        f"write `{ours}`" if ours else absent(name) or "layers and built-ins have plain names here: `linear`"
    )
    return Told("E0103", f"`{span.text}` is another library's", span, advice,
                "there are no packages: built-ins and the standard library have plain names", "",
                Fix(span, ours, f"write `{ours}`") if ours else None)  # fmt: skip


def _quoted_callee(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `"ids"(24, dim)`."""
    if seen.token.kind != "(" or seen.before.kind != "STRING" or not touching(seen, -1):
        return None
    name = seen.before.text.strip('"')
    if not (name.isidentifier() and name.isascii()):
        return None
    span = seen.span(seen.before)
    return Told("E0103", "a name has no quotes", span, f"write `{name}`", "texts in quotes are only values",
                fix=Fix(span, name, f"write `{name}`"))  # fmt: skip


def _whole_division(seen: Seen, able: set[str]) -> Told | None:
    if seen.token.kind != "/" or seen.before.kind != "/" or not touching(seen, -1):
        return None
    both = Span(seen.source, seen.before.start, seen.token.stop)
    return Told("E0103", "unexpected `//`", both, "write `/`",
                "`/` of two integers is an integer where the one divides the other", "",
                Fix(both, "/", "write `/`"))  # fmt: skip


def _double_equals(seen: Seen, able: set[str]) -> Told | None:
    if seen.token.kind != "==" or "=" not in able or "==" in able:
        return None
    span = seen.span(seen.token)
    return Told("E0103", "unexpected `==`", span, "write `=`", "`==` compares; `=` gives a name its value",
                fix=Fix(span, "=", "write `=`"))  # fmt: skip


def _semicolon(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `linear(x; n = 4)`: a call written as a block is declared."""
    if seen.token.kind != "=" or "=" in able or "==" not in able:
        return None
    opening = _opening(seen, seen.index)
    between = seen.tokens[(opening or seen.index) + 1 : seen.index]
    found = next((token for token in between if token.kind == ";"), None)
    if found is None:
        return None
    return Told("E0103", "unexpected `;`", seen.span(found), "write `,`",
                "`;` parts inputs from statics where a block is declared, not where it is called",
                fix=Fix(seen.span(found), ",", "write `,`"))  # fmt: skip


def _second_equals(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `a = b = 3`, outside of brackets and conditions, where `=` cannot have been
    meant as `==`."""
    if seen.token.kind != "=" or "=" in able or "==" not in able or seen.word not in ("", "param", "layer"):
        return None
    inside = seen.tokens[max(seen.place.first, 0) : seen.index]
    if _opening(seen, seen.index) not in (None, _body(seen)) or any(
        t.text in ("if", "where") for t in inside
    ):
        return None
    return Told("E0103", "unexpected `=`", seen.span(seen.token), "give each name its value on its own line",
                "a statement gives one name its value")  # fmt: skip


def _body(seen: Seen) -> int | None:
    return _opening(seen, seen.place.first) if seen.place.nested else None


def _over(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `over = t`, `over [s, t]`, `over (t)`."""
    if seen.before.text != "over" or able != {"NAME"}:
        return None
    following = seen.tokens[seen.index + 1]
    if seen.token.kind == "=" and following.kind == "NAME":
        span = Span(seen.source, seen.before.start, following.stop)
        written = f"over {following.text}"
        return Told("E0103", "`over` takes no `=`", span, f"write `{written}`", "it is a clause, no option",
                    fix=Fix(span, written, f"write `{written}`"))  # fmt: skip
    if seen.token.kind not in ("[", "(", "{"):
        return None
    closing = _closing(seen, seen.index)
    names = [t.text for t in seen.tokens[seen.index + 1 : closing or seen.index] if t.kind == "NAME"]
    if closing is not None and len(names) == 1:
        span = _between(seen, seen.index, closing)
        return Told("E0103", "an axis stands without brackets", span, f"write `over {names[0]}`", "",
                    fix=Fix(span, names[0], f"write `over {names[0]}`"))  # fmt: skip
    chain = " |> ".join(f"mean(over {name})" for name in reversed(names)) or "mean(over t)"
    return Told("E0103", "`over` takes one axis", seen.span(seen.token),
                f"one after the other, the inner one first: `x |> {chain}`",
                "a layer works along one axis at a time")  # fmt: skip


def _typed(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `param dim: int = 8`, `width: int = 4`, `param int dim = 8`."""
    token, following = seen.token, seen.tokens[min(seen.index + 1, len(seen.tokens) - 1)]
    if token.kind == ":" and following.text in TYPES and "=" in able:
        span = _between(seen, seen.index, seen.index + 1)
        return Told("E0103", f"unexpected `: {following.text}`", span, "remove it",
                    "types are not written: a value has the type of what it is given",
                    fix=Fix(span, "", "remove it"))  # fmt: skip
    if token.kind == "NAME" and seen.before.text in TYPES and able == {"="} and seen.word:
        span = Span(seen.source, seen.before.start, token.start)
        return Told("E0103", f"`{seen.before.text}` is no part of a `{seen.word}`", seen.span(seen.before),
                    "remove it", "types are not written: a value has the type of what it is given", "",
                    Fix(span, "", "remove it"))  # fmt: skip
    return None


def _doubled(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `param param dim = 8`, `over over t`: a word that stands twice."""
    for token, before in ((seen.token, seen.before), (seen.before, seen.tokens[seen.index - 2])):
        word = token.kind == "NAME" and token.text in seen.table.words
        if (word or token.kind in _NEVER_TWICE) and token.text == before.text:
            if token.start < before.stop or seen.source.text[before.stop : token.start].strip():
                continue
            # With a gap between, what stood there may be missing: `a, , b`.
            if not word and token.start != before.stop:
                continue
            gap = Span(seen.source, before.stop, token.stop)
            return Told("E0103", f"`{token.text}` stands twice", seen.span(token), "remove one of them", "",
                        "", Fix(gap, "", "remove one of them"))  # fmt: skip
    return None


def _arrows(seen: Seen, able: set[str]) -> Told | None:
    """Return what to tell of `=>`, `=<` and `<>`, which are written differently here."""
    following = touching(seen, 1)
    both = (seen.token.kind, following.kind if following is not None else "")
    meant = {("=", ">"): "->" if "->" in able else ">=", ("=", "<"): "<=", ("<", ">"): "!="}.get(both)
    if seen.token.kind == ">" and seen.before.kind in ("=", "<") and touching(seen, -1):
        meant = "!=" if seen.before.kind == "<" else ">="
        span = Span(seen.source, seen.before.start, seen.token.stop)
    elif following is not None:
        span = Span(seen.source, seen.token.start, following.stop)
    if meant is None:
        return None
    return Told("E0103", f"unexpected `{span.text}`", span, f"write `{meant}`",
                fix=Fix(span, meant, f"write `{meant}`"))  # fmt: skip


FORMS_OF_OTHERS: tuple[Callable[[Seen, set[str]], Told | None], ...] = (
    _doubled,
    _typed,
    _brace_below,
    _braces,
    _round_list,
    _called_call,
    _bracket_call,
    _quoted_callee,
    _whole_division,
    _double_equals,
    _over,
    _arrows,
    _semicolon,
    _second_equals,
    _foreign_path,
    _line_lead,
)

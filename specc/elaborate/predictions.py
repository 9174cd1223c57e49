"""What comes out: predictions with their labels and what weighs in their losses, and extra losses.

Promises: `prediction` and `extra_loss` give what one statement says, or raise Fault once the reason is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from specc.elaborate.batches import across, among, differs, every_pair, log_frequency
from specc.elaborate.catalogue import Catalogue, catalogue, row_loss
from specc.elaborate.declarations import LARGEST_WIDTH
from specc.elaborate.keys import key_field
from specc.elaborate.scope import Scope
from specc.elaborate.statics import static, truth
from specc.elaborate.world import Site
from specc.frozen import dataclass
from specc.ir.graph import ExtraLoss, Graph, Node, Output, Prediction
from specc.ir.inputs import coupled, fields_of_losses, labels_read
from specc.ops import op
from specc.report import Label, Report
from specc.report.suggest import nearest, suggestion
from specc.source import Span
from specc.syntax import tree
from specc.types.static import describe, is_number, real


def _ends_flat(scope: Scope, node: Node, width: int, place: Span, what: str, help: str = "") -> None:
    """Check that a prediction or loss is one vector an example: without axes, and of the width that its kind
    asks for."""
    if node.type.axes:
        axis = node.type.axes[-1].name
        raise scope.world.fault(
            "E0511",
            f"{what} is one for an example, and this has one at each `{axis}`",
            place,
            expected=f"[{width}]",
            found=str(node.type),
            help=f"reduce it, such as `mean(…, over {axis})`",
        )
    if node.type.width != width:
        raise scope.world.fault(
            "E0510",
            f"{what} has the wrong width",
            place,
            expected=f"[{width}]",
            found=str(node.type),
            help=help or f"end it with `|> linear({width})`",
        )


def prediction(scope: Scope, item: tree.Predict) -> tuple[Prediction, list[ExtraLoss]]:
    """Return one `predict`: its kind, label column and node; and what its loss is multiplied by, or for a
    choice the loss itself. Raises Fault."""
    name = item.ident.name
    kind = _kind(scope, item)
    node: Node = scope.value_of(scope.entries[name], name)
    width = kind.classes or 1 if kind.rows is None else kind.rows.table.width
    _ends_flat(scope, node, width, item.value.span, f"the prediction `{name}`")
    column = item.column.value if item.column else name
    condition = None if item.condition is None else _condition(scope, item.condition, kind.word)
    found = Prediction(
        name, kind.word, node.id, column, item.ident.span, kind.classes, condition, kind.positive, kind.range,
        kind.loss, among=kind.among,
    )  # fmt: skip
    losses = [] if kind.weight is None else [_weight(scope, name, kind.weight)]
    if kind.rows is not None:
        rows, each = row_loss(scope.world, name, kind.rows, node, item.value.span)
        found = replace(found, rows=rows)
        losses.append(ExtraLoss(f"{name}.class", each.id, item.ident.span, chooses=name))
    if kind.among == "request":
        differs(scope.world, node, item.value.span)
    if kind.among == "batch":
        span = item.value.span
        world = scope.world
        scores = every_pair(world, node, span)
        if kind.correct is not None:
            often = across(world, log_frequency(world, kind.correct, name, span), span)
            scores = world.put(world.root, op.SUB, [scores.id, often.id], scores.type, span)
        loss = among(world, scores, scores, span, kind.alike)
        losses.append(ExtraLoss(f"{name}.choice", loss.id, item.ident.span, chooses=name))
    return found, losses


def _weight(scope: Scope, name: str, expr: tree.Expr) -> ExtraLoss:
    site = Site(scope, scope.frame, f"{name}.weight")
    node = site.value(expr)
    help = "a weight is one number: such as `sum(x)`, the sum of its channels"
    _ends_flat(scope, node, 1, expr.span, f"the weight of `{name}`", help)
    return ExtraLoss(f"{name}.weight", node.id, expr.span, weighs=name)


def _condition(scope: Scope, item: tree.Condition, kind: str) -> tuple[str, int | float | bool | str]:
    """Return what a label is compared with: a number, a text or a truth."""
    world = scope.world
    if kind != "binary":
        raise world.fault(
            "E0404",
            f"a condition makes labels of 0 and 1, and this prediction is `{kind}`",
            item.span,
            help="write `binary`, or leave the condition out",
        )
    found = static(item.value, Site(scope, scope.frame, ""))
    ordered = item.op not in ("==", "!=")
    if not (is_number(found) or (isinstance(found, bool | str) and not ordered)):
        raise world.fault(
            "E0403",
            f"`{item.op}` compares a label with a number" + ("" if ordered else ", a text or a truth"),
            item.value.span,
            found=describe(found),
            help='a text is compared by `==` or `!=`: `from "event" == "buy"`'
            if isinstance(found, str)
            else "",
        )
    assert isinstance(found, int | float | bool | str)
    return item.op, found


@dataclass(frozen=True)
class _Kind:
    """What stands behind the `:` of a prediction."""

    word: str
    classes: int = 0
    weight: tree.Expr | None = None
    positive: float = 1.0
    range: tuple[float, float] | None = None
    loss: tuple[Any, ...] = ("mse",)
    among: str = ""
    alike: str | None = None
    correct: str | None = None
    rows: Catalogue | None = None


_KINDS: Mapping[str, tuple[str, ...]] = {
    "binary": ("weight", "positive"),
    "real": ("weight", "range", "loss"),
    "choice": ("among", "of", "correct", "weight"),
    "class": ("weight", "bias", "sampled"),
}


def _kind(scope: Scope, item: tree.Predict) -> _Kind:
    world, expr = scope.world, item.kind
    callee = expr.callee if isinstance(expr, tree.Call) else expr
    word = callee.name if isinstance(callee, tree.Ref) else ""
    if word not in _KINDS:
        close = nearest(word, _KINDS)
        raise world.fault(
            "E0509",
            f"a prediction is `binary`, `real`, `class(n)` or `choice(…)`, not `{expr.span.text}`",
            expr.span,
            help=f"did you mean `{close}`?" if close else "",
        )
    given: list[tree.Positional] = []
    options: dict[str, tree.Expr] = {}
    for argument in expr.args if isinstance(expr, tree.Call) else ():
        match argument:
            case tree.Positional():
                given.append(argument)
            case tree.Keyword(ident=ident, value=said) if ident.name in _KINDS[word]:
                if ident.name in options:
                    raise world.fault("E0404", f"`{ident.name}` is given twice", ident.span)
                options[ident.name] = said
            case tree.Keyword(ident=ident):
                help, fix = suggestion(ident.name, ident.span, _KINDS[word])
                raise world.fault(
                    "E0402",
                    f"`{word}` has no option `{ident.name}`",
                    ident.span,
                    label="unknown option",
                    help=help or "it has " + ", ".join(f"`{k}`" for k in _KINDS[word]),
                    fix=fix,
                )
            case _:
                raise world.fault("E0404", f"`{word}` takes no axis and no column here", argument.span)
    if word == "class" and len(given) != 1:
        raise world.fault("E0404", "`class` takes the number of classes, `class(10)`, or a table", expr.span)
    if word != "class" and given:
        raise world.fault(
            "E0404",
            f"`{word}` takes no argument",
            given[0].span,
            help="it has " + ", ".join(f"`{k} = …`" for k in _KINDS[word]),
        )
    rows = catalogue(scope, given[0].value, options) if word == "class" else None
    classes = rows.table.rows if rows is not None else _classes(scope, given[0].value) if given else 0
    positive = _positive(scope, options["positive"]) if "positive" in options else 1.0
    between = _range(scope, options["range"]) if "range" in options else None
    loss = _distance(scope, options["loss"]) if "loss" in options else ("mse",)
    among, alike, correct = _choice(scope, expr, options) if word == "choice" else ("", None, None)
    return _Kind(word, classes, options.get("weight"), positive, between, loss, among, alike, correct, rows)


_AMONG = ("batch", "request")


def chooses_in_request(item: object) -> bool:
    """Return whether a statement predicts a choice among the candidates of a request."""
    if not isinstance(item, tree.Predict) or not isinstance(item.kind, tree.Call):
        return False
    said = [a.value for a in item.kind.args if isinstance(a, tree.Keyword) and a.ident.name == "among"]
    return any(isinstance(value, tree.Ref) and value.name == "request" for value in said)


def _choice(
    scope: Scope, expr: tree.Expr, options: Mapping[str, tree.Expr]
) -> tuple[str, str | None, str | None]:
    """Return what `choice` says: among what it is; the field of keys that tells candidates apart; and the
    field for whose frequencies the scores are corrected."""
    world, said = scope.world, options.get("among")
    if not (isinstance(said, tree.Ref) and said.name in _AMONG):
        help, fix = suggestion(said.span.text, said.span, _AMONG) if said is not None else ("", None)
        raise world.fault(
            "E0404" if said is None else "E0403",
            "`choice` says among what: `choice(among = batch)` or `choice(among = request)`",
            expr.span if said is None else said.span,
            why="a candidate is chosen among those of the whole batch, or among those of its request",
            help=help,
            fix=fix,
        )
    if said.name == "request":
        for name in ("of", "correct"):
            if name in options:
                raise world.fault(
                    "E0402",
                    f"`{name}` is of a choice among the batch",
                    options[name].span,
                    why="it is for candidates that stand beside a request by chance; those of a request are "
                    "what its row lists",
                    help="leave it out, or write `among = batch`",
                )
        return "request", None, None
    of = options.get("of")
    corrects = "correct" in options and truth(options["correct"], Site(scope, scope.frame, ""), "`correct`")
    if of is None:
        if corrects:
            raise world.fault(
                "E0404",
                "`correct` needs to know what tells candidates apart",
                options["correct"].span,
                why="the logarithm of a candidate's share of the training data is subtracted from its scores",
                help="say which field does: `of = ad.item`",
            )
        return "batch", None, None
    path = f"{of.base.name}.{of.ident.name}" if isinstance(of, tree.Attribute) else ""
    spaces = [e.statement for e in scope.entries.values() if isinstance(e.statement, tree.Space)]
    known = [
        f"{s.ident.name}.{f.ident.name}"
        for s in spaces
        if s.role.name == "candidate" and not s.axes
        for f in s.fields
    ]
    if path not in known:
        help, fix = suggestion(of.span.text, of.span, known)
        raise world.fault(
            "E0403",
            "`of` is the field that tells candidates apart",
            of.span,
            expected="a field of a candidate, such as " + (f"`{known[0]}`" if known else "`ad.item`"),
            help=help,
            fix=fix,
        )
    return "batch", key_field(world, path, of.span), path if corrects else None


def _classes(scope: Scope, expr: tree.Expr) -> int:
    count = static(expr, Site(scope, scope.frame, ""))
    if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= LARGEST_WIDTH:
        raise scope.world.fault(
            "E0403", "the number of classes must be an integer of at least 2", expr.span,
            found=describe(count), help="of two classes, or of one that is there or not, predict `binary`",
        )  # fmt: skip
    return count


def _positive(scope: Scope, expr: tree.Expr) -> float:
    found = static(expr, Site(scope, scope.frame, ""))
    if not is_number(found) or found <= 0:
        raise scope.world.fault(
            "E0403",
            "`positive` is a number above 0",
            expr.span,
            found=describe(found),
            why="the part of a positive label in the loss is multiplied with it",
            help="leave it out for 1, or write how much more a positive label counts, such as `positive = 4`",
        )
    return real(found)


def _range(scope: Scope, expr: tree.Expr) -> tuple[float, float]:
    found = static(expr, Site(scope, scope.frame, ""))
    ends = [real(end) for end in found if is_number(end)] if isinstance(found, tuple) else []
    if len(ends) != 2 or not isinstance(found, tuple) or len(found) != 2 or ends[0] >= ends[1]:
        raise scope.world.fault(
            "E0403",
            "`range` is two numbers, the least label and the greatest, such as [1, 5]",
            expr.span,
            found=describe(found),
        )
    return ends[0], ends[1]


_DISTANCES = ("mse", "mae", "huber")


def _distance(scope: Scope, expr: tree.Expr) -> tuple[Any, ...]:
    """Return the loss of a `real` prediction: `mse`, `mae` or `huber(1.0)`."""
    world = scope.world
    callee = expr.callee if isinstance(expr, tree.Call) else expr
    word = callee.name if isinstance(callee, tree.Ref) else ""
    if word not in _DISTANCES:
        help, fix = suggestion(word, callee.span, _DISTANCES)
        raise world.fault(
            "E0403",
            f"the loss of a real prediction is `mse`, `mae` or `huber(…)`, not `{expr.span.text}`",
            expr.span,
            help=help or "`loss NAME = …` adds a loss of your own",
            fix=fix,
        )
    args = expr.args if isinstance(expr, tree.Call) else ()
    if word != "huber":
        if args:
            raise world.fault("E0404", f"`{word}` takes no argument", args[0].span, help=f"write `{word}`")
        return (word,)
    if len(args) != 1 or not isinstance(args[0], tree.Positional):
        raise world.fault(
            "E0404",
            "`huber` takes one number: `huber(1.0)`",
            expr.span,
            why="errors beyond it count by their magnitude, smaller ones by their square",
        )
    found = static(args[0].value, Site(scope, scope.frame, ""))
    if not is_number(found) or found <= 0:
        raise world.fault(
            "E0403", "`huber` takes a number above 0", args[0].span, found=describe(found)
        )  # fmt: skip
    return word, float(found)


def output(scope: Scope, item: tree.Output) -> Output:
    """Return one `output`: a result without a label. Raises Fault."""
    name = item.ident.name
    node: Node = scope.value_of(scope.entries[name], name)
    _ends_flat(scope, node, node.type.width, item.value.span, f"the output `{name}`")
    return Output(name, node.id, item.ident.span)


def extra_loss(scope: Scope, item: tree.Loss) -> ExtraLoss:
    """Return one `loss`. Raises Fault."""
    name = item.ident.name
    node: Node = scope.value_of(scope.entries[name], name)
    _ends_flat(scope, node, 1, item.value.span, f"the loss `{name}`")
    return ExtraLoss(name, node.id, item.ident.span)


def only_in_losses(graph: Graph, report: Report) -> bool:
    """E0515, E0516: labels are known in training alone, and a prediction is of one example, so that only
    losses may be made of labels and of other examples. Whether all is well."""
    wanted = [(f"the prediction `{p.name}`", p.node, p.span) for p in graph.predictions]
    wanted += [(f"the output `{r.name}`", r.node, r.span) for r in graph.results]
    wanted += [(f"the weights of the attention `{a.path}`", a.weight, a.span) for a in graph.attentions]
    sound = True
    for what, node, span in wanted:
        for label in labels_read(graph, node):
            sound = False
            report.error(
                "E0515",
                f"{what} would need the label of `{label.attrs['prediction']}`",
                label.span,
                label="read here",
                secondary=(Label(span, "needed here"),),
                why="labels are known in training, and not when a prediction is asked for",
                help="use it in a `loss`, or in the `weight` of a prediction",
            )
            break
        other = coupled(graph, node)
        if other is not None:
            sound = False
            report.error(
                "E0516",
                f"{what} would need the other examples of the batch",
                other.span,
                label="compared with them here",
                secondary=(Label(span, "needed here"),),
                why="a prediction is of one example, whatever stands beside it",
                help="use it in a `loss`, or in the `weight` of a prediction",
            )
    return sound


def label_inputs(graph: Graph, report: Report) -> None:
    """Report W0706: a label that is also an input of predictions gives away what the model
    should predict."""
    columns: dict[str, Span] = {}
    lost = fields_of_losses(graph)
    for field in (f for space in graph.spaces for f in space.fields if f.path not in lost):
        if field.column is not None:
            columns[field.column] = field.span
        if field.fallback:
            columns.setdefault(field.fallback, field.span)
    for item in graph.predictions:
        if item.column in columns:
            report.warning(
                "W0706",
                f"the label `{item.column}` is also an input",
                columns[item.column],
                label="read as a feature here",
                secondary=(Label(item.span, "predicted here"),),
                why="the model would be told what it should find out",
                help='read another column with `from "…"`, or drop the field',
            )

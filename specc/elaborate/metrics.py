"""The metric that decides which epoch is best: `metric = gauc`, `metric = ndcg(10)`.

Promises: the name that the runtime's results have it under ("ndcg@10"). A metric that no prediction of the
model can have is an error.
"""

from __future__ import annotations

from collections.abc import Mapping

from specc.elaborate.scope import Scope
from specc.elaborate.statics import static
from specc.elaborate.world import Site
from specc.packages import METRICS as OF_PACKAGES
from specc.packages import offered
from specc.report.suggest import nearest
from specc.syntax import tree
from specc.types.static import describe

# By name the kinds of prediction that have it, where a choice among a request's is the kind "request"; tests
# hold it against the runtime's own table,
# `specc_runtime.train.metrics.METRICS`.
METRICS: Mapping[str, tuple[str, ...]] = {
    "auc": ("binary", "choice", "request"),
    "gauc": ("binary", "choice", "request"),
    "logloss": ("binary", "class", "request"),
    "ece": ("binary",),
    "accuracy": ("binary", "class"),
    "rmse": ("real",),
    "mae": ("real",),
    "mrr": ("binary", "choice", "request"),
}
# Those of the best k, which is given in brackets.
AT: Mapping[str, tuple[str, ...]] = {
    "ndcg": ("binary", "choice", "request"),
    "hit_rate": ("binary", "choice", "request"),
    "accuracy": ("class",),
}
# Those that compare the examples of a group with each other.
GROUPED = frozenset(["gauc", "mrr", "ndcg", "hit_rate"])
MOST = 1000  # the largest k
_SPELT = (*METRICS, *(f"{name}(k)" for name in AT))


def metric_of(scope: Scope, expr: tree.Expr, site: Site) -> str:
    """Return the metric of a `train { metric = … }`. Raises Fault."""
    callee = expr.callee if isinstance(expr, tree.Call) else expr
    word = callee.name if isinstance(callee, tree.Ref) else callee.span.text
    table = AT if isinstance(expr, tree.Call) else METRICS
    if word not in {*AT, *METRICS} and not isinstance(expr, tree.Call) and word in offered(OF_PACKAGES):
        return word  # what predictions have it, training says
    if word not in table:
        close = nearest(word, table)
        if word in AT:
            said, expected = f"`{word}` is of the best k", f"such as `{word}(10)`"
        elif word in METRICS:
            said, expected = f"`{word}` takes no value", f"`{word}`"
        else:
            said, expected = f"there is no metric `{word}`", ", ".join(_SPELT)
        help = f"did you mean `{close}`?" if close else ""
        raise scope.world.fault("E0403", said, callee.span, expected=expected, help=help)
    k = "" if not isinstance(expr, tree.Call) else f"@{_best(expr, word, site)}"
    kinds = {_kind(e.statement.kind) for e in scope.entries.values() if isinstance(e.statement, tree.Predict)}
    if kinds and not kinds & {*table[word], None}:
        raise scope.world.fault(
            "E0403",
            f"no prediction of this model has `{word}`",
            expr.span,
            expected=f"a metric of {_either(kinds)} predictions: {', '.join(_of(kinds))}",
        )
    return word + k


def default_metric(scope: Scope) -> str:
    kinds = {_kind(e.statement.kind) for e in scope.entries.values() if isinstance(e.statement, tree.Predict)}
    if scope.world.of_requests:
        return "mrr"
    return "auc" if kinds & {"binary", "choice"} else "accuracy" if kinds == {"class"} else "rmse"


def _best(call: tree.Call, word: str, site: Site) -> int:
    try:
        (argument,) = call.args
        k = static(argument.value, site) if isinstance(argument, tree.Positional) else None
    except ValueError:
        k = None
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MOST:
        raise site.world.fault(
            "E0403",
            f"`{word}` takes one integer from 1 to {MOST}: of how many, the best, it is",
            call.span,
            expected=f"such as `{word}(10)`",
            found="" if k is None else describe(k),
        )
    return k


def _kind(expr: tree.Expr) -> str | None:
    """Return the kind's name; None where it is no plain word, so that it is not judged here."""
    callee = expr.callee if isinstance(expr, tree.Call) else expr
    word = callee.name if isinstance(callee, tree.Ref) else ""
    if word == "choice" and isinstance(expr, tree.Call):
        said = [a.value for a in expr.args if isinstance(a, tree.Keyword) and a.ident.name == "among"]
        return "request" if any(isinstance(v, tree.Ref) and v.name == "request" for v in said) else word
    return word if word in ("binary", "real", "class") else None


def _of(kinds: set[str | None]) -> list[str]:
    return [name for name, own in METRICS.items() if kinds & {*own}] + [
        f"{name}(k)" for name, own in AT.items() if kinds & {*own}
    ]


def _either(kinds: set[str | None]) -> str:
    return " and ".join(sorted(f"`{kind}`" for kind in kinds if kind))

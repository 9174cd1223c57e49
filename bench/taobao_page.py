"""docs/models/taobao.md, from what `bench.taobao` measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.taobao import (
    BATCH,
    CLICKS,
    RANK_EPOCHS,
    RANKING,
    RETRIEVING,
    TEST,
    TRAIN,
    VALID,
    Subject,
)

# Why a model finds or ranks hardly better than popularity, where one does not.
WHY: Mapping[str, str] = {}
HARDLY = 0.005  # of AUC, what another seed might change
# What the log cannot teach.
ABSENT: Mapping[str, str] = {"nrms": "it reads the words of titles, and the log has none"}

BEGIN = """\
# The models of specs/more on one log of clicks

Made by `python -m bench.taobao` from Taobao's log: 815 users, 84,476 events of nine days. One run each,
briefly and with no search for good settings; what is not the spec's own stands beside the figures. They say
that each model learns what its equations can tell from this log, and no more: which model is better than
another, data of this size and one seed do not tell. The seven with a page of their own are compared with
more care, and three seeds, on the same log [elsewhere](results.md).
"""
RANK = f"""\
## Ranking

Trained on the last {TRAIN:,} examples before the eighth day, half of them sampled items, in batches of
{BATCH}; at most {RANK_EPOCHS} epochs, of which the best on the first {VALID:,} examples of the eighth day is
tested on the first {TEST:,} of the ninth. What the log lacks is the same for all: users' ages and cities are
0, a brand is the category, and STAR's domain is a third of the day. A click is any event, and a purchase is
what the log calls so. Sampled items are as recent as clicked ones, so that popularity tells nothing of them.
"""
RETRIEVE = f"""\
## Retrieval

Trained on the clicks of eight days. recall@50 is the share of {CLICKS:,} clicks of the ninth day whose item
is among the 50 that the model finds in the whole catalogue, given the user's earlier events. Popularity's 50
are those that were clicked most in the eight days. The catalogue has {{catalogue:,}} items, and
{{reachable:.0%}} of these clicks are of one of them, so that nothing gets beyond that.
"""
ANYWHERE = """\
Where negatives come from anywhere, they are drawn from the whole catalogue, as the papers have it. Those that
`specc prepare` draws were known by then, so that items of the last hours are hardly ever negatives, and a
model that is asked for the whole catalogue finds these first. Where each example has a loss for all of its
history, one of several clicks is an example, so that a history is not learnt by heart.

NextItNet's form and settings were tried on these very clicks, and found between 0.0050 and 0.0150 of them: of
the eighth day's clicks, after a training on the seven days before it (`--eve`), they find 0.0080, eight other
settings up to 0.0145, and popularity 0.0095. BERT4Rec's were chosen by the eighth day's clicks, of which they
find 0.0380.
"""


def taobao_page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page as Markdown."""
    ranking, retrieval = results["ranking"], results["retrieval"]
    lines = [BEGIN, RANK]
    lines += [
        "| model | AUC | GAUC | popularity's AUC | best epoch | set otherwise |",
        "|---|---|---|---|---|---|",
    ]
    for subject in sorted(RANKING, key=lambda s: s.name):
        if subject.name in ranking:
            lines += _ranked(subject, ranking[subject.name])
    found = next(iter(retrieval.values()), {"catalogue": 0, "reachable": 0.0})
    lines += ["", RETRIEVE.format(**found)]
    lines += ["| model | recall@50 | popularity's | epochs | set otherwise |", "|---|---|---|---|---|"]
    for subject in sorted(RETRIEVING, key=lambda s: s.name):
        if subject.name in retrieval:
            own = retrieval[subject.name]
            lines.append(
                f"| {_link(subject.name)} | {own['recall']:.4f} | {own['popularity']:.4f} | {own['epochs']} "
                f"| {', '.join(own['otherwise'])} |"
            )
    lines += ["", ANYWHERE.rstrip()]
    lines += ["", *(f"{_link(name)} is not here: {reason}." for name, reason in ABSENT.items())]
    below = below_popularity(results)
    if below:
        lines += ["", "Not, or hardly, above popularity:", ""]
        lines += [f"- {name}: {WHY.get(name.partition(',')[0], 'nobody knows why')}" for name in below]
    return "\n".join(lines) + "\n"


def below_popularity(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The models that are not clearly above popularity, with the prediction where there are several."""
    ranked = [
        f"{name}, {task}" if len(found["predictions"]) > 1 else name
        for name, found in results["ranking"].items()
        for task, of in found["predictions"].items()
        if of["auc"] <= of["popularity"] + HARDLY
    ]
    retrieved = [n for n, found in results["retrieval"].items() if found["recall"] <= found["popularity"]]
    return [*ranked, *retrieved]


def _ranked(subject: Subject, found: Mapping[str, Any]) -> Iterable[str]:
    several = len(found["predictions"]) > 1
    for task, of in found["predictions"].items():
        yield (
            f"| {_link(subject.name)}{f', {task}' if several else ''} | {of['auc']:.4f} | {of['gauc']:.4f} "
            f"| {of['popularity']:.4f} | {found['best epoch']} | {', '.join(found['otherwise'])} |"
        )


def _link(name: str) -> str:
    return f"[{name}](../../specs/more/{name}.arec)"

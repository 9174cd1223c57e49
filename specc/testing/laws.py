"""What holds of every compiled model: the laws that `specc test` and our own tests ask about.

Promises: a law gives None where it is kept, else one line that says what broke it. Those of a `Case` are
asked of a batch; those of a `Subject` once. None of them knows what the model is for.
"""

from __future__ import annotations

import copy
import math
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from specc.interpret.compare import Difference, differences
from specc.ir.graph import Graph, Prediction, walk
from specc.ops import Effect, effect, traits
from specc.testing.batches import random_batch, training_batch
from specc.testing.subject import Subject, gradients, outputs, worst
from specc_runtime import CANDIDATE, Bag, Batch, labelled

VALUE, GRADIENT = 1e-9, 1e-7  # of 1 + the value, in float64
_SLOPE = "gradient of"


@dataclass(eq=False)
class Case:
    """A batch of examples, and one of requests with candidates, for a subject."""

    subject: Subject
    batch: Batch
    requests: Batch

    @cached_property
    def values(self) -> dict[str, Tensor]:
        return _detached(outputs(self.subject.model, self.batch))

    @cached_property
    def predictions(self) -> dict[str, Tensor]:
        return _detached(self.subject.model(self.batch))

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        return gradients(self.subject.model, self.batch)

    @cached_property
    def unlike(self) -> list[Difference]:
        """Where the model differs from the definition of the language."""
        found = differences(self.subject.graph, self.subject.model, self.batch, VALUE)
        if self.subject.graph.of_requests and self.subject.looks_across is None:
            found += differences(self.subject.graph, self.subject.model, self.requests, VALUE)
        return found


@dataclass(frozen=True)
class Law:
    """One law. `alone`: it says that examples do not know of each other, which statistics of the batch do."""

    name: str
    says: str
    of_case: Callable[[Case], str | None] | None = None
    of_subject: Callable[[Subject], str | None] | None = None
    alone: bool = False


LAWS: dict[str, Law] = {}


def _of_case(
    name: str, says: str, alone: bool = False
) -> Callable[[Callable[[Case], str | None]], Callable[[Case], str | None]]:
    def enter(check: Callable[[Case], str | None]) -> Callable[[Case], str | None]:
        LAWS[name] = Law(name, says, of_case=check, alone=alone)
        return check

    return enter


def _of_subject(
    name: str, says: str
) -> Callable[[Callable[[Subject], str | None]], Callable[[Subject], str | None]]:
    def enter(check: Callable[[Subject], str | None]) -> Callable[[Subject], str | None]:
        LAWS[name] = Law(name, says, of_subject=check)
        return check

    return enter


# -------------------------------------------------------------------- of a batch


@_of_case("interpret", "the compiled model gives what the spec means, example by example")
def _interpret(case: Case) -> str | None:
    return next((str(d) for d in case.unlike if not d.what.startswith(_SLOPE)), None)


@_of_case("gradient", "its gradient is that of what the spec means")
def _gradient(case: Case) -> str | None:
    return next((str(d) for d in case.unlike if d.what.startswith(_SLOPE)), None)


@_of_case("training", "the same holds in training, where statistics are those of the batch")
def _training(case: Case) -> str | None:
    nodes = list(walk(case.subject.graph.nodes))
    if any(effect(n) is Effect.RANDOM for n in nodes) or not any("statistics" in n.attrs for n in nodes):
        return None
    model = copy.deepcopy(case.subject.model).train()
    return next(map(str, differences(case.subject.graph, model, case.batch, VALUE)), None)


@_of_case("finite", "results and gradients are finite, whatever is empty")
def _finite(case: Case) -> str | None:
    for name, value in case.values.items():
        if not value.isfinite().all():
            return f"{name} is not finite"
    for path, value in case.gradients.items():
        if not value.isfinite().all():
            return f"the gradient of {path} is not finite"
    return None


@_of_case("order", "the order of a batch's examples changes nothing", alone=True)
def _order(case: Case) -> str | None:
    turned = Batch.collate([case.batch.example(i) for i in reversed(range(case.batch.size))])
    found = {name: value.flip(0) for name, value in case.subject.model(turned).items()}
    return worst(_detached(found), case.predictions, VALUE)


@_of_case("alone", "an example by itself gives what it gives in a batch", alone=True)
def _alone(case: Case) -> str | None:
    each = [case.subject.model(case.batch.example(i)) for i in range(case.batch.size)]
    found = {name: torch.cat([one[name] for one in each]) for name in case.predictions}
    return worst(_detached(found), case.predictions, VALUE)


@_of_case("neighbours", "what the other examples hold, and how much of it, changes nothing", alone=True)
def _neighbours(case: Case) -> str | None:
    others = random_batch(case.subject.manifest, 2, seed=case.batch.size, full=True, longest=9)
    before, after = others.example(0), others.example(1)
    found = case.subject.model(Batch.collate([before, case.batch, after]))
    return worst(_detached({k: v[1:-1] for k, v in found.items()}), case.predictions, VALUE)


@_of_case("requests", "a request's candidates scored together get what each gets alone", alone=True)
def _requests(case: Case) -> str | None:
    together = _detached(case.subject.model(case.requests))
    each = [case.subject.model(one) for one in candidates_apart(case.requests)]
    if not each:
        return next((f"{k} has values for nobody" for k, v in together.items() if v.numel()), None)
    return worst(together, _detached({k: torch.cat([e[k] for e in each]) for k in together}), VALUE)


@_of_case("parts", "a request's part, computed once, and its candidates' part give what both at once give")
def _parts(case: Case) -> str | None:
    model = case.subject.model
    state, own = model.request_part(first_candidates(case.requests, 0)), model.request_part(case.batch)
    asked = [(state, first_candidates(case.requests, 1)), (state, case.requests), (own, case.batch)]
    # Each twice: the state must stay as it is.
    for state, batch in (*asked, *asked):
        found = worst(_detached(model.candidate_part(state, batch)), _detached(model(batch)), VALUE)
        if found:
            return found
    return _pieces(case)


def _pieces(case: Case) -> str | None:
    """What tells candidates that are scored one by one from those that are scored at once."""
    model, wanted = case.subject.model, _detached(case.subject.model(case.requests))
    if model.at_once is None:
        return None
    model.at_once, whole = (1, model.at_once[1]), model.at_once
    try:
        with torch.no_grad():
            found = worst(model(case.requests), wanted, VALUE)
    finally:
        model.at_once = whole
    return None if found is None else f"in pieces, {found}"


# ------------------------------------------------------------------ of a subject


@_of_subject("passes", "no optimisation changes anything")
def _passes(subject: Subject) -> str | None:
    from specc.passes import DEFAULT

    batch = training_batch(subject.manifest, 4, subject.seed, longest=6)
    plain = subject.with_passes(())
    wanted, wanted_grads = _detached(outputs(plain, batch)), gradients(plain, batch)
    seen = {plain.files["model.py"]}
    for left_out in (None, *DEFAULT):
        model = subject.with_passes(p for p in DEFAULT if p != left_out)
        if model.files["model.py"] in seen:
            continue
        seen.add(model.files["model.py"])
        found = worst(_detached(outputs(model, batch)), wanted, VALUE)
        found = found or worst(gradients(model, batch), wanted_grads, GRADIENT)
        if found:
            return f"with {'all passes' if left_out is None else f'all passes but {left_out}'}, {found}"
    return None


@_of_subject("saved", "a model that was saved and loaded is the same")
def _saved(subject: Subject) -> str | None:
    from specc_runtime import load, save

    batch = random_batch(subject.manifest, 3, subject.seed, longest=6)
    with tempfile.TemporaryDirectory() as folder:
        save(subject.model, folder)
        again = load(Path(folder)).double().eval()
        # Weights are kept as they are; those of a new model are float32, so the round is taken once more.
        with torch.no_grad():
            for path, value in again.state_dict().items():
                if not torch.equal(value.float(), subject.weights[path].float()):
                    return f"{path} came back changed"
                value.copy_(subject.weights[path])
    return worst(_detached(again(batch)), _detached(subject.model(batch)), VALUE)


@_of_subject("placement", "where things are placed changes nothing, and no operation sees two devices")
def _placement(subject: Subject) -> str | None:
    from specc.passes.placement import placeable
    from specc.testing.virtual import VirtualDevices

    names = sorted(placeable(subject.graph))
    generator = random.Random(subject.seed)
    places = {name: generator.choice(("one", "two")) for name in names if generator.random() < 0.5}
    places["rest"] = generator.choice(("one", "two"))
    said = ", ".join(f"{name} on {device}" for name, device in places.items())
    devices = {"one": "cpu", "two": "cpu"}
    other = Subject(replace(subject.graph, devices=devices, places=places), subject.seed).model
    batch = training_batch(subject.manifest, 4, subject.seed, longest=6)
    try:
        with VirtualDevices():
            other.place({"one": "meta:0", "two": "meta:1"})
            values, grads = _detached(outputs(other, batch)), gradients(other, batch)
    except Exception as error:
        return f"with {said}, it ends in {type(error).__name__}: {error}"
    found = worst(values, _detached(outputs(subject.model, batch)), VALUE)
    found = found or worst(grads, gradients(subject.model, batch), GRADIENT)
    return f"with {said}, {found}" if found else None


@_of_subject("overfit", "it can learn a dozen examples by heart")
def _overfit(subject: Subject) -> str | None:
    if not subject.graph.predictions:
        return None
    model = Subject(subject.graph, subject.seed + 1).model
    batch = training_batch(subject.manifest, 12, subject.seed, empty=0.05, longest=6)
    target = sum(_half_way(p, subject.graph, batch) for p in subject.graph.predictions)
    names = [p.name for p in subject.graph.predictions]
    trained = [p for p in model.parameters() if p.requires_grad]
    loss = math.inf
    for rate in (0.02, 0.005):
        with torch.no_grad():
            for path, value in model.state_dict().items():
                value.copy_(0.4 * subject.weights[path] if value.dim() > 1 else subject.weights[path])
        optimizer = torch.optim.Adam(trained, lr=rate)
        for _ in range(200):
            terms = model.losses(batch)
            total = torch.stack([terms[name] for name in names]).sum()
            if not total.requires_grad:
                return "nothing in it is trained"
            loss = float(total.detach())
            if loss < target:
                return None
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    return f"after 200 steps of Adam the loss is {loss:.3g}, and half-way below a constant's is {target:.3g}"


def _half_way(prediction: Prediction, graph: Graph, batch: Batch) -> float:
    """Return the loss half-way between the best constant's and the least that the prediction can have."""
    labels = batch.labels[prediction.name]
    if prediction.among == "request":
        return _half_way_in_requests(batch, labels)
    if prediction.kind == "choice":
        return 0.5 * math.log(len(labels))  # half-way to nothing from guessing
    constant = _constant_loss(prediction.kind, labels)
    # A logit that has a smallest and a largest value fits no label exactly.
    bounds = traits(graph.node(prediction.node)).bounds
    if bounds is None or prediction.kind != "binary":
        return 0.5 * constant
    low, high = bounds
    shares = labels[labelled(labels)].double().mean()
    least = float(shares * math.log1p(math.exp(-high)) + (1 - shares) * math.log1p(math.exp(low)))
    return least + 0.5 * max(constant - least, 0.0)


def _half_way_in_requests(batch: Batch, labels: Tensor) -> float:
    """Return the loss half-way between guessing and the least, in which equal labels of several candidates
    of a request share."""
    assert batch.candidates is not None
    each = [own for own in labels.double().split(batch.candidates.tolist()) if float(own.sum()) > 0]
    least = [-torch.special.xlogy(own / own.sum(), own / own.sum()).sum() for own in each]
    known = [(math.log(len(own)) + float(low)) / 2 for own, low in zip(each, least, strict=True)]
    return max(sum(known) / max(len(known), 1), 1e-3)


def _constant_loss(kind: str, labels: Tensor) -> float:
    """Return the loss of the best constant prediction."""
    labels = labels[labelled(labels)].double()
    if kind == "real":
        return float(labels.var(correction=0))
    shares = torch.bincount(labels.long()).double() / len(labels)
    return float(-(shares * shares.clamp(min=1e-9).log()).sum())


def dead(subject: Subject) -> list[str]:
    """Return weights that no prediction or loss depends on, by path: their gradient is 0 for all data."""
    model = subject.model
    alive: set[str] = set()
    trained = {path for path, p in model.named_parameters() if p.requires_grad}
    for seed in range(4):
        batch = training_batch(subject.manifest, 6, seed, empty=0.0, longest=6)
        found = Subject(subject.graph, subject.seed + seed).model if seed else model
        terms = {k: v for k, v in found.losses(batch).items() if k != "l2"}
        total = torch.stack(list(terms.values())).sum()
        if not total.requires_grad:
            return sorted(trained)
        total.backward()
        for path, parameter in found.named_parameters():
            if parameter.grad is not None and _any(parameter.grad):
                alive.add(path)
            parameter.grad = None
    return sorted(trained - alive)


def _any(grad: Tensor) -> bool:
    return bool((grad.to_dense() if grad.is_sparse else grad).ne(0).any())


# ----------------------------------------------------------------------- batches


def candidates_apart(batch: Batch) -> list[Batch]:
    """Return each candidate of each request as an example of its own, in order."""
    assert batch.candidates is not None
    return [
        _candidate(batch.example(request), number)
        for request in range(batch.size)
        for number in range(int(batch.candidates[request]))
    ]


def first_candidates(batch: Batch, most: int) -> Batch:
    """Return the batch with at most so many candidates of each request."""
    assert batch.candidates is not None
    kept = _of_candidates(batch, lambda number: number < most)
    return replace(kept, candidates=batch.candidates.clamp(max=most))


def _candidate(request: Batch, number: int) -> Batch:
    """Return one candidate of a batch that has one request, as an example."""
    return replace(_of_candidates(request, lambda n: n == number), candidates=None)


def _of_candidates(request: Batch, asked: Callable[[Tensor], Tensor]) -> Batch:
    """Return some candidates of a batch's requests. asked: by their numbers among those of their request."""

    def kept(axes: tuple[object, ...]) -> Tensor | None:
        rows = request.layout[axes]  # type: ignore[index]
        if CANDIDATE not in rows.axes:
            return None
        return asked(rows.position(CANDIDATE)).nonzero().squeeze(1)

    fields: dict[str, Tensor | Bag] = {}
    for path, values in request.fields.items():
        rows = kept(request.schema.fields[path])
        if rows is None:
            fields[path] = values
        else:
            fields[path] = values.rows(rows) if isinstance(values, Bag) else values[rows]
    lengths = {}
    for id, values in request.lengths.items():
        parent = request.schema.axes[id].parent
        rows = kept((parent,) if parent else ())
        lengths[id] = values if rows is None else values[rows]
    labels = {name: values[asked(request.layout[CANDIDATE].position(CANDIDATE))]
              for name, values in request.labels.items()}  # fmt: skip
    return replace(request, fields=fields, lengths=lengths, labels=labels)


def _detached(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in values.items()}

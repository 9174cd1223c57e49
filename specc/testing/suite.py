"""A spec's own test suite: every law, over its variants and over batches that it admits.

Promises: what is found is shrunk to a small batch, and comes with the command that finds it again; the same
seed asks the same questions. A variant that does not compile is a failure, not an end.
Leaves what the laws say to `laws`, showing progress to the caller.
"""

from __future__ import annotations

import random
import shlex
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from specc.driver import load
from specc.report import Severity
from specc.report.render import concise
from specc.testing.laws import LAWS, Case, Law, dead
from specc.testing.subject import Subject
from specc.variants import Variant, VariantSpace, count, covering, sample
from specc_runtime import Bag, Batch

CHECKS = "checks"  # the law that a variant compiles at all
SHRINKING = 15.0  # seconds that a failure is made smaller for
# Positions of a sequence, and examples of a batch: the definition takes one after another.
LONGEST, LARGEST = 8, 3


@dataclass(frozen=True)
class Failure:
    """A law that a variant breaks. `batch` describes the smallest batch that does, or is ''."""

    law: str
    says: str
    variant: str
    message: str
    batch: str
    command: str

    def __str__(self) -> str:
        lines = [f"{self.law}: {self.says}", f"  variant    {self.variant}", f"  but        {self.message}"]
        if self.batch:
            lines += ["  batch      " + self.batch.replace("\n", "\n             ")]
        return "\n".join([*lines, f"  reproduce  {self.command}"])


@dataclass
class Outcome:
    """What was tried, and what came of it.

    skipped: by law, why it was not asked of some variant.
    dead: by weight that nothing depends on, with its place, the variants in which that is so.
    of: how many variants the spec has (as `count` says). out_of_time: whether some were not tried.
    """

    variants: int = 0
    batches: int = 0
    of: str = ""
    planned: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    dead: dict[str, list[str]] = field(default_factory=dict)
    out_of_time: bool = False


def shown(variant: Variant) -> str:
    """Write a variant in a line."""
    return " ".join(f"{name}={value}" for name, value in variant.settings().items()) or "the default"


class Progress(Protocol):
    def variant(self, number: int, of: int, variant: Variant) -> None: ...

    def batch(self) -> None: ...


class Silent:
    """No progress shown."""

    def variant(self, number: int, of: int, variant: Variant) -> None: ...

    def batch(self) -> None: ...


@dataclass
class Suite:
    """A spec file with what is asked of it.

    examples: batches for each variant. variants: how many are tried, the default first.
    only: the laws asked, all if empty. seconds: when to stop.
    """

    path: str
    params: Mapping[str, Any]
    examples: int = 10
    variants: int = 6
    seed: int = 0
    only: Sequence[str] = ()
    seconds: float | None = None
    progress: Progress = field(default_factory=Silent)

    def run(self, space: VariantSpace) -> Outcome:
        """Ask every law of every chosen variant."""
        outcome = Outcome()
        self._begun = time.monotonic()
        chosen = self.chosen(space)
        found = count(space)
        outcome.of = f"{found.number:,}" if found.exact else f"at most {found.number:,}"
        outcome.planned = len(chosen)
        for number, variant in enumerate(chosen, 1):
            if self.late:
                outcome.out_of_time = True
                break
            self.progress.variant(number, len(chosen), variant)
            outcome.variants += 1
            self.ask(variant, outcome)
        outcome.seconds = time.monotonic() - self._begun
        return outcome

    def chosen(self, space: VariantSpace) -> list[Variant]:
        """Return the default, then those that cover pairs of choices, then some at random."""
        found: dict[str, Variant] = {}
        for variant in (*covering(space)[: self.variants], *sample(space, self.variants, self.seed)):
            found.setdefault(str(variant.settings()), variant)
        return list(found.values())[: self.variants]

    @property
    def late(self) -> bool:
        return self.seconds is not None and time.monotonic() - self._begun > self.seconds

    # -------------------------------------------------------------- a variant

    def ask(self, variant: Variant, outcome: Outcome) -> None:
        """Ask every law of one variant."""
        self._begun = getattr(self, "_begun", time.monotonic())
        subject = self.subject(variant, outcome)
        if subject is None:
            return
        laws = [law for law in LAWS.values() if not self.only or law.name in self.only]
        across = subject.looks_across
        if across is not None:
            for law in laws:
                if law.alone:
                    outcome.skipped[law.name] = f"statistics of the batch are asked for at {across.span}"
            laws = [law for law in laws if not law.alone]
        for law in laws:
            if law.of_subject is not None and not self.late:
                message = _asked(lambda law=law: law.of_subject(subject))  # type: ignore[misc]
                if message:
                    self.fail(law, variant, message, "", outcome)
        self.ask_batches([law for law in laws if law.of_case is not None], subject, variant, outcome)
        if not self.only or "dead" in self.only:
            for path in dead(subject):
                note = f"no prediction or loss depends on `{path}` ({subject.graph.weights[path].span})"
                outcome.dead.setdefault(note, []).append(shown(variant))

    def subject(self, variant: Variant, outcome: Outcome) -> Subject | None:
        """Return the compiled variant, or None after noting why it does not compile."""
        found: list[Subject] = []

        def compiles() -> str | None:
            graph, report = load(self.path, variant.params)
            if graph is None:
                errors = [concise(d) for d in report if d.severity is Severity.ERROR]
                return "\n             ".join(errors)
            found.append(Subject.of(graph, self.seed))
            found[0].compiles()
            return None

        message = _asked(compiles)
        if message:
            self.fail(Law(CHECKS, "every variant compiles"), variant, message, "", outcome)
            return None
        return found[0]

    def ask_batches(self, laws: Iterable[Law], subject: Subject, variant: Variant, outcome: Outcome) -> None:
        """Try batches until each law is broken or the examples are used up."""
        waiting = list(laws)
        while waiting and not self.late:
            found = self.smallest(waiting, subject, outcome)
            if found is None:
                return
            case, law, message = found
            smallest = case.requests if law.name == "requests" else case.batch
            self.fail(law, variant, message, describe(smallest), outcome)
            waiting.remove(law)

    def smallest(self, laws: list[Law], subject: Subject, outcome: Outcome) -> tuple[Case, Law, str] | None:
        """Return a batch that breaks one of some laws, made as small as time allows."""
        from hypothesis import HealthCheck, Phase, find, settings
        from hypothesis import strategies as st
        from hypothesis.errors import NoSuchExample

        from specc.testing.batches import batches

        broken: dict[str, float] = {}  # the law that was found broken first, and when
        best: list[tuple[Case, Law, str]] = []

        def breaks(pair: tuple[Batch, Batch]) -> bool:
            if self.late or (broken and time.monotonic() > next(iter(broken.values())) + SHRINKING):
                return False
            case = Case(subject, *pair)
            if not broken:
                outcome.batches += 1
                self.progress.batch()
            for law in laws:
                if broken and law.name not in broken:
                    continue
                message = _asked(lambda law=law: law.of_case(case))  # type: ignore[misc]
                if message:
                    broken.setdefault(law.name, time.monotonic())
                    best[:] = [(case, law, message)]
                    return True
            return False

        manifest = subject.manifest
        longest = max(LONGEST // max(len(manifest["axes"]), 1), 3)
        both = st.tuples(
            batches(manifest, longest=longest, max_size=LARGEST, unlabelled=True),
            batches(manifest, longest=longest, max_size=2, candidates=True),
        )
        quiet = settings(
            max_examples=self.examples, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
        )  # fmt: skip
        try:
            find(both, breaks, settings=quiet, random=random.Random(self.seed))
        except NoSuchExample:
            pass
        except Exception:
            # The smallest batch may not fail again when it is run once more; that it failed at all is
            # reported.
            if not best:
                raise
        return best[0] if best else None

    def fail(self, law: Law, variant: Variant, message: str, batch: str, outcome: Outcome) -> None:
        outcome.failures.append(
            Failure(law.name, law.says, shown(variant), message, batch, self.command(law, variant))
        )

    def command(self, law: Law, variant: Variant) -> str:
        """Return what to type to see this failure alone."""
        words = ["specc", "test", self.path]
        for name, value in variant.settings().items():
            words += ["--set", f"{name}={value}"]
        words += ["--seed", str(self.seed), "--examples", str(self.examples)]
        if law.name != CHECKS:
            words += ["--only", law.name]
        return shlex.join(words)


def _asked(question: Callable[[], str | None]) -> str | None:
    """Ask a law; an error while asking breaks it too."""
    try:
        return question()
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"it ends in {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"


def describe(batch: Batch) -> str:
    """Write a batch as text, an example a line."""
    return "\n".join(f"{i}: {line}" for i, line in enumerate(_lines(batch)))


def _lines(batch: Batch) -> Iterator[str]:
    for index in range(batch.size):
        one = batch.example(index)
        parts = [f"{axis} {_short(values.tolist())}" for axis, values in one.lengths.items()]
        for path, values in one.fields.items():
            if isinstance(values, Bag):
                bags = values.values.split(values.lengths.tolist())
                parts.append(f"{path} {_short([bag.tolist() for bag in bags])}")
            else:
                parts.append(f"{path} {_short(values.tolist())}")
        parts += [f"label {name} {_short(values.tolist())}" for name, values in one.labels.items()]
        yield ", ".join(parts)


def _short(values: list[Any]) -> str:
    def number(value: Any) -> str:
        if isinstance(value, list):
            return "[" + ", ".join(map(number, value)) + "]"
        return f"{value:.4g}"

    texts = [number(v) for v in values[:12]] + (["…"] if len(values) > 12 else [])
    return texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"

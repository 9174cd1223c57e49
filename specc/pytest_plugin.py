"""Specs as tests: with `--arec`, or `arec = true` in the ini file, pytest collects `.arec` files.

Promises: without that nothing is collected, and nothing of specc is imported. Each file gives a test for each
variant that is tried, named by what differs from the default; libraries give none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from specc.testing.suite import Suite
    from specc.variants import Variant


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("arec", "specs of recommendation models")
    group.addoption("--arec", action="store_true", default=False, help="Property-test .arec files.")
    group.addoption("--arec-variants", type=int, help="Variants of each spec (6).")
    group.addoption("--arec-examples", type=int, help="Batches for each variant (10).")
    group.addoption("--arec-seed", type=int, help="Of variants, weights and batches (0).")
    parser.addini("arec", "Property-test .arec files.", type="bool", default=False)
    parser.addini("arec_variants", "Variants of each spec.", default="6")
    parser.addini("arec_examples", "Batches for each variant.", default="10")
    parser.addini("arec_seed", "Of variants, weights and batches.", default="0")


def _number(config: pytest.Config, name: str) -> int:
    given = config.getoption(f"--arec-{name}")
    return int(config.getini(f"arec_{name}") if given is None else given)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SpecFile | None:
    asked = parent.config.getoption("--arec") or parent.config.getini("arec")
    if asked and file_path.suffix == ".arec":
        collected: SpecFile = SpecFile.from_parent(parent, path=file_path)
        return collected
    return None


class Broken(AssertionError):
    """What is wrong with a spec; its text is what `specc check` or `specc test` prints."""


class SpecFile(pytest.File):
    """A spec: a test for each variant, or one that fails for its faults."""

    def collect(self) -> Iterator[pytest.Item]:
        from specc.driver import load_program, read
        from specc.report import Report
        from specc.report.render import render
        from specc.testing.suite import Suite
        from specc.variants import load_space

        source = read(self.path, Report())
        program = None if source is None else load_program(source, self.path.parent, Report())
        if program is not None and program.main.kind != "model":
            return
        space, report = load_space(self.path)
        if space is None:
            faults = render(report)
            yield SpecTest.from_parent(self, name="faults", question=lambda: faults)
            return
        examples, variants, seed = (_number(self.config, n) for n in ("examples", "variants", "seed"))
        suite = Suite(str(self.path), {}, examples, variants, seed)
        for variant in suite.chosen(space):
            changed = variant.settings(changes_only=True)
            name = ",".join(f"{n}={v}" for n, v in changed.items()) or "default"
            yield SpecTest.from_parent(self, name=name, question=lambda v=variant: _broken(suite, v))


class SpecTest(pytest.Item):
    """A question about a spec, whose answer is what is wrong with it, or ''."""

    def __init__(self, *, question: Callable[[], str], **given: Any) -> None:
        super().__init__(**given)
        self._question = question

    def runtest(self) -> None:
        answer = self._question()
        if answer:
            raise Broken(answer)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, Broken) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.path.name}::{self.name}"


def _broken(suite: Suite, variant: Variant) -> str:
    """Every law that a variant breaks."""
    from specc.testing.suite import Outcome

    outcome = Outcome()
    suite.ask(variant, outcome)
    return "\n\n".join(map(str, outcome.failures))

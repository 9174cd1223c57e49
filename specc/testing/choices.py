"""A Hypothesis strategy of the variants that a spec stands for.

Promises: only variants that keep every `require`; they shrink towards the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specc.types.static import StaticValue
from specc.variants import Interval, VariantSpace, load_space

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

FEW = 64  # choices of a param that are tried one by one


def variants(spec: str | Path, **fixed: Any) -> SearchStrategy[dict[str, Any]]:
    """Return a Hypothesis strategy of a spec's variants, each as the params that `specc.compile` takes.

    fixed: params that do not vary. Raises SpecError where the spec has faults, or no variant.
    """
    from hypothesis import assume
    from hypothesis import strategies as st

    space, report = load_space(spec, fixed)
    if space is None:
        from specc import SpecError

        raise SpecError(report)
    found = space

    @st.composite
    def strategy(draw: DrawFn) -> dict[str, Any]:
        values: dict[str, StaticValue] = {}
        for name in found.order:
            values[name] = draw(_choice(found, name, values))
            assume(found.holds(values, name))
        return found.variant(values).params

    return strategy()


def _choice(space: VariantSpace, name: str, given: Mapping[str, StaticValue]) -> SearchStrategy[StaticValue]:
    """Return what a param may be, beside what was chosen so far: the default first, if it may."""
    from hypothesis import strategies as st

    choices, default = space.choices(name, given), space.defaults[name]
    if isinstance(choices, Interval):
        inside = choices.low <= default <= choices.high
        between = st.floats(choices.low, choices.high, allow_nan=False)
        return st.just(default) | between if inside else between
    if len(choices) > FEW:
        return st.sampled_from(choices)
    return st.sampled_from(_left(space, name, choices, given, default) or list(choices))


def _left(
    space: VariantSpace,
    name: str,
    choices: Sequence[StaticValue],
    given: Mapping[str, StaticValue],
    default: StaticValue,
) -> list[StaticValue]:
    """Return the choices with which every condition can still be kept."""
    left = [v for v in choices if space.holds({**given, name: v}, name)]
    left = [v for v in left if space.feasible({**given, name: v}, 3) is not False]
    return sorted(left, key=lambda v: v != default)

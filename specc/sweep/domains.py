"""What a sweep tries: the params of a spec with their domains and `require`s, and settings of its recipe.

Promises: every choice that is trained keeps the spec's conditions. A domain of the recipe is written as one
of a param: `lr = 1e-4 .. 1e-1`, `batch = {64, 128}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specc.report.suggest import nearest
from specc.types.static import StaticValue, describe
from specc.variants.space import Choices, Interval, Variant, VariantSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from specc_runtime.train import Recipe

_RANGE = re.compile(r"\s*(\S+?)\s*\.\.\s*(\S+)\s*")
_WHOLE = ("batch", "epochs", "patience")  # settings that are integers from 1 on
_WORDS = {"optimizer": ("adam", "adamw", "adagrad", "sgd", "rmsprop"), "precision": ("fp32", "bf16")}


class DomainError(ValueError):
    """A domain that cannot be tried; the message is for the user."""


@dataclass(frozen=True)
class Try:
    """One choice: a variant of the spec, and settings of its recipe by name."""

    variant: Variant
    recipe: Mapping[str, Any]

    def settings(self) -> dict[str, str]:
        """Return everything that was chosen, as text: settings of the recipe by name, as `train.NAME` where
        the spec has a param of that name."""
        params = self.variant.settings()
        of_recipe = {
            f"train.{name}" if name in params else name: _text(value) for name, value in self.recipe.items()
        }
        return params | of_recipe


def _text(value: Any) -> str:
    return value if isinstance(value, str) else describe(value)


def over(given: Sequence[str], recipe: Recipe) -> dict[str, Choices]:
    """Parse `lr=1e-4..1e-1` and `batch={64,128}` as domains by setting of a recipe. Raises DomainError."""
    found: dict[str, Choices] = {}
    for text in given:
        name, equals, domain = (part.strip() for part in text.partition("="))
        if not equals or not domain:
            raise DomainError(f"{text!r} is not NAME=LOW..HIGH or NAME={{A, B}}, such as lr=1e-4..1e-1")
        if name in found:
            raise DomainError(f"{name} has two domains")
        known = [*_WHOLE, *_WORDS, "clip", *recipe.options]
        if name not in known:
            close = nearest(name, known)
            advice = f"did you mean {close}?" if close else f"there are {', '.join(known)}"
            raise DomainError(f"the recipe has no {name} to try; {advice}")
        found[name] = _domain(name, domain)
    return found


def _domain(name: str, text: str) -> Choices:
    ends = _RANGE.fullmatch(text)
    if ends:
        low, high = (_number(name, end) for end in ends.groups())
        if not low < high:
            raise DomainError(f"{name}: {text} ends before it begins")
        whole = isinstance(low, int) and isinstance(high, int)
        found: Choices = range(int(low), int(high) + 1) if whole else Interval(float(low), float(high))
    elif text.startswith("{") and text.endswith("}"):
        cells = [cell.strip() for cell in text[1:-1].split(",")]
        found = tuple(dict.fromkeys(cell if name in _WORDS else _number(name, cell) for cell in cells))
    else:
        raise DomainError(f"{name}: {text!r} is neither LOW..HIGH nor {{A, B}}")
    _check(name, found)
    return found


def _number(name: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise DomainError(f"{name}: {text!r} is no number") from None


def _check(name: str, domain: Choices) -> None:
    ends = [domain.low, domain.high] if isinstance(domain, Interval) else list(domain)
    if name in _WORDS:
        wrong = [word for word in ends if word not in _WORDS[name]]
        if wrong:
            raise DomainError(f"{name}: there is no {wrong[0]}, only {', '.join(_WORDS[name])}")
    elif name in _WHOLE and (isinstance(domain, Interval) or any(type(n) is not int or n < 1 for n in ends)):
        raise DomainError(f"{name} is a whole number from 1 on")
    elif name in ("lr", "clip") and any(not 0 < n < float("inf") for n in ends):
        raise DomainError(f"{name} is above 0")
    elif any(not 0 <= n < float("inf") for n in ends):
        raise DomainError(f"{name} is no such number below 0")


def suggest(trial: BaseTrial, space: VariantSpace, recipe: Mapping[str, Choices]) -> Try | None:
    """Let a trial choose; None where its choice breaks a condition."""
    values: dict[str, StaticValue] = {}
    for name in space.order:
        choices = space.choices(name, values)
        if not isinstance(choices, Interval) and not len(choices):
            return None
        values[name] = _choose(trial, _called(space, name, values), choices)
    if not space.holds(values):
        return None
    chosen = {name: _choose(trial, f"train.{name}", choices) for name, choices in recipe.items()}
    return Try(space.variant(values), chosen)


def _called(space: VariantSpace, name: str, given: Mapping[str, StaticValue]) -> str:
    """What a journal calls a param: a domain that reads other params is one for each of their values."""
    said = ", ".join(f"{n} = {describe(given[n])}" for n in space.order if n in space.reads[name])
    return f"{name} where {said}" if said else name


def _choose(trial: BaseTrial, name: str, choices: Choices) -> Any:
    if isinstance(choices, Interval):
        if choices.low == choices.high:
            return choices.low
        drawn = trial.suggest_float(name, choices.low, choices.high, log=choices.logarithmic)
        # Four digits, as `specc variants` draws them.
        return min(max(float(f"{drawn:.4g}"), choices.low), choices.high)
    if len(choices) == 1:
        return choices[0]
    if isinstance(choices, range):
        return trial.suggest_int(name, choices.start, choices.stop - 1)
    # By its text: a list is no value that a journal keeps, and True is 1.
    by_text = {_text(value): value for value in choices}
    return by_text[trial.suggest_categorical(name, list(by_text))]


def default(space: VariantSpace, recipe: Mapping[str, Choices], own: Recipe) -> dict[str, Any]:
    """Return the choice of the spec as it stands, as `suggest` would be told of it."""
    values, found = space.defaults, dict[str, Any]()
    for name in space.order:
        choices = space.choices(name, values)
        value = values[name]
        found[_called(space, name, values)] = value if isinstance(choices, Interval | range) else _text(value)
    stated = {**own.options, **{k: getattr(own, k) for k in (*_WHOLE, *_WORDS, "clip")}}
    for name, choices in recipe.items():
        value = stated.get(name)
        if isinstance(choices, Interval):
            inside = value is not None and choices.low <= value <= choices.high
        else:
            inside = value in choices
        if inside:
            found[f"train.{name}"] = value if isinstance(choices, Interval | range) else _text(value)
    return found

"""Which constructs of the language random programs have, and that they are sound, number by number.

    AREC_PROGRAMS=0:3000 pytest tests/testing/test_generated.py    # these programs, each as compiled

Programs of numbers are drawn by plain dice, so that a number names one and many can be made at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import pytest
import torch

from specc.testing.programs import program_of
from tests.testing.laws_of_programs import checked, formatting_is_stable, laws_hold, stages_are_sound

COUNT, LEAST = 500, 2
FIRST, _, LAST = os.environ.get("AREC_PROGRAMS", "0:8").partition(":")
TOGETHER = 4  # programs of one test
NUMBERS = range(int(FIRST), int(LAST), TOGETHER)

# By what it is called, how a program that has it reads.
CONSTRUCTS: Mapping[str, str] = {
    name: rf"\b{name}\("
    for name in (
        "sin", "cos", "atan2", "erf", "sign", "floor", "softplus", "log_sigmoid", "clamp", "maximum",
        "minimum", "log_softmax", "logsumexp", "cumsum", "bernoulli", "same", "channels", "at", "windows",
        "firsts", "seconds", "pairs", "rename", "append", "take", "top", "init", "tail", "split", "join",
        "fan", "stack", "contrast", "label", "lookup", "cross", "time", "bag", "normal",
    )
} | {
    "remainder": r" % ",
    "one axis by two calls": r"\((\w+)\([^()]*\) - 0\.5 \* \1\(",
    "axis of a result, named by its caller": r"\w+\([^()]*\b\w+ to e\d+",
    "copies that exchange their names": r"(\w+) to (\w+), \2 to \1\b",
    "layer along an axis": r"(linear|mlp)\([^()]*, over \w+",
    "member of a pair": r"dot\(firsts\(",
    "position of a value": r"over \w+ = 3 \* tanh",
    "shift": r"over \w+ = index\(",
    "position in a condition": r"where (\w+) == (1|floor)",
    "chunks": r"split[ (].*over \w+ as \w+, as p\d+",
    "rows of a table": r"rows\(items, as",
    "chunks joined": r"join[ (].*over p\d+",
    "convolution": r"windows.*\|> join\(\w+\) \|> linear",
    "centred window": r"align = centred",
    "contraction": r"sum\(\w[\w.]* \* \w[\w.]*, over",
    "several results": r"-> \[[^\]]*\], \[",
    "list": r"sizes \+ \[",
    "item of a list": r"sizes\[0\]",
    "number of fields": r"size\(ad\)",
    "lookup of several spaces": r"lookup\(\w+, \w+, width",
    "fixed numbers": r"fixed \w+\[.*= \[\[",
    "statistics of groups": r"groups = 3",
    "sinusoid": r"= sinusoid",
    "identity": r"= identity",
    "weight of a prediction": r"weight = 1 \+",
    "weight of positives": r"positive = 4",
    "condition of a label": r'from "(rating|event)"',
    "class of a table": r"class\(items\)",
    "class of a table, sampled": r"class\(items, bias = true, sampled",
    "loss": r"loss = (mae|huber)",
    "choice": r"choice\(among = batch[,)]",
    "corrected choice": r"correct = true",
    "choice among candidates of a request": r"choice\(among = request",
    "causal attention": r"where (s\d+) <= u\d+",
    "output": r"^output ",
    "weighted bag": r'weight = "shares"',
    "text that is a list": r'split = "\|"',
    "rare keys": r"min_count",
    "recurrence": r"scan \w+",
    "several states": r"scan \w+\[\d+\], ",
}  # fmt: skip


def test_random_programs_have_every_construct() -> None:
    texts = [program_of(number) for number in range(COUNT)]
    found = {
        name: sum(re.search(form, text, re.MULTILINE) is not None for text in texts)
        for name, form in CONSTRUCTS.items()
    }
    assert {name: count for name, count in found.items() if count < LEAST} == {}


def test_a_number_is_a_program() -> None:
    assert program_of(7) == program_of(7) != program_of(8)


@pytest.mark.parametrize("first", NUMBERS)
def test_a_program_of_a_number_is_what_it_means(first: int) -> None:
    torch.set_num_threads(1)
    for number in range(first, min(first + TOGETHER, int(LAST))):
        text = program_of(number)
        graph = checked(text)
        formatting_is_stable(text)
        stages_are_sound(graph)
        laws = ("finite", "passes") if number % 10 == 0 else ()
        laws_hold(graph, number, "interpret", "gradient", *laws)

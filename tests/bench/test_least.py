"""What a step has to do at the least is counted, whoever's step it is."""

from __future__ import annotations

import pytest
import torch

from bench.bars import BYTES, least, limit
from bench.contenders.arec import build
from bench.tasks import Task
from bench.worker import exponentials, operations


def test_products_and_exponentials_of_torch() -> None:
    x, w = torch.rand(3, 4), torch.rand(4, 5)

    def work() -> None:
        (x @ w).sigmoid_().softmax(1)
        w.relu()

    assert operations(work) == 2 * 3 * 4 * 5
    assert exponentials(work) == 2 * 3 * 5


def test_weights_are_counted_once_and_of_tables_the_rows_that_are_named() -> None:
    one, many = (build(Task("afm", batch=batch)).numbers for batch in (2, 8))
    # Each field names one row of 16 + 1 numbers a new example, but for those that are drawn twice.
    assert 0 < many - one <= 6 * 26 * 17
    assert many - one > 5 * 26 * 17


@pytest.mark.parametrize("work", ["train", "score"])
def test_the_limit_is_of_all_that_is_counted(work: str) -> None:
    found = least(Task("bst", batch=8, bound=4), [work])
    counted = found[work]
    assert counted["operations"] > 0
    assert counted["bytes"] % BYTES[work] == 0
    within = limit({"least": found}, 1.0, work)
    assert within["all"] < within["products"] == pytest.approx(1 / counted["seconds of operations"])
    assert limit({}, 1.0, work) == {}

"""A metric and an encoding."""

import numpy as np

from specc_runtime.encode import TableEncoding
from specc_runtime.train import Metric


def _brier(outputs, labels):
    return (1 / (1 + np.exp(-outputs)) - labels) ** 2


def _by_length(keys, n):
    return np.asarray([min(len(str(key)), n - 1) for key in keys.to_pylist()])


BRIER = Metric(("binary",), False, "mean squared error of the probability", each=_brier)
BY_LENGTH = TableEncoding(_by_length)

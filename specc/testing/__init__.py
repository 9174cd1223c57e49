"""Testing models: batches and variants to test with, and the suite that `specc test` runs.

Promises: `variants` and `batches` are Hypothesis strategies for anybody's pytest; `random_batch` needs
no Hypothesis.
"""

from specc.testing.batches import batches, random_batch

__all__ = ["batches", "random_batch"]

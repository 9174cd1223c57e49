"""Testing models: batches and variants to test with, and the suite that `specc test` runs.

Promises: `variants` and `batches` are Hypothesis strategies for anybody's pytest; `random_batch` needs no
Hypothesis. Random programs, for tests of the compiler itself, are in `programs` and `misses`.
"""

from specc.testing.batches import batches, random_batch
from specc.testing.choices import variants

__all__ = ["batches", "random_batch", "variants"]

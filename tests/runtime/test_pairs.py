"""Products of all pairs: those of the kernel in C are torch's, in value and gradient."""

from __future__ import annotations

import pytest
import torch

from specc_runtime.native import pairs as native
from specc_runtime.ops import pairs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "dim"),
    [((3, 5, 4), 1), ((3, 2, 1), 1), ((2, 3, 4, 5), 1), ((2, 3, 4, 5), 2), ((0, 4, 2), 1), ((3, 1, 4), 1)],
)
def test_in_c_they_are_torchs(shape: tuple[int, ...], dim: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    given = torch.randn(shape, dtype=dtype)
    found = []
    for x in (given.clone(), given.transpose(0, -1).contiguous().transpose(0, -1)):
        x.requires_grad_(True)
        made = native.pairs(x, dim) if not found else pairs(x, dim)
        assert made is not None
        made.backward(torch.randn(made.shape, dtype=dtype, generator=torch.Generator().manual_seed(1)))
        found.append((made.detach(), x.grad))
    torch.testing.assert_close(*found)


def test_from_a_size_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    plain = native.pairs
    monkeypatch.setattr(native, "pairs", lambda x, dim: asked.append(x.shape) or plain(x, dim))
    x = torch.randn(4, 5, 3)
    for least, in_c in ((None, 0), (121, 0), (120, 1)):
        asked.clear()
        torch.testing.assert_close(pairs(x, 1, in_c_from=least), pairs(x, 1))
        assert len(asked) == in_c
    monkeypatch.setenv("AREC_NATIVE", "0")
    asked.clear()
    pairs(x, 1, in_c_from=0)
    assert not asked

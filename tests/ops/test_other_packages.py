"""Operations of packages that are installed beside the compiler: found, told of, and as sound as its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ops.installed import PACKAGES, operations, run

SPEC = """\
model shop

space user from request { id: ids(5, 4) }
space ad from candidate { item: ids(7, 4) }
space history[t <= 4] from request { item: ids(7, 4) }

# Running means of what is squashed.
block smoothed(x[t, d]) -> [t, d] {
  return cumsum(x |> linear(d) |> erf, over t) / (index(t) + 1)
}

encoder walked(x[t, d]; n = d) -> [t, n] {
  scan h[n] over t {
    next h = erf((x |> linear(n)) + (h |> linear(n)))
  }
  return h
}

seen   = smoothed(history)
heads  = user |> fan(3, linear(4) |> erf, as head)
sums   = join(cumsum(heads, over head), head)
walk   = last(walked(seen), over t)
joined = concat(erf(user) + erf(user), ad, sums, walk, last(cumsum(walked(history), over t), over t))

predict click: binary = joined |> linear(4) |> erf |> linear(1)
"""


def test_they_are_few_files() -> None:
    assert len([*(PACKAGES / "arec_erf").glob("*.*")]) <= 3
    assert len([*(PACKAGES / "arec_cumsum").glob("*.*")]) <= 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `erf` and `cumsum` are installed, and a spec that uses them is."""
    found = tmp_path_factory.mktemp("installed")
    operations(found, "arec_erf", "arec_cumsum")
    (found / "shop.arec").write_text(SPEC)
    return found


def test_compiled_is_what_it_means_after_every_pass(folder: Path) -> None:
    done = run(folder, "-m", "tests.ops.ask", "agree", "shop.arec", "erf", "cumsum")
    assert done.returncode == 0, done.stderr

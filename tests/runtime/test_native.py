"""Kernels in C: the numbers of torch, and none where there can be none."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime import files
from specc_runtime.native import build, say, sources

# Applies each function of `source.py` to all channels of a row; `twice` to the first two.
APPLY = """\
void {name}_of(int64_t n, const real *x, int64_t x_next, real *out, int64_t out_next)
{{
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < 2; c++)
            out[i * out_next + c] = {value};
}}
"""
AT = "x[i * x_next + c]"
VALUES = {
    "twice": f"2 * {AT}",
    "exp": f"exp_({AT})",
    "sigmoid": f"sigmoid_({AT})",
    "tanh": f"tanh_({AT})",
    "silu": f"{AT} * sigmoid_({AT})",
}
TEXT = "".join(APPLY.format(name=name, value=value) for name, value in VALUES.items())
OTHER = APPLY.format(name="twice", value=f"{AT} + {AT}")


def key_of(text: str) -> str:
    sources.enter(text)
    return hashlib.sha256(text.encode()).hexdigest()


def built(text: str = TEXT, dtype: torch.dtype = torch.float64) -> sources.Functions | None:
    return sources.functions(key_of(text), dtype)


def in_c(name: str, x: Tensor, out: Tensor) -> None:
    found = built(dtype=x.dtype)
    assert found is not None
    getattr(found, f"{name}_of")(x, out)


def works(found: sources.Functions | None) -> None:
    assert found is not None
    x = torch.randn(37, 2, dtype=torch.float64)
    out = torch.empty_like(x)
    found.twice_of(x, out)
    torch.testing.assert_close(out, 2 * x, rtol=0, atol=0)


def test_rows_may_lie_apart() -> None:
    wide, out = torch.randn(5, 30, dtype=torch.float64), torch.zeros(5, 8, dtype=torch.float64)
    in_c("sigmoid", wide[:, 4:6], out[:, 3:5])
    torch.testing.assert_close(out[:, 3:5], torch.sigmoid(wide[:, 4:6]), rtol=1e-14, atol=1e-14)
    assert not out[:, :3].any()
    assert not out[:, 5:].any()


def test_nothing_has_no_rows() -> None:
    empty = torch.empty(0, 2, dtype=torch.float64)
    in_c("exp", empty, torch.empty_like(empty))


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": F.silu,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_single_precision_is_as_good_as_torchs(name: str) -> None:
    """To within some units in the last place of the result, or of 1 where that is smaller but for `exp`."""
    x = torch.cat([torch.linspace(-110, 95, 200_001), torch.linspace(-3, 3, 200_001)]).view(-1, 2)
    out = torch.empty_like(x)
    in_c(name, x, out)
    expected = FUNCTIONS[name](x.double())
    there = expected < torch.finfo(torch.float32).max
    error = (out.double() - expected).abs()[there]
    scale = expected.abs()[there].clamp(min=torch.finfo(torch.float32).tiny if name == "exp" else 1.0)
    assert float((error / scale).max()) < 4e-7
    assert torch.isinf(out[~there]).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_number_stays_none(name: str) -> None:
    x = torch.tensor([[float("nan"), float("inf"), -float("inf"), 0.0]] * 4).view(-1, 2)
    out = torch.empty_like(x)
    in_c(name, x, out)
    torch.testing.assert_close(out, FUNCTIONS[name](x), equal_nan=True)


@pytest.fixture
def afresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Nothing is compiled yet; the cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for known in (sources.functions, build.compiler, say.say, build._own_folder):
        known.cache_clear()
    yield tmp_path / "arec"
    for known in (sources.functions, build.compiler, say.say, build._own_folder):
        known.cache_clear()


def test_a_library_is_built_once(afresh: Path) -> None:
    works(built())
    (library,) = afresh.glob("*.so")
    moment = library.stat().st_mtime_ns
    sources.functions.cache_clear()
    works(built())
    assert library.stat().st_mtime_ns == moment


def test_the_compiler_may_be_told_more(afresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -O1 -DNAME='a b'")
    works(built())


@pytest.mark.parametrize("damage", ["cut off", "emptied", "turned over", "open to others"])
def test_a_library_that_is_not_whole_is_built_anew(afresh: Path, damage: str) -> None:
    works(built())
    (library,) = afresh.glob("*.so")
    content = library.read_bytes()
    library.unlink()  # it is in use
    changed = {"cut off": content[:4096], "emptied": b"", "turned over": content[::-1]}
    library.write_bytes(changed.get(damage, content))
    library.chmod(0o777 if damage == "open to others" else 0o700)
    sources.functions.cache_clear()
    works(built())
    (library,) = afresh.glob("*.so")
    assert len(library.read_bytes()) == len(content)
    assert not library.stat().st_mode & 0o022


def test_a_folder_that_others_may_write_to_is_not_used(
    afresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "mine").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "mine"))
    works(built())
    assert not list(shared.rglob("*.so"))


def test_what_is_not_used_any_more_is_removed(afresh: Path) -> None:
    afresh.mkdir(mode=0o700)
    for name, age in (("old.so", 61), ("old.so.123", 61), ("young.so", 59)):
        (afresh / name).write_bytes(b"")
        os.utime(afresh / name, (time.time() - age * 86400,) * 2)
    works(built())
    assert {p.name for p in afresh.iterdir() if "." in p.name and len(p.name) < 20} == {"young.so"}


STEP = """
import os, sys, warnings
warnings.simplefilter("always")
from specc_runtime.native import build
code = "double twice(double x) { return 2 * x; }"
try:
    found = build.library(code)
except build.Failed as e:
    print("failed:", e)
else:
    import ctypes
    found.twice.restype, found.twice.argtypes = ctypes.c_double, [ctypes.c_double]
    print(found.twice(21.0), build._folder())
"""


def alone(**settings: str) -> subprocess.Popen[str]:
    """A process that builds a library, with few settings of its surroundings."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "CC")}
    return subprocess.Popen(
        [sys.executable, "-c", STEP], env={**kept, **settings}, text=True,
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def said(process: subprocess.Popen[str]) -> str:
    found = process.communicate(timeout=120)[0]
    assert process.returncode == 0, found
    return found


def test_without_a_home_or_a_name(tmp_path: Path) -> None:
    program = STEP.replace("code =", "os.environ.pop('HOME', None)\ncode =")
    hidden = "import pwd\ndef unknown(number): raise KeyError(number)\npwd.getpwuid = unknown\n" + program
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "CC")}
    done = subprocess.run(
        [sys.executable, "-c", hidden], env=kept, text=True, capture_output=True, check=False
    )
    assert done.stdout == "42.0 None\n", done.stdout + done.stderr


def test_many_at_once(tmp_path: Path) -> None:
    others = [alone(XDG_CACHE_HOME=str(tmp_path)) for _ in range(4)]
    assert [said(p) for p in others] == [f"42.0 {tmp_path / 'arec'}\n"] * 4
    assert said(alone(XDG_CACHE_HOME=str(tmp_path))).startswith("42.0")
    assert not [p.name for p in (tmp_path / "arec").iterdir() if p.suffix != ".so"]


def test_a_disk_that_is_full_or_may_not_be_written_to(
    afresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(path: Path) -> Any:
        raise files.FileError(f"{path} cannot be written: no space is left on the disk")

    with monkeypatch.context() as patched:
        patched.setattr(build, "replace_file", full)
        with pytest.warns(UserWarning, match="no space is left on the disk"):
            assert built() is None
    # Nor where even the compiler has no place to write to: torch does it, and one sentence says why.
    for known in (sources.functions, say.say, build._own_folder):
        known.cache_clear()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.warns(UserWarning, match="No such file or directory"):
        assert built() is None


def test_a_compiler_at_an_odd_path(afresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my tools").mkdir()
    found = shutil.which("cc")
    assert found is not None
    (tmp_path / "my tools" / "cc 1").symlink_to(found)
    monkeypatch.setenv("CC", str(tmp_path / "my tools" / "cc 1"))
    works(built())
    assert len(list(afresh.glob("*.so"))) == 1


def test_without_a_place_to_keep_it_a_library_is_built_all_the_same(
    afresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    works(built())


@pytest.mark.parametrize(
    ("compiler", "why"),
    [
        ("no-such-cc", "there is no C compiler"),
        ("false", "false: "),
        ("true", "it wrote nothing"),
        ("'cc", "No closing"),
    ],
)
def test_without_a_compiler_torch_does_it(
    afresh: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, why: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    with pytest.warns(UserWarning, match=why) as told:
        assert [built(), built(OTHER)] == [None, None]
    assert len(told) == 1, "it is said once"
    assert "AREC_NATIVE=0" in str(told[0].message)


def test_a_text_that_no_artefact_brought_is_not_guessed(afresh: Path) -> None:
    assert sources.functions("0" * 64, torch.float64) is None
    assert not afresh.exists()


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    assert say.wanted(device, torch.float32)
    assert not say.wanted(device, torch.bfloat16)
    assert not say.wanted(torch.device("meta"), torch.float32)
    monkeypatch.setenv("AREC_NATIVE", "0")
    assert not say.wanted(device, torch.float32)

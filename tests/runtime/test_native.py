"""Kernels in C: the numbers of torch, and none where there can be none."""

from __future__ import annotations

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
from specc_runtime.native import build, say, source
from specc_runtime.native.cells import Sizes, compiled
from specc_runtime.native.parts import Parts
from specc_runtime.native.trace import Recorder, Unknown
from specc_runtime.ops.cell import Cell, relu_back, sigmoid_back, silu_back, tanh_, tanh_back

aten = torch.ops.aten


def in_c(code: Callable[..., Any], *given: Tensor) -> None:
    """Code that writes into what it is given, run in C: it is seen on a few rows, and done on all. Of what
    has other sizes than the first there is one for all rows."""
    sample = [x[:3].clone() if len(x) == len(given[0]) else x.clone() for x in given]
    recorder = Recorder(sample)
    recorder.run(lambda: code(*sample))
    parts = Parts(recorder.trace, (), "code")
    library = build.library(source.file(parts.texts, single=given[0].dtype == torch.float32))
    tensors: list[Any] = [*given, *([None] * parts.made)]
    for act in parts.actions(library):
        act(tensors)


def rows(*widths: int, count: int = 37) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(widths))
    return [torch.randn(count, w, dtype=torch.float64, generator=generator) for w in widths]


ELEMENTS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Any]] = {
    "sum": lambda x, y, z, out: torch.add(x, y, alpha=2, out=out),
    "sum_with_number": lambda x, y, z, out: torch.add(x, 0.5, out=out),
    "difference": lambda x, y, z, out: torch.sub(x, y, out=out),
    "rest": lambda x, y, z, out: out.copy_(1 - x),
    "product": lambda x, y, z, out: torch.mul(x, y, out=out),
    "infinite": lambda x, y, z, out: torch.mul(x, float("inf"), out=out),
    "ratio": lambda x, y, z, out: torch.div(x, y, out=out),
    "minus": lambda x, y, z, out: torch.neg(x, out=out),
    "exp": lambda x, y, z, out: torch.exp(x, out=out),
    "tanh": lambda x, y, z, out: out.copy_(x).tanh_(),
    "tanh_by_sigmoid": lambda x, y, z, out: tanh_(out.copy_(x)),
    "sigmoid": lambda x, y, z, out: torch.sigmoid(x, out=out),
    "relu": lambda x, y, z, out: out.copy_(x).relu_(),
    "silu": lambda x, y, z, out: F.silu(out.copy_(x), inplace=True),
    "product_added": lambda x, y, z, out: torch.addcmul(x, y, z, value=-1, out=out),
    "mean": lambda x, y, z, out: torch.lerp(x, y, z, out=out),
    "sigmoid_back": lambda x, y, z, out: sigmoid_back(x, y, out),
    "tanh_back": lambda x, y, z, out: tanh_back(x, y, out),
    "relu_back": lambda x, y, z, out: relu_back(x, y, out),
    "silu_back": lambda x, y, z, out: silu_back(x, y, out),
    "one_channel_for_all": lambda x, y, z, out: torch.mul(x[:, :1], y, out=out),
    "sum_of_channels": lambda x, y, z, out: out[:, 1:2].copy_((x * y).sum(-1, keepdim=True)),
    "side_by_side": lambda x, y, z, out: torch.cat([x[:, 2:5], y[:, :-3]], -1, out=out),
    "padded": lambda x, y, z, out: out.copy_(F.pad(x[:, 3:5], (3, x.shape[1] - 5))),
    "columns": lambda x, y, z, out: out[:, 1:4].mul_(x[:, 2:5]).add_(y[:, 5:6]),
}


@pytest.mark.parametrize("width", [7, 16])
@pytest.mark.parametrize("name", ELEMENTS)
def test_every_operation_is_torchs(name: str, width: int) -> None:
    x, y, z, out = rows(width, width, width, width)
    expected = out.clone()
    ELEMENTS[name](x, y, z, expected)
    found = out.clone()
    in_c(ELEMENTS[name], x, y, z, found)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_rows_may_lie_apart_and_one_may_be_for_all() -> None:
    wide, out = rows(30, 8)
    bias = torch.arange(8, dtype=torch.float64)
    x = wide[:, 4:12]
    in_c(lambda x, b, out: torch.add(x, b, out=out), x, bias, out)
    torch.testing.assert_close(out, x + bias)


def test_products_stay_torchs_and_what_is_between_is_written_for_them() -> None:
    x, out = rows(6, 6)
    (matrix,), bias = rows(4, count=6), torch.arange(4, dtype=torch.float64)

    def code(x: Tensor, out: Tensor, matrix: Tensor, bias: Tensor) -> None:
        gate = torch.sigmoid(torch.addmm(bias, x, matrix))
        out[:, 2:].addmm_(torch.cat([gate, x[:, :2]], -1), matrix)
        torch.mm(out, matrix, out=out[:, 1:5]).mul_(gate).add_(x @ matrix)

    expected = out.clone()
    code(x, expected, matrix, bias)
    in_c(code, x, out, matrix, bias)
    torch.testing.assert_close(out, expected)


FUNCTIONS = {"exp": torch.exp, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "silu": F.silu}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_single_precision_is_as_good_as_torchs(name: str) -> None:
    """To within some units in the last place of the result, or of 1 where that is smaller but for `exp`."""
    x = torch.cat([torch.linspace(-110, 95, 200_001), torch.linspace(-3, 3, 200_001)]).view(-1, 2)
    out = torch.empty_like(x)
    in_c(lambda x, out: out.copy_(FUNCTIONS[name](x)), x, out)
    expected = FUNCTIONS[name](x.double())
    there = expected < torch.finfo(torch.float32).max
    error = (out.double() - expected).abs()[there]
    scale = expected.abs()[there].clamp(min=torch.finfo(torch.float32).tiny if name == "exp" else 1.0)
    assert float((error / scale).max()) < 4e-7
    assert torch.isinf(out[~there]).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_number_stays_none(name: str) -> None:
    x = torch.tensor([[float("nan"), float("inf"), -float("inf"), 0.0]] * 4)
    out = torch.empty_like(x)
    in_c(lambda x, out: out.copy_(FUNCTIONS[name](x)), x, out)
    torch.testing.assert_close(out, FUNCTIONS[name](x), equal_nan=True)


@pytest.mark.parametrize(
    "code",
    [
        lambda x: x.cumsum_(0),
        lambda x: x.new_ones(3, 4).mul_(2),
        lambda x: x.sum(0),
        lambda x: x.sub_(torch.ones(3, 4)),
        lambda x: x.t().mul_(2),
        lambda x: torch.cat([x, x]),
        lambda x: torch.addmm(x, x, torch.eye(4)),
        lambda x: torch.addmm(x, x, x.t() @ x, beta=2),
    ],
)
def test_what_has_no_counterpart_is_not_guessed(code: Callable[[Tensor], Any]) -> None:
    with pytest.raises(Unknown):
        in_c(code, torch.ones(3, 4))


def step(values: Any, constants: Any, matrices: Any, biases: Any, states: Any, nexts: Any) -> Any:
    fresh = values[0].addmm_(states[0], matrices[0]).sigmoid_()
    torch.mul(fresh, states[0], out=nexts[0])
    return (fresh,)


def back(
    values: Any,
    constants: Any,
    matrices: Any,
    states: Any,
    kept: Any,
    d_next: Any,
    d_values: Any,
    places: Any,
) -> Any:
    sigmoid_back(d_next[0] * states[0], kept[0], d_values[0])
    return (), (torch.addmm(d_next[0] * kept[0], d_values[0], matrices[0]),), (states[0],)


CELL = Cell(step, back, places=((0, 0, 4),))
OTHER = Cell(step, back)
SIZES = Sizes((4,), (), ((4, 4),), (), (4,), torch.float64)


@pytest.fixture
def afresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Nothing is compiled yet; the cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for known in (compiled, build.compiler, say.say, build._own_folder):
        known.cache_clear()
    yield tmp_path / "arec"
    for known in (compiled, build.compiler, say.say, build._own_folder):
        known.cache_clear()


def works(cell: Cell) -> None:
    value, state, following = rows(4, 4, 4)
    matrix = rows(4, count=4)[0]
    expected, given = following.clone(), value.clone()
    step((given,), (), (matrix.t(),), (), (state,), (expected,))
    cell.step((value,), (), (matrix.t(),), (), (state,), (following,))
    torch.testing.assert_close(following, expected)


def test_a_library_is_built_once(afresh: Path) -> None:
    works(compiled(CELL, SIZES))
    (library,) = afresh.glob("*.so")
    built = library.stat().st_mtime_ns
    compiled.cache_clear()
    works(compiled(CELL, SIZES))
    assert library.stat().st_mtime_ns == built
    assert compiled(CELL, SIZES) is not CELL


def test_the_compiler_may_be_told_more(afresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -O1 -DNAME='a b'")
    cell = compiled(CELL, SIZES)
    assert cell is not CELL
    works(cell)


@pytest.mark.parametrize("damage", ["cut off", "emptied", "turned over", "open to others"])
def test_a_library_that_is_not_whole_is_built_anew(afresh: Path, damage: str) -> None:
    works(compiled(CELL, SIZES))
    (library,) = afresh.glob("*.so")
    content = library.read_bytes()
    library.unlink()  # it is in use
    changed = {"cut off": content[:4096], "emptied": b"", "turned over": content[::-1]}
    library.write_bytes(changed.get(damage, content))
    library.chmod(0o777 if damage == "open to others" else 0o700)
    compiled.cache_clear()
    works(compiled(CELL, SIZES))
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
    works(compiled(CELL, SIZES))
    assert not list(shared.rglob("*.so"))


def test_what_is_not_used_any_more_is_removed(afresh: Path) -> None:
    afresh.mkdir(mode=0o700)
    for name, age in (("old.so", 61), ("old.so.123", 61), ("young.so", 59)):
        (afresh / name).write_bytes(b"")
        os.utime(afresh / name, (time.time() - age * 86400,) * 2)
    works(compiled(CELL, SIZES))
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
            assert compiled(CELL, SIZES) is CELL
    # Nor where even the compiler has no place to write to: torch does it, and one sentence says why.
    for known in (compiled, say.say, build._own_folder):
        known.cache_clear()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.warns(UserWarning, match="No such file or directory"):
        assert compiled(CELL, SIZES) is CELL


def test_a_compiler_at_an_odd_path(afresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my tools").mkdir()
    found = shutil.which("cc")
    assert found is not None
    (tmp_path / "my tools" / "cc 1").symlink_to(found)
    monkeypatch.setenv("CC", str(tmp_path / "my tools" / "cc 1"))
    works(compiled(CELL, SIZES))
    assert len(list(afresh.glob("*.so"))) == 1


def test_without_a_place_to_keep_it_a_library_is_built_all_the_same(
    afresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cell = compiled(CELL, SIZES)
    assert cell is not CELL
    works(cell)


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
        found = [compiled(CELL, SIZES), compiled(OTHER, SIZES)]
    assert found == [CELL, OTHER]
    assert len(told) == 1, "it is said once"
    assert "AREC_NATIVE=0" in str(told[0].message)


def test_a_step_that_is_not_known_is_left_alone(afresh: Path) -> None:
    def odd(*groups: Any) -> Any:
        groups[-1][0].copy_(groups[0][0].cumsum(-1))
        return ()

    cell = Cell(odd, back)
    assert compiled(cell, SIZES) is cell
    assert not list(afresh.glob("*.so"))


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    assert say.wanted(device, torch.float32)
    assert not say.wanted(device, torch.bfloat16)
    assert not say.wanted(torch.device("meta"), torch.float32)
    monkeypatch.setenv("AREC_NATIVE", "0")
    assert not say.wanted(device, torch.float32)


def test_seeing_what_a_step_does_imports_no_tracer() -> None:
    """torch._dynamo takes a second."""
    code = (
        "import sys, torch; from specc_runtime.native.trace import Recorder; x = torch.ones(3, 4);"
        "Recorder([x]).run(lambda: x.add_(1)); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "False"

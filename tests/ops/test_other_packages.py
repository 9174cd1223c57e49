"""Operations of packages that are installed beside the compiler: found, told of, and as sound as its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.ops.installed import PACKAGES, install, operations, run

SPEC = """\
model shop

space user from request { id: ids(5, 4) }
space ad from candidate { item: ids(7, 4) }
space history[t <= 4] from request { item: ids(7, 4) }

# Running means of what is squashed.
block smoothed(x[t, d]) -> [t, d] {
  return cumprod(x |> linear(d) |> erfc, over t) / (index(t) + 1)
}

encoder walked(x[t, d]; n = d) -> [t, n] {
  scan h[n] over t {
    next h = erfc((x |> linear(n)) + (h |> linear(n)))
  }
  return h
}

seen   = smoothed(history)
heads  = user |> fan(3, linear(4) |> erfc, as head)
sums   = join(cumprod(heads, over head), head)
walk   = last(walked(seen), over t)
joined = concat(erfc(user) + erfc(user), ad, sums, walk, last(cumprod(walked(history), over t), over t))

predict click: binary = joined |> linear(4) |> erfc |> linear(1)
"""


def test_they_are_few_files() -> None:
    assert len([*(PACKAGES / "arec_erfc").glob("*.*")]) <= 3
    assert len([*(PACKAGES / "arec_cumprod").glob("*.*")]) <= 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `erfc` and `cumprod` are installed, and a spec that uses them is."""
    found = tmp_path_factory.mktemp("installed")
    operations(found, "arec_erfc", "arec_cumprod")
    (found / "shop.arec").write_text(SPEC)
    return found


def test_compiled_is_what_it_means_after_every_pass(folder: Path) -> None:
    done = run(folder, "-m", "tests.ops.ask", "agree", "shop.arec", "erfc", "cumprod", "recurrence")
    assert done.returncode == 0, done.stderr


NOISY = """\
model noisy

space user from request { id: ids(5, 2) }
space ad from candidate { item: ids(7, 2) }
space history[t <= 4] from request { item: ids(7, 2) }

encoder walked(x[t, d]; n = d) -> [t, n] {
  scan h[n] over t {
    next h = tanh(h + noise(x))
  }
  return h
}

same  = 0 * sum(user) + 1
walk  = last(walked(tail(append(history, ad, over t), over t as u)), over u)
gap   = noise(same) - noise(same)

predict apart: real = gap + 0 * sum(concat(noise(ad), noise(ad))) + 0 * sum(walk)
"""


def test_what_nobody_has_told_of_is_drawn_each_time(tmp_path: Path) -> None:
    operations(tmp_path, "arec_noise")
    (tmp_path / "noisy.arec").write_text(NOISY)
    done = run(tmp_path, "-m", "tests.ops.ask", "drawn_twice", "noisy.arec", "noise", "5")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("check shop.arec", "no faults"),
        ("show shop.arec --detail ops", "cumprod over t"),
        ("plan shop.arec --batch 8 --devices cpu=1GB", "fits"),
        ("test shop.arec --examples 2", ""),
        ("dump shop.arec", "cumprod("),
        ("compile shop.arec -o compiled", ""),
    ],
)
def test_every_command_takes_them(folder: Path, command: str, printed: str) -> None:
    done = run(folder, "-m", "specc", *command.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert printed in done.stdout + done.stderr


def test_random_programs_have_them(folder: Path) -> None:
    done = run(folder, "-m", "tests.ops.ask", "generated", "erfc", "cumprod")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("THING = 3", "no OpDef"),
        ("from arec_erfc import ERFC as THING", "calls itself `erfc`"),
    ],
)
def test_one_that_cannot_be_used_is_told(tmp_path: Path, code: str, told: str) -> None:
    operations(tmp_path, "arec_erfc")
    (tmp_path / "arec_thing").mkdir()
    (tmp_path / "arec_thing" / "__init__.py").write_text(code + "\n")
    install(tmp_path, "arec_thing", {"arec.operations": {"thing": "arec_thing:THING"}}, "2.1")
    (tmp_path / "shop.arec").write_text(SPEC.replace("erfc(user) + erfc(user)", "thing(user)"))
    done = run(tmp_path, "-m", "specc", "check", "shop.arec")
    assert done.returncode == 1
    assert "E0212" in done.stdout + done.stderr
    assert told in done.stdout + done.stderr
    assert "arec-thing 2.1" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_two_packages_with_one_name_are_told(tmp_path: Path) -> None:
    operations(tmp_path, "arec_erfc")
    install(tmp_path, "arec_other", {"arec.operations": {"erfc": "arec_erfc:ERFC"}})
    (tmp_path / "shop.arec").write_text(SPEC)
    done = run(tmp_path, "-m", "specc", "check", "shop.arec")
    assert "arec-erfc 1.0" in done.stdout + done.stderr
    assert "arec-other 1.0" in done.stdout + done.stderr


def test_what_is_installed_changes_no_name_of_the_spec_or_the_library(tmp_path: Path) -> None:
    """`gru` is the library's, `smoothed` the spec's own."""
    install(
        tmp_path, "arec_erfc", {"arec.operations": {"gru": "arec_erfc:ERFC", "smoothed": "arec_erfc:ERFC"}}
    )
    text = SPEC.replace("erfc", "tanh").replace("cumprod(history", "gru(history")
    (tmp_path / "shop.arec").write_text(text.replace("cumprod(", "softmax("))
    done = run(tmp_path, "-m", "specc", "check", "shop.arec")
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_the_package_the_name_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "shop.arec").write_text(SPEC)
    done = run(tmp_path, "-m", "specc", "check", "shop.arec")
    assert done.returncode == 1
    assert "`cumprod`" in done.stdout + done.stderr


LOAD = """\
import sys, warnings, specc, specc_runtime
from specc.untrusted import texts_of
warnings.simplefilter("always")
try:
    compiler = texts_of if sys.argv[1] == "untrusted" else None
    specc_runtime.load("compiled", untrained=True, compiler=compiler)
except (specc_runtime.ArtefactError, specc.SpecError) as error:
    sys.exit(str(error))
print("loaded", "arec_cumprod.kernel" in sys.modules)
"""


@pytest.fixture(scope="module")
def compiled(folder: Path) -> Path:
    """A folder with a compiled model of the spec, and no packages."""
    done = run(folder, "-m", "specc", "compile", "shop.arec", "-o", "artefact/compiled")
    assert done.returncode == 0, done.stderr
    return folder / "artefact"


def test_an_artefact_says_whose_operations_its_code_calls(compiled: Path) -> None:
    manifest = json.loads((compiled / "compiled" / "manifest.json").read_text())
    assert manifest["packages"] == [{"name": "cumprod", "package": "arec-cumprod", "version": "1.0"}]


@pytest.mark.parametrize("how", ["trusted", "untrusted"])
def test_an_artefact_needs_the_package_that_its_code_calls(folder: Path, compiled: Path, how: str) -> None:
    done = run(folder, "-c", LOAD, how, cwd=compiled)
    assert done.stdout == "loaded True\n", done.stderr
    done = run(compiled, "-c", LOAD, how, cwd=compiled)
    assert "`cumprod` is of the package arec-cumprod 1.0, which is not installed here" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_version_is_told(tmp_path: Path, compiled: Path) -> None:
    install(tmp_path, "arec_cumprod", {}, version="2.0")
    done = run(tmp_path, "-c", LOAD, "trusted", cwd=compiled)
    assert "is 2.0 here and was 1.0" in done.stderr


def test_no_code_is_imported_that_an_artefact_names(tmp_path: Path, compiled: Path) -> None:
    """The code of whoever compiles is that of installed packages, whatever the manifest says."""
    shutil.copytree(compiled / "compiled", tmp_path / "compiled")
    place = tmp_path / "compiled" / "manifest.json"
    manifest = json.loads(place.read_text())
    for name in ("json.tool", "../evil", "arec_evil"):
        manifest["packages"] = [{"name": "x", "package": name, "version": "1"}]
        place.write_text(json.dumps(manifest))
        (tmp_path / "arec_evil.py").write_text("raise SystemExit('ran')")
        script = (
            "from pathlib import Path; from specc_runtime import from_texts; "
            "from_texts({p.name: p.read_text() for p in Path('compiled').iterdir()})"
        )
        done = run(tmp_path, "-c", script)
        assert "ArtefactError" in done.stderr
        assert "ran" not in done.stderr.split()


RATED = """\
model rated

space user from request { id: by_length(9, 2), tags: bag(by_length(9, 2), sum) }
space ad from candidate { item: by_length(5, 2, default = "none") }

predict click: binary = concat(user, ad) |> linear(1)

train { metric = brier, batch = 4, epochs = 1 }
"""
EXTRAS = {
    "arec.metrics": {"brier": "arec_extras:BRIER"},
    "arec.encodings": {"by_length": "arec_extras:BY_LENGTH"},
}
ROWS = "id,tags,item,click\n" + "".join(f"u{'x' * (n % 5)},a|bb,i{n},{n % 2}\n" for n in range(20))


def test_metrics_and_encodings_of_other_packages(tmp_path: Path) -> None:
    install(tmp_path, "arec_extras", EXTRAS)
    (tmp_path / "rated.arec").write_text(RATED.replace("sum)", 'sum, split = "|")'))
    (tmp_path / "data.csv").write_text(ROWS)
    done = run(tmp_path, "-m", "specc", "check", "rated.arec")
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(tmp_path, "-m", "specc", "train", "rated.arec", "data.csv", "--valid", "data.csv", "-o", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "brier" in done.stdout + done.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["packages"] == [{"name": "by_length", "package": "arec-extras", "version": "1.0"}]
    done = run(tmp_path, "-m", "specc", "evaluate", "out", "data.csv", "--json")
    assert "brier" in done.stdout, done.stderr


def test_a_metric_that_is_none_is_told(tmp_path: Path) -> None:
    install(tmp_path, "arec_extras", {**EXTRAS, "arec.metrics": {"brier": "arec_extras:BY_LENGTH"}})
    (tmp_path / "rated.arec").write_text(RATED.replace("sum)", 'sum, split = "|")'))
    (tmp_path / "data.csv").write_text(ROWS)
    done = run(tmp_path, "-m", "specc", "train", "rated.arec", "data.csv", "--valid", "data.csv", "-o", "out")
    assert done.returncode == 1
    assert "`brier` of the package arec-extras 1.0" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_row_that_there_is_not_is_told(tmp_path: Path) -> None:
    install(tmp_path, "arec_extras", EXTRAS)
    spec = RATED.replace("sum)", 'sum, split = "|")').replace("by_length(5, 2, ", "by_length(1, 2, ")
    (tmp_path / "rated.arec").write_text(spec)
    (tmp_path / "data.csv").write_text(ROWS)
    code = (tmp_path / "arec_extras" / "__init__.py").read_text()
    (tmp_path / "arec_extras" / "__init__.py").write_text(
        code.replace("min(len(str(key)), n - 1)", "len(str(key))")
    )
    done = run(tmp_path, "-m", "specc", "train", "rated.arec", "data.csv", "-o", "out")
    assert done.returncode == 1
    assert "has no row from 0 to 0, by `by_length`" in done.stdout + done.stderr

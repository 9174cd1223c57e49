"""The two wheels: what a user without the repository gets, and what a server that only scores gets."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.request import urlopen

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECTS = {"arec": ROOT, "arec-runtime": ROOT / "runtime"}
TRAINED = ROOT / "tests" / "artefacts" / "format2"
# What a distribution is called that is imported by another name.
NAMES = {
    "yaml": "pyyaml",
    "faiss": "faiss-cpu",
    "mlflow": "mlflow-skinny",
    "specc_runtime": "arec-runtime",
}
# Imported where it is there: pytest loads the plugin, Lark makes the shipped table, onnxruntime runs exported
# files.
OPTIONAL = {"lark", "onnxruntime", "pytest"}

SPEC = """
model mine

space ad from candidate { item: ids(100, 8) }
space history[t <= 20] from request { item: ids(100, 8) }

predict click: binary = concat(ad, history |> gru(8) |> last(over t)) |> mlp([16]) |> linear(1)
"""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project(folder: Path) -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    return found


def requirements(folder: Path) -> list[Requirement]:
    listed = project(folder)["dependencies"]
    assert isinstance(listed, list)
    return [Requirement(text) for text in listed]


def extra_requirements(folder: Path, extra: str) -> list[Requirement]:
    extras = project(folder)["optional-dependencies"]
    assert isinstance(extras, dict)
    return [Requirement(text) for text in extras[extra]]


# ---------------------------------------------------------------- what they declare


@pytest.mark.parametrize("name", PROJECTS)
def test_what_is_imported_is_declared_and_the_other_way_around(name: str) -> None:
    """What only the folder of an extra's name imports is declared by that extra; elsewhere what an extra
    declares is imported in functions alone, where it is needed."""
    package = PROJECTS[name] / ("specc" if name == "arec" else "specc_runtime")
    extras = project(PROJECTS[name])["optional-dependencies"]
    assert isinstance(extras, dict)
    declared = {extra: {plain(Requirement(text).name) for text in texts} for extra, texts in extras.items()}
    own = {extra: list((package / extra).rglob("*.py")) for extra in extras}
    rest = set(package.rglob("*.py")) - {p for paths in own.values() for p in paths}
    needed = {plain(r.name) for r in requirements(PROJECTS[name])}
    assert third_parties(package, rest) - set().union(*declared.values()) <= needed
    assert needed <= third_parties(package, rest)
    assert third_parties(package, rest, at_once=True) <= needed
    for extra, paths in own.items():
        if paths:
            imported = third_parties(package, set(paths))
            assert imported - needed <= declared[extra] <= imported | third_parties(package, rest)


def third_parties(package: Path, paths: set[Path], at_once: bool = False) -> set[str]:
    """The distributions whose modules some files of a package import. at_once: when they are imported."""
    imported = set()
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body if at_once else ast.walk(tree):
            modules = [n.name for n in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported |= {module.partition(".")[0] for module in modules}
    imported -= {*sys.stdlib_module_names, package.name, *OPTIONAL}
    return {plain(NAMES.get(module, module)) for module in imported}


def test_a_runtime_is_of_the_version_of_its_compiler() -> None:
    """And asks for nothing that the compiler's ranges do not allow."""
    import specc
    import specc_runtime

    assert specc.__version__ == specc_runtime.__version__
    own = {plain(r.name): r for r in requirements(ROOT)}
    assert str(own["arec-runtime"].specifier) == f"=={specc.__version__}"
    for needed in requirements(ROOT / "runtime"):
        assert own.get(plain(needed.name), needed).specifier == needed.specifier


def test_dependencies_are_ranges() -> None:
    for folder in PROJECTS.values():
        pinned = {
            r.name for r in requirements(folder) if any(s.operator in ("==", "~=") for s in r.specifier)
        }
        assert pinned <= {"arec-runtime"}


def test_the_licence_goes_along() -> None:
    assert (ROOT / "LICENSE").read_text() == (ROOT / "runtime" / "LICENSE").read_text()


# ---------------------------------------------------------------- installed


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for source in PROJECTS.values():
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
        subprocess.run([*build, str(source)], check=True, capture_output=True)
    return folder


def closure(wanted: list[Requirement]) -> Iterator[Distribution]:
    """The installed distributions that requirements name, and all that those require."""
    seen, left = set[str](), list(wanted)
    while left:
        requirement = left.pop()
        if plain(requirement.name) in seen or (requirement.marker and not requirement.marker.evaluate()):
            continue
        seen.add(plain(requirement.name))
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:
            continue  # pip says so, if it is needed
        yield found
        left += [Requirement(text) for text in found.requires or ()]


def environment(folder: Path, wheels: Path, name: str, extras: tuple[str, ...] = ()) -> Path:
    """The folder of programs of a fresh environment with a wheel and, of other packages, what it declares.

    Those are links to what the running environment has: pip finds them there, compares them with the ranges
    that the wheel asks for, without a constraints file, and has no other place to look.
    """
    venv.create(folder, with_pip=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    ours = [r for r in requirements(PROJECTS[name]) if r.name != "arec-runtime"]
    if name == "arec":
        ours += requirements(ROOT / "runtime")
    for extra in extras:
        ours += extra_requirements(PROJECTS[name], extra)
    for found in closure(ours):
        for top in {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            source = Path(str(found.locate_file(top)))
            if source.exists() and not (packages / top).exists():
                (packages / top).symlink_to(source)
    install = [folder / "bin" / "python", "-m", "pip", "--isolated", "install", "--quiet", "--no-index"]
    done = subprocess.run(
        [*install, "--find-links", wheels, f"{name}[{','.join(extras)}]"],
        capture_output=True,
        text=True,
        check=False,
        env=own(),
    )
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def own() -> dict[str, str]:
    # With PYTHONPATH the running environment's project would come before the wheel.
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PIP_CONSTRAINT")}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(c) for c in command], cwd="/", capture_output=True, text=True, check=False, env=own()
    )


@pytest.fixture(scope="module")
def installed(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("package") / "env", wheels, "arec")


@pytest.fixture(scope="module")
def runtime_only(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("runtime") / "env", wheels, "arec-runtime")


def test_a_spec_compiles_from_anywhere(installed: Path, tmp_path: Path) -> None:
    spec = tmp_path / "mine.arec"
    spec.write_text(SPEC)
    found = run(installed / "specc", "compile", spec, "-o", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    where = run(installed / "python", "-c", "import specc, specc_runtime; print(specc_runtime.__file__)")
    assert str(installed.parent) in where.stdout
    out = str(tmp_path / "out")
    load = f"import specc_runtime; print(len(specc_runtime.load({out!r}, untrained=True).state_dict()))"
    assert int(run(installed / "python", "-c", load).stdout) > 5


def test_a_shipped_spec_goes_by_its_name(installed: Path, tmp_path: Path) -> None:
    found = run(installed / "specc", "compile", "dsin", "-o", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    assert "dsin: dsin ->" in found.stdout


def test_a_server_needs_the_runtime_alone(runtime_only: Path, tmp_path: Path) -> None:
    """A model that was trained elsewhere answers requests, without the compiler and its libraries."""
    shutil.copytree(TRAINED / "model", tmp_path / "model")
    script = f"""
import json
from importlib.util import find_spec
for absent in ("specc", "click", "duckdb", "hypothesis", "pydantic", "pygraphviz", "lark", "rich"):
    assert find_spec(absent) is None, absent
import torch
from specc_runtime import encoded
from specc_runtime.encode import load_trained
model, encoders = load_trained({str(tmp_path / "model")!r})
requests = [json.loads(line) for line in open({str(TRAINED / "requests.jsonl")!r})]
with torch.inference_mode():
    batch = encoded(encoders, requests, candidates=True)
    found = torch.sigmoid(model.eval()(batch)["click"]).tolist()
wanted = [p for line in open({str(TRAINED / "scores.jsonl")!r}) for p in json.loads(line)["click"]]
assert len(found) == len(wanted)
assert max(abs(one - other) for one, other in zip(found, wanted)) < 1e-5
"""
    done = run(runtime_only / "python", "-c", script)
    assert done.returncode == 0, done.stderr


def test_the_image_serves_with_what_it_installs(wheels: Path, tmp_path: Path) -> None:
    """What can be said of the Dockerfile without Docker: its command answers in an environment that has what
    it installs and nothing else, with no compiler to be found."""
    text = (ROOT / "runtime" / "Dockerfile").read_text()
    assert f"```dockerfile\n{text}```" in (ROOT / "docs" / "production.md").read_text()
    extras = re.search(r"pip install [^\n]*/tmp/runtime\[([\w,]+)\]", text)
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", text, re.M)
    torch = re.search(r"^ARG TORCH=(.*)$", text, re.M)
    assert extras and entry and torch  # noqa: PT018
    assert f"torch=={torch[1]}" in (ROOT / "constraints.txt").read_text()
    assert not re.search(r"\b(apt|apt-get|gcc|g\+\+|clang|build-essential)\b", text)
    programs = environment(tmp_path / "env", wheels, "arec-runtime", tuple(extras[1].split(",")))
    shutil.copytree(TRAINED / "model", tmp_path / "model")
    python, *options = [
        str(tmp_path / "model") if word == "/model" else word for word in json.loads(entry[1])
    ]
    options[options.index("0.0.0.0")] = "127.0.0.1"
    absent = "('specc', 'duckdb', 'hypothesis', 'pygraphviz', 'lark', 'rich')"
    look = f"from importlib.util import find_spec; print([n for n in {absent} if find_spec(n)])"
    assert run(programs / python, "-c", look).stdout == "[]\n"
    import_index = "from specc_runtime.retrieval.index import needed; needed()"
    assert run(programs / python, "-c", import_index).returncode == 0
    command = [str(programs / python), *options, "--port", "0"]
    alone = {**own(), "PATH": str(programs), "CC": "no-compiler"}
    with subprocess.Popen(command, cwd="/", stderr=subprocess.PIPE, text=True, env=alone) as server:
        try:
            assert server.stderr is not None
            said = ""
            for line in server.stderr:
                said += line
                if line.startswith("serving "):
                    break
            port = re.search(r"http://127\.0\.0\.1:(\d+)", said)
            assert port, said
            asked = (TRAINED / "requests.jsonl").read_text().splitlines()[0].encode()
            found = json.load(urlopen(f"http://127.0.0.1:{port[1]}/score", data=asked, timeout=60))
        finally:
            server.terminate()
            server.wait(30)
    wanted = json.loads((TRAINED / "scores.jsonl").read_text().splitlines()[0])["click"]
    assert found["click"] == pytest.approx(wanted, abs=1e-5)


TYPED = """
import specc
import specc_runtime
from specc_runtime.train import Recipe, fit

model: specc_runtime.Model = specc.compile("fm")
reveal_type(specc.check("fm"))
reveal_type(specc.__version__)
reveal_type(specc_runtime.load("fm"))
reveal_type(Recipe.of(model.manifest).changed(epochs=2))
specc.check(3)
fit(model, 3)
"""


def test_types_go_along(installed: Path, tmp_path: Path) -> None:
    """A type checker that sees only the wheels knows the types of both packages (`py.typed`)."""
    (tmp_path / "uses.py").write_text(TYPED)
    options = ["--strict", "--follow-imports=silent", "--cache-dir", tmp_path / "cache", "--no-error-summary"]
    check = [sys.executable, "-m", "mypy", *options, "--python-executable", installed / "python"]
    found = run(*check, tmp_path / "uses.py").stdout
    for type in (".Report", "str", ".Model", ".Recipe"):
        assert f'{type}"' in found, found
    assert "import-untyped" not in found, found
    errors = [line for line in found.splitlines() if ": error:" in line]
    assert [line.split(":")[1] for line in errors] == ["11", "12", "12"], found

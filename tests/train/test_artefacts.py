"""What a model's folder holds belongs together, is replaced at once, and does not load otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import specc
from specc.cli import main
from specc_runtime import ArtefactError, Model, encoded, from_texts, load, save
from specc_runtime.encode import load_encoders, load_trained, save_encoders
from specc_runtime.files import exclusive
from specc_runtime.record import RECORD, digest, held
from specc_runtime.train import Baselines, Recipe, TrainingError, evaluate_files, fit
from specc_runtime.train.tree import pack, unpack
from tests.train.small import write_examples, write_spec

FORMAT_1 = Path(__file__).parents[1] / "artefacts" / "format1"
RETRAIN = Path(__file__).parents[3] / "shared" / "cases" / "data" / "failed_retrain"


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def weights(model: Model) -> dict[str, Tensor]:
    return {path: value.clone() for path, value in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec, data, and two models that were trained with other seeds, on other data."""
    folder = tmp_path_factory.mktemp("artefacts")
    texts = specc.compile(write_spec(folder)).files
    for seed, name in enumerate(("model", "other")):
        data = write_examples(folder / f"data{seed}", rows=96 + 32 * seed, seed=seed)
        torch.manual_seed(seed)
        model = from_texts(texts)
        recipe = Recipe.of(model.manifest).changed(seed=seed, epochs=1)
        fit(model, [data / "train.parquet"], folder / name, recipe)
    (folder / "requests.jsonl").write_text('{"user_id": "1", "history_item": [1], "ad_item": [1, 2]}\n')
    return folder


# ---------------------------------------------------------------- of an earlier version


@pytest.mark.filterwarnings("ignore:.*was compiled by arec .* for runtime interface")
def test_a_folder_of_format_1_scores_as_it_did(tmp_path: Path) -> None:
    shutil.copytree(FORMAT_1 / "model", tmp_path / "model")
    with pytest.warns(UserWarning, match="written by an earlier version of arec, which recorded no hashes"):
        done = run("score", tmp_path / "model", FORMAT_1 / "requests.jsonl")
    assert done.exit_code == 0, done.output
    wanted = [json.loads(line)["click"] for line in (FORMAT_1 / "scores.jsonl").read_text().splitlines()]
    found = [json.loads(line)["click"] for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    with pytest.warns(UserWarning, match="earlier version"):
        model = load(tmp_path / "model")
    results = evaluate_files(model, tmp_path / "model", [FORMAT_1 / "test.parquet"]).results
    before = json.loads((FORMAT_1 / "evaluated.json").read_text())
    assert results["click"]["model"]["logloss"] == pytest.approx(before["click"]["model"]["logloss"])
    # Saved anew it is recorded, with its encoders; what it was compiled for stays.
    save(model, tmp_path / "model")
    with pytest.warns(UserWarning, match="for runtime interface 1"):
        assert same(weights(load_trained(tmp_path / "model")[0]), weights(model))


def test_a_training_of_format_1_does_not_go_on(tmp_path: Path) -> None:
    shutil.copytree(FORMAT_1 / "model", tmp_path / "model")
    before = contents(tmp_path)
    model, data = tmp_path / "model", FORMAT_1 / "train.parquet"
    done = run("train", model, data, "--resume")
    assert done.exit_code == 1
    assert "was written by an earlier version of arec, and cannot be gone on from" in done.output
    done = run("train", model, data)
    assert done.exit_code == 1
    assert "has a trained model" in done.output
    (tmp_path / "model" / "weights.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"is damaged(.|\n)*weights.safetensors is missing"):
        load(model, untrained=True)
    assert contents(tmp_path).keys() == before.keys() - {"model/weights.safetensors"}


# ---------------------------------------------------------------- damage

FILES = (RECORD, "model.py", "manifest.json", "spec.arec", "weights.safetensors", "encoders.json",
         "baselines.safetensors", "vocabularies/items.arrow", "vocabularies/user.id.arrow",
         "indices/items.npy", "indices/user.id.npy", "scoring.c", "training.json")  # fmt: skip


def test_what_cannot_be_prebuilt_is_told_and_left_away(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: Model, encoders: Any, folder: Path) -> None:
        (folder / "indices").mkdir()
        (folder / "indices" / "items.npy").write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr("specc_runtime.train.session.write_prebuilt", fail)
    model, said = load(made / "model"), list[str]()
    recipe = Recipe.of(model.manifest).changed(epochs=1)
    fit(model, [made / "data0" / "train.parquet"], tmp_path / "m", recipe, tell=said.append)
    assert any(line.startswith("not prebuilt") and "the disk is full" in line for line in said)
    assert not (tmp_path / "m" / "indices").exists()
    load_trained(tmp_path / "m")


def missing(path: Path, other: Path) -> None:
    path.unlink()


def truncated(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path, other: Path) -> None:
    path.write_bytes(b"")


def swapped(path: Path, other: Path) -> None:
    content = other.read_bytes()
    if content == path.read_bytes():
        content += b" "  # of two models of one spec some files are the same
    path.write_bytes(content)


def edited(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


Damage = Callable[[Path, Path], None]


def test_every_file_of_a_folder_is_recorded(made: Path) -> None:
    found = {name for name in contents(made / "model") if not name.startswith("checkpoint/")}
    built = {name for name in found if name.startswith("libraries/")}  # none without a C compiler
    assert found - {"metrics.jsonl"} - built == set(FILES)  # a log belongs to nothing
    record = held(made / "model").record
    assert record is not None
    assert set(record.files) == set(FILES) - {RECORD} | built
    assert record.trained
    assert set(record.versions) == {"arec", "interface", "runtime", "torch"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [missing, truncated, empty, swapped, edited])
def test_a_damaged_folder_is_refused_in_words(made: Path, tmp_path: Path, damage: Damage, name: str) -> None:
    shutil.copytree(made / "model", tmp_path / "model")
    damage(tmp_path / "model" / name, made / "other" / name)
    model, data = tmp_path / "model", made / "data0"
    for command in (("score", model, made / "requests.jsonl"), ("evaluate", model, data)):
        done = run(*command)
        assert done.exit_code == 1, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
        assert str(model) in done.output
        assert "is damaged" in done.output or name == RECORD
        assert name in done.output or name == RECORD
    with pytest.raises(ArtefactError):
        load_trained(model)
    # Nor is it trained over, or compiled over, without a word.
    assert run("train", model, data).exit_code == 1
    assert run("compile", made / "small.arec", "-o", model).exit_code == 1


@pytest.mark.parametrize("damage", [missing, truncated, swapped, edited])
def test_a_damaged_checkpoint_is_refused_in_words(made: Path, tmp_path: Path, damage: Damage) -> None:
    for name in contents(made / "model" / "checkpoint"):
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        shutil.copytree(made / "model", tmp_path / "model")
        damage(tmp_path / "model" / "checkpoint" / name, made / "other" / "checkpoint" / name)
        done = run("train", tmp_path / "model", made / "data0" / "train.parquet", "--resume", "--epochs", "2")
        assert done.exit_code == 1, (name, done.output)
        assert isinstance(done.exception, SystemExit), name
        assert str(tmp_path / "model" / "checkpoint") in done.output
        # What stands beside it is another matter.
        assert same(weights(load(tmp_path / "model")), weights(load(made / "model")))


def test_a_record_that_points_elsewhere(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "model", tmp_path / "model")
    path = tmp_path / "model" / RECORD
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "files": {**record["files"], "../secret": "0"}}))
    with pytest.raises(ArtefactError, match=r"names '\.\./secret', which is not in the folder"):
        load(tmp_path / "model")


# ---------------------------------------------------------------- compiled, not trained


def test_a_compiled_folder_gives_initial_weights_where_asked(made: Path, tmp_path: Path) -> None:
    assert run("compile", made / "small.arec", "-o", tmp_path / "m").exit_code == 0
    with pytest.raises(ArtefactError, match="is compiled and not trained: `specc train"):
        load(tmp_path / "m")
    torch.manual_seed(3)
    first = load(tmp_path / "m", untrained=True)
    torch.manual_seed(3)
    assert same(weights(first), weights(load(tmp_path / "m", untrained=True)))
    for command in (
        ("score", tmp_path / "m", made / "requests.jsonl"),
        ("evaluate", tmp_path / "m", made / "data0"),
    ):
        done = run(*command)
        assert done.exit_code == 1
        assert "not trained" in done.output
    with pytest.raises(ArtefactError, match=r"there is no such folder; name a folder that `specc train`"):
        load(tmp_path / "nowhere")
    with pytest.raises(ArtefactError, match=r"small\.arec is a file, and a compiled model is a folder"):
        load(made / "small.arec")
    # Compiled again it is another model; a trained one is not taken the place of.
    assert run("compile", made / "small.arec", "-o", tmp_path / "m").exit_code == 0
    shutil.copytree(made / "model", tmp_path / "trained")
    done = run("compile", made / "small.arec", "-o", tmp_path / "trained")
    assert done.exit_code == 1
    assert "--overwrite" in done.output
    assert same(weights(load(tmp_path / "trained")), weights(load(made / "model")))
    assert run("compile", made / "small.arec", "-o", tmp_path / "trained", "--overwrite").exit_code == 0
    assert not (tmp_path / "trained" / "encoders.json").exists()


# ---------------------------------------------------------------- saving


def test_what_belongs_to_another_model_does_not_stay(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "model", tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    own, encoders = load_trained(tmp_path / "m")
    with torch.no_grad():
        next(own.parameters()).add_(1)
    save(own, tmp_path / "m")
    again, kept = load_trained(tmp_path / "m")
    assert same(weights(again), weights(own))
    assert kept.vocabularies.keys() == encoders.vocabularies.keys()
    save(own, tmp_path / "m")  # as after each epoch of a loop of one's own
    assert load_trained(tmp_path / "m")
    save(load(made / "other"), tmp_path / "m")
    with pytest.raises(ArtefactError, match="has no encoders"):
        load_encoders(tmp_path / "m", own.manifest)
    assert Baselines.load(tmp_path / "m") is None
    save_encoders(encoders, tmp_path / "m")
    assert load_trained(tmp_path / "m")[1].vocabularies.keys() == encoders.vocabularies.keys()
    assert (tmp_path / "m" / "notes.txt").read_text() == "mine"


def test_a_folder_is_trained_into_by_one_at_a_time(made: Path, tmp_path: Path) -> None:
    data, directory = made / "data0" / "train.parquet", tmp_path / "m"
    with exclusive(directory, "specc train"):
        done = run("train", made / "small.arec", data, "-o", directory)
        assert done.exit_code == 1
        assert "is in use by `specc train` of process" in done.output
    assert not directory.exists()


def test_a_training_that_fails_leaves_what_was(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "model", tmp_path / "m")
    before = contents(tmp_path / "m")
    model = from_texts(load(made / "model").files)
    recipe = Recipe.of(model.manifest).changed(optimizer="sgd", lr=1e30, clip=None)
    with pytest.raises(ArtefactError, match="has a trained model"):
        fit(model, [made / "data1" / "train.parquet"], tmp_path / "m", recipe)
    with pytest.raises(TrainingError):
        fit(model, [made / "data1" / "train.parquet"], tmp_path / "m", recipe, overwrite=True)
    after = contents(tmp_path / "m")
    assert "step" in after.pop("metrics.running.jsonl").decode()  # what can be looked into
    assert after == before


@pytest.mark.skipif(not RETRAIN.exists(), reason="the handed case is not here")
def test_the_handed_failed_retrain(tmp_path: Path) -> None:
    model = tmp_path / "m"
    assert (
        run("train", RETRAIN / "base.arec", RETRAIN / "tr.parquet", "-o", model, "--epochs", 1).exit_code == 0
    )
    first = run("score", model, RETRAIN / "three.jsonl").stdout
    again = (
        "train",
        RETRAIN / "base.arec",
        RETRAIN / "shifted.parquet",
        "-o",
        model,
        "--optimizer",
        "sgd",
        "--lr",
        "1e30",
    )
    done = run(*again)
    assert done.exit_code == 1
    assert "has a trained model" in done.output
    done = run(*again, "--overwrite")
    assert done.exit_code == 1
    assert "not a finite number" in done.output
    assert run("score", model, RETRAIN / "three.jsonl").stdout == first


# ---------------------------------------------------------------- state without pickle

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3),
    st.lists(st.integers(-9, 9), max_size=3).map(lambda x: torch.tensor(x, dtype=torch.float64)),
    st.integers(-9, 9).map(lambda x: torch.tensor(x)),
)  # fmt: skip
KEYS = st.one_of(st.integers(), st.text(max_size=3), st.tuples(st.integers(), st.booleans()))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
)


def alike(first: Any, second: Any) -> bool:
    if type(first) is not type(second):
        return False
    match first:
        case Tensor():
            return first.dtype == second.dtype and torch.equal(first, second)
        case dict():
            return list(first) == list(second) and all(alike(v, second[k]) for k, v in first.items())
        case list() | tuple():
            return len(first) == len(second) and all(map(alike, first, second))
        case float():
            return repr(first) == repr(second)
    return first == second


@settings(max_examples=100, deadline=None)
@given(TREES)
def test_a_tree_comes_back_as_it_was(tree: Any) -> None:
    assert alike(unpack(*pack(tree)), tree)


def test_tensors_that_share_memory_are_kept_apart() -> None:
    whole = torch.arange(6.0)
    _, tensors = pack([whole, whole[2:], whole.reshape(2, 3).T])
    places = [t.untyped_storage().data_ptr() for t in tensors.values()]
    assert len(set(places)) == 3
    with pytest.raises(TypeError, match="a function cannot be kept"):
        pack({"f": alike})


# ---------------------------------------------------------------- models of others


def test_no_code_of_a_model_that_is_not_trusted_is_run(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "model", tmp_path / "m")
    evil = (
        f"import pathlib\npathlib.Path({str(tmp_path / 'was here')!r}).touch()\n"
        + (tmp_path / "m" / "model.py").read_text()
    )
    (tmp_path / "m" / "model.py").write_text(evil)
    record = json.loads((tmp_path / "m" / RECORD).read_text())
    record["files"]["model.py"] = digest(tmp_path / "m" / "model.py")
    (tmp_path / "m" / RECORD).write_text(json.dumps(record))
    wanted = run("score", made / "model", made / "requests.jsonl").stdout
    done = run("score", tmp_path / "m", made / "requests.jsonl", "--untrusted")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["click"] == pytest.approx(json.loads(wanted)["click"], abs=1e-6)
    assert run("evaluate", tmp_path / "m", made / "data0" / "test.parquet", "--untrusted").exit_code == 0
    data = made / "data0" / "train.parquet"
    started = ("train", made / "small.arec", data, "-o", tmp_path / "new", "--start-from", tmp_path / "m")
    assert run(*started, "--epochs", "1").exit_code == 0
    assert same(weights(specc.load(tmp_path / "m")), weights(load(made / "model")))
    assert not (tmp_path / "was here").exists()
    load(tmp_path / "m")  # whoever can write the code can write its hash: that is damage, not trust
    assert (tmp_path / "was here").exists()


def test_loading_says_whose_code_it_runs(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "specc_runtime"):
        load(made / "model")
        specc.load(made / "model")
    said = [record.message for record in caplog.records]
    assert said[0] == f"running {made / 'model' / 'model.py'}"
    assert said[1].startswith("running the code that was compiled now from")


def test_a_model_and_the_encoders_of_another_do_not_meet(made: Path, tmp_path: Path) -> None:
    """Where a folder was trained anew since a model was loaded there, the model gets none of what is new."""
    shutil.copytree(made / "model", tmp_path / "m")
    model = load(tmp_path / "m")
    row = [{"user_id": "u1", "ad_item": 1, "history_item": [2]}]
    assert encoded(model, row).fields.keys() == encoded(tmp_path / "m", row).fields.keys()
    shutil.rmtree(tmp_path / "m")
    shutil.copytree(made / "other", tmp_path / "m")
    assert encoded(model, row).size == 1  # by the encoders that were read with it
    with pytest.raises(ArtefactError, match="it was trained or saved anew meanwhile; load it again"):
        evaluate_files(model, tmp_path / "m", [made / "data0" / "test.parquet"])
    late = load(made / "model")
    late.directory = tmp_path / "m"
    with pytest.raises(ArtefactError, match="load it again"):
        encoded(late, row)

"""One part, seven parts and Spark's make the same examples of a log; what is refused is refused equally."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from specc.cli import main
from specc.cli.models import manifest_from
from specc.prepare import Global, PrepareError, Settings, build, events, prepare, scan
from specc.prepare.mapped import map_all
from specc.prepare.mapping import columns_alone
from specc.prepare.run import MEMORY
from specc.prepare.spark import session
from specc.prepare.spark.files import find
from specc.prepare.spark.reading import PATH, START, Told, look, read
from specc_runtime.encode import DataError
from tests.data.slow_prepare import LABELLED, SPEC, Event
from tests.data.specs import manifest
from tests.data.test_prepare_slow import write

ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("AREC_LONG"))
SHIPPED = sorted((ROOT / "specs").glob("*.arec")) + sorted((ROOT / "specs/more").glob("*.arec"))
# Not of nrms: a log of events has no words of titles.
OF_LOGS = [path for path in SHIPPED if path.stem != "nrms"]
CHOSEN = [path for path in OF_LOGS if LONG or path.stem in ("afm", "dien", "dsin", "hstu", "xdeepfm")]
ON_SPARK = [path for path in OF_LOGS if LONG or path.stem in ("dstn", "sim")]
# What a log does not say of itself.
SAID: dict[str, dict[str, Any]] = {
    "gru4rec": {"labels": {"next": {"how": "item"}}, "fields": {"met.click": {"constant": 1}}},
    "star": {"fields": {"domain.id": {"column": "city"}, "domain.number": {"column": "city"}}},
}
# What is drawn, whom it leaves out, and how users come apart.
OTHERWISE = {"sampling": "popularity", "history_min": 2, "seed": 3, "utc_offset": 5.5}


def some_events(count: int, seed: int = 1) -> list[Event]:
    draw = random.Random(seed)
    return [
        Event(
            f"{draw.choice(['u', ''])}{draw.randrange(20)}",
            f"i{draw.randrange(9)}",
            draw.choice(["x", "y", "z", None]),
            draw.choice(["pv", "buy"]),
            1_600_000_000 + draw.randrange(400) * 3600,
            draw.choice([0.5, None, 2.0]),
            "web",
            draw.choice([0, 1, None]),
            line,
        )
        for line in range(count)
    ]


def wide_log(path: Path, count: int) -> Path:
    draw = random.Random(3)
    names = "user_id,item_id,category,behaviour,timestamp,age,city,brand,words,wanted,number,rating"
    lines = [names]
    for _ in range(count):
        kind = draw.choice(["pv", "pv", "cart", "buy"])
        begin = (f"u{draw.randrange(25)}", draw.randrange(40), draw.randrange(9), kind)
        words = "|".join(draw.choice("abc") for _ in range(draw.randrange(1, 4)))
        more = (draw.randrange(20, 60), draw.randrange(5), draw.randrange(4), words, 1, draw.randrange(3))
        time = 1_600_000_000 + draw.randrange(300) * 1800
        lines.append(",".join(map(str, (*begin, time, *more, draw.randrange(5)))))
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(table: pa.Table) -> list[str]:
    return sorted(map(repr, table.to_pylist()))


def whole(path: Path) -> pa.Table:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    return pa.concat_tables([pq.read_table(file) for file in files])


def same_in_parts(model: Any, log: Path, folder: Path, settings: Settings, memory: str = MEMORY) -> None:
    done = prepare(model, log, folder / "data", settings, memory=memory)
    scan(model, log, settings).save(folder / "known")
    known = Global.load(folder / "known")
    table = pa.concat_tables(events(log, known))
    table = table.take(pa.array(np.random.default_rng(0).permutation(len(table))))
    part = pa.array([hash(user) % 7 for user in table.column("user").to_pylist()])
    found = defaultdict(list)
    for number in range(7):
        for name, examples in build(table.filter(pa.compute.equal(part, number)), known):
            found[name].append(examples)
    for file in done.files:
        wanted, made = pq.read_table(file.path), pa.concat_tables(found[file.name])
        assert wanted.schema.equals(made.schema)
        assert rows(wanted) == rows(made)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
def test_seven_parts_make_what_one_makes(tmp_path: Path, labelled: bool, sampling: str) -> None:
    log = write(tmp_path / "log.csv", some_events(600), labelled)
    settings = Settings(sampling=sampling, test="0.2", history_min=2 * labelled, seed=3, utc_offset=5.5)
    same_in_parts(manifest(LABELLED if labelled else SPEC), log, tmp_path, settings)


@pytest.mark.parametrize("spec", CHOSEN, ids=lambda path: str(path.stem))
def test_seven_parts_of_a_shipped_spec(tmp_path: Path, spec: Path) -> None:
    log = wide_log(tmp_path / "log.csv", 300)
    model, usual = (
        manifest_from(spec, {}),
        {"test": "0.3", "split": {"words": "|"}, **SAID.get(spec.stem, {})},
    )
    same_in_parts(model, log, tmp_path, Settings(**usual))
    if LONG:
        same_in_parts(model, log, tmp_path / "otherwise", Settings(**usual, **OTHERWISE), memory="1MB")


TIMES = """model m
table items = vocab(100, 4)
space user from request { signup: time(hour, 4) }
space ad from candidate { item: items, added: time(weekday, 4), tags: bag(vocab(9, 4)), size: vector(2) }
predict click: binary = concat(user, ad) |> linear(1)
"""


def test_columns_of_times_and_lists_in_parts(tmp_path: Path) -> None:
    lines = ["user,item,time,signup,added,tags,size"]
    lines += [
        f"u{n % 5},{n % 11},{1_600_000_000 + 40_000 * n},{1_500_000_000 + n % 5},"
        f"{1_400_000_000 + n % 11},{'a|b' if n % 3 else 'c'},{n % 11}.5;{n % 2}"
        for n in range(60)
    ]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    settings = Settings(test="0.2", split={"tags": "|", "size": ";"})
    same_in_parts(manifest(TIMES), tmp_path / "log.csv", tmp_path, settings)


# ------------------------------------------------------------------------------------ the task that reads


def told(log: Path, settings: Settings) -> Told:
    """What the tasks tell of a file that is read in two pieces."""
    lines = log.read_bytes().split(b"\n")[:-1]
    found, first = find(None, [str(log)], settings, log.parent)
    mapped = map_all(columns_alone(manifest(SPEC)), found.table, None, settings)
    units, shapes = look(first, mapped, settings)
    config = {
        **found.as_data(),
        "manifest": mapped.manifest,
        "settings": settings.model_dump(mode="json", exclude_none=True),
        "catalogue": None,
        "units": units,
        "shapes": shapes,
    }
    config = json.loads(json.dumps(config))
    heard = Told()
    cut = len(lines) // 2
    for some, start in ((lines[cut:], len(b"\n".join(lines[:cut])) + 1), (lines[:cut], 0)):
        batches = [
            pa.RecordBatch.from_pydict(
                {
                    "value": pa.array([line.decode() for line in some[at : at + 50]]),
                    PATH: pa.array([f"file://{log}"] * len(some[at : at + 50])),
                    START: pa.array([start] * len(some[at : at + 50])),
                }
            )
            for at in range(0, len(some), 50)
        ]
        *_, last = read(iter(batches), config)
        heard.merge(last.column("told")[0].as_py())
    return heard.settled(found.names)


def test_a_task_skips_and_refuses_what_one_machine_does(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", some_events(300), False)
    lines = log.read_text().splitlines()
    lines[70] = "u1,i1,x,pv,nonsense,1.0,web"
    lines[250], lines[260] = "u1,i1,x", ",i1,x,pv,1600000000,1.0,web"
    log.write_text("\n".join(lines) + "\n")
    note = prepare(manifest(SPEC), log, tmp_path / "out", Settings(test="0.2")).notes[0]
    heard = told(log, Settings(test="0.2"))
    assert heard.totals.events == 297
    assert sorted(heard.notes(5)[0].splitlines()) == sorted(note.splitlines())
    lines[40], lines[270] = "u1,i1,x,pv,1600000000,dear,web", "u1,i1,x,pv,1600000000,1x,web"
    log.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError) as here:
        prepare(manifest(SPEC), log, tmp_path / "out", Settings(test="0.2"))
    with pytest.raises(DataError) as there:
        told(log, Settings(test="0.2"))
    assert here.value.faults[0].line == there.value.faults[0].line == 41
    assert [fault.line for fault in there.value.faults] == [41, 271]
    assert "`dear` is not a number" in str(there.value)
    assert f"{log}, line 271, column `price`" in str(there.value)


def test_a_cell_that_goes_from_one_piece_into_another_is_refused(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", some_events(100), False)
    lines = log.read_text().splitlines()
    lines[49], lines[50] = 'u1,i1,"x', 'y",pv,1600000000,1.0,web'
    log.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="line 50: the quote that opens here is not closed") as caught:
        told(log, Settings(test="0.2"))
    assert "maxPartitionBytes" in caught.value.faults[0].help


# -------------------------------------------------------------------------------------------------- Spark

HAS_SPARK = importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None
spark = pytest.mark.skipif(not HAS_SPARK, reason="Spark takes pyspark (arec[spark]) and Java 17")
SCRIPT = """
import json, sys
from pathlib import Path
from pyspark.sql import SparkSession
from specc.prepare import PrepareError, Settings
from specc.prepare.spark import files, run
from specc.prepare.spark.run import prepare_on_spark
from specc.prepare.spark.session import started
from specc_runtime.encode import DataError

folder = Path(sys.argv[1])
conf = ("spark.sql.shuffle.partitions=2", "spark.default.parallelism=7")
with started(dict(pair.split("=") for pair in conf)):
    for job in json.loads((folder / "jobs.json").read_text()):
        if job.get("remote"):
            # As if this machine did not see its files.
            files.is_remote = run.is_remote = lambda path: True
        try:
            done = prepare_on_spark(
                job["manifest"], job["log"], folder / job["out"], Settings(**job["settings"]), True,
                conf=conf, memory=job.get("memory", "2GB"),
            )
            names = ("name", "requests", "examples", "rows", "positives", "begin", "end")
            parts = [[getattr(f, n) for n in names] for f in done.files]
            said = {"notes": done.notes, "files": parts, "counts": [done.users, done.items, done.events]}
            said |= {"settings": done.settings, "times": done.times}
        except (PrepareError, DataError) as error:
            said = {"error": str(error)}
        print(json.dumps(said))
"""


def on_spark(folder: Path, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What one session of Spark says of each job."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, check=False
    )
    assert found.stderr == ""
    return [json.loads(line) for line in found.stdout.splitlines()]


def same_as_here(folder: Path, job: dict[str, Any], about: dict[str, Any]) -> None:
    """Whether what Spark wrote, and said, is what one machine writes and says."""
    assert "error" not in about, about
    out = str(job["out"])
    done = prepare(
        job["manifest"],
        [Path(p) for p in job["log"]],
        folder / f"{out}-here",
        Settings(**job["settings"]),
        True,
    )
    assert about["files"] == [
        [f.name, f.requests, f.examples, f.rows, f.positives, f.begin, f.end] for f in done.files
    ]
    assert about["counts"] == [done.users, done.items, done.events]
    assert about["settings"] == done.settings
    assert about["times"] == done.times
    assert about["notes"] == list(done.notes)
    for part in ("train", "test", "requests"):
        here, there = whole(folder / f"{out}-here" / f"{part}.parquet"), whole(folder / out / part)
        assert here.schema.equals(there.schema)
        assert rows(here) == rows(there)


def of_shipped_specs(folder: Path) -> list[dict[str, Any]]:
    """Jobs in which a task has little memory."""
    log = wide_log(folder / "wide.csv", 300)
    usual = {"test": "0.3", "split": {"words": "|"}}
    return [
        {"manifest": manifest_from(spec, {}), "log": [str(log)], "out": f"{spec.stem}{len(more)}",
         "settings": {**usual, **SAID.get(spec.stem, {}), **more}, "memory": "1MB"}
        for spec in ON_SPARK for more in ([{}, OTHERWISE] if LONG else [OTHERWISE])
    ]  # fmt: skip


@spark
def test_spark_makes_what_one_machine_makes(tmp_path: Path) -> None:
    """One session: a CSV with bad lines, labels of a Parquet log, a fault, a file system that there is not,
    files that this machine does not see, and shipped specs."""
    model, labelled = manifest(SPEC), manifest(LABELLED)
    log = write(tmp_path / "one.csv", some_events(400), False)
    log.write_text(log.read_text() + "u1,i1,x,pv,never,1.0,web\nu1\n")
    table = pa.Table.from_pylist(
        [{**{n: getattr(e, n) for n in ("user", "item", "category", "behaviour", "time", "price", "device")},
          "label": e.label} for e in some_events(400, 2)]
    )  # fmt: skip
    pq.write_table(table.slice(0, 250), tmp_path / "a.parquet")
    pq.write_table(table.slice(250), tmp_path / "b.parquet")
    bad = write(tmp_path / "bad.csv", some_events(50), False)
    bad.write_text(bad.read_text() + "u1,i1,x,pv,1600000000,dear,web\n")
    popular = {"sampling": "popularity", "history_min": 1, "test": "0.2", "seed": 2}
    both = [str(tmp_path / name) for name in ("a.parquet", "b.parquet")]
    jobs = [
        {"manifest": model, "log": [str(log)], "out": "one", "settings": popular},
        {"manifest": labelled, "log": both, "out": "two", "settings": {"test": "0.2"}},
        {"manifest": model, "log": [str(bad)], "out": "three", "settings": {}},
        {"manifest": model, "log": ["nowhere://x/y"], "out": "four", "settings": {}},
        {"manifest": model, "log": [f"file://{log}"], "out": "five", "settings": popular, "remote": True},
    ]
    shipped = of_shipped_specs(tmp_path)
    said = on_spark(tmp_path, jobs + shipped)
    for job, about in zip(shipped, said[len(jobs) :], strict=True):
        same_as_here(tmp_path, job, about)
    for job, about in zip(jobs[:2], said[:2], strict=True):
        same_as_here(tmp_path, job, about)
        out = str(job["out"])
        listed = json.loads((tmp_path / out / "data.json").read_text())["files"]
        assert sum(entry["rows"] for name, entry in listed.items() if name.startswith("train/")) > 0
        for file in (tmp_path / out / "train").iterdir():
            times = pq.read_table(file).column("example_time").to_numpy()
            assert (np.diff(times) >= 0).all()
    assert f"{bad}, line 52, column `price`: `dear` is not a number" in said[2]["error"]
    assert "Spark has no file system for nowhere://" in said[3]["error"]
    assert not (tmp_path / "three").exists()
    assert said[4]["files"] == said[0]["files"], said[4]
    assert rows(whole(tmp_path / "five" / "train")) == rows(whole(tmp_path / "one" / "train"))
    assert said[4]["notes"][0].replace("file:", "") == said[0]["notes"][0]


def test_what_spark_lacks_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "version", lambda name: "4.1.0")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PrepareError, match=r"JAVA_HOME is .*, which has no bin/java"):
        session.check()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrepareError, match="Java 17 or newer, and there is no `java` on the PATH"):
        session.check()
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    java.chmod(0o755)
    with pytest.raises(PrepareError, match="is Java 8"):
        session.check()
    monkeypatch.setattr(session, "version", lambda name: "3.5.1")
    with pytest.raises(PrepareError, match=r"pyspark 4 or newer, and 3\.5\.1 is installed"):
        session.check()

    def absent(name: str) -> str:
        raise session.PackageNotFoundError(name)

    monkeypatch.setattr(session, "version", absent)
    with pytest.raises(PrepareError, match="pip install 'arec"):
        session.check()


def test_options_of_spark_are_checked(tmp_path: Path) -> None:
    spec = tmp_path / "m.arec"
    spec.write_text(SPEC)
    log = write(tmp_path / "log.csv", some_events(50), False)

    def said(*options: str) -> str:
        result = CliRunner().invoke(main, ["prepare", str(spec), *options, "-o", str(tmp_path / "out")])
        assert result.exit_code == 1
        return result.output

    assert "--spark-conf is for --engine spark" in said(str(log), "--spark-conf", "a=b")
    assert "no file of this machine; --engine spark reads it" in said("s3://bucket/log.csv")
    for conf, error in (
        ("spark.master", "is not KEY=VALUE"),
        ("spark.sql.caseSensitive=false", "stays true"),
    ):
        assert error in said(str(log), "--engine", "spark", "--spark-conf", conf)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("…writing.Unshared: /data/x", "an executor does not see /data/x"),
        ("ModuleNotFoundError: No module named 'specc'", "the executors' Python has no specc"),
        (
            "[PATH_NOT_FOUND] Path does not exist: s3a://b/x. SQLSTATE: 42K03",
            "s3a://b/x: there is no such file",
        ),
        (
            'UnsupportedFileSystemException: No FileSystem for scheme "s3"',
            "Spark has no file system for s3://",
        ),
        ("java.lang.OutOfMemoryError: Java heap space", "an executor ran out of memory"),
        ("Illegal Parquet type: INT64 (TIMESTAMP(NANOS,true))", "a timestamp in nanoseconds"),
        ("Traceback …\n  File …\nValueError: odd\n\n\tat org.apache", "a task failed: odd"),
    ],
)
def test_what_spark_raises_is_a_sentence(text: str, sentence: str) -> None:
    assert sentence in session.sentence(RuntimeError(text))

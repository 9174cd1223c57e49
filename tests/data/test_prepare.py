"""From logs to examples: nothing of the future in a history, and nothing that a bad line can break."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from specc.cli import main
from specc.prepare import PrepareError, Settings, prepare
from tests.data.specs import manifest

DIN = """model din
table items = vocab(100, 4)
table kinds = vocab(100, 4)
space user from request { id: vocab(100, 4), hour: ids(24, 4), weekday: ids(7, 4) }
space ad from candidate { item: items, category: kinds }
space history[t <= 4] from request { item: items, category: kinds, action: vocab(9, 4), gap: number(log1p) }
space noise[like t] from request { item: items, category: kinds }
predict click: binary = concat(user, ad, sum(history, over t), sum(noise, over t)) |> linear(1)
"""
DSIN = """model dsin
table items = vocab(100, 4)
space ad from candidate { item: items }
space visits[session <= 3, step <= 2] from request { item: items, days: number }
predict click: binary = concat(ad, sum(mean(visits, over step), over session)) |> linear(1)
"""
DSTN = """model dstn
table items = vocab(100, 4)
space ad from candidate { item: items, category: bag(vocab(100, 4), sum) }
space context[near <= 3] from request { item: items }
space unclicked[skip <= 3] from request { item: items }
space buys[buy <= 3] from request { item: items }
predict click: binary = concat(
  ad, sum(context, over near), sum(unclicked, over skip), sum(buys, over buy)
) |> linear(1)
"""
HOUR, DAY = 3600, 86_400


def log(path: Path, rows: list[tuple[Any, ...]], header: str = "user,item,category,behaviour,time") -> Path:
    lines = [header] if header else []
    path.write_text("\n".join([*lines, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def made(text: str, folder: Path, rows: list[tuple[Any, ...]], **settings: Any) -> dict[str, pa.Table]:
    """By part, its examples."""
    file = log(folder / "log.csv", rows)
    done = prepare(manifest(text), file, folder / "out", Settings(**settings))
    return {part.name: pq.read_table(part.path) for part in done.files}


EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 6), st.sampled_from(["pv", "buy"]), st.integers(0, 60)),
    min_size=12,
    max_size=40,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.sampled_from([600, 5 * HOUR]))
def test_histories_hold_what_came_before_and_no_more(
    tmp_path: Path, events: list[tuple[int, int, str, int]], gap: int
) -> None:
    # Items are numbered as the events are, so that an item tells when it was.
    rows = [(f"u{u}", n, f"k{i}", b, 1_000_000 + t * HOUR) for n, (u, i, b, t) in enumerate(events)]
    user = {n: row[0] for n, row in enumerate(rows)}
    time = {n: int(row[4]) for n, row in enumerate(rows)}
    ordered = sorted(range(len(rows)), key=lambda n: (time[n], n))
    assume(len({row[4] for row in rows}) > 4)
    parts = made(DIN, tmp_path, rows, test="0.3", negatives=1)
    nested = made(DSIN, tmp_path, rows, test="0.3", negatives=1, session_gap=gap)
    border = max(parts["train"]["example_time"].to_pylist())
    assert all(t > border for t in parts["test"]["example_time"].to_pylist())
    for example in [row for part in parts.values() for row in part.to_pylist()]:
        now, who = example["example_time"], example["example_user"]
        before = [n for n in ordered if user[n] == who and time[n] < now]
        assert example["history_item"] == before[-4:]
        assert example["history_gap"] == [now - time[n] for n in before[-4:]]
        assert example["history_category"] == [rows[n][2] for n in before[-4:]]
        assert example["history_action"] == [rows[n][3] for n in before[-4:]]
        assert len(example["noise_item"]) == len(example["history_item"])
        assert example["user_hour"] == now // HOUR % 24
        if example["click"]:
            assert time[example["ad_item"]] == now
            assert user[example["ad_item"]] == who
    for example in [row for part in nested.values() for row in part.to_pylist()]:
        now, who = example["example_time"], example["example_user"]
        sessions: list[list[int]] = []
        for n in (n for n in ordered if user[n] == who and time[n] < now):
            if not sessions or time[n] - time[sessions[-1][-1]] > gap:
                sessions.append([])
            sessions[-1].append(n)
        assert example["visits_item"] == [session[-2:] for session in sessions[-3:]]


def test_negatives_are_not_taken_in_that_session(tmp_path: Path) -> None:
    rows = [("a", item, "k", "pv", DAY + item) for item in range(5)]
    rows += [("b", item, "k", "pv", DAY + 10 * HOUR + item) for item in range(3, 9)]
    rows += [("a", 9, "k", "pv", 3 * DAY), ("b", 10, "k", "pv", 3 * DAY)]
    train = made(DIN, tmp_path, rows, negatives=3)["train"].to_pylist()
    taken = {"a": set(range(5)), "b": set(range(3, 9))}
    negative = [e for e in train if not e["click"]]
    assert len(negative) == 3 * 6  # what is new in a's first session has nothing to be told from
    assert not any(e["ad_item"] in taken[e["example_user"]] for e in negative)
    first = {row[1]: row[4] for row in reversed(rows)}
    assert all(first[e["ad_item"]] < e["example_time"] for e in negative)
    assert made(DIN, tmp_path, rows, negatives=3)["train"].to_pylist() == train
    assert made(DIN, tmp_path, rows, negatives=3, seed=1)["train"].to_pylist() != train


def test_where_everything_is_taken_there_are_fewer_negatives(tmp_path: Path) -> None:
    rows = [("a", item, "k", "pv", DAY + item) for item in range(3)] + [("a", 1, "k", "pv", 3 * DAY)]
    done = prepare(manifest(DIN), log(tmp_path / "l.csv", rows), tmp_path / "o", Settings())
    assert done.files[0].examples == 3
    assert any("negatives could not be found" in note for note in done.notes)


def test_sequences_take_what_their_names_mean(tmp_path: Path) -> None:
    rows = [("a", 1, "x", "buy", DAY), ("a", 2, "x", "pv", DAY + 5), ("a", 3, "y", "pv", 2 * DAY)]
    rows += [("a", 4, "y", "pv", 2 * DAY + 9), ("b", 5, "y", "pv", 2 * DAY), ("a", 6, "y", "pv", 4 * DAY)]
    train = made(DSTN, tmp_path, rows)["train"].to_pylist()
    example = next(e for e in train if e["ad_item"] == 4 and e["click"])
    assert example["context_item"] == [3]
    assert example["buys_item"] == [1]
    assert len(example["unclicked_item"]) == 3
    assert example["ad_category"] == ["y"]


def test_two_spaces_read_one_column_if_they_take_the_same(tmp_path: Path) -> None:
    """A second table of a history's items; not of what was sampled in its place."""
    text = DSIN.partition("space visits")[0] + (
        "space history[t <= 3] from request { item: items }\n"
        'space again[like t] from request { item: vocab(9, 2) from "history_item" }\n'
        'space same from candidate { item: vocab(9, 2) from "ad_item" }\n'
        "predict click: binary = concat(ad, same, sum(concat(history, again), over t)) |> linear(1)\n"
    )
    rows = [(1, item, 5, "pv", 86_400 * item) for item in range(1, 5)]
    found = made(text, tmp_path, rows, negatives=1)
    assert [2, 1] in [sorted(x, reverse=True) for x in found["train"]["history_item"].to_pylist()]
    with pytest.raises(PrepareError, match="would take different things"):
        made(text.replace("again", "noise"), tmp_path, rows, negatives=1)


AGES = """model m
space user from request { id: vocab(100, 4), age: vocab(100, 4) }
space ad from candidate { item: vocab(100, 4), other: vocab(100, 4) from "ad_item" }
predict click: binary = concat(user, ad) |> linear(1)
"""


def test_an_age_of_a_person_is_no_time_that_passed(tmp_path: Path) -> None:
    lines = [f"u{n % 3},{n % 5},{1_600_000_000 + n},{20 + n % 3}" for n in range(30)]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["user,item,time,age", *lines]) + "\n")
    for fields in ({}, {"user.age": {"attribute": "age"}}):
        done = prepare(
            manifest(AGES), log, tmp_path / "out", Settings(test="0.2", fields=fields), overwrite=True
        )
        rows = pq.read_table(done.files[0].path).to_pylist()
        assert {(row["user_id"], int(row["user_age"])) for row in rows} == {
            ("u0", 20),
            ("u1", 21),
            ("u2", 22),
        }
    log.write_text("\n".join(["user,item,time", *(line.rpartition(",")[0] for line in lines)]) + "\n")
    with pytest.raises(PrepareError, match=r"`user\.age`: how long ago an example is, is 0 in all of them"):
        prepare(manifest(AGES), log, tmp_path / "out", Settings(fields={"user.age": {"attribute": "age"}}))


def test_sessions_that_are_short_are_left_out(tmp_path: Path) -> None:
    rows = [("a", 1, "x", "pv", DAY), ("a", 2, "x", "pv", DAY + HOUR), ("a", 3, "x", "pv", DAY + HOUR + 9),
            ("a", 4, "x", "pv", DAY + 2 * HOUR), ("a", 5, "x", "pv", DAY + 2 * HOUR + 9),
            ("b", 6, "x", "pv", DAY), ("a", 7, "x", "pv", 9 * DAY)]  # fmt: skip
    parts = made(DSIN, tmp_path, rows, session_min=2)
    by_item = {e["ad_item"]: e for part in parts.values() for e in part.to_pylist() if e["click"]}
    assert by_item[3]["visits_item"] == []
    assert by_item[5]["visits_item"] == [[2, 3]]
    assert by_item[7]["visits_item"] == [[2, 3], [4, 5]]
    assert by_item[7]["visits_days"][0] == pytest.approx([8 - 1 / 24, 8 - 1 / 24 - 9 / DAY])


def test_labels_of_several_predictions(tmp_path: Path) -> None:
    text = DSIN.replace("predict click: binary", "joined") + (
        "predict buy: binary = joined\npredict click: binary = joined\npredict score: real = joined\n"
    )
    rows = [("c", 9, "x", "pv", DAY - 9), ("a", 1, "x", "buy", DAY), ("b", 2, "x", "pv", DAY)]
    rows += [("a", 3, "x", "pv", 3 * DAY)]
    with pytest.raises(PrepareError, match="labels of a `real` prediction are read"):
        made(text, tmp_path, rows)
    train = made(text, tmp_path, rows, labels={"score": {"how": "made", "negative": -1}})["train"].to_pylist()
    found = {(e["ad_item"], e["example_user"]): (e["buy"], e["click"], e["score"]) for e in train}
    assert found == {
        (9, "c"): (0, 1, 1), (1, "a"): (1, 0, 1), (2, "b"): (0, 1, 1),
        (9, "a"): (0, 0, -1), (9, "b"): (0, 0, -1),
    }  # fmt: skip


@pytest.mark.parametrize("mark", [",", "\t"])
@pytest.mark.parametrize("header", [True, False])
def test_bad_lines_are_named_and_skipped(tmp_path: Path, mark: str, header: bool) -> None:
    lines = [f"u{i % 2},{i},k,pv,{DAY + i * HOUR}" for i in range(40)]
    lines[5:5] = ["u1,7,k", "u1,7,k,pv,soon", "u1,7,k,pv,99,more"]
    lines.append("u1,9,k,p")
    if header:
        lines.insert(0, "user,item,category,behaviour,time")
    file = tmp_path / "log.txt"
    file.write_text("\n".join(lines).replace(",", mark))  # cut off: without a last newline
    done = prepare(manifest(DIN), file, tmp_path / "out", Settings())
    notes = "\n".join(done.notes)
    first = 7 if header else 6
    for line in (first, first + 1, first + 2, first + 38):
        assert f"log.txt:{line}:" in notes
    assert done.events == 40


def test_parquet_dates_milliseconds_and_other_names(tmp_path: Path) -> None:
    table = pa.table(
        {
            "visitorid": [1, 1, 2, 1],
            "product_id": ["a", "b", "a", "c"],
            "cate": ["x", "y", "x", "y"],
            "event": ["view", "view", "buy", "view"],
            "timestamp": [DAY * 1000, DAY * 1000 + 5000, DAY * 1000, DAY * 3000],
        }
    )
    times = pa.array([t * 1000 for t in table["timestamp"].to_pylist()], pa.timestamp("us"))
    for column in (table["timestamp"], times, times.cast(pa.string())):
        table = table.set_column(4, "timestamp", column)
        # Milliseconds are known by their size: these days are of 1970.
        if pa.types.is_integer(column.type):
            table = table.set_column(4, "timestamp", pa.array([t + 10**12 for t in column.to_pylist()]))
        pq.write_table(table, tmp_path / "log.parquet")
        done = prepare(manifest(DIN), tmp_path / "log.parquet", tmp_path / "out", Settings(test="0.2"))
        assert (done.events, done.users, done.items) == (4, 2, 3)
        example = pq.read_table(done.files[-1].path).to_pylist()[0]
        assert example["history_item"] == ["a", "b"]
        assert example["example_time"] % DAY == 10**9 % DAY * pa.types.is_integer(column.type)


def test_a_catalogue_gives_categories(tmp_path: Path) -> None:
    file = log(
        tmp_path / "log.csv", [("a", 1, DAY), ("a", 2, DAY + 9), ("b", 1, 3 * DAY)], "user_id,item_id,time"
    )
    items = log(tmp_path / "items.csv", [(1, "x"), (2, "y")], "item_id,i_category")
    text = DIN.replace(", action: vocab(9, 4)", "")
    with pytest.raises(PrepareError, match=r"it is not clear what `ad\.category` takes"):
        prepare(manifest(text), file, tmp_path / "out", Settings())
    done = prepare(manifest(text), file, tmp_path / "out", Settings(items=str(items)))
    assert pq.read_table(done.files[0].path).to_pylist()[0]["ad_category"] == "x"


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["prepare", *map(str, arguments)])


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "din.arec").write_text(DIN)
    return tmp_path / "din.arec"


@pytest.fixture
def events(tmp_path: Path) -> Path:
    rows = [(f"u{i % 3}", i % 7, f"k{i % 2}", "pv", DAY + i * HOUR) for i in range(60)]
    return log(tmp_path / "events.csv", rows)


def test_the_command_prints_a_mapping_that_can_be_given_again(
    spec: Path, events: Path, tmp_path: Path
) -> None:
    first = run(spec, events, "-o", tmp_path / "a", "--negatives", "2", "--field", "history.gap=age:hours")
    assert first.exit_code == 0, first.output
    assert "history.gap" in first.output
    assert "age in hours" in first.output
    again = run(spec, events, "-o", tmp_path / "b", "--map", tmp_path / "a" / "prepare.yaml", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["settings"]["negatives"] == 2
    for name in ("train.parquet", "test.parquet"):
        assert pq.read_table(tmp_path / "a" / name).equals(pq.read_table(tmp_path / "b" / name))
    kept = yaml.safe_load((tmp_path / "a" / "prepare.yaml").read_text())
    assert kept["fields"]["history.gap"] == {"attribute": "age", "unit": "hours"}


CUT = ("--history-min", "2", "--valid", "0.2")


def test_constants_and_requests(spec: Path, events: Path, tmp_path: Path) -> None:
    done = run(spec, events, "-o", tmp_path / "a", "--field", "user.hour=3", "--requests", *CUT)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "a" / "valid.parquet").is_file()
    requests = pq.read_table(tmp_path / "a" / "requests.parquet").to_pylist()
    examples = pq.read_table(tmp_path / "a" / "test.parquet").to_pylist()
    assert {e["user_hour"] for e in examples} == {3}
    assert all(len(e["history_item"]) >= 2 for e in examples)
    # The taken item is at any place, and the labels say where.
    places = {r["click"].index(1) for r in requests}
    assert places == {0, 1}
    given = [
        (r["example_request"], i, c) for r in requests for i, c in zip(r["ad_item"], r["click"], strict=True)
    ]
    assert sorted(given) == sorted((e["example_request"], e["ad_item"], e["click"]) for e in examples)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--columns", "user=usr"], 1, "there is no column 'usr' for user; did you mean user?"),
        (["--columns", "user"], 2, "'user' is not NAME=COLUMN"),
        (["--field", "ad.prise=1"], 1, "the spec has no field `ad.prise`"),
        (["--field", "ad.item=itm"], 1, "the log has no column `itm`; did you mean"),
        (["--field", "user.id=item"], 1, "would give the label away"),
        (["--positive", "bye"], 1, "the log has no behaviour `bye`; it has pv"),
        (["--test", "1970-01-01"], 1, "no positive event is left for the train examples"),
        (["--test", "tomorrow"], 1, "'tomorrow' is not a time"),
        (["--from", "2030-01-01"], 1, "no event lies within the bounds"),
        (["--session-gap", "long"], 1, "'long' is not a duration such as 30m"),
        (["--items", "nothing.csv"], 1, "there is no such file"),
        (["--memory", "much"], 1, "'much' is not an amount such as 2GB"),
        (["--negatives", "0"], 1, "nothing tells what was taken"),
        (["--label", "click=hour"], 1, "the log has no column `hour`"),
        (["--axis", "history=idle"], 1, "`history` has one axis"),
        (["--split", "genres=|"], 1, "there is no column `genres`"),
    ],
)
def test_mistakes_are_answered(
    spec: Path, events: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    done = run(spec, events, "-o", tmp_path / "out", *arguments)
    assert done.exit_code == code, done.output
    assert said in done.output
    assert not (tmp_path / "out" / "train.parquet").exists()


def test_faults_of_a_settings_file_come_together(spec: Path, events: Path, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(
        "negativs: 3\nspaces: {history: {events: future}}\nfields: {ad.item: {colum: x}}\n"
    )
    done = run(spec, events, "-o", tmp_path / "out", "--map", tmp_path / "map.yaml")
    assert done.exit_code == 1
    assert "`negativs`: there is no such key; did you mean `negatives`?" in done.output
    assert "did you mean `column`?" in done.output
    assert "`spaces.history.events`" in done.output


def test_thin_days_are_warned_of(tmp_path: Path) -> None:
    rows = [(f"u{i % 3}", i % 9, "k", "pv", 20 * DAY + i * 60) for i in range(3000)] + [
        ("u1", 3, "k", "pv", DAY)
    ]
    done = prepare(manifest(DIN), log(tmp_path / "l.csv", rows), tmp_path / "o", Settings())
    assert any("leave them out with --from 1970-01-21" in note for note in done.notes)


def test_a_log_that_is_none(spec: Path, tmp_path: Path) -> None:
    for text, said in [("", "it is empty"), ("a,b\n1,2\n", "it is not clear which columns are user")]:
        (tmp_path / "x.csv").write_text(text)
        done = run(spec, tmp_path / "x.csv", "-o", tmp_path / "out")
        assert done.exit_code == 1
        assert said in done.output
    assert "there is no such file" in run(spec, tmp_path / "none.csv", "-o", tmp_path / "out").output

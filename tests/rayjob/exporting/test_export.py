"""``rayjob export``: what training tools read of it, and what is left of one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from rayjob.cli import app
from rayjob.exporting.card import write_output_card
from rayjob.output.store import TableStore
from schemas.tables import CaptionRow, FailureRow, captions_of, failures_of, results_table
from tests.support.jobs import ROOT
from tests.support.outputs import caption, failure, open_store, together

ROWS = [
    caption("a.mp4", metadata='{"title": "x, y", "n": 1}', duration_sec=3.0),
    caption(
        "b.mp4", metadata='{"n": 2, "tags": ["p", "q"]}', caption='He says "no"\n| and <b> goes.'
    ),
    caption("b.mp4", index=1, level="clip", start_sec=1.0, end_sec=2.0),
    caption("c.mp4", caption_status="truncated"),
]
SEGMENT = caption(
    "s.mp4#t=5,7", start_sec=5.0, end_sec=7.0, segment_start_sec=5.0, segment_end_sec=7.0
)


def fill(
    store: TableStore,
    rows: list[CaptionRow],
    *,
    name: str = "omni",
    failures: Sequence[FailureRow] = (),
) -> None:
    captions = captions_of(together(results_table(row.video_id, captions=[row]) for row in rows))
    kind = "fused/task" if name in ("t2v", "i2v") else "captions/recipe"
    store.write_table(f"{kind}={name}/run_id=r1/part-00000-epoch0001.parquet", captions)
    if failures:
        table = failures_of(
            together(results_table(row.video_id, failures=[row]) for row in failures)
        )
        store.write_table(f"failures/recipe={name}/run_id=r1/part-00000-epoch0001.parquet", table)


def export(where: str, format: str, output: Path | str, *more: str) -> Result:
    command = ["export", "--input", where, "--format", format, "--output", str(output), *more]
    return CliRunner().invoke(app, command)


def exported(store: TableStore, format: str, output: Path | str, *more: str) -> str:
    if store.options.endpoint_url:
        more = (*more, "--endpoint-url", store.options.endpoint_url)
    done = export(store.url, format, output, *more)
    assert done.exit_code == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    store = TableStore(tmp_path / "out")
    fill(store, ROWS, failures=[failure("d.mp4"), failure("e.mp4"), failure("f.mp4", error="X")])
    return store


def load(folder: Path, tmp_path: Path, *name: str) -> Any:
    import datasets

    return datasets.load_dataset(str(folder), *name, cache_dir=str(tmp_path / "cache"))["train"]


def test_messages(store: TableStore, tmp_path: Path) -> None:
    file = tmp_path / "new" / "sft.jsonl"
    assert exported(store, "jsonl", file) == str(file)
    frame = pd.read_json(file, lines=True)
    assert frame["id"].to_list() == ["a.mp4", "b.mp4", "b.mp4"]
    assert [each[1]["content"] for each in frame["messages"]][1] == ROWS[1].caption
    assert all(each[0]["content"].startswith("<video>\n") for each in frame["messages"])
    assert frame["start_sec"].to_list()[2] == 1.0
    assert os.listdir(file.parent) == ["sft.jsonl"]


def test_a_segment_is_told_by_its_span(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "out")
    fill(store, [SEGMENT])
    exported(store, "jsonl", tmp_path / "x.jsonl")
    (line,) = (tmp_path / "x.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert (told["id"], told["start_sec"], told["end_sec"]) == ("s.mp4#t=5,7", 5.0, 7.0)


def test_csv_keeps_the_inputs_columns(store: TableStore, tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    exported(store, "csv", file)
    frame = pd.read_csv(file)
    assert list(frame.columns) == ["path", "title", "n", "tags", "caption"]
    assert frame["caption"].to_list()[1] == ROWS[1].caption
    assert frame["title"].to_list()[0] == "x, y"
    assert json.loads(frame["tags"].to_list()[1]) == ["p", "q"]


@pytest.mark.parametrize(
    ("name", "column"), [("structured", "structural_caption"), ("t2v", "t2v_fusion_caption")]
)
def test_csv_names_its_column_as_published(tmp_path: Path, name: str, column: str) -> None:
    store = TableStore(tmp_path / "out")
    fill(store, [caption("a", structured='{"a": 1}' if name == "structured" else None)], name=name)
    exported(store, "csv", tmp_path / "c.csv")
    frame = pd.read_csv(tmp_path / "c.csv")
    assert frame[column].to_list() == ['{"a": 1}' if name == "structured" else "This is a."]


def test_a_folder_for_datasets(store: TableStore, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    assert exported(store, "hf", folder) == str(folder)
    rows = load(folder, tmp_path)
    assert rows["video_id"] == ["a.mp4", "b.mp4", "b.mp4"]
    assert rows["run_id"] == ["r1"] * 3
    card = (folder / "README.md").read_text()
    assert "3 captions of 2 videos" in card
    assert "| 2 | open | NotAVideoError |" in card
    assert sorted(os.listdir(folder)) == ["README.md", "data"]


def test_a_lance_table(store: TableStore, tmp_path: Path) -> None:
    import lance

    exported(store, "lance", tmp_path / "t.lance")
    exported(store, "lance", tmp_path / "t.lance", "--any-status")
    table = lance.dataset(str(tmp_path / "t.lance")).to_table()
    assert table["video_id"].to_pylist() == [row.video_id for row in ROWS]


@pytest.mark.parametrize("kind", ["moto", "gateway"])
def test_on_s3(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    store = open_store(kind, request, tmp_path)
    fill(store, ROWS)
    for _ in range(2):
        exported(store, "hf", f"{store.url}/hub")
    there = [entry.path for entry in store.list("hub", suffix=".parquet")]
    assert len(there) == 1
    assert there[0].split("/")[2] in store.read_bytes("hub/README.md").decode()
    exported(store, "jsonl", f"{store.url}/x.jsonl")
    assert store.read_bytes("x.jsonl").count(b"\n") == 3


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("duration_sec > 2.6", ["a.mp4"]),
        ("metadata->>'n' = '2' -- the second", ["b.mp4"]),
        ("level = 'clip' OR video_id = 'a.mp4'", ["a.mp4", "b.mp4"]),
        ("run_id = 'r1' AND caption LIKE '%no%'", ["b.mp4"]),
    ],
)
def test_a_condition(store: TableStore, tmp_path: Path, where: str, ids: list[str]) -> None:
    exported(store, "jsonl", tmp_path / "x.jsonl", "--where", where)
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids


def test_a_condition_holds_beside_the_status(store: TableStore, tmp_path: Path) -> None:
    done = export(store.url, "jsonl", tmp_path / "x.jsonl", "--where", "video_id = 'c.mp4'")
    assert done.exit_code == 2
    assert "no caption named 'omni' is left to export" in done.stderr
    assert not (tmp_path / "x.jsonl").exists()
    exported(store, "jsonl", tmp_path / "x.jsonl", "--where", "video_id = 'c.mp4'", "--any-status")


@pytest.mark.parametrize(
    "where", ["colour = 'red'", "((", "video_id IN (SELECT column0 FROM read_csv('/etc/passwd'))"]
)
def test_a_condition_that_cannot_be(store: TableStore, tmp_path: Path, where: str) -> None:
    (tmp_path / "x.jsonl").write_text("old")
    done = export(store.url, "jsonl", tmp_path / "x.jsonl", "--where", where)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: --where: ")
    assert (tmp_path / "x.jsonl").read_text() == "old"


def test_which_captions(store: TableStore, tmp_path: Path) -> None:
    fill(store, [caption("z")], name="t2v")
    done = export(store.url, "jsonl", tmp_path / "x")
    assert done.exit_code == 2 and "Choose by --name: there are omni, t2v" in done.stderr
    done = export(store.url, "jsonl", tmp_path / "x", "--name", "omnj")
    assert done.exit_code == 2 and "no captions named 'omnj'" in done.stderr
    exported(store, "jsonl", tmp_path / "x", "--name", "t2v")
    assert json.loads((tmp_path / "x").read_text())["id"] == "z"
    done = export(str(tmp_path / "nothing"), "jsonl", tmp_path / "x")
    assert done.exit_code == 2 and "holds no captions" in done.stderr


def test_a_killed_export_leaves_the_old_one(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "out")
    fill(store, [caption(f"v{number:05d}") for number in range(20_000)])
    exported(store, "hf", tmp_path / "hub", "--where", "video_id < 'v00010'")
    for delay in (1.2, 1.6, 2.0):
        command = [sys.executable, "-m", "rayjob.export", "--input", store.url]
        command += ["--format", "hf", "--output", str(tmp_path / "hub")]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert load(tmp_path / "hub", tmp_path).num_rows in (10, 20_000)
    exported(store, "hf", tmp_path / "hub")
    assert load(tmp_path / "hub", tmp_path).num_rows == 20_000
    assert len(list((tmp_path / "hub").rglob("*.parquet"))) == 1


def test_columns_of_earlier_versions(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "out")
    table = captions_of(results_table("a", captions=[caption("a")])).drop_columns(
        ["warnings", "settings_hash"]
    )
    store.write_table("captions/recipe=omni/run_id=r0/part-00000-epoch0001.parquet", table)
    fill(store, [caption("b", warnings=["odd"])])
    exported(store, "hf", tmp_path / "hub")
    assert load(tmp_path / "hub", tmp_path)["warnings"] == [None, ["odd"]]


def test_the_card_of_an_output(store: TableStore, tmp_path: Path) -> None:
    fill(store, [caption("z", duration_sec=None)], name="t2v")
    write_output_card(store)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "1 caption of 1 video.\n" in card, "no length is told where none is known"
    assert "4 captions of 3 videos, 0.1 minutes of video in all." in card
    assert load(tmp_path / "out", tmp_path, "omni").num_rows == 4
    assert load(tmp_path / "out", tmp_path, "t2v")["video_id"] == ["z"]
    (tmp_path / "out" / "README.md").write_text("mine")
    write_output_card(store)
    assert (tmp_path / "out" / "README.md").read_text() == "mine"


def test_a_card_counts_each_shard_once(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "out")
    fill(store, [caption("a"), caption("b")])
    write_output_card(store)
    card, counted = tmp_path / "out" / "README.md", tmp_path / "out" / "runs" / "_card.json"
    assert "\n2 captions" in card.read_text()
    (shard,) = (tmp_path / "out" / "captions").rglob("*.parquet")
    whole = shard.read_bytes()
    shard.with_name("part-00001-epoch0001.parquet").write_bytes(whole)
    shard.write_bytes(bytes(len(whole)))  # not to be read again
    write_output_card(store)
    assert "\n4 captions" in card.read_text()
    shard.write_bytes(whole)
    inside = json.dumps({name: [1, 2] for name in json.loads(counted.read_text())})
    for damaged in ("[1, 2]", "{", "", inside):
        counted.write_text(damaged)
        write_output_card(store)
        assert "\n4 captions" in card.read_text()
    shard.unlink()
    write_output_card(store)
    assert "\n2 captions" in card.read_text()
    assert len(json.loads(counted.read_text())) == 1


@pytest.mark.parametrize("source", ["own", "built-in"])
def test_the_card_says_whose_prompt_was_asked(tmp_path: Path, source: str) -> None:
    store = TableStore(tmp_path / "out")
    fill(store, [caption("a", prompt_hash="0123456789abcdef")])
    write_output_card(store)
    assert "| `0123456789abcdef` |" in store.read_bytes("README.md").decode(), "no run says so"
    summary = {"prompt_hash": "0123456789abcdef", "prompt_source": source}
    store.write_bytes("runs/r1/summary.json", json.dumps(summary).encode())
    write_output_card(store)
    assert f"| `0123456789abcdef` ({source}) |" in store.read_bytes("README.md").decode()


def test_text_of_the_data_is_no_markup(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "out")
    fill(store, [caption("a", model="m | `x` <img src=x>\n# big", prompt_hash="a`b|c")])
    write_output_card(store)
    card = (tmp_path / "out" / "README.md").read_text()
    assert r"| m \| \`x\` &lt;img src=x\> \# big |" in card
    assert "# big\n" not in card.replace(r"\# big", "")


def test_duckdb_reads_the_folder(store: TableStore, tmp_path: Path) -> None:
    exported(store, "hf", tmp_path / "hub")
    found = duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/hub/data/*/*.parquet'")
    assert found.fetchall() == [(3,)]

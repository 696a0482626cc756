"""Files for others' tools beside the fused tables."""

from __future__ import annotations

import csv
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rayjob.fuse import export
from rayjob.output.store import TableStore
from rayjob.prepare import Prepared, prepare
from rayjob.settings.loading import read_config
from schemas.config import FuseConfig
from schemas.tables import CaptionRow, captions_of, results_table
from tests.support.jobs import ROOT
from tests.support.outputs import caption, together

TRICKY = 'He says "no", then\nleaves; é 犬'


def prepared(output: Path | str, task: str = "t2v", **flags: Any) -> Prepared:
    return prepare(
        read_config(
            FuseConfig,
            str(ROOT / f"configs/demo-{task}.yaml"),
            flags={
                "input": "s3://anything/at-all",
                "output": str(output),
                "recipe.prompt_file": str(ROOT / f"tinyworld/prompts/{task}.txt"),
                "engine.model": str(ROOT / "models/tiny-omni"),
                **flags,
            },
        )
    )


def fuse(output: Path, rows: list[CaptionRow], *, task: str = "t2v", run_id: str = "r1") -> None:
    table = captions_of(together(results_table(row.video_id, captions=[row]) for row in rows))
    path = f"fused/task={task}/run_id={run_id}/part-00000.parquet"
    TableStore(output).write_table(path, table)


def test_nothing_is_written_unasked(tmp_path: Path) -> None:
    fuse(tmp_path, [caption("a")])
    export(prepared(tmp_path))
    assert not (tmp_path / "exports").exists()


def test_the_csv_of_skycaptioner(tmp_path: Path) -> None:
    fuse(tmp_path, [caption("a"), caption("b", caption=TRICKY, uri="/videos/b, 2.mp4")])
    fuse(tmp_path, [caption("c")], run_id="r2")
    fuse(tmp_path, [caption("d")], task="i2v")
    export(prepared(tmp_path, csv=True))
    with (tmp_path / "exports/t2v_fusion_caption.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"path": "s3://videos/a", "t2v_fusion_caption": "This is a."},
        {"path": "/videos/b, 2.mp4", "t2v_fusion_caption": TRICKY},
        {"path": "s3://videos/c", "t2v_fusion_caption": "This is c."},
    ]
    frame = pd.read_csv(tmp_path / "exports/t2v_fusion_caption.csv")
    assert frame["t2v_fusion_caption"].to_list()[1] == TRICKY


def test_the_column_names_the_task(tmp_path: Path) -> None:
    fuse(tmp_path, [caption("d")], task="i2v")
    export(prepared(tmp_path, "i2v", csv=True))
    text = (tmp_path / "exports/i2v_fusion_caption.csv").read_text()
    assert text == "path,i2v_fusion_caption\ns3://videos/d,This is d.\n"


@pytest.mark.parametrize("status", ["invalid", "truncated"])
def test_captions_that_break_a_rule_are_not_exported(tmp_path: Path, status: Any) -> None:
    fuse(tmp_path, [caption("a"), caption("b", caption_status=status)])
    export(prepared(tmp_path, csv=True, export_jsonl=True))
    assert "videos/b" not in (tmp_path / "exports/t2v_fusion_caption.csv").read_text()
    assert "videos/b" not in (tmp_path / "exports/t2v.jsonl").read_text()
    assert "videos/a" in (tmp_path / "exports/t2v.jsonl").read_text()


def test_an_export_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "exports/t2v_fusion_caption.csv"
    fuse(tmp_path, [caption("a"), caption("b")])
    export(prepared(tmp_path, csv=True))
    fuse(tmp_path, [caption("c")])
    export(prepared(tmp_path, csv=True))
    assert path.read_text().splitlines()[1:] == ["s3://videos/c,This is c."]


def test_without_any_caption_the_csv_is_a_header(tmp_path: Path) -> None:
    export(prepared(tmp_path, csv=True))
    text = (tmp_path / "exports/t2v_fusion_caption.csv").read_text()
    assert text == "path,t2v_fusion_caption\n"


def test_conversations_for_instruction_tuning(tmp_path: Path) -> None:
    fuse(tmp_path, [caption(f"{n}", caption=f"{TRICKY} {n}") for n in range(40)])
    export(prepared(tmp_path, export_jsonl=True))
    data = (tmp_path / "exports/t2v.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in data.splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(f"{n}" for n in range(40))
    requests = files("rayjob.recipes").joinpath("prompts", "requests.txt").read_text().splitlines()
    asked = set()
    for line in lines:
        user, assistant = line["messages"]
        assert (line["video"], line["duration_sec"]) == (f"s3://videos/{line['id']}", 2.5)
        assert assistant == {"role": "assistant", "content": f"{TRICKY} {line['id']}"}
        assert user["role"] == "user"
        place, request = user["content"].split("\n")
        assert place == "<video>" and request in requests
        asked.add(request)
    assert asked == set(requests), "all requests are used"
    export(prepared(tmp_path, export_jsonl=True))
    assert (tmp_path / "exports/t2v.jsonl").read_text("utf-8") == data


def test_two_fusions_of_one_task_have_files_of_their_own(tmp_path: Path) -> None:
    fuse(tmp_path, [caption("a")])
    fuse(tmp_path, [caption("b")], task="t2v-short")
    for name in (None, "t2v-short"):
        export(prepared(tmp_path, csv=True, **{"name": name}))
    for name, video in (("t2v", "a"), ("t2v-short", "b")):
        lines = (tmp_path / f"exports/{name}_fusion_caption.csv").read_text("utf-8").splitlines()
        assert lines == ["path,t2v_fusion_caption", f"s3://videos/{video},This is {video}."]

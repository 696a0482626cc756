"""Files for others' tools beside the fused tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rayjob.evaluation.inputs import Item
from rayjob.evaluation.scores import ScoreStore
from rayjob.output.store import TableStore
from rayjob.recipes.material import Material
from rayjob.run.job import export
from rayjob.run.prepare import Prepared, prepare
from rayjob.settings.loading import read_config
from schemas.config import FuseConfig, JobConfig
from schemas.recipe import Video
from schemas.tables import CaptionRow, captions_of, results_table
from tests.support.jobs import ROOT
from tests.support.outputs import caption, together
from tinyworld.tasks import structured_answer
from tinyworld.world import sample_scenes

TRICKY = 'He says "no", then\nleaves; é 犬'


def prepared(output: Path, task: str = "t2v", rows: Sequence[str] = (), **flags: Any) -> Prepared:
    """A fusion of a CSV with these rows, else of one whose video is in no table."""
    table = output / "given.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text("\n".join(rows or ["path,structural_caption", "s3://other/video,{}"]))
    return prepare(
        read_config(
            FuseConfig,
            str(ROOT / f"configs/demo-{task}.yaml"),
            flags={
                "input": str(table),
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


def test_the_csv_has_the_inputs_rows_in_their_order(tmp_path: Path) -> None:
    """As the published script leaves them: its columns, and one more."""
    fuse(tmp_path, [caption(f"videos/{name}") for name in ("a", "b", "c")])
    fuse(tmp_path, [caption("videos/early", metadata='{"likes": 3}')], run_id="r0")
    rows = [
        "index,path,structural_caption,source",
        '7,s3://videos/c,"{""subjects"": []}",x',
        "3,s3://videos/a,{},",
        "5,s3://videos/failed,{},y",
        "3,s3://videos/a,{},again",
    ]
    export(prepared(tmp_path, rows=rows, csv=True))
    text = (tmp_path / "exports/t2v_fusion_caption.csv").read_text("utf-8")
    assert text.splitlines() == [
        "index,path,structural_caption,source,likes,t2v_fusion_caption",
        '7,s3://videos/c,"{""subjects"": []}",x,,This is videos/c.',
        "3,s3://videos/a,{},,,This is videos/a.",
        "3,s3://videos/a,{},again,,This is videos/a.",
        # Of earlier runs, and not among the inputs.
        ",s3://videos/videos/early,,,3,This is videos/early.",
        ",s3://videos/videos/b,,,,This is videos/b.",
    ]


@pytest.mark.parametrize("task", ["t2v", "i2v"])
def test_five_rows_as_the_published_scripts_pass_them_on(tmp_path: Path, task: str) -> None:
    """From the table that the captioner leaves to the one that the fusion leaves."""
    table = pd.DataFrame(
        {
            "path": [f"s3://videos/{number}.mp4" for number in range(5)],
            "structural_caption": [
                json.dumps(structured_answer(scene)) for scene in sample_scenes(5, seed=3)
            ],
            "num_frames": [97, 121, 97, 145, 60],
        }
    )
    run = prepared(tmp_path, task, rows=table.to_csv(index=False).splitlines(), csv=True)
    given = [
        Material.read(
            Video(video_id=each.video_id, uri=each.uri, metadata=None, material=each.material)
        )
        for each in run.inputs()
    ]
    captions = [each.video_caption().caption for each in given]
    assert captions == table["structural_caption"].to_list()
    fuse(tmp_path, [caption(f"videos/{number}.mp4") for number in range(5)], task=task)
    export(run)
    left = pd.read_csv(tmp_path / f"exports/{task}_fusion_caption.csv")
    told = [f"This is videos/{number}.mp4." for number in range(5)]
    pd.testing.assert_frame_equal(left, table.assign(**{f"{task}_fusion_caption": told}))


def test_a_column_that_is_there_is_written_anew(tmp_path: Path) -> None:
    fuse(tmp_path, [caption("videos/a")])
    rows = ["t2v_fusion_caption,path,structural_caption", "old,s3://videos/a,{}"]
    export(prepared(tmp_path, rows=rows, csv=True))
    text = (tmp_path / "exports/t2v_fusion_caption.csv").read_text("utf-8")
    assert text.splitlines() == [
        "path,structural_caption,t2v_fusion_caption",
        "s3://videos/a,{},This is videos/a.",
    ]


@pytest.mark.parametrize(
    ("recipe", "column"), [("structured", "structural_caption"), ("omni", "caption")]
)
def test_the_csv_of_a_captioning(tmp_path: Path, recipe: str, column: str) -> None:
    """What the fusion of SkyCaptioner reads: the whole way from CSV to CSV."""
    table = tmp_path / "videos.csv"
    table.write_text("path,likes\ns3://videos/b.mp4,1\ns3://videos/a.mp4,2\n")
    rows = [caption("videos/a.mp4"), caption("videos/b.mp4"), caption("c", level="clip")]
    made = captions_of(together(results_table(row.video_id, captions=[row]) for row in rows))
    TableStore(tmp_path).write_table(f"captions/recipe={recipe}/run_id=r1/a.parquet", made)
    flags = {
        "input": str(table),
        "output": str(tmp_path),
        "recipe.name": recipe,
        "csv": True,
        "engine.model": str(ROOT / "models/tiny-omni"),
    }
    export(prepare(read_config(JobConfig, None, flags=flags)))
    assert (tmp_path / f"exports/{recipe}.csv").read_text().splitlines() == [
        f"path,likes,{column}",
        "s3://videos/b.mp4,1,This is videos/b.mp4.",
        "s3://videos/a.mp4,2,This is videos/a.mp4.",
    ]


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


def test_rows_for_training_as_published(tmp_path: Path) -> None:
    """The keys of UGC-VideoCaptioner's files: five rows of SFT, and with two samples of GRPO."""
    rows = [caption(f"{n}", sample=sample) for n in range(5) for sample in (0, 1)]
    made = [results_table(f"{n}", captions=rows[2 * n : 2 * n + 2]) for n in range(5)]
    TableStore(tmp_path).write_table(
        "fused/task=t2v/run_id=r1/part-00000.parquet", captions_of(together(made))
    )
    export(prepared(tmp_path, export_jsonl=True))
    for file, roles in (("t2v", ["user", "assistant"]), ("t2v-groups", ["user"])):
        text = (tmp_path / f"exports/{file}.jsonl").read_text("utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["videos"] for line in lines] == [[f"s3://videos/{n}"] for n in range(5)]
        for line in lines:
            assert [each["role"] for each in line["messages"]] == roles
            assert line["messages"][0]["content"].startswith("<video>")
            said = line["messages"][1]["content"] if file == "t2v" else line["solution"]
            assert said == f"This is {line['id']}."


def test_two_fusions_of_one_task_have_files_of_their_own(tmp_path: Path) -> None:
    fuse(tmp_path, [caption("a")])
    fuse(tmp_path, [caption("b")], task="t2v-short")
    for name in (None, "t2v-short"):
        export(prepared(tmp_path, csv=True, **{"name": name}))
    for name, video in (("t2v", "a"), ("t2v-short", "b")):
        lines = (tmp_path / f"exports/{name}_fusion_caption.csv").read_text("utf-8").splitlines()
        assert lines == ["path,t2v_fusion_caption", f"s3://videos/{video},This is {video}."]


def test_groups_and_preferences_of_samples(tmp_path: Path) -> None:
    """For the second stage of UGC-VideoCaptioner's training: rewards by length and by grades."""
    right, short = " ".join(["word"] * 20), " ".join(["short"] * 10)
    texts = [short, right, " ".join(["long"] * 80)]
    rows = [caption("a", sample=number, caption=text) for number, text in enumerate(texts)]
    rows += [caption("b", sample=number, caption=right) for number in range(2)]
    made = captions_of(
        together([results_table("a", captions=rows[:3]), results_table("b", captions=rows[3:])])
    )
    TableStore(tmp_path).write_table("fused/task=t2v/run_id=r1/part-00000.parquet", made)
    export(prepared(tmp_path, export_jsonl=True, csv=True, reward_words=20))

    def lines(name: str) -> list[dict[str, Any]]:
        path = tmp_path / f"exports/{name}.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    assert [line["messages"][1]["content"] for line in lines("t2v")] == [right, right]
    first, *_ = lines("t2v-groups")
    assert first["videos"] == ["s3://videos/a"] and first["solution"] == right
    assert first["messages"] == [lines("t2v")[0]["messages"][0]]
    assert [(each["sample"], each["reward"]) for each in first["samples"]] == [
        (1, 1.0), (0, 0.5), (2, 0.0)
    ]  # fmt: skip
    assert {each["reward_rubric"] for each in first["samples"]} == {None}
    (pair,) = lines("t2v-preferences")
    assert pair["messages"][1]["content"] == right
    assert pair["rejected_response"] == texts[2], "and none of two that are alike"
    table = (tmp_path / "exports/t2v_fusion_caption.csv").read_text().splitlines()
    assert table[1:] == [f"s3://videos/a,{short}", f"s3://videos/b,{right}"]

    # A judge's grades of the short one, as the evaluation keeps them.
    item = Item(video_id="a", text=short)
    grades = [item.score(name, 5.0) for name in ("visual", "audio", "details")]
    ScoreStore(TableStore(tmp_path), suite="ugc", run_id="r1").finish(grades)
    export(prepared(tmp_path, export_jsonl=True, reward_words=20))
    best = next(each for each in lines("t2v-groups")[0]["samples"] if each["sample"] == 0)
    assert (best["reward_length"], best["reward_rubric"], best["reward"]) == (0.5, 1.0, 0.75)

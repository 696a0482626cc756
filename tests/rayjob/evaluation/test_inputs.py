"""Captions from our tables, from published scripts' files, and from any table; local and S3."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import s3fs

from rayjob.evaluation.config import Selection
from rayjob.evaluation.inputs import Item, load_items, one_per_video
from rayjob.evaluation.labels import load_quiz, load_references
from rayjob.output.store import TableStore
from schemas.errors import SourceError
from schemas.media import StorageOptions
from schemas.tables import CaptionRow, captions_of, results_table
from tests.support import services
from tests.support.evaluations import evaluate, jsonl
from tests.support.judge_server import JudgeServer, Reply
from tests.support.outputs import caption, together
from tinyworld.s3 import S3Gateway

STORAGE = StorageOptions()


def write_run(store: TableStore, recipe: str, run_id: str, rows: list[CaptionRow]) -> None:
    """Captions where the job writes them."""
    table = captions_of(together(results_table(row.video_id, captions=[row]) for row in rows))
    store.write_table(f"captions/recipe={recipe}/run_id={run_id}/{recipe}-0.parquet", table)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two runs of omni, one of clips, one fused."""
    store = TableStore(tmp_path / "out")
    write_run(store, "omni", "run-1", [caption("a"), caption("b", duration_sec=400.0)])
    write_run(store, "omni", "run-2", [caption("c", caption_status="truncated")])
    clips = [caption("a", level="clip", index=at) for at in range(3)]
    write_run(store, "clips", "run-1", clips)
    fused = captions_of(together([results_table("a", captions=[caption("a", caption="Fused.")])]))
    store.write_table("fused/task=t2v/run_id=fuse-1/x.parquet", fused)
    return tmp_path / "out"


def loaded(where: Path, **selection: Any) -> list[Item]:
    return load_items(str(where), Selection(**selection), STORAGE)


def test_our_tables(output: Path) -> None:
    kinds = [(item.video_id, item.recipe, item.run_id, item.level) for item in loaded(output)]
    assert kinds == [
        ("a", "clips", "run-1", "clip"),
        ("a", "clips", "run-1", "clip"),
        ("a", "clips", "run-1", "clip"),
        ("a", "omni", "run-1", "video"),
        ("a", "t2v", "fuse-1", "video"),
        ("b", "omni", "run-1", "video"),
        ("c", "omni", "run-2", "video"),
    ]
    (item,) = loaded(output, recipe="omni", run_id="run-2")
    assert (item.status, item.model, item.duration_sec) == ("truncated", "tiny", 2.5)
    assert [item.text for item in loaded(output, recipe="t2v")] == ["Fused."]
    assert len({item.video_id for item in loaded(output, limit=2)}) == 2


def test_a_video_is_judged_once(output: Path) -> None:
    with pytest.raises(
        SourceError, match="--run-id run-1; --recipe omni --run-id run-2; --recipe t2v"
    ):
        one_per_video(loaded(output), Selection())
    chosen = one_per_video(loaded(output, recipe="omni"), Selection())
    assert [item.video_id for item in chosen] == ["a", "b", "c"]
    with pytest.raises(SourceError, match=r"level frame; pass --level \(clip, video\)"):
        one_per_video(loaded(output), Selection(level="frame"))


def test_published_files(tmp_path: Path) -> None:
    ugc = jsonl(tmp_path / "ugc.jsonl", [{"video_id": "v1", "caption": "One."}])
    (item,) = loaded(ugc)
    assert (item.video_id, item.text, item.structured) == ("v1", "One.", None)
    sky = tmp_path / "sky.csv"
    with sky.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "structural_caption", "t2v_fusion_caption"])
        writer.writerow(["clips/1.mp4", '{"shot_type": "close_up"}', "A long,\ntext. " * 20_000])
    (item,) = loaded(sky)
    assert (item.video_id, item.text) == ("clips/1.mp4", '{"shot_type": "close_up"}')
    assert item.structured == item.text
    (item,) = loaded(sky, text_column="t2v_fusion_caption")
    assert item.text.startswith("A long,\ntext.") and len(item.text) > 131_072


def test_any_table_by_its_columns(tmp_path: Path) -> None:
    table = pa.table({"clip_name": ["x", "y"], "told": ["One.", None], "duration": [3.5, None]})
    folder = tmp_path / "theirs" / "model=a"
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "data.parquet")
    for where in (tmp_path / "theirs", folder / "data.parquet"):
        items = loaded(where, id_column="clip_name", text_column="told")
        assert [(item.video_id, item.text, item.duration_sec) for item in items] == [
            ("x", "One.", 3.5),
            ("y", "", None),
        ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "none.jsonl cannot be read"),
        ("x.jsonl", '{"video_id": "a"}\n', "no column for the caption .*it has video_id"),
        ("x.jsonl", '{"caption": "a"}\n', "no column for the video's id"),
        ("x.jsonl", '{"video_id": "", "caption": "a"}\n', "row 1: the column 'video_id' is empty"),
        ("x.jsonl", '{"video_id": "a",\n', "line 1: malformed JSON"),
        ("x.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("x.csv", "video_id,caption\na\n", r"row 1 \(line 2\): 1 cells"),
        ("x.jsonl", "[" * 100_000, "line 1: malformed JSON"),
        ("x.jsonl", '{"video_id": "a", "caption": "\\ud800"}\n', "line 1: half of a surrogate"),
        ("x.csv", "video_id,caption\na,\xff\n".encode("latin-1"), "is not UTF-8"),
        ("x.parquet", "no parquet", "not a readable Parquet file"),
        ("x.jsonl", "", "x.jsonl has no rows"),
        ("folder", None, "holds no captions"),
    ],
)
def test_unusable_inputs(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        services.write_files(tmp_path, {name: content})
    with pytest.raises(SourceError, match=message):
        loaded(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "needs a judge"),
        (("--judge-url", "http://x"), "--judge-url needs --judge-model"),
        (("--judge-url", "x", "--judge-model", "m"), "needs --labels"),
        (("--judge-model", "m", "--labels", "none.csv"), "none.csv cannot be read"),
        (("--suite", "long", "--judge-engine", "no/such/folder"), "no folder no/such/folder"),
        (("--suite", "structured"), "needs --labels"),
        (("--suite", "long"), "needs --labels .* a judge .* or both"),
        (("--suite", "nonsense"), "suite: Input should be"),
        (("--buckets", "5,1"), "rising numbers"),
        (("--questions", "q.csv", "--suite", "long"), "belongs to --suite ugc"),
        (("--run-id", "7"), "begins with a letter"),
        (("--set", "judge.concurency=3"), "judge.concurency: there is no such setting"),
        (("--config", "none.yaml"), "none.yaml cannot be read"),
    ],
)
def test_wrong_usage_is_exit_code_2(output: Path, arguments: tuple[str, ...], message: str) -> None:
    import re

    suite = () if "--suite" in arguments else ("--suite", "ugc")
    done = evaluate("--input", output, "--recipe", "omni", *suite, *arguments)
    assert done.code == 2
    assert re.search(message, " ".join(done.stderr.split())), done.stderr
    assert done.stdout == ""


def test_labels_of_other_videos_are_an_error(output: Path, tmp_path: Path) -> None:
    labels = jsonl(tmp_path / "l.jsonl", [{"video_id": "a.mp4", "caption": "One."}])
    done = evaluate("--suite", "long", "--input", output, "--recipe", "omni", "--labels", labels)
    assert done.code == 2
    assert "a caption is of 'a', a label of 'a.mp4'" in done.stderr


def test_a_file_needs_a_place_for_its_scores(tmp_path: Path) -> None:
    done = evaluate("--input", jsonl(tmp_path / "x.jsonl", [{"id": "a", "text": "One."}]))
    assert done.code == 2 and "pass --scores" in done.stderr


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": ""}, "no answer"),
        ({"type": "smell"}, "'smell' is not one of audio, visual, joint"),
        ({"options": "[1,"}, "options are not a JSON list"),
        ({"options": ["one"]}, "at least two"),
        ({"options": ["one", "two"], "answer": "C"}, "'C' is not one of the options"),
    ],
)
def test_questions_must_be_complete(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    good = {"video_id": "v", "question": "Which?", "answer": "two", "type": "audio"}
    path = jsonl(tmp_path / "q.jsonl", [good | row])
    with pytest.raises(SourceError, match=message):
        load_quiz(str(path), STORAGE)


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["one", "two"], "two"),
        (["A. one", "B. two"], "B"),
        ("A) one\nB) two", "B. two"),
        ('["one", "two"]', "b"),
    ],
)
def test_answers_to_choices_are_letters(tmp_path: Path, options: Any, answer: str) -> None:
    row = {"video_id": "v", "question": "?", "answer": answer, "type": "joint", "options": options}
    (quiz,) = load_quiz(str(jsonl(tmp_path / "q.jsonl", [row])), STORAGE)
    assert (quiz.answer, quiz.options) == ("B", ("one", "two"))


def test_a_label_stands_once(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "l.jsonl", [{"video_id": "a", "caption": "One."}] * 2)
    with pytest.raises(SourceError, match="the video a stands twice"):
        load_references(str(path), column=None, storage=STORAGE)


def test_on_s3(gateway: S3Gateway, gateway_bucket: str) -> None:
    """Captions, labels and scores in a bucket; then the scores are all there is to read."""
    url = f"s3://{gateway_bucket}/out"
    store = TableStore(url)
    write_run(store, "omni", "run-1", [caption(f"v{at}") for at in range(3)])
    labels = "".join(
        json.dumps({"video_id": f"v{at}", "caption": "Truth.", "duration": 310 + at}) + "\n"
        for at in range(3)
    )
    store.write_bytes("labels.jsonl", labels.encode())
    with JudgeServer(lambda asked: Reply('{"visual": 2, "audio": 2, "details": 2}')) as server:
        arguments = (
            "--suite", "ugc", "--input", url, "--labels", f"{url}/labels.jsonl",
            "--judge-model", "j",
        )  # fmt: skip
        done = evaluate(*arguments, "--judge-url", server.url)
        assert done.code == 0, done.stderr
        assert done.values()["average"] == 40.0
    # Without an endpoint the judge's stored scores serve.
    assert evaluate(*arguments).values() == done.values()
    filesystem = s3fs.S3FileSystem(use_listings_cache=False)
    found = ds.dataset(
        f"{gateway_bucket}/out/scores", filesystem=filesystem, format="parquet", partitioning="hive"
    ).to_table()
    assert found.num_rows == 9 and set(found["run_id"].to_pylist()) == {"run-1"}
    stored = store.read_bytes("scores/_evaluations/suite=ugc/run_id=run-1/evaluation.json")
    assert json.loads(stored)["figures"] == done.result["figures"]


def test_one_of_several_samples_is_judged(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "out")
    rows = [caption("v", sample=number, caption="word " * (number + 1)) for number in range(3)]
    write_run(store, "omni", "run-1", rows)
    labels = jsonl(tmp_path / "l.jsonl", [{"video_id": "v", "caption": "word word"}])
    arguments = ("--suite", "long", "--input", tmp_path / "out", "--labels", labels)
    done = evaluate(*arguments)
    assert done.code == 2 and "--sample 2" in " ".join(done.stderr.split())
    assert evaluate(*arguments, "--sample", "1").values()["length"] == 100.0

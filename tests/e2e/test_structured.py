"""Structured captions and their fusion through the whole job, on clips whose content is known."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from rayjob.recipes.fusion.structured_text import read_structured
from rayjob.recipes.fusion.texts import TextToVideo, with_camera
from schemas.structured import StructuredCaption
from tests.support import jobs
from tinyworld import tasks
from tinyworld.demo import render_clips
from tinyworld.measure import mark_structured
from tinyworld.world import Scene, sample_scenes

STRUCTURED = ("--config", "configs/demo-structured.yaml")
T2V = ("--config", "configs/demo-t2v.yaml")
I2V = ("--config", "configs/demo-i2v.yaml")

CLIPS = 60
SHARD_ROWS = 6
BEGINNING = '{"subjects":['


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("structured")


@pytest.fixture(scope="module")
def scenes(work: Path) -> dict[str, Scene]:
    """video_id -> what the clip shows."""
    return render_clips(sample_scenes(CLIPS, seed=41), work / "in")


@pytest.fixture(scope="module")
def output(work: Path, scenes: dict[str, Scene]) -> Path:
    """Where all clips are captioned."""
    done = jobs.caption(*STRUCTURED, "--input", work / "in", "--output", work / "out")
    assert done.code == 0, done.stderr
    assert done.summary["videos_captioned"] == CLIPS
    return work / "out"


def by_id(output: Path, table: str) -> dict[str, dict[str, Any]]:
    rows = jobs.read(output, table)
    found = {row["video_id"]: row for row in rows}
    assert len(found) == len(rows), "a key stands twice"
    return found


# ---- captions


def test_every_answer_is_a_document_of_the_schema(output: Path, scenes: dict[str, Scene]) -> None:
    rows = by_id(output, "captions")
    assert rows.keys() == scenes.keys()
    for row in rows.values():
        assert (row["caption_status"], row["status_reason"]) == ("ok", None)
        told = StructuredCaption.model_validate_json(row["caption"])
        assert row["structured"] == told.model_dump_json()
        assert row["structured_fields"] == told.model_dump()


def test_fields_are_right(output: Path, scenes: dict[str, Scene]) -> None:
    rows = by_id(output, "captions")
    marks = [mark_structured(rows[name]["structured"], scene) for name, scene in scenes.items()]
    for field in ("colour", "shape", "action", "position"):
        assert np.mean([mark[field] for mark in marks]) >= 0.9, field


def test_a_model_of_random_weights_ends_with_reasons(work: Path, scenes: dict[str, Scene]) -> None:
    done = jobs.caption(
        *STRUCTURED,
        *("--input", work / "in", "--output", work / "random", "--limit", "6"),
        *("--set", "engine.load_format=dummy", "--set", "recipe.max_attempts=2"),
    )
    assert done.code == 0, done.stderr
    assert (done.summary["videos_captioned"], done.summary["videos_failed"]) == (6, 0)
    for row in jobs.read(work / "random", "captions"):
        # Guided to its last token: a document, or the beginning of one, perhaps of white space.
        written = "".join(row["caption"].split())[: len(BEGINNING)]
        assert written and BEGINNING.startswith(written)
        if row["caption_status"] == "ok":
            StructuredCaption.model_validate_json(row["structured"])
        else:
            assert row["caption_status"] in ("truncated", "invalid")
            assert row["status_reason"] and row["attempts"] == 2
            assert (row["structured"], row["structured_fields"]) == (None, None)


# ---- t2v


@pytest.fixture(scope="module")
def fused(output: Path) -> dict[str, dict[str, Any]]:
    """Rows of t2v, out of a run that was killed in its middle and the same command again."""
    arguments = [
        *(*T2V, "--input", output),
        # Slow and in small steps, so that there is a middle to be killed in.
        *("--set", f"shards.rows={SHARD_ROWS}", "--set", "engine.videos_in_flight=1"),
    ]
    jobs.kill(
        *arguments,
        once=lambda: len(list(output.glob("fused/*/*/*.parquet"))) >= 2,
        module=jobs.FUSE,
    )
    kept = by_id(output, "fused")
    assert 2 * SHARD_ROWS <= len(kept) < CLIPS

    done = jobs.fuse(*arguments)
    assert done.code == 0, done.stderr
    rows = by_id(output, "fused")
    assert all(rows[name] == row for name, row in kept.items()), "a rerun touched what was written"
    assert done.summary["videos_skipped"] == len(kept)
    assert done.summary["videos_captioned"] == CLIPS - len(kept)
    return rows


def test_kill_and_rerun_lose_nothing(
    output: Path, scenes: dict[str, Scene], fused: dict[str, dict[str, Any]]
) -> None:
    failed = by_id(output, "failures")
    assert not failed, "every clip has a subject, so each can be fused"
    assert fused.keys() == scenes.keys()
    assert {row["task"] for row in fused.values()} == {"t2v"}


def test_fused_from_the_fields_that_the_rules_leave(
    output: Path, fused: dict[str, dict[str, Any]]
) -> None:
    captions = by_id(output, "captions")
    dropped = 0
    for name, row in fused.items():
        read = read_structured(captions[name]["structured"])
        fields = json.loads(row["details"])["fields"]
        assert fields == TextToVideo().fields(read, name)
        (thing,) = fields["subjects"]
        assert {"name", "action", "expression"} <= thing.keys()
        assert not {"TYPES", "is_main_subject"} & thing.keys()
        assert "camera_motion" not in fields
        dropped += not {"appearance", "position"} <= thing.keys() or "lighting" not in fields
    assert 0 < dropped < CLIPS


def test_the_text_tells_the_fields_and_ends_with_the_camera(
    output: Path, fused: dict[str, dict[str, Any]]
) -> None:
    captions = by_id(output, "captions")
    right = []
    for name, row in fused.items():
        camera = captions[name]["structured_fields"]["camera_motion"]
        sentence = f" {camera[:1].upper()}{camera[1:]}."
        assert row["caption"].endswith(sentence)
        fields = json.loads(row["details"])["fields"]
        right.append(row["caption"].removesuffix(sentence) == tasks.t2v(fields).answer)
    assert np.mean(right) >= 0.9


# ---- i2v, from another script's CSV

GOOD = 6


def broken(text: str) -> dict[str, tuple[str, str | None]]:
    """name -> a row that is not as it should be, and why it fails, None where it is mended."""
    document = json.loads(text)
    (thing,) = document["subjects"]
    return {
        "unterminated": (text[: text.index('"lighting"') + 14], None),
        "trailing": (f"{text}\n\nI hope that this helps.", None),
        "leading": (f"Sure, here it is: {text}", None),
        "quotes": (repr(document), None),
        "fenced": (f"```json\n{text}\n```", None),
        "repeated": (text.replace('"action"', '"action": "sits", "action"'), None),
        "twice": (f"{text}\n{text}", None),
        "empty": ("", "is empty"),
        "prose": ("A circle moves left.", "not a JSON object"),
        "array": ("[1, 2, 3]", "not a JSON object"),
        "nobody": (json.dumps(document | {"subjects": []}), "no subject has an action"),
        "cut short": ('{"subjects": [{"TYPES": {"ty', "tells nothing"),
        "idle": (
            json.dumps(document | {"subjects": [thing | {"action": ""}]}),
            "no subject has an action",
        ),
    }


def test_a_csv_with_broken_rows(work: Path) -> None:
    documents = {
        f"good-{number}": tasks.structured(scene).answer
        for number, scene in enumerate(sample_scenes(GOOD, seed=43))
    }
    bad = broken(documents["good-0"])
    texts = {**documents, **{name: text for name, (text, _) in bad.items()}}
    # Mixed, so that a broken row has good ones on both sides.
    order = sorted(texts, key=lambda name: name[::-1])
    table = work / "captions.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "structural_caption", "source"])
        writer.writerows([f"/videos/{name}.mp4", texts[name], "a script"] for name in order)

    done = jobs.fuse(*I2V, "--input", table, "--output", work / "i2v", "--csv")
    assert done.code == 0, done.stderr
    reasons = {f"videos/{name}.mp4": reason for name, (_, reason) in bad.items()}
    fused, failed = by_id(work / "i2v", "fused"), by_id(work / "i2v", "failures")
    assert failed.keys() == {name for name, reason in reasons.items() if reason}
    assert fused.keys() == {f"videos/{name}.mp4" for name in texts} - failed.keys()
    for name, row in failed.items():
        assert (row["error"], row["stage"]) == ("UnusableMaterialError", "caption")
        assert reasons[name] in row["message"]
    right = []
    for name, row in fused.items():
        details = json.loads(row["details"])
        assert details.get("repaired", False) == (name in reasons and "repeated" not in name)
        (thing,) = details["fields"]["subjects"]
        assert thing.keys() == {"name", "action", "expression"}
        assert json.loads(row["metadata"]) == {"source": "a script"}
        camera = read_structured(texts[Path(name).stem]).camera_motion
        expected = with_camera(tasks.i2v(details["fields"]).answer, camera)
        right.append(row["caption"] == expected)
    assert np.mean(right) >= 0.9

    with (work / "i2v/exports/i2v_fusion_caption.csv").open(newline="") as file:
        exported = list(csv.DictReader(file))
    assert {row["path"]: row["i2v_fusion_caption"] for row in exported} == {
        row["uri"]: row["caption"] for row in fused.values() if row["caption_status"] == "ok"
    }
    assert len(exported) >= 0.9 * len(fused)


# ---- other readers


def test_duckdb_joins_on_the_key_and_reaches_into_fields(
    output: Path, fused: dict[str, dict[str, Any]]
) -> None:
    page = (jobs.ROOT / "docs/structured.md").read_text("utf-8")
    (query,) = re.findall(r"```sql\n(.*?);\n```", page, re.DOTALL)
    told = duckdb.sql(query.replace("OUT/", f"{output}/").replace("LIMIT 5", ""))
    assert told.columns == ["video_id", "shot", "subject", "caption"]
    fields = {name: row["structured_fields"] for name, row in by_id(output, "captions").items()}
    assert told.fetchall() == [
        (
            name,
            fields[name]["shot_type"],
            fields[name]["subjects"][0]["TYPES"]["sub_type"],
            fused[name]["caption"],
        )
        for name in sorted(fused)
    ]


def test_pandas_joins_on_the_key(output: Path, fused: dict[str, dict[str, Any]]) -> None:
    captions = pd.read_parquet(output / "captions")
    joined = captions.merge(
        pd.read_parquet(output / "fused"), on="video_id", suffixes=("", "_fused"), validate="1:1"
    )
    assert dict(zip(joined["video_id"], joined["caption_fused"], strict=True)) == {
        name: row["caption"] for name, row in fused.items()
    }
    shots = joined["structured_fields"].map(lambda fields: fields["shot_type"])
    assert set(shots) <= {"close_up", "long_shot"}

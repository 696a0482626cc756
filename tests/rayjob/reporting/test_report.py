"""The command, and what the page says of runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from actors.confinement.sandbox import DecodeSandbox
from actors.engine.stats import EngineStats
from actors.monitor import Snapshot
from rayjob.cli import app
from rayjob.counts import Counts
from rayjob.evaluation.fields import field_of
from rayjob.evaluation.measures import Figure
from rayjob.evaluation.outcome import Evaluation, GroupFigures, Unscored, save
from rayjob.output.store import TableStore
from rayjob.output.timeline import Timeline
from rayjob.reporting.pictures import pictures_of, take_pictures, watching
from rayjob.reporting.runs import find_runs, read_config
from rayjob.settings.redaction import HIDDEN
from schemas.blocks import video_of
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from tests.support.outputs import caption, failure
from tests.support.reports import make_run, page_of, render


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "out")


def report(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_command_writes_the_page_of_the_newest_run(store: TableStore) -> None:
    make_run(store, "r1", captions={"omni": [caption("old.mp4")]})
    make_run(store, "r2", captions={"omni": [caption("new.mp4")]})
    done = report("--input", store.url, "--no-pictures")
    assert done.exit_code == 0, done.output
    path = done.stdout.splitlines()[-1]
    assert path.endswith("runs/r2/report.html")
    page = store.read_bytes("runs/r2/report.html").decode()
    assert "<h3>new.mp4</h3>" in page
    assert "old.mp4" not in page


def test_command_compares_runs(store: TableStore, tmp_path: Path) -> None:
    make_run(store, "r1", captions={"omni": [caption("a.mp4", caption="The first says this.")]})
    make_run(store, "r2", captions={"omni": [caption("a.mp4", caption="The second says that.")]})
    html = tmp_path / "page.html"
    done = report("-i", store.url, "--run-id", "r1", "--run-id", "r2", "--html", html,
                  "--no-pictures")  # fmt: skip
    assert done.exit_code == 0, done.output
    page = html.read_text("utf-8")
    assert page.count("<h3>a.mp4</h3>") == 1, "one card for the video in both runs"
    assert "The first says this." in page
    assert "The second says that." in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--input"),
        (("--input", "{empty}"), "holds no run"),
        (("--input", "{out}", "--run-id", "none"), "has no run 'none'; the newest are r1"),
        (("--input", "{out}", "--input", "{empty}", "--run-id", "r1", "--run-id", "r1",
          "--run-id", "r1"), "one --run-id for each --input"),
        (("--input", "{out}", "--html", "{out}"), "cannot write"),
    ],
)  # fmt: skip
def test_usage(store: TableStore, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    make_run(store, "r1", captions={"omni": [caption("a.mp4")]})
    places = {"out": store.url, "empty": str(tmp_path / "empty")}
    done = report("--no-pictures", *(each.format(**places) for each in arguments))
    assert done.exit_code == 2
    assert said in re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", done.output))


def test_a_damaged_table_is_named(store: TableStore) -> None:
    make_run(store, "r1", captions={"omni": [caption("a.mp4")]})
    store.write_bytes("captions/recipe=omni/run_id=r1/b.parquet", b"PAR1 nothing PAR1")
    done = report("--input", store.url)
    assert done.exit_code == 2
    assert "b.parquet cannot be read" in done.output


def test_the_page_says_whose_prompt_was_asked(store: TableStore) -> None:
    row = caption("a.mp4")
    make_run(store, "r1", captions={"omni": [row]})
    assert f"{row.prompt_hash} (" not in page_of(store, "r1")
    known = {"prompt_hash": row.prompt_hash, "prompt_source": "own"}
    store.write_bytes("runs/r1/summary.json", json.dumps(known).encode())
    assert f"{row.prompt_hash} (own)" in page_of(store, "r1")


def test_a_fusion_shows_the_frames_its_captions_were_made_from(
    store: TableStore, tmp_path: Path
) -> None:
    (video,) = render(tmp_path / "videos", 1)
    row = caption("a.mp4", uri=str(video))
    plan = {"num_frames": 5, "max_pixels": 12_544}
    make_run(store, "r1", captions={"structured": [row]},
             config={"recipe": {"name": "structured", "plan": plan}})  # fmt: skip
    make_run(store, "r2", fused={"t2v": [caption("a.mp4", uri=str(video), caption="Fused.")]},
             config={"recipe": {"name": "t2v", "plan": None}, "source_recipe": None})  # fmt: skip
    page = page_of(store, "r2")
    assert page.count('alt="frame at') == 5
    assert "5 frames as the model saw them" in page
    assert "run r1: 5 frames, evenly" in page
    assert "Fused." in page
    assert row.caption in page, "beside what it was made from"
    # Where the captions lie elsewhere, the frames are merely of the video.
    other = TableStore(tmp_path / "other")
    make_run(other, "r2", fused={"t2v": [row]}, config={"recipe": {"name": "t2v"}})
    page = page_of(other, "r2")
    assert page.count('alt="frame at') == 8
    assert "as the model saw them" not in page


def test_a_report_knows_what_the_recipe_made_of_the_plan(store: TableStore) -> None:
    make_run(store, "r1", captions={"structured": [caption("a.mp4")]}, config={
        "recipe": {"name": "structured", "plan": {"num_frames": 16, "stretch_to": [360, 420]}}
    })  # fmt: skip
    (run,) = find_runs([store], ["r1"])
    assert watching(run, ()).plan.stretch_to == (360, 420)
    assert "16 frames, evenly, stretched to 360 x 420 pixels; no sound" in page_of(store, "r1")


def test_a_run_stores_what_the_recipe_made_of_the_plan(store: TableStore, tmp_path: Path) -> None:
    make_run(store, "r1", captions={"structured": [caption("a.mp4")]})
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").touch()
    # All is done, and so no engine starts.
    done = CliRunner().invoke(app, [
        "caption", "--recipe", "structured", "--model", "models/tiny-omni", "--run-id", "r2",
        "--input", str(tmp_path / "videos"), "--output", store.url,
        "--set", "recipe.options.published_size=true",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert field_of(read_config(store, "r2"), "recipe.plan.stretch_to") == [360, 420]


def test_compressed_frames_are_shown(store: TableStore, tmp_path: Path) -> None:
    (video,) = render(tmp_path / "videos", 1)
    make_run(store, "r1", captions={"clips": [caption("a.mp4", uri=str(video))]}, config={
        "recipe": {"name": "clips", "plan": {"fps": 2.0, "compress": True, "max_pixels": 12_544}}
    })  # fmt: skip
    (run,) = find_runs([store], ["r1"])
    how = watching(run, ())
    videos = {"a.mp4": (str(video), 3.0), "gone.mp4": (str(tmp_path / "gone.mp4"), None)}
    taken = dict(take_pictures(videos, how, share_of=1))
    pictures = taken["a.mp4"]
    assert len(pictures.thumbnails) == pictures.seen >= 6
    assert [frame.seconds for frame in pictures.thumbnails][:3] == pytest.approx([0, 0.5, 1])
    assert len({frame.source for frame in pictures.thumbnails}) > 3, "the shape moves"
    assert taken["gone.mp4"].problem
    assert not taken["gone.mp4"].thumbnails


def test_pictures_keep_to_their_share_of_the_page(tmp_path: Path) -> None:
    (video,) = render(tmp_path / "videos", 1)
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
        clip = video_of(sandbox.decode(str(video), SamplingPlan(num_frames=24, audio_rate=16_000)))
    all_of_them = pictures_of(clip, exact=True, most_bytes=10_000_000)
    few = pictures_of(clip, exact=True, most_bytes=30_000)
    assert len(all_of_them.thumbnails) == 24
    assert 0 < len(few.thumbnails) < 24
    assert sum(len(frame.source) for frame in few.thumbnails) <= 30_000
    assert few.seen == 24
    assert max(all_of_them.wave) > 0.01


def test_evaluation_figures(store: TableStore) -> None:
    make_run(store, "r1", captions={"omni": [caption("a.mp4")]})
    save(
        store,
        Evaluation(
            suite="ugc", run_id="r1", source=store.url, recipe="omni", model="tiny",
            judge="judge-7b", videos=12, asked=36,
            figures=[Figure(name="visual", value=73.21, low=70.5, high=75.1, n=11, unscored=1,
                            unit="%", method="judge")],
            unscored=Unscored(count=1, of=36, reasons={"no number in the answer": 1}),
            notes=["A note."],
            basic=[GroupFigures(recipe="omni", model="tiny", level="video",
                                figures=[Figure(name="words mean", value=41.5, n=12)])],
            confidence=0.95, resamples=100, seed=0,
        ),
    )  # fmt: skip
    page = re.sub(r"<[^>]*>", " ", page_of(store, "r1", pictures=False))
    page = re.sub(r"\s+", " ", page)
    assert "ugc judged by judge-7b, 12 videos" in page
    assert "visual 73.2 % 70.5 to 75.1, n = 11, 1 unscored, judge" in page
    assert "1 of 36 scores are missing: no number in the answer (1)." in page
    assert "A note." in page
    assert "omni, video" in page
    assert "words mean 41.5" in page
    make_run(store, "r2", captions={"omni": [caption("a.mp4")]})
    assert "visual" not in page_of(store, "r2", pictures=False), "another run's figures"


def test_failures_with_examples(store: TableStore) -> None:
    make_run(store, "r1", captions={"omni": [caption("a.mp4")]}, failures=[
        *(failure(f"bad{number}.mp4", message="moov atom not found") for number in range(30)),
        failure("slow.mp4", stage="decode", error="DecodeTimeoutError", message="300 s"),
    ])  # fmt: skip
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page_of(store, "r1", pictures=False)))
    assert "30 NotAVideoError open" in page
    assert page.count("moov atom not found") == 3
    assert "1 DecodeTimeoutError decode" in page
    assert "slow.mp4 300 s" in page


def test_secrets_stay_out(store: TableStore) -> None:
    make_run(store, "r1", captions={"omni": [
        caption("a.mp4", uri="https://h/a.mp4?X-Amz-Signature=s3cret1")
    ]}, config={
        "recipe": {"name": "omni"},
        "input": ["https://user:s3cret2@h/list.txt?token=s3cret3"],
        "engine": {"vllm_args": {"hf_token": "s3cret4", "api_key": "s3cret5"}},
    })  # fmt: skip
    page = page_of(store, "r1", pictures=False)
    assert "s3cret" not in page
    assert HIDDEN in page


def test_throughput_from_the_timeline(store: TableStore) -> None:
    make_run(store, "r1", captions={"omni": [caption("a.mp4")]})
    assert "Videos per second" not in page_of(store, "r1", pictures=False)
    now = [1000.0]
    timeline = Timeline(store, "r1", clock=lambda: now[0])
    for now[0], captioned in ((1000.0, 0), (1050.0, 100), (1100.0, 400)):
        counts = Counts(videos_captioned=captioned, output_tokens=captioned)
        timeline.record(counts, Snapshot(received=captioned, engines=(EngineStats(running=4),)))
    timeline.close()
    page = page_of(store, "r1", pictures=False)
    assert "decode 2, caption 2" in page
    assert "decode 6, caption 6" in page


def test_layers_that_were_refused_are_told(store: TableStore) -> None:
    make_run(store, "r1", captions={"omni": [caption("a.mp4")]})
    for refused in ({}, {"landlock": "Function not implemented"}):
        told = {"run_id": "r1", "refused_layers": refused}
        store.write_bytes("runs/r1/summary.json", json.dumps(told).encode())
        page = page_of(store, "r1", pictures=False)
        assert ("landlock Function not implemented" in page) is bool(refused)


def test_warnings_are_counted_by_kind(store: TableStore) -> None:
    odd = [
        caption("a.mp4", warnings=["the header announces 9.0 s, 8.0 s are there", "odd"]),
        caption("b.mp4", warnings=["the header announces 4.0 s, 3.5 s are there"]),
        caption("c.mp4", warnings=["the file is damaged: error at 17"]),
        caption("d.mp4"),
    ]
    make_run(store, "r1", captions={"omni": odd}, failures=[failure("e.mp4", warnings=["odd"])])
    report("--input", store.url, "--no-pictures")
    page = store.read_bytes("runs/r1/report.html").decode()
    counted = dict(
        (kind, int(count)) for count, kind in re.findall(r"<li><b>(\d+)</b> ([^<]+)</li>", page)
    )
    assert counted == {
        "the header announces N s, N s are there": 2,
        "odd": 2,
        "the file is damaged": 1,
    }


def test_tables_without_warnings_are_read_as_they_are(store: TableStore) -> None:
    make_run(store, "r1", captions={"omni": [caption("a.mp4")]}, failures=[failure("b.mp4")])
    for entry in [*store.list("captions"), *store.list("failures")]:
        path = Path(store.url) / entry.path
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["warnings"]), path)
    done = report("--input", store.url, "--no-pictures")
    assert done.exit_code == 0, done.output
    assert 'id="warnings"' not in store.read_bytes("runs/r1/report.html").decode()


def test_a_segment_is_drawn_on_the_clock_of_its_video(store: TableStore, tmp_path: Path) -> None:
    (path,) = render(tmp_path, 1)
    whole = caption("v", uri=f"{path}#t=1,2", start_sec=1.0, end_sec=2.0, duration_sec=1.0)
    part = replace(whole, level="clip", start_sec=1.5)
    make_run(store, "r1", captions={"clips": [whole, part]})
    done = report("--input", store.url)
    assert done.exit_code == 0, done.output
    page = store.read_bytes("runs/r1/report.html").decode()
    assert "frame at 1.00 s" in page
    assert "frame at 0.00 s" not in page
    assert 'x="0.5"' in page
    assert "<span>0:01</span>" in page

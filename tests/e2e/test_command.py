"""What the command promises around a run: plans, errors, exit codes, reruns that cost nothing."""

import json
import time
from pathlib import Path

import pytest

from tests.support import jobs
from tinyworld.render import write_video
from tinyworld.world import sample_scenes


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four good clips and one that is no video, captioned once under a low failure limit."""
    folder = tmp_path_factory.mktemp("command")
    (folder / "in/sub").mkdir(parents=True)
    for number, scene in enumerate(sample_scenes(4, seed=31)):
        write_video(folder / f"in/sub/{number}.mp4", [(scene, 2.0)])
    (folder / "in/text.mp4").write_text("no video")
    (folder / "in/notes.txt.bak").write_text("no input")
    return folder


@pytest.fixture(scope="module")
def first(work: Path) -> jobs.Done:
    return jobs.caption(
        *jobs.DEMO, "--input", work / "in", "--output", work / "out",
        "--max-failure-rate", "0.1", "--run-id", "first",
    )  # fmt: skip


def test_exit_code_3_when_too_many_fail(first: jobs.Done) -> None:
    assert first.code == 3, first.stderr


def test_summary_is_the_last_line_and_a_file(work: Path, first: jobs.Done) -> None:
    summary = first.summary
    assert summary["run_id"] == "first"
    assert (summary["videos_in"], summary["videos_captioned"], summary["videos_failed"]) == (
        5,
        4,
        1,
    )
    assert summary["failures_by_error"] == {"NotAVideoError": 1}
    assert summary["prompt_tokens"] > 0 and summary["output_tokens"] > 0
    assert 0 < summary["engine_busy_fraction"] <= 1
    assert ("decoded without" in first.stderr) is bool(summary["refused_layers"])
    assert json.loads((work / "out/runs/first/summary.json").read_text()) == summary
    assert (work / "out/runs/first/_SUCCESS").exists()
    assert "run_id: first" in (work / "out/runs/first/config.yaml").read_text()


@pytest.mark.slow
@jobs.NEEDS_NAMESPACES
def test_a_layer_of_confinement_that_a_kernel_refuses_is_told_once(
    work: Path, tmp_path: Path
) -> None:
    done = jobs.caption(
        *jobs.DEMO, "--input", work / "in", "--output", tmp_path / "out",
        before=jobs.WITHOUT_NAMESPACES,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.summary["videos_captioned"] == 4
    assert done.summary["refused_layers"]["namespaces"] == "No space left on device"
    assert done.stderr.count("namespaces (No space left on device)") == 1


def test_tables(work: Path, first: jobs.Done) -> None:
    rows = {row["video_id"]: row for row in jobs.read(work / "out", "captions")}
    assert set(rows) == {f"sub/{number}.mp4" for number in range(4)}
    row = rows["sub/0.mp4"]
    assert (row["recipe"], row["run_id"], row["level"], row["index"]) == (
        "omni",
        "first",
        "video",
        0,
    )
    assert row["uri"] == str(work / "in/sub/0.mp4")
    assert (row["width"], row["height"], row["num_frames"]) == (224, 224, 8)
    assert row["duration_sec"] == pytest.approx(2.0, abs=0.2)
    assert row["has_audio"] is True
    (failure,) = jobs.read(work / "out", "failures")
    assert (failure["video_id"], failure["stage"]) == ("text.mp4", "open")
    assert failure["error"] == "NotAVideoError"


def test_a_rerun_costs_nothing(work: Path, first: jobs.Done) -> None:
    started = time.monotonic()
    again = jobs.caption(*jobs.DEMO, "--input", work / "in", "--output", work / "out")
    assert again.code == 0, again.stderr
    assert (again.summary["videos_skipped"], again.summary["captions"]) == (5, 0)
    assert again.summary["engine_busy_fraction"] is None, "an engine was started for nothing"
    assert time.monotonic() - started < 60
    assert len(jobs.read(work / "out", "captions")) == 4


def test_dry_run_plans_and_writes_nothing(work: Path, first: jobs.Done, tmp_path: Path) -> None:
    arguments = [*jobs.DEMO, "--input", work / "in", "--dry-run"]
    fresh = jobs.caption(*arguments, "--output", tmp_path / "new")
    assert fresh.code == 0, fresh.stderr
    assert not (tmp_path / "new").exists()
    assert "to do          5" in fresh.stdout
    assert "models/tiny-omni" in fresh.stdout
    later = jobs.caption(*arguments, "--output", work / "out", "--retry-failed")
    assert "already done   4" in later.stdout and "to do          1" in later.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "o"], "no input"),
        (["--input", "nowhere.mp4", "--output", "o"], "nowhere.mp4"),
        (["--input", "README.md", "--output", "o", "--run-id", "1"], "run_id"),
        (["--input", "README.md", "--output", "o", "--recipe", "nope"], "no recipe 'nope'"),
        (["--input", "README.md", "--output", "o", "--model", "./none"], "there is no folder"),
        (["--input", "README.md", "--output", "o", "--model", "tests"], "holds no checkpoint"),
        (["--input", "README.md", "--output", "o", "--set", "engine.vllm_args={no_such: 1}"],
         "no_such"),
        (["--no-such-flag"], "No such option"),
    ],
)  # fmt: skip
def test_usage_errors_exit_with_2_before_anything_starts(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    arguments = [str(tmp_path / "o") if item == "o" else item for item in arguments]
    done = jobs.caption(*jobs.DEMO, *arguments)
    assert done.code == 2, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o" / "captions").exists()

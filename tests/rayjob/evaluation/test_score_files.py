"""Score files as the script of UGC-VideoCaptioner writes them, read by the command as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.rayjob.evaluation.test_seed_tables import grades
from tests.support.evaluations import evaluate, scores

FIVE: dict[str, dict[str, Any]] = {
    "7301": {"visual_score": 4, "audio_score": 3, "details_score": 4, "average_score": 3.67},
    "7302": {"visual_score": 5, "audio_score": 5, "details_score": 5, "average_score": 5.0},
    "7303": {"visual_score": 3, "audio_score": 2, "details_score": 3, "average_score": 2.67},
    "7304": {"visual_score": 0, "audio_score": 0, "details_score": 0, "average_score": 0.0},
    "7305": {"visual_score": 4, "audio_score": 2, "details_score": 4, "average_score": 3.33},
}


def written(path: Path, evaluations: Any) -> Path:
    path.write_text(json.dumps({"evaluations": evaluations}), encoding="utf-8")
    return path


def test_a_score_file_needs_no_judge_and_is_kept_nowhere(tmp_path: Path) -> None:
    table = written(tmp_path / "scores.json", FIVE)
    done = evaluate("--suite", "ugc", "--input", table, "--max-unscored-rate", "0.5")
    assert done.code == 0, done.stderr
    # Of the four that were judged.
    assert done.values() == pytest.approx(
        {"visual": 80.0, "audio": 60.0, "details": 80.0, "average": 220 / 3}
    )
    assert done.figure("visual")["unscored"] == 1
    assert done.result["unscored"]["reasons"] == {
        "0 in the file: a call of the judge that failed": 3
    }
    (note,) = done.result["notes"]
    assert "visual 64.0, audio 48.0, details 64.0, average 58.67" in note
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_scores_are_kept_where_a_place_is_named(tmp_path: Path) -> None:
    table = written(tmp_path / "scores.json", FIVE)
    done = evaluate(
        "--suite", "ugc", "--input", table, "--scores", tmp_path / "out",
        "--max-unscored-rate", "0.5",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    kept = {(row["video_id"], row["dimension"]): row["score"] for row in scores(tmp_path / "out")}
    assert len(kept) == 15 and kept["7303", "audio"] == 2.0 and kept["7304", "visual"] is None


@pytest.mark.parametrize(
    ("model", "means", "published"),
    [
        ("gemini-2.5-flash", (3.940, 3.710, 3.860), (78.8, 74.2, 77.2, 76.73)),
        ("ugc-videocaptioner-3b", (2.971, 3.120, 2.910), (59.4, 62.4, 58.2, 60.01)),
    ],
)
def test_the_published_rows(
    tmp_path: Path, model: str, means: tuple[float, ...], published: tuple[float, ...]
) -> None:
    columns = [grades(mean, 1000) for mean in means]
    evaluations = {
        f"v{number}": {
            "visual_score": visual,
            "audio_score": audio,
            "details_score": details,
            "average_score": round((visual + audio + details) / 3, 2),
        }
        for number, (visual, audio, details) in enumerate(zip(*columns, strict=True))
    }
    done = evaluate("--suite", "ugc", "--input", written(tmp_path / f"{model}.json", evaluations))
    assert (done.code, done.result["videos"], done.result["run_id"]) == (0, 1000, model)
    values = [done.figure(name)["value"] for name in ("visual", "audio", "details", "average")]
    assert [round(value, 1) for value in values[:3]] == list(published[:3])
    assert round(values[3], 2) == published[3]


def test_two_score_files_are_compared(tmp_path: Path) -> None:
    better = {video: {**each, "visual_score": 5} for video, each in FIVE.items()}
    first = written(tmp_path / "a.json", FIVE)
    second = written(tmp_path / "b.json", better)
    done = evaluate(
        "--suite", "ugc", "--compare", first, second, "--max-unscored-rate", "0.5"
    )  # fmt: skip
    assert done.code == 0, done.stderr
    found = {each["name"]: each["difference"] for each in done.result["differences"]}
    assert found["visual"] == pytest.approx(20.0) and found["audio"] == 0.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "has no scores"),
        ('{"evaluations": {}}', "has no scores"),
        ('{"evaluations": {"a": {"score": 3}}}', "video 'a': none of visual_score"),
        ("{", "is not JSON"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "scores.json"
    table.write_text(text)
    done = evaluate("--suite", "ugc", "--input", table)
    assert done.code == 2
    assert said in " ".join(done.stderr.split())


def test_a_grade_that_is_none_is_unscored(tmp_path: Path) -> None:
    table = written(tmp_path / "scores.json", FIVE | {"7306": {"visual_score": 9}})
    done = evaluate("--suite", "ugc", "--input", table, "--max-unscored-rate", "1")
    reasons = done.result["unscored"]["reasons"]
    assert reasons["9 is not one of 1, 2, 3, 4, 5"] == 1 and reasons["not in the file"] == 2

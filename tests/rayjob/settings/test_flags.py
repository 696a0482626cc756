"""What commands tell a person, and how flags are read."""

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from rayjob.cli import app
from rayjob.evaluation.config import EvaluateConfig
from rayjob.nightly import run as night
from rayjob.output.night_report import NightReport
from rayjob.settings.flags import DryRun, errors_told, settings_command
from schemas.config import JobConfig, NightConfig
from schemas.errors import ConfigError, OutputUnavailableError, RayjobError, UsageError
from schemas.settings import Settings
from tests.support.jobs import ROOT


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("in /data/[ab]*.mp4: x[/b]"), 2), (RayjobError("[/b]"), 1)]
)
def test_errors_are_told_letter_by_letter(error: RayjobError, code: int) -> None:
    console = Console(file=io.StringIO(), width=200)
    with pytest.raises(typer.Exit) as caught, errors_told(console):
        raise error
    assert caught.value.exit_code == code
    assert console.file.getvalue() == f"error: {error}\n"  # type: ignore[attr-defined]


def settings_from(kind: type[Settings], *flags: str) -> Any:
    """What a command gets of its command line."""
    given: list[Settings] = []

    @settings_command(kind)
    def command(config: Settings, console: Console, *, dry_run: DryRun = False) -> int:
        given.append(config)
        return 3 if dry_run else 0

    alone = typer.Typer()
    alone.command()(command)
    done = CliRunner().invoke(alone, [*flags])
    assert done.exit_code == (3 if "--dry-run" in flags else 0), done.output
    return given[0]


def test_flags_set_what_they_are_declared_on() -> None:
    config = settings_from(
        JobConfig, "-i", "a", "--input", "b", "-o", "c", "--recipe", "clips", "--model", "m",
        "--gpus-per-engine", "0.5", "--limit", "3", "--extensions", "mp4, mkv", "--retake-changed",
        "--endpoint-url", "http://h", "--set", "engine.dtype=float16", "--dry-run",
    )  # fmt: skip
    assert (config.input, config.output, config.limit) == (("a", "b"), "c", 3)
    assert (config.recipe.name, config.engine.model) == ("clips", "m")
    assert (config.engine.gpus_per_engine, config.engine.dtype) == (0.5, "float16")
    assert config.source.extensions == ("mp4", "mkv")
    assert (config.retake_changed, config.retry_failed) == (True, False)
    assert config.storage.endpoint_url == "http://h"


def test_a_flag_wins_over_the_file_in_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("input: a\noutput: b\nretry_failed: true\nlimit: 1\n")
    file = ("--config", str(path))
    assert settings_from(JobConfig, *file).retry_failed
    config = settings_from(JobConfig, *file, "--no-retry-failed", "--set", "limit=2")
    assert (config.retry_failed, config.limit) == (False, 2)
    assert settings_from(NightConfig, *file).retake_changed
    assert not settings_from(NightConfig, *file, "--leave-changed").retake_changed


def test_what_only_an_evaluation_takes() -> None:
    config = settings_from(
        EvaluateConfig, "--compare", "a", "b", "--buckets", "1, 2.5", "--level", "clip",
        "--judge-timeout", "3", "--set", "engine.max_model_len=4096",
    )  # fmt: skip
    assert (config.compare, config.buckets) == (("a", "b"), (1.0, 2.5))
    assert (config.selection.level, config.judge.timeout_sec) == ("clip", 3.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["caption", "-i", "a"], "no output: pass --output"),
        (["caption", "-o", "a"], "no input: pass --input. A file, folder, glob"),
        (["fuse", "-i", "a.csv"], "no output: pass --output"),
        (["report"], "no input: pass --input"),
        (["caption", "-i", "a", "-o", "b", "--limit", "x"], "--limit"),
        (["caption", "-i", "a", "-o", "b", "--limit", "0"], "limit: Input should be greater"),
        (["evaluate", "-i", "a", "--suite", "ugd"], "suite: Input should be 'basic', 'ugc'"),
        (["evaluate", "-i", "a", "--model", "m"], "--model"),
        (["report", "-i", "a", "--sample", "501"], "gallery.sample: "),
        (["plan", "--input", "a"], "--input"),
        (["nightly", "-i", "a", "-o", "b", "--run-id", "2026"], "begins with a letter"),
    ],
)
def test_mistakes_end_with_the_code_of_usage(words: list[str], message: str) -> None:
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert message in done.output


def help_of(command: str) -> str:
    done = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    return re.sub(r"[\s│]+", " ", done.output)


def test_help_says_what_holds_where_a_flag_is_not_given() -> None:
    text = help_of("caption")
    assert (
        "Checkpoint folder, here or in a storage (s3://, gs://), or hub name. [default: the" in text
    )
    assert "recipe's]" in text
    assert "--engines <int> Engine replicas. [default: as many as the GPUs hold, or one]" in text
    assert "--max-failure-rate <float> Exit with 3 if a larger share of the videos" in text
    assert "--retake-changed --leave-changed" in text
    assert "[default: t2v]" in help_of("fuse")
    assert "[default: nightly]" in help_of("nightly")
    assert "basic|ugc|answers|structured|long" in help_of("evaluate")
    assert "without a job the published four]" in help_of("plan")


def test_the_plan_is_a_module_too() -> None:
    words = [sys.executable, "-m", "rayjob.plan", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "--set" in done.stdout


@pytest.mark.parametrize("fails", [False, True])
def test_a_night_ends_as_its_run_whatever_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, fails: bool
) -> None:
    def job(*_arguments: Any, **_options: Any) -> int:
        if fails:
            raise RayjobError("the true cause")
        return 3

    def write(_report: NightReport, *, error: RayjobError | None = None) -> None:
        raise OutputUnavailableError("the page cannot be written")

    monkeypatch.setattr("rayjob.run.job.run", job)
    monkeypatch.setattr(NightReport, "write", write)
    config = NightConfig(input=("in",), output=str(tmp_path))
    console = Console(file=io.StringIO())
    if fails:
        with pytest.raises(RayjobError, match="the true cause"):
            night(config, dry_run=False, console=console)
    else:
        assert night(config, dry_run=False, console=console) == 3
    assert "the page cannot be written" in caplog.text


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no input"), 2, "error: no input"),
        (RayjobError("the storage failed"), 1, "error: the storage failed"),
        (MemoryError("no room"), 1, "error: unforeseen MemoryError: no room"),
    ],
)
def test_every_end_has_its_line(
    error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught, errors_told(Console(stderr=True)):
        raise error
    assert caught.value.exit_code == code
    assert capsys.readouterr().err.splitlines()[-1] == line


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_an_end_from_outside_stays_what_it_is(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)), errors_told(Console(stderr=True)):
        raise error
    assert capsys.readouterr().err.startswith("error: ")

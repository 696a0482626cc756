"""What commands tell a person, and how flags are read."""

import io
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from rayjob.nightly import run as night
from rayjob.output.night_report import NightReport
from rayjob.settings.flags import errors_told, job_command
from schemas.config import JobConfig
from schemas.errors import ConfigError, OutputUnavailableError, RayjobError


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("in /data/[ab]*.mp4: x[/b]"), 2), (RayjobError("[/b]"), 1)]
)
def test_errors_are_told_letter_by_letter(error: RayjobError, code: int) -> None:
    console = Console(file=io.StringIO(), width=200)
    with pytest.raises(typer.Exit) as caught, errors_told(console):
        raise error
    assert caught.value.exit_code == code
    assert console.file.getvalue() == f"error: {error}\n"  # type: ignore[attr-defined]


def test_a_list_of_endings_may_have_spaces() -> None:
    given: list[JobConfig] = []

    def action(config: JobConfig, *, dry_run: bool, console: Console) -> int:
        given.append(config)
        return 0

    app = typer.Typer()
    app.command()(job_command(action, help="Test."))
    flags = ["--input", "a", "--output", "b", "--extensions", "mp4, mkv"]
    assert CliRunner().invoke(app, flags).exit_code == 0
    assert given[0].source.extensions == ("mp4", "mkv")


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

    monkeypatch.setattr("rayjob.job.run", job)
    monkeypatch.setattr(NightReport, "write", write)
    config = JobConfig(input=("in",), output=str(tmp_path))
    console = Console(file=io.StringIO())
    if fails:
        with pytest.raises(RayjobError, match="the true cause"):
            night(config, dry_run=False, console=console)
    else:
        assert night(config, dry_run=False, console=console) == 3
    assert "the page cannot be written" in caplog.text

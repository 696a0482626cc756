"""``python -m rayjob.report``: a run, or a comparison of runs, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field
from rich.console import Console

from rayjob.output.layout import run_folder
from rayjob.output.store import TableStore
from rayjob.reporting.page import Request, make_page
from rayjob.reporting.runs import Run, find_runs
from rayjob.settings.flags import settings_command
from schemas.errors import UsageError
from schemas.media import StorageOptions
from schemas.settings import Flag, Settings, Unset


class ReportConfig(Settings):
    """Everything ``rayjob report`` needs."""

    input: Annotated[
        tuple[str, ...], Flag("--input", "-i", "--output", "-o", metavar="WHERE", repeatable=True)
    ] = Field(min_length=1)
    """Folder or s3:// prefix that a run wrote to; several for a comparison."""
    run_id: Annotated[tuple[str, ...], Flag("--run-id", repeatable=True), Unset("the newest")] = ()
    """Which run; several for a comparison."""
    html: Annotated[
        str | None, Flag("--html", metavar="FILE"), Unset("OUT/runs/ID/report.html")
    ] = None
    """The page."""
    gallery: Request = Request()
    storage: StorageOptions = StorageOptions()


@settings_command(ReportConfig)
def command(config: ReportConfig, console: Console) -> int:
    """Show a run, or several side by side, as one HTML page that needs no network.

    The last line on stdout is where the page is. Exit codes: 0 the page is written, 2 usage,
    1 anything else.
    """
    stores = [TableStore(where, config.storage) for where in dict.fromkeys(config.input)]
    runs = find_runs(stores, config.run_id)
    page = make_page(runs, config.gallery)
    print(_write(page.encode(), runs, config.html), flush=True)
    return 0


def _write(page: bytes, runs: list[Run], html: str | None) -> str:
    if html is None:
        # A comparison stands beside the first run's own report, and does not replace it.
        name = "report.html" if len(runs) == 1 else "comparison.html"
        path = f"{run_folder(runs[0].run_id)}/{name}"
        runs[0].store.write_bytes(path, page)
        return runs[0].store.url_of(path)
    if html.startswith(("s3://", "s3a://")):
        folder, _, name = html.rpartition("/")
        TableStore(folder, runs[0].store.options).write_bytes(name, page)
        return html
    try:
        Path(html).parent.mkdir(parents=True, exist_ok=True)
        Path(html).write_bytes(page)
    except OSError as error:
        raise UsageError(f"cannot write {html}: {error}") from error
    return html


if __name__ == "__main__":
    typer.run(command)

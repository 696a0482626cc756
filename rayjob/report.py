"""``python -m rayjob.report``: a run, or a comparison of runs, as one HTML page."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rayjob.output.layout import run_folder
from rayjob.output.store import TableStore
from rayjob.reporting.page import Request, make_page
from rayjob.reporting.runs import Run, find_runs
from rayjob.settings.flags import errors_told
from rayjob.settings.loading import read_config
from schemas.errors import UsageError
from schemas.media import StorageOptions


def command(
    input: Annotated[
        list[str],
        typer.Option(
            "--input", "-i", "--output", "-o", metavar="WHERE",
            help="Folder or s3:// prefix that a run wrote to. Repeatable, for a comparison.",
        ),
    ],
    run_id: Annotated[
        list[str] | None,
        typer.Option(help="Which run. Repeatable, for a comparison. [the newest]"),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The page. [OUT/runs/ID/report.html]"),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, max=500, help="Videos in the gallery, chosen at random.")
    ] = 48,
    seed: Annotated[int, typer.Option(help="Of that choice: the same seed, the same videos.")] = 0,
    pictures: Annotated[
        bool,
        typer.Option("--pictures/--no-pictures", help="Open the sampled videos again."),
    ] = True,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="S3 endpoint other than AWS.")
    ] = None,
) -> None:  # fmt: skip
    """Show a run, or several side by side, as one HTML page that needs no network.

    The last line on stdout is where the page is. Exit codes: 0 the page is written, 2 usage,
    1 anything else.
    """
    console = Console(stderr=True)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s"
    )
    with errors_told(console):
        given = {"endpoint_url": endpoint_url} if endpoint_url else {}
        storage = read_config(StorageOptions, None, flags=given)
        stores = [TableStore(where, storage) for where in dict.fromkeys(input)]
        runs = find_runs(stores, run_id or ())
        page = make_page(runs, Request(sample=sample, seed=seed, pictures=pictures))
        where = _write(page.encode(), runs, html)
    print(where, flush=True)


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


def main() -> None:
    """Entry point of the module."""
    typer.run(command)


if __name__ == "__main__":
    main()

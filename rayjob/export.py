"""``python -m rayjob.export``: captions in a layout that training tools open."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import pyarrow as pa
import typer
from pydantic import Field
from rich.console import Console

from rayjob.counts import counted
from rayjob.exporting import conversations, hub, spreadsheet, webdataset
from rayjob.exporting.card import export_card
from rayjob.exporting.destination import File, Folder
from rayjob.exporting.selection import ROWS, Selection, select
from rayjob.exporting.tally import Tally
from rayjob.exporting.webdataset import WebDatasetOptions
from rayjob.output.store import TableStore
from rayjob.settings.flags import settings_command
from schemas.errors import SourceError, UsageError
from schemas.media import StorageOptions
from schemas.settings import Flag, Settings, Unset

logger = logging.getLogger(__name__)

Format = Literal["jsonl", "csv", "hf", "webdataset", "lance"]


class ExportConfig(Settings):
    """Everything ``rayjob export`` needs."""

    input: Annotated[str, Flag("--input", "-i", metavar="WHERE")] = Field(min_length=1)
    """Folder or s3:// prefix that `rayjob caption` or `rayjob fuse` wrote to."""
    output: Annotated[str, Flag("--output", "-o", metavar="WHERE")] = Field(min_length=1)
    """A file for jsonl and csv, else a folder; local or on S3. An earlier export there is replaced
    when this one is complete."""
    format: Annotated[Format, Flag("--format", "-f")]
    """Messages for instruction tuning, SkyCaptioner's CSV, a folder for `load_dataset`, tar shards
    of clips and captions, or a table of Lance."""
    name: Annotated[str | None, Flag("--name"), Unset("the only one")] = None
    """Captioning or fusion whose captions to take."""
    where: Annotated[str | None, Flag("--where", metavar="SQL")] = None
    """Condition on the columns of the table, in DuckDB's SQL."""
    any_status: Annotated[bool, Flag("--any-status")] = False
    """Take captions too that are cut off or break a rule."""
    webdataset: WebDatasetOptions = WebDatasetOptions()
    storage: StorageOptions = StorageOptions()


@settings_command(ExportConfig)
def command(config: ExportConfig, console: Console) -> int:
    """Write captions in a layout that training tools open.

    The last line on stdout is where the export is. Exit codes: 0 it is written, 2 usage, 1 anything
    else.
    """
    selection = select(
        TableStore(config.input, config.storage),
        name=config.name,
        where=config.where,
        any_status=config.any_status,
    )
    tally = Tally()
    url = _WRITERS[config.format](config, selection, tally)
    console.print(f"{counted(tally.captions, 'caption')} of {counted(tally.videos, 'video')}")
    print(url, flush=True)
    return 0


def _jsonl(config: ExportConfig, selection: Selection, tally: Tally) -> str:
    file = File(config.output, config.storage)
    file.write(conversations.lines(_rows(selection, tally)))
    return file.url


def _csv(config: ExportConfig, selection: Selection, tally: Tally) -> str:
    file = File(config.output, config.storage)
    column = spreadsheet.column_of(selection.recipe, fused=selection.is_fused)
    file.write(spreadsheet.lines(selection.batches(), _rows(selection, tally), column))
    return file.url


def _hf(config: ExportConfig, selection: Selection, tally: Tally) -> str:
    folder = Folder(config.output, config.storage, data="data")

    def card(data_files: str) -> str:
        return export_card(selection, tally, data_files=data_files)

    hub.write(_rows(selection, tally), folder, card)
    return folder.url


def _webdataset(config: ExportConfig, selection: Selection, tally: Tally) -> str:
    folder = Folder(config.output, config.storage, data="data")
    left_out = webdataset.write(
        _rows(selection, tally), folder, config.webdataset, config.storage, name=selection.name
    )
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        logger.warning("%s left out: %s", counted(sum(left_out.values()), "caption"), reasons)
    return folder.url


def _lance(config: ExportConfig, selection: Selection, tally: Tally) -> str:
    try:
        import lance
    except ImportError as error:
        raise UsageError("the format lance takes Lance: pip install 'rayjob[lance]'") from error
    rows = pa.RecordBatchReader.from_batches(ROWS, _rows(selection, tally))
    # Lance publishes a version when it is whole.
    lance.write_dataset(
        rows, config.output, mode="overwrite", storage_options=_lance_options(config.storage)
    )
    return config.output


def _lance_options(storage: StorageOptions) -> dict[str, str]:
    options = {"aws_endpoint": storage.endpoint_url, "aws_region": storage.region}
    given = {name: value for name, value in options.items() if value}
    if (storage.endpoint_url or "").startswith("http://"):
        given["allow_http"] = "true"
    return given


_WRITERS: dict[Format, Callable[[ExportConfig, Selection, Tally], str]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "hf": _hf,
    "webdataset": _webdataset,
    "lance": _lance,
}


def _rows(selection: Selection, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Selected rows, counted; SourceError at the end, before anything is replaced, where there are
    none.
    """
    yield from tally.counting(selection.batches())
    if not tally.captions:
        raise SourceError(
            f"no caption named {selection.name!r} is left to export: see --where and --any-status"
        )


if __name__ == "__main__":
    typer.run(command)

"""``python -m rayjob.nightly``: caption what appeared or changed since the last night.

The output is the ledger, so nothing has to be remembered between nights: a night takes the
inputs that no table holds, those whose content changed, and those whose failure was
transient. A night that crashed is continued under its id on the same day, and completed by
the next night otherwise.
"""

from __future__ import annotations

import itertools
import logging
import re
from datetime import UTC, date, datetime

import typer
from rich.console import Console
from rich.text import Text

from rayjob.output.layout import run_folder
from rayjob.output.night_report import NightReport
from rayjob.output.store import TableStore
from rayjob.run import job
from rayjob.run.prepare import plan
from rayjob.settings.flags import DryRun, settings_command, show_error
from schemas.config import NightConfig
from schemas.errors import LockLostError, OutputLockedError, RayjobError, UsageError

logger = logging.getLogger(__name__)

EXIT_OVERLAP = 4
"""Another run holds the output. Nothing was started, and nothing is wrong."""


def night_id(store: TableStore, name: str, day: date) -> str:
    """``NAME-YYYYMMDD``: the first of the day's runs that is not finished, or a new one.

    The second run of a day ends in ``-2``, and so on.

    Raises:
        UsageError, OutputUnavailableError: the output cannot be listed.
    """
    first = f"{name}-{day:%Y%m%d}"
    finished = {
        entry.path.split("/")[1]
        for entry in store.list("runs", suffix="/_SUCCESS")
        if entry.path.startswith(run_folder(first))
    }
    names = itertools.chain([first], (f"{first}-{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in finished)


def run(config: NightConfig, console: Console, *, dry_run: DryRun = False) -> int:
    """Caption what appeared or changed since the last night.

    Takes the options of rayjob caption; --run-id is the name before the date. Exit codes:
    0 every input is accounted for, 2 usage or configuration, 3 the share of failures passed
    --max-failure-rate, 4 another run holds the output (nothing was started), 1 anything
    else.
    """
    name = config.run_id
    if re.search(r"-\d{8}(-\d+)?$", name):
        raise UsageError(
            f"--run-id {name} ends in a date: nightly adds it by itself; pass the name before it"
        )
    store = TableStore(config.output, config.storage)
    run_id = night_id(store, name, datetime.now(UTC).date())
    config = config.model_copy(update={"run_id": run_id})
    if dry_run:
        console.print(f"night: {config.run_id}", highlight=False)
        plan(config).show(Console())
        return 0
    report = NightReport(store, config, name=name)
    try:
        code = job.run(config, console=console)
    except LockLostError:
        raise
    except OutputLockedError as error:
        show_error(console, error)
        return EXIT_OVERLAP
    except RayjobError as error:
        if not isinstance(error, UsageError):
            _write(report, console, error=error)
        raise
    _write(report, console)
    return code


def _write(report: NightReport, console: Console, *, error: RayjobError | None = None) -> None:
    """Write the page; a night ends as it would have, even if that fails."""
    try:
        report.write(error=error)
    except RayjobError as problem:
        logger.warning("the report of the night could not be written: %s", problem)
    else:
        console.print(Text(f"report: {report.url}"), soft_wrap=True)


command = settings_command(NightConfig)(run)


if __name__ == "__main__":
    typer.run(command)

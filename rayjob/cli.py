"""The command line: ``rayjob caption ...``, the same as ``python -m rayjob.caption ...``."""

from __future__ import annotations

import typer

from rayjob import (
    caption,
    check,
    doctor,
    evaluate,
    export,
    fuse,
    nightly,
    plan,
    report,
    split,
    submit,
    warm,
)

app = typer.Typer(
    name="rayjob",
    help="Caption video data sets with Ray Data and vLLM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("split")(split.command)
app.command("caption")(caption.command)
app.command("fuse")(fuse.command)
app.command("evaluate")(evaluate.command)
app.command("export")(export.command)
app.command("report")(report.command)
app.command("nightly")(nightly.command)
app.command("plan")(plan.command)
app.command("check")(check.command)
app.command("warm")(warm.command)
app.command("submit")(submit.command)
app.command("doctor")(doctor.command)


def main() -> None:
    """Entry point of the ``rayjob`` script."""
    app()

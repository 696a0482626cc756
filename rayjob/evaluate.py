"""``python -m rayjob.evaluate``: how good captions are, with intervals and comparisons."""

from __future__ import annotations

import typer

from rayjob.evaluation.config import EvaluateConfig
from rayjob.evaluation.run import run
from rayjob.settings.flags import settings_command

command = settings_command(EvaluateConfig)(run)


if __name__ == "__main__":
    typer.run(command)

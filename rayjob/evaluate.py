"""``python -m rayjob.evaluate``: how good captions are, with intervals and comparisons."""

from __future__ import annotations

import typer
from rich.console import Console

from rayjob.evaluation import run as evaluation
from rayjob.evaluation.config import EvaluateConfig
from rayjob.settings.flags import settings_command


@settings_command(EvaluateConfig)
def command(config: EvaluateConfig, console: Console) -> int:
    """Evaluate captions: basic statistics, judged suites, accuracy against labels.

    Exit codes: 0 done, 2 usage, 3 the share of unscored passed --max-unscored-rate, 1
    anything else. The last line on stdout is one line of JSON with all figures.
    """
    return evaluation.run(config, console=console)


if __name__ == "__main__":
    typer.run(command)

"""Writes the table of ready configurations in docs/plan.md with ``rayjob plan``.

python -m tools.plan_page            # rewrite the page
"""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from rayjob.cli import app

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "plan.md"
BEGIN, END = "<!-- configurations -->\n", "<!-- /configurations -->"
CONFIGURATIONS = (
    "qwen3-vl-8b",
    "qwen3-vl-30b-a3b-fp8",
    "qwen3-omni-30b-a3b",
    "qwen2.5-vl-7b",
    "qwen2.5-vl-72b",
    "internvl3.5-8b",
    "gemma-3-27b",
)
"""Those whose models' shapes are shipped."""


def page() -> str:
    """The page with the table as the command prints it now.

    Raises:
        ValueError: the page has no place for it.
    """
    before, start, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"{PAGE} has no lines {BEGIN.strip()} and {END}")
    return f"{before}{start}{_table()}{end}{after}"


def _table() -> str:
    lines: list[list[str]] = []
    for name in CONFIGURATIONS:
        words = ["plan", "--best", "--markdown", "--config", str(ROOT / f"configs/{name}.yaml")]
        printed = CliRunner().invoke(app, words, catch_exceptions=False).stdout.strip().splitlines()
        head, rule, *rows = [
            [cell.strip() for cell in line.strip()[1:-1].split("|")] for line in printed
        ]
        # By the configuration: the command cuts long names of models.
        lines = lines or [["configuration", *head[1:-1]], ["---"] * (len(rule) - 1)]
        lines += [[name, *row[1:-1]] for row in rows if row[-1] == "best"]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

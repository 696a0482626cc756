"""The report of a night: one page of Markdown in ``runs/ID/night.md``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote

from rayjob.counts import clock, pace
from rayjob.output.commits import shards
from rayjob.output.layout import run_folder
from rayjob.output.store import TableStore
from rayjob.output.summary import RunSummary
from rayjob.settings.terminal import printable
from schemas.config import JobConfig
from schemas.errors import RayjobError

_NIGHTS = 7
_EXAMPLES = 10
_MESSAGE_LETTERS = 160


class NightReport:
    """What is told about one night.

    Args:
        config: the night's configuration, with its run id.
        name: what the ids of all nights begin with.
    """

    def __init__(self, store: TableStore, config: JobConfig, *, name: str) -> None:
        self._store = store
        self._config = config
        self._run_id = config.run_id or ""
        self._nights = re.compile(rf"runs/({re.escape(name)}-\d{{8}}(?:-\d+)?)/summary\.json")
        self._path = f"{run_folder(self._run_id)}/night.md"

    @property
    def url(self) -> str:
        """Where it is."""
        return self._store.url_of(self._path)

    def write(self, *, error: RayjobError | None = None) -> None:
        """Write the page, from the summaries and the tables in the output.

        Args:
            error: why the night did not finish.

        Raises:
            UsageError, OutputUnavailableError: as :meth:`TableStore.write_bytes`.
        """
        nights = self._summaries()
        parts = [f"# {self._run_id}", ""]
        if error is not None:
            parts += [
                "**The night did not finish.** What it wrote is kept; the next one goes on.",
                "",
                f"> {_cell(error)}",
            ]
        elif nights:
            parts += self._figures(nights[-1])
        parts += self._failures()
        parts += _comparison(nights)
        written = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        parts += ["", f"Written {written}; output {self._store.url}."]
        self._store.write_bytes(self._path, "\n".join([*parts, ""]).encode())

    def _summaries(self) -> list[RunSummary]:
        """Of the finished nights, the oldest first; this one last if it finished."""
        found = []
        for entry in self._store.list("runs", suffix="/summary.json"):
            if match := self._nights.fullmatch(entry.path):
                found.append((_order(match[1]), entry.path))
        this = _order(self._run_id)
        chosen = [path for order, path in sorted(found) if order <= this][-_NIGHTS:]
        return [RunSummary.model_validate_json(self._store.read_bytes(path)) for path in chosen]

    def _figures(self, night: RunSummary) -> list[str]:
        todo = night.videos_in - night.videos_skipped
        changed = night.videos_changed if self._config.retake_changed else 0
        kinds = {
            "new": todo - changed - night.videos_retried - night.videos_replaced,
            "changed, taken again": changed,
            "failed before, tried again": night.videos_retried,
        }
        if night.videos_replaced:
            kinds["captioned with other settings, taken again"] = night.videos_replaced
        if not self._config.retake_changed:
            kinds["changed, left alone"] = night.videos_changed
        rows = {
            **kinds,
            "captioned": night.videos_captioned,
            "failed": night.videos_failed,
            "done before": night.videos_skipped,
            "done before under another uri: moved, or another video of that id": night.videos_moved,
            "gone: in the tables, not in the inputs any more": night.videos_gone,
        }
        lines = ["| videos | |", "|---|---:|", *(f"| {k} | {v} |" for k, v in rows.items()), ""]
        busy = "" if night.engine_busy_fraction is None else f"{night.engine_busy_fraction:.0%}"
        cost = "" if night.cost.money is None else f", cost {night.cost.money:g}"
        lines.append(
            f"{night.captions} captions in {clock(night.wall_sec)}: "
            f"{pace(night.videos_per_sec) or 'no'} videos, "
            f"engines busy {busy or 'not at all'}, "
            f"{night.cost.gpu_hours:.2f} GPU-hours{cost}."
        )
        return lines

    def _failures(self) -> list[str]:
        """This night's failures: how many of each error, and the first few."""
        counts: dict[str, int] = {}
        examples: list[str] = []
        for entry in shards(self._store, "failures"):
            if entry.path.split("/")[-2] != f"run_id={quote(self._run_id, safe='')}":
                continue
            columns = ["video_id", "error", "message", "transient"]
            for row in self._store.read_table(entry, columns).to_pylist():
                again = " (tried again next night)" if row["transient"] else ""
                kind = f"{row['error']}{again}"
                counts[kind] = counts.get(kind, 0) + 1
                if len(examples) < _EXAMPLES:
                    examples.append(
                        f"| {_cell(row['video_id'])} | {row['error']} | {_cell(row['message'])} |"
                    )
        if not counts:
            return ["", "No failures."]
        ranked = sorted(counts.items(), key=lambda item: -item[1])
        return [
            "",
            "## Failures",
            "",
            "| error | videos |",
            "|---|---:|",
            *(f"| {kind} | {count} |" for kind, count in ranked),
            "",
            "| for example | error | |",
            "|---|---|---|",
            *examples,
        ]


def _comparison(nights: list[RunSummary]) -> list[str]:
    if not nights:
        return []
    lines = [
        "",
        "## The last nights",
        "",
        "| night | taken | captioned | failed | done before | gone | time | pace | busy |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for night in reversed(nights):
        busy = "" if night.engine_busy_fraction is None else f"{night.engine_busy_fraction:.0%}"
        cells = (
            night.run_id, night.videos_in - night.videos_skipped, night.videos_captioned,
            night.videos_failed, night.videos_skipped, night.videos_gone,
            clock(night.wall_sec), pace(night.videos_per_sec), busy,
        )  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return lines


def _order(run_id: str) -> tuple[str, int]:
    """Sorts nights by their day, and the runs of a day by their number."""
    match = re.fullmatch(r".*-(\d{8})(?:-(\d+))?", run_id)
    assert match is not None, run_id
    return match[1], int(match[2] or 1)


def _cell(value: object) -> str:
    """Text of others inside a table: on one line, no markup, not too long."""
    text = printable(" ".join(str(value).split()))
    text = text if len(text) <= _MESSAGE_LETTERS else text[: _MESSAGE_LETTERS - 1] + "…"
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)

"""The card of a data set, as the Hugging Face hub shows it: YAML header and Markdown."""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import rayjob
from rayjob.evaluation.measures import Figure
from rayjob.evaluation.outcome import ALL_RUNS, EVALUATION, Evaluation, load
from rayjob.exporting.selection import Selection
from rayjob.exporting.tally import COLUMNS, Tally
from rayjob.output.store import Entry, TableStore
from rayjob.reporting.reading import Part, batches, list_parts
from rayjob.reporting.runs import read_summary
from schemas.errors import RayjobError
from schemas.tables import CaptionRow, columns_of

logger = logging.getLogger(__name__)

CARD = "README.md"

_MARKER = "# rayjob replaces this file; take this line away to keep it"

_COUNTED = "runs/_card.json"
"""What shards hold, by path and size: none is ever replaced, so each is counted once."""

_SIZES = {
    1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M", 100_000_000: "10M<n<100M", 1_000_000_000: "100M<n<1B",
}  # fmt: skip
"""The hub's words, by what lies above."""


@dataclass(frozen=True, kw_only=True)
class CaptionSet:
    """What a card says of the captions of one name.

    Attributes:
        data_files: pattern of their Parquet files, from the card's folder.
        failures: videos by (stage, error), the most frequent first.
        prompts: hash of the prompts -> whose they are, where a run says so.
        where: the condition that the captions meet.
    """

    name: str
    data_files: str
    tally: Tally
    failures: Sequence[tuple[tuple[str, str], int]]
    evaluations: Sequence[Evaluation]
    prompts: Mapping[str, str]
    where: str | None = None


def export_card(selection: Selection, tally: Tally, *, data_files: str) -> str:
    """The card beside exported captions."""
    parts = selection.parts
    found = _set_of(selection.store, parts, tally, data_files=data_files, where=selection.where)
    return _render(f"{selection.name} captions", [found])


def write_output_card(store: TableStore) -> None:
    """Write the card of all captions in an output, but not in place of a file of the user's.

    A card that cannot be written is a line in the log.
    """
    try:
        if store.exists(CARD) and _MARKER.encode() not in store.read_bytes(CARD):
            return
        counted = _Counted(store)
        named: dict[str, list[Part]] = {}
        for table in ("captions", "fused"):
            for part in list_parts(store, table):
                named.setdefault(part.recipe, []).append(part)
        sets = []
        for parts in named.values():
            tally = Tally()
            for part in parts:
                for entry in part.files:
                    tally.absorb(counted.of(entry))
            folder = parts[0].files[0].path.partition("/run_id=")[0]
            sets.append(_set_of(store, parts, tally, data_files=f"{folder}/*/*.parquet"))
        if sets:
            store.write_bytes(CARD, _render("Captions", sets).encode())
            counted.keep()
    except RayjobError as error:
        logger.warning("the card %s is not written: %s", store.url_of(CARD), error)


class _Counted:
    """The :meth:`Tally.state` of each shard, kept from one run to the next."""

    def __init__(self, store: TableStore) -> None:
        self._store = store
        self._states: dict[str, list[Any]] = {}
        self._before: dict[str, list[Any]] = {}
        # Without it, or where it is damaged, all are counted again.
        with contextlib.suppress(OSError, ValueError, TypeError):
            before = {**json.loads(store.read_bytes(_COUNTED))}
            for state in before.values():
                Tally().absorb(state)
            self._before = before

    def of(self, entry: Entry) -> list[Any]:
        """Of one shard, which is read where it is new."""
        name = f"{entry.path} {entry.size}"
        state = self._before.get(name)
        if state is None:
            tally = Tally()
            for batch in batches(self._store, entry, COLUMNS):
                tally.add(batch)
            state = tally.state()
        self._states[name] = state
        return state

    def keep(self) -> None:
        """Write those that were asked for."""
        if self._states.keys() != self._before.keys():
            self._store.write_bytes(_COUNTED, json.dumps(self._states).encode())


def _set_of(
    store: TableStore,
    parts: Sequence[Part],
    tally: Tally,
    *,
    data_files: str,
    where: str | None = None,
) -> CaptionSet:
    name, runs = parts[0].recipe, {part.run_id for part in parts} | {ALL_RUNS}
    return CaptionSet(
        name=name,
        data_files=data_files,
        tally=tally,
        failures=_failures(store, name),
        evaluations=_evaluations(store, name, runs),
        prompts=_prompts(store, runs),
        where=where,
    )


def _failures(store: TableStore, name: str) -> list[tuple[tuple[str, str], int]]:
    found: Counter[tuple[str, str]] = Counter()
    for part in list_parts(store, "failures"):
        for entry in part.files if part.recipe == name else ():
            for batch in batches(store, entry, ("stage", "error")):
                columns = (batch.column(each).to_pylist() for each in ("stage", "error"))
                found.update(zip(*columns, strict=True))
    return found.most_common()


def _evaluations(store: TableStore, name: str, runs: Set[str]) -> list[Evaluation]:
    return [
        each
        for each in load(store, EVALUATION, Evaluation)
        if each.run_id in runs and name in each.recipe.split(", ")
    ]


def _prompts(store: TableStore, runs: Set[str]) -> dict[str, str]:
    summaries = [read_summary(store, run_id) for run_id in sorted(runs - {ALL_RUNS})]
    return {
        each["prompt_hash"]: each["prompt_source"]
        for each in summaries
        if each.get("prompt_source")
    }


def _render(title: str, sets: Sequence[CaptionSet]) -> str:
    captions = sum(each.tally.captions for each in sets)
    text: str = _TEMPLATES.get_template("card.md").render(
        marker=_MARKER,
        title=title,
        size=next((name for top, name in _SIZES.items() if captions < top), "n>1B"),
        version=rayjob.__version__,
        today=datetime.now(UTC).date().isoformat(),
        sets=sets,
        columns=list(columns_of(CaptionRow)),
    )
    return text


def _cell(text: Any) -> str:
    """Text from the data in a line or a cell: no markup, no line break, no other cell."""
    words = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]#|~$>" else letter for letter in words)


def _code(text: Any) -> str:
    return " ".join(str(text).replace("`", "'").replace("|", "\\|").split())


def _things(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _length(seconds: float) -> str:
    """In hours, or minutes where it is less than one: 0:07 may be either on a page by itself."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} hours"
    return f"{seconds / 60:.1f} minutes"


def _value(figure: Figure) -> str:
    return "–" if figure.value is None else f"{figure.value:.2f} {_cell(figure.unit)}".strip()


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return "–"
    return f"{figure.low:.2f} to {figure.high:.2f}"


_TEMPLATES = Environment(
    loader=PackageLoader("rayjob.exporting"),
    undefined=StrictUndefined,
    autoescape=False,  # Markdown: see ``_cell``
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {
    "cell": _cell,
    "code": _code,
    "interval": _interval,
    "length": _length,
    "number": lambda count: f"{count:,}",
    "things": _things,
    "value": _value,
}

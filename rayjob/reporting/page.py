"""Puts the page together: what is said of the runs, and the templates around it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from typing import Annotated

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import Field

import rayjob
from actors.storage.uris import display_uri
from rayjob.reporting.charts import Chart, Series, clock, histogram, number
from rayjob.reporting.facts import comparison, facts_of, tiles_of
from rayjob.reporting.gallery import MAX_CHARS, RunTables, make_gallery
from rayjob.reporting.pictures import Thumbnail, watching
from rayjob.reporting.reading import KEYS, list_parts
from rayjob.reporting.runs import Run
from rayjob.reporting.scored import find_verdicts, score_panels
from rayjob.reporting.segments import pieces_of
from rayjob.reporting.statistics import collect
from rayjob.reporting.structured import chip_groups
from rayjob.reporting.throughput import throughput_charts
from rayjob.reporting.track import make_track
from rayjob.settings.redaction import shown_config
from schemas.settings import Flag, Settings

_MAX_REASONS = 8
_MAX_ERRORS = 40
_STRIP = 14
"""Videos of which a frame stands at the top of the page."""


class Request(Settings):
    """What the page is to show."""

    sample: Annotated[int, Flag("--sample")] = Field(default=48, ge=0, le=500)
    """Videos in the gallery, chosen at random."""
    seed: Annotated[int, Flag("--seed")] = 0
    """Of that choice: the same seed, the same videos."""
    pictures: Annotated[bool, Flag("--pictures")] = True
    """Open the sampled videos again."""


def make_page(runs: Sequence[Run], request: Request) -> str:
    """The report of a run, or of several side by side, as one HTML document.

    Raises:
        SourceError: a table cannot be read.
        OutputUnavailableError: the storage failed in spite of retries.
    """
    read = [_tables(run, request) for run in runs]
    videos = make_gallery(read, sample=request.sample, seed=request.seed, pictures=request.pictures)
    style, script = _asset("page.css"), _asset("page.js")
    environment = Environment(
        loader=PackageLoader("rayjob.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": clock, "number": number, "uri": display_uri, "columns": _columns,
        "chips": chip_groups,
    }  # fmt: skip
    environment.globals |= {"MAX_CHARS": MAX_CHARS, "make_track": make_track}
    # By name, with which the ids of its elements begin.
    cards = {f"v{index}": video for index, video in enumerate(videos)}
    return environment.get_template("page.html.j2").render(
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style=style, script=script),
        title=" against ".join(run.label for run in runs),
        version=rayjob.__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        runs=read,
        many=len(read) > 1,
        tiles=tiles_of(read[0]),
        comparison=comparison(read) if len(read) > 1 else [],
        facts=[facts_of(each) for each in read],
        configs=[_config(run) for run in runs],
        throughput=throughput_charts(read),
        distributions=_distributions(read),
        reasons=[
            (position, reason, count)
            for position, each in enumerate(read)
            for reason, count in each.statistics.reasons.most_common(_MAX_REASONS)
        ],
        warnings=[
            (position, kind, count)
            for position, each in enumerate(read)
            for kind, count in each.statistics.warnings.most_common(_MAX_REASONS)
        ],
        failures=[
            (position, each.statistics, kind, count)
            for position, each in enumerate(read)
            for kind, count in each.statistics.errors.most_common(_MAX_ERRORS)
        ],
        pieces=[
            (run.label, found)
            for run in runs
            if (found := pieces_of(run, sample=request.sample, seed=request.seed)) is not None
        ],
        evaluations=score_panels(runs),
        verdicts=find_verdicts(runs),
        cards=cards,
        strip=[
            (name, video)
            for name, video in cards.items()
            if video.pictures and video.pictures.thumbnails
        ][:_STRIP],
        recipes=sorted(
            {caption.recipe for video in videos for found in video.captions for caption in found}
        ),
        request=request,
        sampled=sum(not video.flagged for video in videos),
        flagged=sum(video.flagged for video in videos),
        complete=all(len(each.statistics.sample.items()) < request.sample for each in read)
        and sum(not video.flagged for video in videos) < request.sample,
        population=max(each.statistics.videos for each in read),
    )


def _policy(*, style: str, script: str) -> str:
    """A content security policy: no network at all, and no script but the page's own."""
    own_style, own_script = (
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in (style, script)
    )
    return (
        f"default-src 'none'; img-src data:; style-src {own_style}; "
        f"script-src {own_script}; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return files("rayjob.reporting").joinpath("templates", name).read_text("utf-8")


def _tables(run: Run, request: Request) -> RunTables:
    every = {table: list_parts(run.store, table) for table in KEYS}
    own = {
        table: [part for part in parts if part.run_id == run.run_id]
        for table, parts in every.items()
    }
    # A caption run shows what its captions were fused to; a fusion, what it was made from.
    beside = every["fused"] if own["captions"] else every["captions"] if own["fused"] else []
    related = [part for part in beside if part.run_id != run.run_id]
    return RunTables(
        run=run,
        statistics=collect(
            run.store,
            [part for parts in own.values() for part in parts],
            sample=request.sample,
            seed=request.seed,
        ),
        parts=[*own["captions"], *own["fused"]],
        related=related,
        watching=watching(run, related),
    )


def _config(run: Run) -> str:
    text: str = yaml.safe_dump(shown_config(run.config), sort_keys=False, allow_unicode=True)
    return text if run.config else ""


def _distributions(runs: Sequence[RunTables]) -> list[Chart]:
    if not any(each.statistics.captions for each in runs):
        return []
    several = len(runs) > 1
    lengths = [
        Series(
            name=each.run.label,
            css=f"r{position}" if several else "s0",
            values=each.statistics.seconds.astype(np.float64),
        )
        for position, each in enumerate(runs)
    ]
    if several:
        words = [
            replace(series, values=each.statistics.words.astype(np.float64))
            for series, each in zip(lengths, runs, strict=True)
        ]
    else:
        words = [
            Series(name=recipe, css=f"s{position % 6}", values=kind.words.astype(np.float64))
            for position, (recipe, kind) in enumerate(sorted(runs[0].statistics.kinds.items()))
        ]
    return [
        histogram("Length of captions", "words", words, of="captions", percent=len(words) > 1),
        histogram("Length of videos", "seconds", lengths, of="videos", percent=several),
    ]


def _columns(frames: Sequence[Thumbnail]) -> int:
    """Columns of a contact sheet: those that leave the fewest places of its last row empty."""
    count = len(frames)
    if count <= 4:
        return max(count, 3)
    narrow = count > 12 or frames[0].height > frames[0].width
    return min((8, 7, 6) if narrow else (4, 5, 6), key=lambda columns: -count % columns)

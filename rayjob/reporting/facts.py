"""A run in figures and in words: what was asked, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from actors.storage.uris import display_uri
from rayjob.reporting.charts import clock, number
from rayjob.reporting.gallery import RunTables

_MAX_INPUTS = 3


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A figure with what it counts, and a remark."""

    name: str
    value: str
    remark: str = ""
    css: str = ""


def tiles_of(each: RunTables) -> list[Tile]:
    """The figures of a run, from its summary where there is one, else from its tables."""
    summary, statistics = each.run.summary, each.statistics
    failed = summary.get("videos_failed", statistics.failures)
    tiles = [
        Tile(
            name="videos captioned",
            value=number(summary.get("videos_captioned", statistics.videos)),
            remark=_of_inputs(summary),
        ),
        Tile(
            name="videos failed",
            value=number(failed),
            remark="see below" if failed else "none",
            css="failed" if failed else "",
        ),
        Tile(
            name="captions",
            value=number(statistics.captions),
            remark=f"{number(_share_ok(each))} % ok" if statistics.captions else "",
        ),
    ]
    if _is_number(summary.get("videos_per_sec")):
        remark = f"in {clock(summary['wall_sec'])}" if _is_number(summary.get("wall_sec")) else ""
        tiles.append(
            Tile(name="videos per second", value=number(summary["videos_per_sec"]), remark=remark)
        )
    if _is_number(summary.get("video_hours_per_hour")):
        tiles.append(
            Tile(name="hours of video per hour", value=number(summary["video_hours_per_hour"]))
        )
    tokens = summary.get("output_tokens", statistics.output_tokens)
    per_caption = (
        f"{number(tokens / statistics.captions)} per caption" if statistics.captions else ""
    )
    tiles.append(Tile(name="tokens written", value=number(tokens), remark=per_caption))
    if _is_number(summary.get("engine_busy_fraction")):
        tiles.append(
            Tile(
                name="engines busy",
                value=f"{100 * summary['engine_busy_fraction']:.0f} %",
                remark="of the time after start-up",
            )
        )
    cost = summary.get("cost") or {}
    if cost.get("gpu_hours"):
        money = cost.get("money")
        tiles.append(
            Tile(
                name="GPU hours",
                value=number(cost["gpu_hours"]),
                remark=f"cost {number(money)}" if _is_number(money) else "",
            )
        )
    return tiles


def _of_inputs(summary: dict[str, Any]) -> str:
    if not _is_number(summary.get("videos_in")):
        return ""
    skipped = summary.get("videos_skipped", 0)
    done = f", {number(skipped)} done before" if skipped else ""
    return f"of {number(summary['videos_in'])}{done}"


def _share_ok(each: RunTables) -> float:
    share = 100 * each.statistics.statuses["ok"] / each.statistics.captions
    # Rounded down, so that 100 % means all.
    return int(share * 10) / 10


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float)


def headline(each: RunTables) -> str:
    """What a run is, in one line."""
    return " · ".join(value for name, value in facts_of(each) if name in ("recipe", "model"))


def comparison(runs: Sequence[RunTables]) -> list[tuple[str, list[str]]]:
    """The figures of several runs side by side: (name, one value per run)."""
    columns = [{tile.name: tile.value for tile in tiles_of(each)} for each in runs]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [(name, [column.get(name, "–") for column in columns]) for name in names]
    ok = [f"{number(_share_ok(each))} %" if each.statistics.captions else "–" for each in runs]
    return [*rows, ("captions that are ok", ok), ("median words", [_median(each) for each in runs])]


def _median(each: RunTables) -> str:
    if not each.statistics.captions:
        return "–"
    words = np.sum([kind.words for kind in each.statistics.kinds.values()], axis=0)
    half = each.statistics.captions / 2
    return number(int((words.cumsum() < half).sum()))


def facts_of(each: RunTables) -> list[tuple[str, str]]:
    """What was asked of a run: (name, value)."""
    run = each.run
    facts: list[tuple[str, Any]] = [("recipe", run.setting("recipe.name"))]
    if not facts[0][1]:
        facts = [("recipe", ", ".join(each.statistics.kinds))]
    models = [model for (model, _), _ in each.statistics.models.most_common()]
    hashes = [prompt for (_, prompt), _ in each.statistics.models.most_common()]
    facts += [
        ("model", _few(models) or run.setting("engine.model")),
        ("sampling", _plan(each)),
        ("generation", _pairs(run.setting("recipe.generation"))),
        ("prompt", _few(hashes)),
        ("engines", run.setting("engine.engines") or ("all that fit" if run.config else None)),
        ("input", _inputs(run.setting("input"))),
        ("output", display_uri(run.store.url)),
    ]
    return [(name, str(value)) for name, value in facts if value]


def _plan(each: RunTables) -> str:
    if not each.watching.exact:
        return ""
    plan = each.watching.plan
    which = (
        f"{plan.num_frames} frames, evenly"
        if plan.num_frames
        else f"{number(plan.fps or 0)} frames per second"
    )
    sound = f"sound at {plan.audio_rate / 1000:g} kHz" if plan.audio_rate else "no sound"
    by = f"run {each.watching.run_id}: " if each.watching.run_id != each.run.run_id else ""
    size = f"up to {plan.max_pixels:,} pixels each"
    if plan.stretch_to is not None:
        size = "stretched to {} x {} pixels".format(*plan.stretch_to)
    return f"{by}{which}, {size}; {sound}"


def _pairs(settings: Any) -> str:
    if not isinstance(settings, dict):
        return ""
    given = {name: value for name, value in settings.items() if value is not None}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items())


def _inputs(value: Any) -> str:
    if isinstance(value, str):
        value = [value]
    return _few([display_uri(str(item)) for item in value]) if isinstance(value, list) else ""


def _few(items: Sequence[str]) -> str:
    shown = [*dict.fromkeys(items)]
    more = len(shown) - _MAX_INPUTS
    return ", ".join(shown[:_MAX_INPUTS]) + (f" and {more} more" if more > 0 else "")

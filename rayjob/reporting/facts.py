"""A run in figures and in words: what was asked, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from actors.storage.uris import display_uri
from rayjob.evaluation.fields import field_of
from rayjob.reporting.charts import clock, number
from rayjob.reporting.gallery import RunTables

_MAX_INPUTS = 3


class Tile(NamedTuple):
    """A figure with what it counts, a remark, and a class that gives the colour."""

    name: str
    value: str
    remark: str = ""
    css: str = ""


def tiles_of(each: RunTables) -> list[Tile]:
    """The figures of a run, from its summary where there is one, else from its tables."""
    statistics = each.statistics
    # Only numbers: a summary may have been written by hand, or by another version.
    flat = {**each.run.summary, **(each.run.summary.get("cost") or {})}
    summary = {name: value for name, value in flat.items() if isinstance(value, int | float)}
    done = summary.get("videos_captioned", statistics.videos)
    failed = summary.get("videos_failed", statistics.failures)
    tokens = summary.get("output_tokens", statistics.output_tokens)
    inputs = f"of {number(summary['videos_in'])}" if "videos_in" in summary else ""
    if inputs and summary.get("videos_skipped"):
        inputs += f", {number(summary['videos_skipped'])} done before"
    captions = statistics.captions
    tiles = [
        Tile("videos split" if each.run.is_split else "videos captioned", number(done), inputs),
        Tile("videos failed", number(failed), *(("see below", "failed") if failed else ("none",))),
    ]
    if each.run.is_split:
        kept = f"{number(summary.get('segments_kept', 0))} kept"
        tiles.append(Tile("segments", number(summary.get("segments", 0)), kept))
    else:
        ok = f"{number(statistics.share_ok)} % ok" if captions else ""
        tiles.append(Tile("captions", number(captions), ok))
    if "videos_per_sec" in summary:
        wall = f"in {clock(summary['wall_sec'])}" if "wall_sec" in summary else ""
        tiles.append(Tile("videos per second", number(summary["videos_per_sec"]), wall))
    if "video_hours_per_hour" in summary:
        tiles.append(Tile("hours of video per hour", number(summary["video_hours_per_hour"])))
    if not each.run.is_split:
        per_caption = f"{number(tokens / captions)} per caption" if captions else ""
        tiles.append(Tile("tokens written", number(tokens), per_caption))
    if "engine_busy_fraction" in summary:
        busy = f"{100 * summary['engine_busy_fraction']:.0f} %"
        tiles.append(Tile("engines busy", busy, "of the time after start-up"))
    if summary.get("gpu_hours"):
        money = f"cost {number(summary['money'])}" if "money" in summary else ""
        tiles.append(Tile("GPU hours", number(summary["gpu_hours"]), money))
    return tiles


def comparison(runs: Sequence[RunTables]) -> list[tuple[str, list[str]]]:
    """The figures of several runs side by side: (name, one value per run)."""
    columns = [{tile.name: tile.value for tile in tiles_of(each)} for each in runs]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [(name, [column.get(name, "–") for column in columns]) for name in names]
    known = [each.statistics if each.statistics.captions else None for each in runs]
    ok = [f"{number(found.share_ok)} %" if found else "–" for found in known]
    median = [number(found.median_words) if found else "–" for found in known]
    return [*rows, ("captions that are ok", ok), ("median words", median)]


def facts_of(each: RunTables) -> list[tuple[str, str]]:
    """What was asked of a run: (name, value)."""
    run, config = each.run, each.run.config
    models = [model for (model, _), _ in each.statistics.models.most_common()]
    hashes = [prompt for (_, prompt), _ in each.statistics.models.most_common()]
    facts: list[tuple[str, Any]] = [
        ("recipe", field_of(config, "recipe.name") or ", ".join(each.statistics.kinds)),
        ("model", _few(models) or field_of(config, "engine.model")),
        ("sampling", _plan(each)),
        ("generation", _pairs(field_of(config, "recipe.generation"))),
        ("prompt", _few([_whose(each, run.summary) for each in hashes])),
        ("engines", field_of(config, "engine.engines") or ("all that fit" if config else None)),
        ("decoded without", _pairs(run.summary.get("refused_layers"))),
        ("input", _inputs(field_of(config, "input"))),
        ("output", display_uri(run.store.url)),
    ]
    return [(name, str(value)) for name, value in facts if value]


def _whose(prompt_hash: str, summary: Mapping[str, Any]) -> str:
    """A prompt's hash, and whose it is where the run says so."""
    known = prompt_hash == summary.get("prompt_hash") and summary.get("prompt_source")
    return f"{prompt_hash} ({known})" if known else prompt_hash


def _plan(each: RunTables) -> str:
    if not each.watching.exact:
        return ""
    plan = each.watching.plan
    which = (
        f"{plan.num_frames} frames, evenly"
        if plan.num_frames is not None
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

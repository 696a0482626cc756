"""What each family is shown, as a table: measured, without weights.

python -m tests.support.models.matrix           # rewrite the table in docs/models.md
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from actors.engine.loading import Loaded
from schemas.config import GenerationConfig
from schemas.media import Clip
from schemas.recipe import Answer, Request
from tests.support.jobs import ROOT
from tests.support.models.engines import answering, loaded
from tests.support.models.families import NAMES, write_family

PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- end -->"
COLUMNS = (
    "family",
    "6 frames",
    "one frame",
    "sound",
    "other sound",
    "irregular times",
    "system message",
    "thinks",
    "guided JSON",
    "answers",
)

MOMENTS = (0.0, 1.0, 2.0, 3.0, 20.0, 40.0)

DRAWN = 8
"""Answers of each kind."""

FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        # Random weights would write another one on to the end; and where a text has a greatest
        # length alone, the grammar of vLLM 0.32 lets control characters into it.
        "subject": {"type": "string", "pattern": "^[a-z ]{1,16}$"},
        "place": {"enum": ["indoors", "outdoors"]},
    },
    "required": ["subject", "place"],
    "additionalProperties": False,
}


def rows() -> dict[str, str]:
    """Family -> its line of the table, in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: row(name, Path(folder) / str(at)) for at, name in enumerate(NAMES)}


def row(name: str, folder: Path) -> str:
    """One family's line, measured on a checkpoint that is written to ``folder``."""
    checkpoint = write_family(name, folder)
    # Some of them bring code along, which is our own.
    model = loaded(checkpoint, max_model_len=4096, trust_remote_code=True)
    return _line((name, *_shown(model), *_said(checkpoint, model)))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(model: Loaded) -> tuple[str, ...]:
    """What the model is shown."""
    text = _text(model, None)
    takes = model.prompts.adapter.takes
    system = "as a text" if "Be short." in text else "lost"
    thinks = "off by its switch" if "</think>" in text else "-"
    if text.endswith("<think>"):
        thinks = "always"
    if _has_channels(model):
        thinks = "always, in channels"
    if "image" not in takes:
        return "-", "-", "-", "-", "-", system, thinks
    video = _prepared(model, _clip(6))["mm_placeholders"]
    frames = "a video" if "video" in video else f"{len(video['image'])} images"
    single = _prepared(model, _clip(1))["mm_placeholders"]
    return (
        frames,
        "an image" if len(single.get("image", ())) == 1 else "lost",
        *_sound(model),
        _times(model),
        system if "[{" not in _text(model, _clip(6)) else "as Python's text",
        thinks,
    )


def _said(checkpoint: Path, model: Loaded) -> tuple[str, str]:
    """What an engine of it answers: whether that is JSON where it is asked for, and clean."""
    with answering(checkpoint, trust_remote_code=True) as ask:
        guided, free = ask(_drawn(FORM)), ask(_drawn(None))
    valid = sum(map(_has_form, guided))
    begun = "in the place of channels" if _has_channels(model) else "valid"
    vocabulary = model.renderer.get_tokenizer().added_tokens_decoder.values()
    control = {token.content for token in vocabulary if token.special}
    found = {token for token in control for answer in (*guided, *free) if token in answer.text}
    return (
        begun if valid == DRAWN else f"{valid} of {DRAWN}",
        f"hold {', '.join(sorted(found))}" if found else "clean",
    )


def _drawn(form: dict[str, Any] | None) -> list[Request]:
    return [
        Request(
            prompt="Tell.",
            generation=GenerationConfig(temperature=1.0, seed=seed, max_tokens=300),
            json_schema=form,
        )
        for seed in range(DRAWN)
    ]


def _has_form(answer: Answer) -> bool:
    try:
        said = json.loads(answer.text)
    except ValueError:
        return False
    fields = FORM["properties"]
    return set(said) == set(fields) and said["place"] in fields["place"]["enum"]


def _has_channels(model: Loaded) -> bool:
    return "<|channel|>" in model.renderer.get_tokenizer().get_vocab()


def _sound(model: Loaded) -> tuple[str, str]:
    """Where the sound is, and whether another sound makes other features."""
    quiet, loud = _clip(6, loudness=0.0), _clip(6, loudness=0.1)
    if "audio" not in model.prompts.adapter.takes:
        return "not heard", "-"
    items = [_prepared(model, clip)["mm_kwargs"]["audio"][0] for clip in (quiet, loud)]
    changed = "the same features" if np.array_equal(*map(_features, items)) else "other features"
    text = _text(model, loud)
    between = re.search(r"(?:AUDIO|audio_pad)\|>.*(?:VIDEO|video_pad)\|>", text)
    return "inside the video" if between else "behind the video", changed


def _features(item: Any) -> np.ndarray:
    """Of a sound, in one row."""
    (data,) = (each.data for name, each in item.items() if name.endswith("audio_features"))
    return np.concatenate([part.float().numpy().ravel() for part in data])


def _times(model: Loaded) -> str:
    text = _text(model, _clip(6))
    if found := re.findall(r"<([\d.]+) seconds>", text):
        return f"as they are, of pairs: {', '.join(found)} s"
    if found := re.findall(r"end_of_image\|>(\d+)", text):
        return f"whole seconds, of pairs: {', '.join(found)} s"
    if all(f"{moment:.1f} s: " in text for moment in MOMENTS):
        return "as they are, in the text"
    item = _prepared(model, _clip(6))["mm_kwargs"]["video"][0]
    if "second_per_grid_ts" in item:
        return f"the average: {float(item['second_per_grid_ts'].data):g} s for a pair"
    return "none: the model is told no times"


def _clip(frames: int, *, loudness: float = 0.1) -> Clip:
    noise = np.random.default_rng(0).normal(0, 1, 41 * 16_000).astype(np.float32)
    return Clip(
        duration_sec=41.0,
        frames=np.zeros((frames, 224, 224, 3), np.uint8),
        timestamps=np.array(MOMENTS[:frames]),
        audio=noise * loudness if frames > 1 else None,
        audio_rate=16_000 if frames > 1 else 0,
    )


def _prepared(model: Loaded, clip: Clip | None) -> Any:
    request = Request(prompt="Tell.", system="Be short.", clip=clip)
    (prepared,) = model.renderer.render_cmpl([asyncio.run(model.prompts.build(request))])
    return prepared


def _text(model: Loaded, clip: Clip | None) -> str:
    text: str = model.renderer.get_tokenizer().decode(_prepared(model, clip)["prompt_token_ids"])
    return text


def page_with(lines: Mapping[str, str]) -> str:
    """The page with another table."""
    table = "\n".join((_line(COLUMNS), _line(["---"] * len(COLUMNS)), *lines.values()))
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{table}\n{END}{rest.partition(END)[2]}"


def lines_of_page() -> dict[str, str]:
    """Family -> its line of the table as the page has it."""
    table = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    return {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()[2:]}


if __name__ == "__main__":
    PAGE.write_text(page_with(rows()), "utf-8")

"""What each family is shown, as a table: measured, without weights.

python -m tests.support.models.matrix           # rewrite the table in docs/models.md
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from actors.engine.loading import Loaded
from schemas.media import Clip
from schemas.recipe import Request
from tests.support.jobs import ROOT
from tests.support.models.engines import loaded
from tests.support.models.families import NAMES, write_family

PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- end -->"
COLUMNS = (
    "family",
    "6 frames",
    "one frame",
    "sound",
    "irregular times",
    "system message",
    "thinks",
)

MOMENTS = (0.0, 1.0, 2.0, 3.0, 20.0, 40.0)


def matrix() -> str:
    """The table, in Markdown."""
    rows = [COLUMNS, ("---",) * len(COLUMNS)]
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(NAMES):
            checkpoint = write_family(name, Path(folder) / str(number))
            # Two of them bring code along, which is our own.
            model = loaded(checkpoint, max_model_len=4096, trust_remote_code=True)
            rows.append((name, *_row(model)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(model: Loaded) -> tuple[str, ...]:
    takes = model.prompts.adapter.takes
    system = "as a text" if "Be short." in _text(model, None) else "lost"
    thinks = "off by its switch" if "</think>" in _text(model, None) else "-"
    if _text(model, None).endswith("<think>"):
        thinks = "always"
    if "<|channel|>" in model.renderer.get_tokenizer().get_vocab():
        thinks = "always, in channels"
    if "image" not in takes:
        return "-", "-", "-", "-", system, thinks
    video = _prepared(model, _clip(6))["mm_placeholders"]
    frames = "a video" if "video" in video else f"{len(video['image'])} images"
    single = _prepared(model, _clip(1))["mm_placeholders"]
    return (
        frames,
        "an image" if len(single.get("image", ())) == 1 else "lost",
        _sound(model),
        _times(model),
        system if "[{" not in _text(model, _clip(6)) else "as Python's text",
        thinks,
    )


def _sound(model: Loaded) -> str:
    quiet, loud = _clip(6, loudness=0.0), _clip(6, loudness=0.1)
    if "audio" not in model.prompts.adapter.takes:
        return "not heard"
    items = [_prepared(model, clip)["mm_kwargs"]["audio"][0] for clip in (quiet, loud)]
    features = [item["input_audio_features"].data.float().numpy() for item in items]
    assert not np.array_equal(*features), "other sound, the same features"
    text = _text(model, loud)
    between = re.search(r"(?:AUDIO|audio_pad)\|>.*(?:VIDEO|video_pad)\|>", text)
    return "inside the video" if between else "behind the video"


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


def page_with(table: str) -> str:
    """The page with another table."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{table}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page_with(matrix()), "utf-8")

"""What all ways have in common: the model, vLLM's arguments, the prompt, what is measured."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from actors.engine.loading import EngineSettings
from rayjob.capacity import cluster
from rayjob.capacity.engine_spec import recipe_engine
from rayjob.capacity.pool import engine_pool
from rayjob.recipes import find_recipe
from rayjob.settings.loading import read_config
from schemas.config import JobConfig

CONFIG = "configs/demo.yaml"
JOB_SETTINGS = ("recipe.sound=off",)
"""Of the job beside :data:`CONFIG`: the other ways show the picture alone."""

FRAMES = 8
_SIDE = 112


@dataclass(frozen=True)
class Setup:
    """How each way runs the model.

    Attributes:
        model: its folder.
        args: fields of ``vllm.AsyncEngineArgs`` as the job sets them.
        environment: as of the job's engines.
        in_flight: requests at once, where a way has such a number.
    """

    model: str
    args: dict[str, Any]
    environment: dict[str, str]
    in_flight: int
    prompt: str
    max_tokens: int
    temperature: float


def setup() -> Setup:
    """Of the job with :data:`CONFIG` on this machine."""
    config = read_config(
        JobConfig, CONFIG, flags={"input": ["-"], "output": "-"}, assignments=JOB_SETTINGS
    )
    recipe = find_recipe(config.recipe.name)(config.recipe, model=config.engine.model)
    pool = engine_pool(recipe_engine(config.engine, recipe), cluster.peek())
    assert isinstance(pool.settings, EngineSettings)
    generation = recipe.generation
    assert generation.max_tokens is not None and generation.temperature is not None
    args = {name: value for name, value in pool.settings.args.items() if name != "stream_interval"}
    return Setup(
        model=str(Path(pool.settings.model).resolve()),
        args=args,
        environment=pool.settings.environment,
        in_flight=pool.videos_in_flight,
        prompt=recipe.prompt.strip(),
        max_tokens=generation.max_tokens,
        temperature=generation.temperature,
    )


def decoded(path: str) -> dict[str, Any]:
    """Frames at equal distances, as scripts take them: all are decoded.

    Returns:
        ``frames`` uint8 (frames, height, width, 3); ``fps`` of them; ``duration`` in seconds.
    """
    with av.open(path) as container:
        found = list(container.decode(video=0))
    picked = [found[round(place)] for place in np.linspace(0, len(found) - 1, FRAMES)]
    frames: npt.NDArray[np.uint8] = np.stack(
        [each.reformat(_SIDE, _SIDE, "rgb24").to_ndarray() for each in picked]
    )
    seconds = float(found[-1].time or 0.0)
    return {"frames": frames, "fps": (FRAMES - 1) / max(seconds, 1e-3), "duration": seconds}


def request(clip: dict[str, Any], prompt: str) -> dict[str, Any]:
    """A decoded clip as vLLM takes it.

    Args:
        clip: as of :func:`decoded`.
    """
    told = {
        "fps": clip["fps"],
        "duration": clip["duration"],
        "total_num_frames": FRAMES,
        "frames_indices": list(range(FRAMES)),
        "video_backend": "pyav",
        "do_sample_frames": False,
    }
    text = (
        f"<|im_start|>user\n<|vision_bos|><|VIDEO|><|vision_eos|>{prompt}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    return {
        "prompt": text,
        "multi_modal_data": {"video": (clip["frames"], told)},
        "mm_processor_kwargs": {"fps": clip["fps"]},
    }


@dataclass
class Log:
    """Captions of a way, as they come.

    Attributes:
        times: of each, in seconds since 1970.
        prompt_tokens: of each.
    """

    times: list[float] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)

    def add(self, prompt_tokens: int, *, at: float | None = None) -> None:
        """One more."""
        self.times.append(time.time() if at is None else at)
        self.prompt_tokens.append(prompt_tokens)

    def tell(self) -> None:
        """Print it, as the last line."""
        print(json.dumps(vars(self)), flush=True)


def paths_of_arguments() -> list[str]:
    """The clips of ``--folder``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    return [str(path) for path in sorted(parser.parse_args().folder.iterdir())]

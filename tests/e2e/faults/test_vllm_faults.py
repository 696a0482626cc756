"""Faults of vLLM with sound inside a video stay avoided (docs/engine.md)."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from actors.engine.loading import EngineSettings
from actors.engine.prompting import PromptBuilder
from actors.engine.vllm_engine import VllmEngine
from rayjob.capacity.pool import engine_pool
from rayjob.recipes.omni import Omni
from rayjob.settings.loading import read_config
from schemas.config import JobConfig
from schemas.media import Clip, DecodedVideo, VideoInfo
from schemas.recipe import Request, Video
from tests.support.engines import machines, omni_engine
from tests.support.renderers import OMNI, renderer_of
from tinyworld.render import render_audio, render_frames
from tinyworld.world import Scene, grade, sample_scenes

CONFIG = read_config(JobConfig, "configs/demo.yaml", flags={"input": ["-"], "output": "-"})
SECONDS = 4.0
PAIRS = 8
TOKENS_PER_SEC = 25
"""Positions that a second takes, and tokens of sound."""


# ---- prefix caching: both engines caption the same frames with different sound


def decoded(scene: Scene) -> DecodedVideo:
    info = VideoInfo(
        duration_sec=SECONDS, fps=2.0, width=112, height=112, has_video=True, has_audio=True
    )
    return DecodedVideo(
        info=info,
        frames=render_frames(scene, seconds=SECONDS, fps=2, width=112, height=112),
        timestamps=np.arange(0, SECONDS, 0.5),
        audio=render_audio(scene, seconds=SECONDS).astype(np.float32),
        audio_rate=16_000,
    )


def heard(settings: EngineSettings) -> list[tuple[bool, bool]]:
    """For each pair: whether the sounding and then the silenced clip were heard rightly."""
    recipe = Omni(CONFIG.recipe)
    scenes = [scene for scene in sample_scenes(400, seed=41) if scene.sound != "silence"][:PAIRS]

    async def run() -> list[tuple[bool, bool]]:
        engine = VllmEngine(settings)
        try:
            pairs = []
            for number, scene in enumerate(scenes):
                silenced = dataclasses.replace(scene, sound="silence")
                verdicts = []
                for shown in (scene, silenced):
                    video = Video(
                        video_id=f"{number}", uri="", metadata=None, decoded=decoded(shown)
                    )
                    (row,) = await recipe.caption(video, engine)
                    verdicts.append(grade(row.caption, shown)["sound"])
                pairs.append((verdicts[0], verdicts[1]))
            return pairs
        finally:
            engine.close()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def settings() -> EngineSettings:
    assert Path("models/tiny-omni/config.json").is_file()
    return engine_pool(omni_engine(CONFIG.engine), machines()).settings


def test_each_clip_keeps_its_own_sound(settings: EngineSettings) -> None:
    pairs = heard(settings)
    assert np.mean([all(pair) for pair in pairs]) >= 0.85, pairs


def test_the_fault_is_still_there(settings: EngineSettings) -> None:
    """With prefix caching the silenced clip is captioned with the sound before it.

    When this fails, vLLM has mended the fault: caching can be allowed for sound again.
    """
    # Blocks far smaller than a clip's placeholder, so that nearly all of it is cached.
    caching = dataclasses.replace(
        settings, args={**settings.args, "enable_prefix_caching": True, "block_size": 32}
    )
    silenced = [second for _, second in heard(caching)]
    assert np.mean(silenced) <= 0.5, silenced


# ---- every token in its place


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the tokens of one request stand, in seconds from the first of their kind.

    Attributes:
        sound: of each token of sound.
        pictures: of each token of the video.
        in_line: of each token of sound, whether it stands in a line of time, as pictures do not.
    """

    sound: NDArray[np.float64]
    pictures: NDArray[np.float64]
    in_line: NDArray[np.bool_]


def layout(renderer: Any, prompt: dict[str, Any]) -> Layout:
    """What vLLM's processor and vLLM's model make of a prompt."""
    from vllm.model_executor.models.qwen2_5_omni_thinker import (
        Qwen2_5OmniThinkerForConditionalGeneration as Thinker,
    )
    from vllm.multimodal.inputs import MultiModalFeatureSpec

    (prepared,) = renderer.render_cmpl([prompt])
    features = [
        MultiModalFeatureSpec(data=item, modality=kind, identifier=kind, mm_position=place)
        for kind, items in prepared["mm_kwargs"].items()
        for item, place in zip(items, prepared["mm_placeholders"][kind], strict=True)
    ]
    model = Thinker.__new__(Thinker)
    model.config = renderer.model_config.hf_config.thinker_config
    tokens = np.array(prepared["prompt_token_ids"])
    given, _ = model.get_mrope_input_positions(tokens.tolist(), features)
    # Positions begin at the opening of the sound, one token early: each token has the position
    # of the next one. When vLLM mends that, this fails.
    places = np.roll(np.asarray(given), 1, axis=1)
    sound = places[:, tokens == model.config.audio_token_index]
    pictures = places[0, tokens == model.config.video_token_index]
    return Layout(
        sound=(sound[0] - sound[0].min()) / TOKENS_PER_SEC,
        pictures=(pictures - pictures.min()) / TOKENS_PER_SEC,
        in_line=(sound == sound[0]).all(axis=0),
    )


def long_clip(*, seconds: float, frames: int) -> Clip:
    wave = np.random.default_rng(0).normal(0, 0.1, round(seconds * 16_000))
    return Clip(
        duration_sec=seconds,
        frames=np.zeros((frames, 112, 112, 3), np.uint8),
        timestamps=np.linspace(0, seconds - 0.04, frames),
        audio=wave.astype(np.float32),
        audio_rate=16_000,
    )


@pytest.fixture(scope="module")
def renderer() -> Any:
    return renderer_of(OMNI)


def built(renderer: Any, shown: Clip) -> dict[str, Any]:
    return asyncio.run(PromptBuilder(renderer).build(Request(prompt="Tell.", clip=shown)))


@pytest.mark.parametrize(
    ("seconds", "frames"), [(4, 8), (11, 15), (12.9, 16), (31, 32), (40, 32), (60, 32)]
)
def test_sound_and_pictures_have_their_own_times(
    renderer: Any, seconds: float, frames: int
) -> None:
    shown = long_clip(seconds=seconds, frames=frames)
    found = layout(renderer, built(renderer, shown))
    assert found.in_line.all()
    assert np.allclose(found.sound, np.arange(len(found.sound)) / TOKENS_PER_SEC)
    assert len(found.sound) == pytest.approx(seconds * TOKENS_PER_SEC, abs=1)
    pairs = (frames + 1) // 2
    moments = np.repeat(np.arange(pairs) * 2 / shown.sampled_fps, len(found.pictures) // pairs)
    # A position is a 25th of a second, and the seconds of a pair have 8 significant bits.
    assert np.abs(found.pictures - moments).max() <= 1 / TOKENS_PER_SEC + seconds / 512


@pytest.mark.parametrize(("seconds", "frames"), [(31, 32), (40, 32), (60, 32)])
def test_tokens_are_out_of_place_without_care(renderer: Any, seconds: float, frames: int) -> None:
    """With the exact seconds, as models are otherwise asked.

    When this fails, vLLM has mended the fault: the seconds need no care any more.
    """
    shown = long_clip(seconds=seconds, frames=frames)
    prompt = built(renderer, shown)
    prompt["mm_processor_kwargs"] |= {
        "fps": shown.sampled_fps,
        "second_per_grid_ts": [2 / shown.sampled_fps],
    }
    assert not layout(renderer, prompt).in_line.all()

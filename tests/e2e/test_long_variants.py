"""What LongCaption-Agent is compared with, and differential captions, with the embedded model.

Videos of two scenes of 6 s each are captioned in every way, and every way has its name in one
output. A text has told a scene when it names colour and shape of what that shows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.decoding.decoder import decode
from actors.engine.loading import EngineSettings
from actors.engine.vllm_engine import VllmEngine
from actors.storage.access import open_range
from rayjob.capacity.engine_spec import recipe_engine
from rayjob.capacity.pool import engine_pool
from rayjob.output.store import TableStore
from rayjob.recipes import find_recipe
from rayjob.recipes.material import Material, SourceRow
from rayjob.settings.loading import read_config
from schemas.config import FuseConfig, GenerationConfig, JobConfig, RecipeConfig
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from schemas.recipe import Video
from schemas.tables import CaptionRow, captions_of, results_table
from tests.support.engines import machines
from tests.support.evaluations import evaluate, jsonl
from tests.support.outputs import together
from tinyworld.measure import mark_events
from tinyworld.render import write_video
from tinyworld.tasks import change, long_text
from tinyworld.world import FRAME_ATTRIBUTES, Scene, clip_caption, grade, read_events, sample_scenes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

VIDEOS, SCENE_SEC, SECONDS = 10, 6.0, 12.0
FEW_TOKENS = 72
CLIPS: dict[str, dict[str, Any]] = {
    "clips": {},
    "frames-alone": {"window_sec": None},
    "no-context": {"context": False},
    "differential": {
        "differential": True,
        "frame_sec": None,
        "change_prompt_file": "tinyworld/prompts/change.txt",
    },
}
"""Name of the captions -> options."""
ONE_PASS: dict[str, dict[str, Any]] = {
    "one-pass": {"num_frames": 128},
    "one-pass-6s": {"fps": 1 / 6},
}
LONG: dict[str, tuple[str, dict[str, Any]]] = {
    "long": ("clips", {}),
    "long-whole-sets": ("clips", {"frame_sets": "whole"}),
    "long-frames-alone": ("frames-alone", {}),
    "long-no-context": ("no-context", {}),
    "long-differential": ("differential", {}),
}
"""Name of the texts -> the captions that they are made of, and options."""
Rows = dict[str, list[CaptionRow]]
"""Of each video."""


@pytest.fixture(scope="module")
def truth() -> dict[str, list[Scene]]:
    some = [scene for scene in sample_scenes(200, seed=35) if scene.motion != "still"]
    pairs = list(zip(some[::2], some[1::2], strict=False))[:VIDEOS]
    return {f"{number}.mp4": [*pair] for number, pair in enumerate(pairs)}


class Captioner:
    """Runs recipes on the embedded model and keeps what they tell, by name."""

    def __init__(self, folder: Path, engine: VllmEngine, loop: asyncio.Runner) -> None:
        self.folder, self.engine, self.loop = folder, engine, loop
        self.told: dict[str, Rows] = {}

    def clips(self, name: str, options: dict[str, Any]) -> None:
        flags: dict[str, Any] = {"input": ["x"], "output": "y"}
        flags |= {f"recipe.options.{key}": value for key, value in options.items()}
        config = read_config(JobConfig, "configs/demo-clips.yaml", flags=flags).recipe
        self._watch(name, find_recipe("clips")(config))

    def one_pass(self, name: str, plan: dict[str, Any]) -> None:
        config = RecipeConfig(
            prompt_file="tinyworld/prompts/seen.txt",
            plan=SamplingPlan(max_pixels=12_544, compress=True, **plan),
            generation=GenerationConfig(temperature=0.0, max_tokens=96),
        )
        self._watch(name, find_recipe("one-pass")(config))

    def long(self, name: str, source: str, options: dict[str, Any], *, tokens: int = 400) -> None:
        flags: dict[str, Any] = {"input": ["x"], "output": "y"}
        flags["recipe.generation.max_tokens"] = tokens
        flags |= {f"recipe.options.{key}": value for key, value in options.items()}
        config = read_config(FuseConfig, "configs/demo-long.yaml", flags=flags).recipe
        videos = [
            Video(video_id=video_id, uri=video_id, metadata=None, material=material(rows))
            for video_id, rows in self.told[source].items()
        ]
        self._keep("fused/task", name, find_recipe("long")(config), videos)

    def _watch(self, name: str, recipe: Any) -> None:
        videos = []
        for path in sorted((self.folder / "in").iterdir()):
            with open_range(str(path), StorageOptions()) as reader:
                decoded = decode(reader, recipe.plan, DecodeLimits())
            videos.append(Video(video_id=path.name, uri=path.name, metadata=None, decoded=decoded))
        self._keep("captions/recipe", name, recipe, videos)

    def _keep(self, table: str, name: str, recipe: Any, videos: Sequence[Video]) -> None:
        async def caption() -> list[Any]:
            return await asyncio.gather(*(recipe.caption(video, self.engine) for video in videos))

        made = self.loop.run(caption())
        ids = [video.video_id for video in videos]
        self.told[name] = {
            video_id: sorted(rows, key=lambda row: (row.level, row.index))
            for video_id, rows in zip(ids, made, strict=True)
        }
        rows = captions_of(
            together(results_table(each, captions=self.told[name][each]) for each in ids)
        )
        TableStore(self.folder / "out").write_table(f"{table}={name}/run_id=r1/a.parquet", rows)


def material(rows: Sequence[CaptionRow]) -> str:
    """What the captions of a video give to a text."""
    names = SourceRow.__dataclass_fields__
    sources = [SourceRow(**{name: getattr(row, name) for name in names}) for row in rows]
    sources.sort(key=lambda row: (row.start_sec or 0.0, row.level))
    return Material(rows=tuple(sources), info=None).to_json()


@pytest.fixture(scope="module")
def captioner(
    tmp_path_factory: pytest.TempPathFactory, truth: dict[str, list[Scene]]
) -> Iterator[Captioner]:
    """With all captions and texts."""
    folder = tmp_path_factory.mktemp("variants")
    (folder / "in").mkdir()
    for name, scenes in truth.items():
        write_video(
            folder / "in" / name, [(scene, SCENE_SEC) for scene in scenes], fps=12, audio=False
        )
    config = read_config(
        JobConfig, "configs/demo-clips.yaml",
        flags={"input": ["x"], "output": "y", "engine.max_model_len": 2048},
    )  # fmt: skip
    pool = engine_pool(
        recipe_engine(config.engine, find_recipe("clips")(config.recipe)), machines()
    )
    assert isinstance(pool.settings, EngineSettings)
    with asyncio.Runner() as loop:
        engine = VllmEngine(pool.settings)
        try:
            made = Captioner(folder, engine, loop)
            for name, options in CLIPS.items():
                made.clips(name, options)
            for name, plan in ONE_PASS.items():
                made.one_pass(name, plan)
            for name, (source, options) in LONG.items():
                made.long(name, source, options)
            yield made
        finally:
            engine.close()


def shown_at(scenes: list[Scene], row: CaptionRow) -> Scene:
    assert row.start_sec is not None
    return scenes[int(row.start_sec // SCENE_SEC)]


def share(marks: Sequence[bool]) -> float:
    return float(np.mean(marks))


def test_frames_alone(captioner: Captioner, truth: dict[str, list[Scene]]) -> None:
    right = []
    for name, rows in captioner.told["frames-alone"].items():
        assert [row.level for row in rows] == ["frame"] * round(SECONDS)
        marks = [grade(row.caption, shown_at(truth[name], row), FRAME_ATTRIBUTES) for row in rows]
        right += [all(mark.values()) for mark in marks]
    assert share(right) >= 0.9


def test_clips_without_context(captioner: Captioner, truth: dict[str, list[Scene]]) -> None:
    right = []
    for name, rows in captioner.told["no-context"].items():
        clips = [row for row in rows if row.level == "clip"]
        assert len(clips) == 5 and not any(row.caption.startswith("After") for row in clips)
        # But for the window in the middle, each shows one scene.
        for row in clips[:2] + clips[3:]:
            scene = shown_at(truth[name], row)
            right.append(all(mark_events(row.caption, [scene]).values()))
    assert share(right) >= 0.8


def test_differential_captions(captioner: Captioner, truth: dict[str, list[Scene]]) -> None:
    """Key moments at 0, 2, ... 10 s: a thing, where it went, another thing, where that went."""
    right: list[list[bool]] = []
    for name, rows in captioner.told["differential"].items():
        first, second = truth[name]
        went = [change(scene, scene, scene.motion, "").answer for scene in truth[name]]
        expected = [went[0], went[0], change(first, second, None, "").answer, went[1], went[1]]
        assert [row.start_sec for row in rows] == [0, 2, 4, 6, 8, 10]
        right.append([row.caption == text for row, text in zip(rows[1:], expected, strict=True)])
    assert np.mean(right) >= 0.8


def scenes_told(rows: Rows, truth: dict[str, list[Scene]]) -> float:
    """The share of scenes that the texts tell."""
    assert rows.keys() == truth.keys()
    marks = []
    for name, (row,) in rows.items():
        named = {(event["colour"], event["shape"]) for event in read_events(row.caption)}
        marks += [(scene.colour, scene.shape) in named for scene in truth[name]]
    return share(marks)


def test_one_pass(captioner: Captioner) -> None:
    """128 frames, or one every 6 s, in one request; what is told of them stands below."""
    for name, frames in (("one-pass", 128), ("one-pass-6s", 2)):
        rows = captioner.told[name]
        assert {row.num_frames for (row,) in rows.values()} == {frames}


def test_all_ways_side_by_side(
    captioner: Captioner, truth: dict[str, list[Scene]], tmp_path: Path
) -> None:
    told = {name: scenes_told(captioner.told[name], truth) for name in (*LONG, *ONE_PASS)}
    assert told["long"] >= 0.9 and told["long-no-context"] >= 0.9
    assert max(told[name] for name in ("long-frames-alone", *ONE_PASS)) < told["long"]
    labels = jsonl(
        tmp_path / "labels.jsonl",
        [
            {"video_id": name, "duration_sec": SECONDS, "caption": whole_text(scenes)}
            for name, scenes in truth.items()
        ],
    )
    for name in (*LONG, *ONE_PASS):
        done = evaluate(
            "--suite", "long", "--input", captioner.folder / "out", "--compare", "long", name,
            "--labels", labels,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        (length,) = [each for each in done.result["differences"] if each["name"] == "length"]
        assert length["n"] == VIDEOS


def whole_text(scenes: list[Scene]) -> str:
    """What five windows of 4 s every 2 s show, in one text."""
    shown = [scenes[:1], scenes[:1], scenes, scenes[1:], scenes[1:]]
    return long_text([("", clip_caption(each)) for each in shown])


def test_a_text_of_several_answers_is_as_long_as_asked_for(
    captioner: Captioner, truth: dict[str, list[Scene]]
) -> None:
    """In words for each second, as many as tell what is seen; one answer cannot hold them."""
    words = [len(whole_text(scenes).split()) for scenes in truth.values()]
    per_sec = float(np.mean(words)) / SECONDS
    options = {"target_words": 10, "next_prompt_file": "tinyworld/prompts/long.txt"}
    captioner.long("one-answer", "clips", options, tokens=FEW_TOKENS)
    captioner.long("answers", "clips", options | {"words_per_sec": per_sec}, tokens=FEW_TOKENS)
    one = captioner.told["one-answer"].values()
    cut_off = [row.caption_status == "truncated" for (row,) in one]
    assert share(cut_off) > 0.5
    for (row,) in captioner.told["answers"].values():
        details = json.loads(row.details or "")
        assert row.caption_status == "ok" and details["levels"][-1]["requests"] == 2
        asked = details["target_words"]
        assert asked == round(per_sec * SECONDS) and asked <= len(row.caption.split()) < 1.4 * asked
    assert scenes_told(captioner.told["answers"], truth) >= 0.9


def test_each_frame_once_is_less_material(captioner: Captioner) -> None:
    tokens = {
        name: sum(
            json.loads(row.details or "")["material_tokens"]
            for (row,) in captioner.told[name].values()
        )
        for name in ("long", "long-whole-sets")
    }
    assert tokens["long"] < 0.8 * tokens["long-whole-sets"]

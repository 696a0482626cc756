"""A real language model, SmolLM2-135M-Instruct, through the real engine: fusion and JSON.

It is small: what is asked of its texts is that they are English and about their material.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors.engine.vllm_engine import VllmEngine
from rayjob.capacity.engine_spec import recipe_engine
from rayjob.capacity.pool import engine_pool
from rayjob.recipes import find_recipe
from rayjob.recipes.material import Material, SourceRow
from rayjob.settings.loading import read_config
from schemas.config import FuseConfig, GenerationConfig
from schemas.recipe import Request, Video
from schemas.tables import CaptionRow
from tests.support.engines import machines
from tests.support.evaluations import evaluate, jsonl, scores
from tests.support.jobs import ROOT
from tinyworld import smollm2
from tinyworld.demo_text import SUBJECTS, VIDEOS, problem

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NOTES = (
    "A woman in a red coat walks along a street in the rain with a black umbrella.",
    "The woman in the red coat stops at a shop window and looks at a pair of shoes.",
    "The woman goes into the shop, and a man at the counter greets her.",
)


@dataclass(frozen=True)
class Running:
    engine: VllmEngine
    loop: asyncio.Runner

    def caption(self, recipe: Any, materials: dict[str, Material]) -> dict[str, CaptionRow]:
        """video_id -> the one row that a recipe makes of it."""

        async def all_of_them() -> list[Any]:
            videos = (
                Video(video_id=name, uri=name, metadata=None, material=material.to_json())
                for name, material in materials.items()
            )
            return await asyncio.gather(*(recipe.caption(video, self.engine) for video in videos))

        return dict(zip(materials, (rows[0] for rows in self.loop.run(all_of_them())), strict=True))


def configured(task: str) -> FuseConfig:
    name = "t2v" if task == "long" else task
    flags: dict[str, Any] = {"input": ["x"], "output": "y", "recipe.name": task}
    if task == "long":
        flags["recipe.prompt_file"] = "tinyworld/prompts/smollm2-long.txt"
        flags["recipe.options"] = {"target_words": 60}
    return read_config(FuseConfig, f"configs/demo-text-{name}.yaml", flags=flags)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    folder = smollm2.checkpoint()
    config = configured("t2v")
    engine = config.engine.model_copy(update={"model": str(folder)})
    recipe = find_recipe("t2v")(config.recipe)
    pool = engine_pool(recipe_engine(engine, recipe), machines())
    with asyncio.Runner() as loop:
        started = VllmEngine(pool.settings)
        try:
            yield Running(started, loop)
        finally:
            started.close()


def source(text: str, **changes: Any) -> SourceRow:
    values = {"level": "video", "index": 0, "start_sec": None, "end_sec": None}
    values |= {"structured": None, "caption_status": "ok"}
    return SourceRow(caption=text, **{**values, **changes})


@pytest.mark.parametrize("task", ["t2v", "i2v"])
def test_fusion_writes_english_about_the_videos(running: Running, task: str) -> None:
    recipe = find_recipe(task)(configured(task).recipe)
    materials = {
        name: Material(rows=(source(json.dumps(fields)),), info=None)
        for name, fields in VIDEOS.items()
    }
    rows = running.caption(recipe, materials)
    wrong = {
        name: (problem(row.caption, SUBJECTS[name], recipe.prompt), row.caption)
        for name, row in rows.items()
    }
    assert sum(each is None for each, _ in wrong.values()) >= 3, wrong
    assert all(row.output_tokens > 5 and row.prompt_tokens > 50 for row in rows.values())


def test_long_texts_follow_their_notes(running: Running) -> None:
    recipe = find_recipe("long")(configured("long").recipe)
    rows = tuple(
        source(text, level="clip", index=at, start_sec=5.0 * at, end_sec=5.0 * at + 5)
        for at, text in enumerate(NOTES)
    )
    row = running.caption(recipe, {"v": Material(rows=rows, info=None)})["v"]
    assert problem(row.caption, ("woman", "shop", "umbrella"), "") is None, row.caption


def test_guided_decoding_makes_json_of_what_is_asked(running: Running) -> None:
    """The grammar settles the form, the model the content."""
    schema = {
        "type": "object",
        "properties": {
            "animal": {"type": "string", "enum": ["dog", "cat", "horse", "none"]},
            "outdoors": {"type": "boolean"},
        },
        "required": ["animal", "outdoors"],
        "additionalProperties": False,
    }
    request = Request(
        prompt="A brown dog runs along the beach. Which animal is it? Answer in JSON.",
        generation=GenerationConfig(temperature=0.0, max_tokens=48),
        json_schema=schema,
    )
    answer = running.loop.run(running.engine.ask(request))
    found = json.loads(answer.text)
    assert found["animal"] == "dog" and isinstance(found["outdoors"], bool), answer.text


ASKED = (
    (NOTES[0], "What colour is the coat?", "red"),
    (NOTES[0], "What does the woman carry?", "umbrella"),
    (NOTES[1], "What does the woman look at?", "shoes"),
    (NOTES[2], "Who greets the woman?", "man"),
    ("A brown dog runs along the beach.", "Which animal is seen?", "dog"),
    ("A boy kicks a ball in a park while music plays.", "What does the boy kick?", "ball"),
)
"""A caption, a question about its video, and a word of the answer."""


@pytest.mark.usefixtures("local_ray")
def test_as_a_judge_it_answers_questions_by_the_captions(tmp_path: Path) -> None:
    """To grade is beyond so small a model, and it may go on to its last token; but what it answers
    stands in the captions.
    """
    captions = [{"video_id": f"v{at}", "caption": text} for at, (text, _, _) in enumerate(ASKED)]
    questions = [
        {"video_id": f"v{at}", "question": question, "answer": word, "type": "visual"}
        for at, (_, question, word) in enumerate(ASKED)
    ]
    settings = {
        "judge.max_tokens": 64, "engine.device": "cpu", "engine.dtype": "float32",
        "engine.max_model_len": 2048, "engine.max_num_seqs": 8, "engine.kv_cache_bytes": 256 << 20,
    }  # fmt: skip
    done = evaluate(
        "--suite", "ugc", "--input", jsonl(tmp_path / "captions.jsonl", captions),
        "--questions", jsonl(tmp_path / "questions.jsonl", questions),
        "--scores", tmp_path / "out", "--judge-engine", smollm2.checkpoint(),
        "--max-unscored-rate", 0.4,
        *(part for key, value in settings.items() for part in ("--set", f"{key}={value}")),
    )  # fmt: skip
    assert done.code == 0, done.stderr
    rows = scores(tmp_path / "out")
    said = {
        row["video_id"]: json.loads(row["raw_answer"])["answer"].lower()
        for row in rows
        if row["dimension"] == "questions answered" and row["score"] is not None
    }
    right = [word in said.get(f"v{at}", "") for at, (_, _, word) in enumerate(ASKED)]
    assert sum(right) >= len(ASKED) - 2, said
    graded = [row["score"] for row in rows if row["dimension"] == "questions visual"]
    assert len(graded) == len(ASKED) and {0.0, 1.0, None}.issuperset(graded)


def test_the_demo_names_the_checkpoint_that_is_made() -> None:
    for task in ("t2v", "i2v"):
        assert ROOT / str(configured(task).engine.model) == smollm2.FOLDER

"""A real engine of a small text model of random weights: what it answers, what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from actors.engine.vllm_engine import VllmEngine, _sampling_params
from rayjob.capacity.pool import engine_pool
from schemas.config import EngineConfig, GenerationConfig
from schemas.errors import PromptTooLongError, RequestRejectedError
from schemas.recipe import Answer, Request
from tests.support.engines import machines, omni_engine
from tests.support.renderers import CHATML, text_model

CONTEXT = 1024


@dataclass(frozen=True)
class Running:
    """An engine, and the loop that it lives on."""

    engine: VllmEngine
    loop: asyncio.Runner


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = EngineConfig(
        model=str(text_model(tmp_path_factory.mktemp("text") / "model", template=CHATML)),
        device="cpu", load_format="dummy", max_model_len=CONTEXT, max_num_seqs=8,
        kv_cache_bytes=16 << 20,
    )  # fmt: skip
    pool = engine_pool(omni_engine(config, plan=None), machines())
    with asyncio.Runner() as loop:
        engine = VllmEngine(pool.settings)
        try:
            yield Running(engine, loop)
        finally:
            engine.close()


def asked(words: int = 1, *, tokens: int = 4) -> Request:
    generation = GenerationConfig(temperature=0.0, max_tokens=tokens)
    return Request(prompt="blue " * words, system="Be short.", generation=generation)


def test_a_model_whose_template_joins_strings_answers(running: Running) -> None:
    answer = running.loop.run(running.engine.ask(asked()))
    assert (answer.finish_reason, answer.output_tokens) == ("length", 4)
    (alone,) = running.loop.run(running.engine.count_tokens(["blue "]))
    assert alone < answer.prompt_tokens < alone + 40


def test_requests_with_a_seed_whose_prompts_fill_more_than_a_step(running: Running) -> None:
    seeded = GenerationConfig(temperature=1.0, max_tokens=4, seed=7)
    requests = [
        # They begin differently, so that none finds another's prompt computed.
        Request(prompt=f"{number} {'blue ' * (CONTEXT * 3 // 4)}", system="", generation=seeded)
        for number in range(24)
    ]

    async def run() -> list[Answer]:
        return await asyncio.gather(*map(running.engine.ask, requests))

    answers = running.loop.run(run())
    # A batch of eight is more than vLLM's step of 4,096 on CPUs.
    assert all(answer.prompt_tokens > 4096 / 8 for answer in answers)
    assert {answer.output_tokens for answer in answers} == {4}


@pytest.mark.parametrize("words", [CONTEXT, 100 * CONTEXT])
def test_a_prompt_beyond_the_context(running: Running, words: int) -> None:
    with pytest.raises(PromptTooLongError, match="does not fit the model"):
        running.loop.run(running.engine.ask(asked(words)))
    assert running.engine.stats.waiting == 0


def test_what_waits_in_the_engine_is_known(running: Running) -> None:
    stats, seen = running.engine.stats, list[tuple[int, float]]()

    async def run() -> None:
        tasks = [asyncio.create_task(running.engine.ask(asked(tokens=64))) for _ in range(24)]
        while not all(task.done() for task in tasks):
            seen.append((stats.queued, stats.kv_use))
            await asyncio.sleep(0.005)

    running.loop.run(run())
    # A batch holds eight.
    assert max(queued for queued, _ in seen) in range(8, 17)
    assert 0 < max(use for _, use in seen) <= 1
    assert stats.queued == 0


def test_an_answer_that_was_given_up_is_none(running: Running) -> None:
    async def run() -> None:
        task = asyncio.create_task(running.engine.ask(asked(tokens=900)))
        while not running.engine.stats.running:
            await asyncio.sleep(0.01)
        llm = running.engine._llm
        await llm.abort(list(llm.output_processor.external_req_ids))
        await task

    with pytest.raises(RequestRejectedError, match="gave up on the request: abort"):
        running.loop.run(run())
    assert running.engine.stats.running == 0


def test_where_an_answer_ends_reaches_the_engine() -> None:
    request = Request(prompt="?", generation=GenerationConfig(stop=("\n\n",), max_tokens=7))
    chosen = _sampling_params(request, marks=False)
    assert (chosen.stop, chosen.max_tokens) == (["\n\n"], 7)
    assert _sampling_params(Request(prompt="?"), marks=False).stop == []


def test_what_vendors_give_of_sampling_reaches_the_engine() -> None:
    given = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "presence_penalty": 1.5}
    chosen = _sampling_params(
        Request(prompt="?", generation=GenerationConfig.model_validate(given)), marks=False
    )
    assert {name: getattr(chosen, name) for name in given} == given

"""The vLLM engine: one ``AsyncLLM`` per replica, many requests in flight.

``prepare`` and ``generate`` are separate steps: the first is CPU work (chat template, the
model's image, video and audio processor), the second is the engine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from actors.engine.loading import EngineSettings, load, prompt_builder, without_collections
from actors.engine.preparing.here import PrepareHere, Preparer
from actors.engine.prompting import rejection
from actors.engine.reasoning import Thought
from actors.engine.rehearsal import first_request, rehearse
from actors.engine.scheduler_watch import SchedulerWatch
from actors.engine.stats import EngineStats
from schemas.config import GenerationConfig
from schemas.errors import (
    EngineDiedError,
    ModelError,
    RayjobError,
    RequestRejectedError,
)
from schemas.recipe import Answer, Request

logger = logging.getLogger(__name__)


class VllmEngine:
    """One replica.

    Raises:
        ModelError: from the constructor, if the model cannot be loaded, or fails the rehearsal.
    """

    def __init__(self, settings: EngineSettings) -> None:
        os.environ.update(settings.environment)
        with without_collections():
            # Imported late: the environment above must be set, and a driver that only plans
            # need not pay for the import.
            from vllm.v1.engine.async_llm import AsyncLLM

            loaded = load(settings)
            if settings.script is not None:
                rehearse(loaded, settings.script)
        pool = None
        if settings.prepare_processes:
            from actors.engine.preparing.pool import PreparePool

            # They load their part while the engine loads the weights.
            pool = PreparePool(settings, loaded.config, processes=settings.prepare_processes)
        watch = SchedulerWatch()
        with _one_start_per_gpu() if settings.on_gpu else contextlib.nullcontext():
            try:
                self._llm = AsyncLLM.from_vllm_config(
                    loaded.config, stat_loggers=[watch.made], disable_log_stats=True
                )
            except (OSError, ValueError, TypeError) as error:
                raise ModelError(f"vLLM cannot load {settings.model!r}: {error}") from error
            except RuntimeError as error:
                # All that vLLM's own process tells of its end; the cause is in its log alone.
                raise ModelError(
                    f"vLLM's engine did not start with {settings.model!r}: {error} The cause is in "
                    "its log: the lines that begin with '(EngineCore'"
                ) from error
        self.max_model_len = int(self._llm.model_config.max_model_len)
        self._prompts = prompt_builder(settings, self._llm.renderer)
        self._reasoning = loaded.reasoning
        self._ids = itertools.count()
        self._preparer: Preparer = PrepareHere(self._llm.renderer, self._prompts)
        if pool is not None:
            script = settings.script
            try:
                pool.wait_until_ready(None if script is None else first_request(loaded, script))
                self._preparer = pool
            except (RayjobError, RuntimeError) as error:
                # Slower, but right.
                logger.warning("the engine prepares requests itself, since: %s", error)
                pool.close()
        self.stats = watch.stats = EngineStats()

    async def prepare(self, request: Request) -> Any:
        """Turn a request into vLLM's processed input. See :class:`Preparer` for what is raised."""
        try:
            return await self._preparer.prepare(request)
        finally:
            self.stats.sign()

    async def generate(self, prepared: Any, request: Request) -> Answer:
        """Sample an answer to a prepared request.

        Raises:
            CaptionError: the engine refuses the request.
            EngineDiedError: the replica cannot be used any more.
        """
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        final = None
        sampling = _sampling_params(request, marks=self._reasoning is not None)
        self.stats.step(+1)
        try:
            async for output in self._llm.generate(prepared, sampling, f"r{next(self._ids)}"):
                final = output
                self.stats.sign()
                self.stats.pieces += bool(output.outputs and output.outputs[0].token_ids)
        except EngineDeadError as error:
            raise EngineDiedError(f"the engine died: {error}") from error
        except (ValueError, VLLMClientError) as error:
            raise rejection(error) from error
        except EngineGenerateError as error:
            raise RequestRejectedError(f"the engine failed on the request: {error}") from error
        finally:
            self.stats.step(-1)
        if final is None or not final.outputs:
            raise RequestRejectedError("the engine returned no answer")
        output = final.outputs[0]
        if output.finish_reason not in ("stop", "length"):
            raise RequestRejectedError(f"the engine gave up on the request: {output.finish_reason}")
        thought = Thought(output.text)
        if self._reasoning is not None:
            thought = self._reasoning.apart(
                output.text, output.token_ids, final.prompt_token_ids or ()
            )
        answer = Answer(
            text=thought.text.strip(),
            finish_reason=output.finish_reason,
            prompt_tokens=len(final.prompt_token_ids or ()),
            output_tokens=len(output.token_ids),
            reasoning=thought.reasoning,
            reasoning_tokens=thought.tokens,
        )
        self.stats.requests += 1
        self.stats.prompt_tokens += answer.prompt_tokens
        self.stats.output_tokens += answer.output_tokens
        return answer

    async def ask(self, request: Request) -> Answer:
        """Prepare and generate. See there for what is raised."""
        self.stats.step(0)
        self.stats.waiting += 1
        try:
            prepared = await self.prepare(request)
        finally:
            self.stats.waiting -= 1
        return await self.generate(prepared, request)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, without any chat markup."""
        # Off the loop: a long video's captions are tens of thousands of tokens.
        return await asyncio.to_thread(self._prompts.text.count, texts)

    def close(self) -> None:
        """Stop the engine's processes."""
        self._preparer.close()
        self._llm.shutdown()


def _sampling_params(request: Request, *, marks: bool) -> Any:
    """VLLM's ``SamplingParams``.

    Args:
        marks: control tokens stay in the answer's text: they tell where thinking ends.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    chosen: GenerationConfig = request.generation
    guided = StructuredOutputsParams(json=request.json_schema) if request.json_schema else None
    return SamplingParams(
        **chosen.model_dump(mode="json", exclude_none=True),
        structured_outputs=guided,
        skip_special_tokens=not marks,
        # Pieces of an answer are signs of life; ``stream_interval`` keeps them few.
        output_kind=RequestOutputKind.CUMULATIVE,
    )


@contextlib.contextmanager
def _one_start_per_gpu() -> Iterator[None]:
    """Hold the start-up lock of every GPU this process may use.

    vLLM measures free memory while it starts; two engines that start on one GPU at the
    same moment mis-measure each other's share.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    with contextlib.ExitStack() as stack:
        for gpu in sorted(filter(None, visible.split(","))):
            path = Path(tempfile.gettempdir()) / f"rayjob-gpu-{gpu.strip()}-{os.getuid()}.lock"
            fcntl.flock(stack.enter_context(_opened_lock(path)), fcntl.LOCK_EX)
        yield


def _opened_lock(path: Path) -> IO[bytes]:
    """A file in a folder that all users write to: no link is followed, and nothing is emptied.

    Raises:
        ModelError: something else stands in its place.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.fdopen(os.open(path, flags, 0o600), "rb")
    except OSError as error:
        raise ModelError(f"the start-up lock {path} cannot be opened: {error}") from error
    found = os.fstat(handle.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        handle.close()
        raise ModelError(f"the start-up lock {path} is not a file of this user; remove it")
    return handle

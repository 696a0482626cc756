"""From a request to what an engine takes: chat template, and the model's processor of media."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from actors.engine.adapters import ModelInput
from actors.engine.prompting import PromptBuilder, rejection
from schemas.recipe import Request

_AT_ONCE = 4
"""The processor of media is one thread's work; a short queue before it keeps prepared tensors of
many videos from piling up in memory."""


class Preparer(Protocol):
    """Prepares requests for one engine."""

    async def prepare(self, request: Request) -> Any:
        """Turn a request into vLLM's processed input.

        Raises:
            PromptTooLongError: it does not fit the model's context.
            RequestRejectedError: the model's processor refuses it.
            PreparationDiedError, PreparationTimeoutError: of a :class:`PreparePool`.
            EngineDiedError: nothing can be prepared any more.
        """
        ...

    def close(self) -> None:
        """Stop what was started for it."""


class PrepareHere:
    """A :class:`Preparer` in this process, on one thread.

    Args:
        renderer: vLLM's, of the engine's model.
        prompts: builds prompts with it.
    """

    def __init__(self, renderer: Any, prompts: PromptBuilder) -> None:
        self._renderer = renderer
        self._prompts = prompts
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def prepare(self, request: Request) -> Any:
        """As of :class:`Preparer`."""
        from vllm.exceptions import VLLMClientError

        async with self._places:
            try:
                prompt: ModelInput = await self._prompts.build(request)
                (prepared,) = await self._renderer.render_cmpl_async([prompt])
            except (ValueError, VLLMClientError) as error:
                raise rejection(error) from error
        return prepared

    def close(self) -> None:
        """Nothing was started."""

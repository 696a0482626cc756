"""An engine elsewhere: any endpoint with OpenAI's API of chat completions, many requests at once.

It takes no GPU here. What is elsewhere is not started again when it fails: requests are tried
again, and then their videos wait for the next run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from actors.engine.chat import ChatClient, ChatService
from actors.engine.chat_media import clip_content
from actors.engine.stats import EngineStats
from schemas.budget import Budget
from schemas.endpoint import EndpointConfig
from schemas.errors import ConfigError, EndpointUnavailableError
from schemas.recipe import Answer, Request

_BYTES_PER_TOKEN = 3
"""Of a text: fewer than in any language that tokenizers are made for, so that counts are high."""


@dataclass(frozen=True, kw_only=True)
class RemoteSettings:
    """All that a replica needs to start; plain data, made on the driver.

    Attributes:
        service: with the key, which the driver read.
        max_model_len: tokens of prompt and answer together.
        budget: what a request with a clip may cost, for the decoders; None where none has any.
    """

    service: ChatService
    endpoint: EndpointConfig
    max_model_len: int
    budget: Budget | None = None
    on_gpu: bool = False

    @property
    def model(self) -> str:
        """The model's name there."""
        return self.service.model

    @property
    def max_num_seqs(self) -> int:
        """Requests in flight at most."""
        return self.service.connections

    def start(self) -> RemoteEngine:
        """The engine."""
        return RemoteEngine(self)


class RemoteEngine:
    """One replica: a :class:`schemas.recipe.Engine`."""

    def __init__(self, settings: RemoteSettings) -> None:
        self.max_model_len = settings.max_model_len
        self.stats = EngineStats()
        self._places = asyncio.Semaphore(settings.max_num_seqs)
        self._client = ChatClient(
            settings.service, content=clip_content(settings.endpoint), sign=self.stats.sign
        )

    async def ask(self, request: Request) -> Answer:
        """Answer one request.

        Raises:
            PromptTooLongError, RequestRejectedError: it is refused.
            EndpointUnavailableError: no usable answer in spite of retries.
        """
        self.stats.step(0)
        self.stats.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.stats.waiting -= 1
        self.stats.step(+1)
        try:
            answer = await self._client.ask(request)
        except ConfigError as error:
            # All was well when the run started.
            raise EndpointUnavailableError(str(error)) from error
        finally:
            self.stats.step(-1)
            self._places.release()
        self.stats.requests += 1
        self.stats.pieces += 1
        self.stats.prompt_tokens += answer.prompt_tokens
        self.stats.output_tokens += answer.output_tokens
        return answer

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, rather too many: the tokenizer is elsewhere."""
        return [-(-len(text.encode()) // _BYTES_PER_TOKEN) for text in texts]

"""An engine that records requests and answers by a script: it injects answers and faults."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

from schemas.recipe import Answer, Request

_TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]")
CHAT_TOKENS = 40
"""What a chat template adds, with a system message of its own."""

CUT_OFF = "~"
"""An answer that ends so was cut off at the token limit."""

Script = Callable[[Request], str]


class ScriptedEngine:
    """Words and marks are tokens.

    Args:
        script: makes the answer to a request, or raises.
        max_model_len: a request that could pass it is a failure of the test.
        together: no request is answered before so many were open at the same time.

    Attributes:
        requests: in the order of their arrival.
        most_at_once: requests that were open at the same time, at most.
    """

    def __init__(self, script: Script, *, max_model_len: int = 1 << 30, together: int = 1) -> None:
        self._script = script
        self.max_model_len = max_model_len
        self.requests: list[Request] = []
        self._open = 0
        self._together = together
        self._met = asyncio.Event()
        self.most_at_once = 0

    async def ask(self, request: Request) -> Answer:
        size = tokens(request.system) + tokens(request.prompt) + CHAT_TOKENS
        assert size + (request.generation.max_tokens or 0) <= self.max_model_len
        self.requests.append(request)
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            if self._open >= self._together:
                self._met.set()
            await asyncio.wait_for(self._met.wait(), 30)
            await asyncio.sleep(0)
            text = self._script(request)
        finally:
            self._open -= 1
        limit = request.generation.max_tokens
        assert limit is None or tokens(text) <= limit, "the script says more than it may"
        return Answer(
            text=text,
            finish_reason="length" if text.endswith(CUT_OFF) else "stop",
            prompt_tokens=size,
            output_tokens=tokens(text),
        )

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [tokens(text) for text in texts]


def tokens(text: str) -> int:
    return len(_TOKEN.findall(text))

"""A judge behind an OpenAI-compatible API: retries, rate limit, guided decoding.

Nothing that an endpoint sends is trusted: bodies are bounded and never decompressed, waits are
finite, and what is not a chat completion costs one answer.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, Field, ValidationError

from actors.storage.uris import display_uri
from rayjob.evaluation.config import JudgeConfig
from schemas.errors import CaptionError, ConfigError, RequestRejectedError
from schemas.recipe import Answer, Request

MOST_BYTES = 4 << 20
"""Of a body; a judge's answer has some thousand."""

_FIRST_WAIT_SEC = 0.5
_LONGEST_WAIT_SEC = 60.0
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_SPARE = ("response_format", "temperature", "max_tokens")
"""Parameters that an endpoint may refuse; each is left out from then on, if it does."""


def read_key(config: JudgeConfig) -> str | None:
    """The API key, None without one. It is never logged, printed or stored.

    Raises:
        ConfigError: the file or the variable that should hold it does not.
    """
    if config.key_file is not None:
        try:
            key = Path(config.key_file).expanduser().read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--judge-key-file {config.key_file} cannot be read") from error
        if not key:
            raise ConfigError(f"--judge-key-file {config.key_file} is empty")
        return key
    if config.key_env is not None:
        key = os.environ.get(config.key_env, "").strip()
        if not key:
            raise ConfigError(f"--judge-key-env: the variable {config.key_env} is not set")
        return key
    return None


class Endpoint:
    """A :class:`schemas.recipe.Asker` over ``POST {url}/chat/completions``; text only.

    Attributes:
        name: the judge's model, as scores record it.

    Raises:
        ConfigError: from the constructor, if the URL is not one or the key is missing; from
            :meth:`ask`, if nothing listens there, the key is refused or the model unknown.
    """

    def __init__(self, config: JudgeConfig) -> None:
        assert config.url is not None and config.model is not None
        self.name = config.model
        base, shown = config.url.rstrip("/"), display_uri(config.url)
        try:
            self._url = httpx.URL(f"{base.removesuffix('/chat/completions')}/chat/completions")
        except httpx.InvalidURL as error:
            raise ConfigError(f"--judge-url {shown!r} is not a URL") from error
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ConfigError(f"--judge-url {shown!r} is not an http:// or https:// URL")
        self._config = config
        self._key = read_key(config)
        headers = {"Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        limits = httpx.Limits(max_connections=config.concurrency)
        self._client = httpx.AsyncClient(headers=headers, timeout=config.timeout_sec, limits=limits)
        self._next_turn = 0.0
        self._refused: set[str] = set()
        self._heard = self._guided = False

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(self, request: Request) -> Answer:
        """Answer one request, tried ``1 + retries`` times.

        Raises:
            CaptionError: no usable answer in spite of retries, or the request is refused.
            ConfigError: the endpoint cannot be used at all.
        """
        failures = 0
        while True:
            await self._turn()
            sent = self._payload(request)
            wait: float | None = None
            try:
                async with asyncio.timeout(self._config.timeout_sec):
                    reply, body = await self._post(sent)
                self._heard = True
                if reply.is_success:
                    self._guided = self._guided or "response_format" in sent
                    return _answer(body)
                if self._give_up(reply.status_code, body, sent):
                    continue
                reason = f"HTTP {reply.status_code}"
                wait = _retry_after(reply.headers.get("retry-after", ""))
            except (TimeoutError, httpx.TimeoutException):
                reason = f"no answer within {self._config.timeout_sec:g} s"
            except httpx.ConnectError as error:
                if not self._heard and failures == self._config.retries:
                    raise ConfigError(
                        f"nothing answers at {self._shown()} ({error}): check --judge-url"
                    ) from error
                reason = "cannot connect"
            except httpx.HTTPError as error:
                reason = f"{type(error).__name__}: {error}"
            except _MalformedError as error:
                reason = str(error)
            failures += 1
            if failures > self._config.retries:
                often = f", {failures} times" if failures > 1 else ""
                raise CaptionError(self._clean(reason) + often)
            backoff = min(_LONGEST_WAIT_SEC, _FIRST_WAIT_SEC * 2 ** (failures - 1))
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0) if wait is None else wait)

    async def _turn(self) -> None:
        """Wait until the next request may go: they are spread evenly over the minute."""
        if self._config.requests_per_minute:
            now = time.monotonic()
            at = max(now, self._next_turn)
            self._next_turn = at + 60.0 / self._config.requests_per_minute
            await asyncio.sleep(at - now)

    async def _post(self, sent: dict[str, Any]) -> tuple[httpx.Response, bytes]:
        body = bytearray()
        async with self._client.stream("POST", self._url, json=sent) as response:
            encoding = response.headers.get("content-encoding", "identity").strip().lower()
            if encoding != "identity":
                raise _MalformedError(f"the body is encoded as {encoding!r}")
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise _MalformedError(f"the body is longer than {MOST_BYTES:,} bytes")
        return response, bytes(body)

    def _payload(self, request: Request) -> dict[str, Any]:
        messages = [{"role": "user", "content": request.prompt}]
        if request.system:
            messages.insert(0, {"role": "system", "content": request.system})
        chosen = request.generation
        spare: dict[str, Any] = {"temperature": chosen.temperature, "max_tokens": chosen.max_tokens}
        if request.json_schema is not None:
            form = {"name": "answer", "strict": True, "schema": request.json_schema}
            spare["response_format"] = {"type": "json_schema", "json_schema": form}
        kept = {
            name: value
            for name, value in spare.items()
            if value is not None and name not in self._refused
        }
        if "max_tokens" in self._refused:
            # The name of newer models of OpenAI for the same limit.
            kept["max_completion_tokens"] = chosen.max_tokens
        return {"model": self.name, "messages": messages, **kept}

    def _give_up(self, code: int, body: bytes, sent: dict[str, Any]) -> bool:
        """Whether to ask again at once, without a parameter that the endpoint refuses.

        Raises:
            ConfigError, RequestRejectedError: asking again cannot help.
        """
        if code in _TRANSIENT:
            return False
        text = body.decode("utf-8", "replace")
        said = self._clean(" ".join(text.split()))
        if code in (401, 403):
            raise ConfigError(
                f"{self._shown()} refuses the key (HTTP {code}): pass --judge-key-file or "
                f"--judge-key-env. It says: {said}"
            )
        if code in (404, 405):
            raise ConfigError(
                f"{self._shown()} does not know this API or the model {self.name!r} "
                f"(HTTP {code}): check --judge-url and --judge-model. It says: {said}"
            )
        if code in (400, 422):
            named = {name for name in _SPARE if name in sent and name in text}
            if "response_format" in sent and ("json_schema" in text or not (named or self._guided)):
                named.add("response_format")
            if named:
                self._refused |= named
                return True
            # Another request in flight may have learnt it first.
            if any(name in sent for name in self._refused):
                return True
        raise RequestRejectedError(f"HTTP {code}: {said}")

    def _shown(self) -> str:
        return str(self._url.copy_with(username=None, password=None, query=None))

    def _clean(self, text: str) -> str:
        """Words of the endpoint: few, without the key, without what a terminal would obey."""
        if self._key:
            text = text.replace(self._key, "***")
        return "".join(letter if letter.isprintable() else " " for letter in text[:300])


class _MalformedError(Exception):
    """What came is not a chat completion."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: Any = None


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]


def _answer(body: bytes) -> Answer:
    """The first choice. Tokens are not counted: endpoints differ, and no score needs them."""
    try:
        choice = _Completion.model_validate_json(body).choices[0]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _MalformedError(f"the body is not a chat completion: {first['msg']}") from error
    # A refusal of OpenAI's models comes in place of the content.
    text = choice.message.content if choice.message.content is not None else choice.message.refusal
    return Answer(
        text=(text or "").strip(),
        finish_reason="length" if choice.finish_reason == "length" else "stop",
        prompt_tokens=0,
        output_tokens=0,
    )


def _retry_after(value: str) -> float | None:
    """Seconds that the endpoint asks to wait, a minute at most; None if it does not say."""
    try:
        wait = float(value)
    except ValueError:
        return None
    return None if math.isnan(wait) else min(max(wait, 0.0), _LONGEST_WAIT_SEC)

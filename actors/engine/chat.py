"""A client of chat completions, the API of OpenAI: retries, rate limit, guided decoding, media.

Judges and engines elsewhere are asked by it. Nothing that an endpoint sends is trusted: bodies are
bounded and never decompressed, waits are finite, and what is not a chat completion costs one
answer. An answer is matched to its request by the call that it came in.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, Field, ValidationError

from actors.storage.uris import display_uri
from schemas.errors import (
    ConfigError,
    EndpointUnavailableError,
    PromptTooLongError,
    RequestRejectedError,
)
from schemas.recipe import Answer, Request

MOST_BYTES = 4 << 20
"""Of a body; an answer has some thousand."""

_FIRST_WAIT_SEC = 0.5
_LONGEST_WAIT_SEC = 60.0
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_SPARE = (
    "response_format", "temperature", "top_p", "top_k", "seed", "repetition_penalty",
    "presence_penalty", "max_tokens",
)  # fmt: skip
"""Parameters that an endpoint may refuse; each is left out from then on, if it does."""

_GAVE_UP = frozenset({"abort", "content_filter", "error"})
"""Reasons to end an answer that make it none."""

_TOO_LONG = ("context length", "context_length", "maximum model length", "max_model_len")
"""What endpoints say of a prompt beyond the context."""


@dataclass(frozen=True, kw_only=True)
class ChatService:
    """An endpoint, and how it is asked.

    Attributes:
        url: of the API, such as ``http://host:8000/v1``.
        key: the API key. It is never logged, printed or stored.
        connections: requests in flight at most.
        requests_per_minute: None for no limit.
        retries: tries after the first, per request.
        timeout_sec: wall time of one try.
        naming: how messages name a setting, with a place for its name.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    connections: int = 16
    requests_per_minute: float | None = None
    retries: int = 4
    timeout_sec: float = 120.0
    naming: str = "--judge-{}"

    def setting(self, name: str) -> str:
        """A setting as the user wrote it."""
        return setting_named(self.naming, name)

    @property
    def base(self) -> str:
        """The API's address, without a slash at its end."""
        return self.url.rstrip("/").removesuffix("/chat/completions")

    @property
    def _shown(self) -> str:
        return display_uri(self.url)

    def address(self, path: str) -> httpx.URL:
        """Where something of the API is.

        Raises:
            ConfigError: the URL is not one of the web.
        """
        try:
            url = httpx.URL(f"{self.base}/{path}")
        except httpx.InvalidURL as error:
            raise ConfigError(f"{self.setting('url')} {self._shown!r} is not a URL") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError(
                f"{self.setting('url')} {self._shown!r} is not an http:// or https:// URL"
            )
        return url

    @property
    def headers(self) -> dict[str, str]:
        """Of every request."""
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"Accept-Encoding": "identity", **key}

    def clean(self, text: str) -> str:
        """Words of the endpoint: few, without the key, without what a terminal would obey."""
        if self.key:
            text = text.replace(self.key, "***")
        return "".join(letter if letter.isprintable() else " " for letter in text[:300])

    def refusal(self, code: int, said: str) -> ConfigError | None:
        """What is wrong with the endpoint as a whole, by an answer's status."""
        where = shown(self.address("chat/completions"))
        if code in (401, 403):
            return ConfigError(
                f"{where} refuses the key (HTTP {code}): pass {self.setting('key_file')} or "
                f"{self.setting('key_env')}. It says: {said}"
            )
        if code in (404, 405):
            return ConfigError(
                f"{where} does not know this API or the model {self.model!r} "
                f"(HTTP {code}): check {self.setting('url')} and {self.setting('model')}. "
                f"It says: {said}"
            )
        return None


def shown(url: httpx.URL) -> str:
    """An address without user, password and query."""
    return str(url.copy_with(username=None, password=None, query=None))


def setting_named(naming: str, name: str) -> str:
    """A setting's name as a flag, or with dots."""
    return naming.format(name.replace("_", "-") if naming.startswith("--") else name)


def read_key(key_file: str | None, key_env: str | None, *, naming: str) -> str | None:
    """The API key, None without one.

    Raises:
        ConfigError: the file or the variable that should hold it does not.
    """
    if key_file is not None:
        said = f"{setting_named(naming, 'key_file')} {key_file}"
        try:
            key = Path(key_file).expanduser().read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{said} cannot be read") from error
        if not key:
            raise ConfigError(f"{said} is empty")
        return key
    if key_env is not None:
        key = os.environ.get(key_env, "").strip()
        if not key:
            raise ConfigError(
                f"{setting_named(naming, 'key_env')}: the variable {key_env} is not set"
            )
        return key
    return None


Content = str | list[dict[str, Any]]
"""Of a message: a text, or parts of which some are media."""


def text_only(request: Request) -> tuple[Content, dict[str, Any]]:
    """A request's prompt, and nothing else in the body."""
    assert request.clip is None
    return request.prompt, {}


class ChatClient:
    """A :class:`schemas.recipe.Asker` over ``POST {url}/chat/completions``.

    Args:
        content: makes the content of a request's message, and what stands in the body for it.
        sign: called at the end of every try, whatever came of it.

    Attributes:
        name: the model, as tables record it.

    Raises:
        ConfigError: from the constructor, if the URL is not one; from :meth:`ask`, if nothing
            listens there, the key is refused or the model unknown.
    """

    def __init__(
        self,
        service: ChatService,
        *,
        content: Callable[[Request], tuple[Content, dict[str, Any]]] = text_only,
        sign: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = service.model
        self._service = service
        self._content = content
        self._sign = sign
        self._url = service.address("chat/completions")
        limits = httpx.Limits(max_connections=service.connections)
        self._client = httpx.AsyncClient(
            headers=service.headers, timeout=service.timeout_sec, limits=limits
        )
        self._next_turn = 0.0
        self._refused: set[str] = set()
        self._heard = self._guided = False

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(self, request: Request) -> Answer:
        """Answer one request, tried ``1 + retries`` times.

        Raises:
            EndpointUnavailableError: no usable answer in spite of retries.
            PromptTooLongError, RequestRejectedError: the request is refused.
            ConfigError: the endpoint cannot be used at all.
        """
        service, failures = self._service, 0
        content, beside = await asyncio.to_thread(self._content, request)
        while True:
            await self._turn()
            sent = self._payload(request, content) | beside
            wait: float | None = None
            try:
                async with asyncio.timeout(service.timeout_sec):
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
                reason = f"no answer within {service.timeout_sec:g} s"
            except httpx.ConnectError as error:
                if not self._heard and failures == service.retries:
                    raise ConfigError(
                        f"nothing answers at {shown(self._url)} ({error}): check "
                        f"{service.setting('url')}"
                    ) from error
                reason = "cannot connect"
            except httpx.HTTPError as error:
                reason = f"{type(error).__name__}: {error}"
            except _MalformedError as error:
                reason = str(error)
            finally:
                self._sign()
            failures += 1
            if failures > service.retries:
                often = f", {failures} times" if failures > 1 else ""
                raise EndpointUnavailableError(service.clean(reason) + often)
            backoff = min(_LONGEST_WAIT_SEC, _FIRST_WAIT_SEC * 2 ** (failures - 1))
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0) if wait is None else wait)

    async def _turn(self) -> None:
        """Wait until the next request may go: they are spread evenly over the minute."""
        if self._service.requests_per_minute:
            now = time.monotonic()
            at = max(now, self._next_turn)
            self._next_turn = at + 60.0 / self._service.requests_per_minute
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

    def _payload(self, request: Request, content: Content) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if request.system:
            messages.insert(0, {"role": "system", "content": request.system})
        spare: dict[str, Any] = request.generation.model_dump(exclude_none=True)
        if request.json_schema is not None:
            form = {"name": "answer", "strict": True, "schema": request.json_schema}
            spare["response_format"] = {"type": "json_schema", "json_schema": form}
        kept = {name: value for name, value in spare.items() if name not in self._refused}
        if "max_tokens" in self._refused and "max_tokens" in spare:
            # The name of newer models of OpenAI for the same limit.
            kept["max_completion_tokens"] = spare["max_tokens"]
        return {"model": self.name, "messages": messages, **kept}

    def _give_up(self, code: int, body: bytes, sent: dict[str, Any]) -> bool:
        """Whether to ask again at once, without a parameter that the endpoint refuses.

        Raises:
            ConfigError, PromptTooLongError, RequestRejectedError: asking again cannot help.
        """
        if code in _TRANSIENT:
            return False
        text = body.decode("utf-8", "replace")
        said = self._service.clean(" ".join(text.split()))
        if (refusal := self._service.refusal(code, said)) is not None:
            raise refusal
        if code in (400, 413, 422) and any(words in text for words in _TOO_LONG):
            raise PromptTooLongError(f"the prompt does not fit the model's context: {said}")
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


class _MalformedError(Exception):
    """What came is not a chat completion."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    reasoning: Any = None
    reasoning_content: Any = None

    @property
    def thought(self) -> str:
        """What the model thought, by either of its names; "" where nothing is told of it."""
        told = (self.reasoning, self.reasoning_content)
        return next((each for each in told if isinstance(each, str)), "").strip()


class _Choice(BaseModel):
    message: _Message
    finish_reason: Any = None


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: Any = None

    def tokens(self, name: str, *, of: str | None = None) -> int | None:
        """A count that the endpoint gives, or a part ``of`` one; None where it gives none."""
        count = self.usage
        for key in filter(None, (of, name)):
            count = count.get(key) if isinstance(count, dict) else None
        return count if isinstance(count, int) and 0 <= count < 1 << 31 else None


def _answer(body: bytes) -> Answer:
    """The first choice. Tokens that the endpoint does not count are 0.

    Raises:
        _MalformedError: the body is not a chat completion, or one of no tokens.
        RequestRejectedError: the endpoint gave up on the request.
    """
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _MalformedError(f"the body is not a chat completion: {first['msg']}") from error
    choice, message = completion.choices[0], completion.choices[0].message
    if isinstance(choice.finish_reason, str) and choice.finish_reason in _GAVE_UP:
        raise RequestRejectedError(f"the endpoint gave up on the request: {choice.finish_reason}")
    if completion.tokens("completion_tokens") == 0:
        raise _MalformedError("the answer has no tokens")
    # A refusal of OpenAI's models comes in place of the content.
    text = message.content if message.content is not None else message.refusal
    return Answer(
        text=(text or "").strip(),
        finish_reason="length" if choice.finish_reason == "length" else "stop",
        prompt_tokens=completion.tokens("prompt_tokens") or 0,
        output_tokens=completion.tokens("completion_tokens") or 0,
        reasoning=message.thought,
        reasoning_tokens=completion.tokens("reasoning_tokens", of="completion_tokens_details") or 0,
    )


def _retry_after(value: str) -> float | None:
    """Seconds that the endpoint asks to wait, a minute at most; None if it does not say."""
    try:
        wait = float(value)
    except ValueError:
        return None
    return None if math.isnan(wait) else min(max(wait, 0.0), _LONGEST_WAIT_SEC)

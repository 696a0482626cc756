"""A judge behind an OpenAI-compatible API: retries, rate limit, guided decoding."""

from __future__ import annotations

import asyncio
import os
import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from rayjob.evaluation.config import JudgeConfig
from schemas.errors import CaptionError, ConfigError, RequestRejectedError
from schemas.recipe import Answer, Request

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

    Raises:
        ConfigError: from the constructor, if the URL is none or the key is missing; from
            :meth:`ask`, if nothing listens there, the key is refused or the model unknown.
    """

    def __init__(self, config: JudgeConfig) -> None:
        assert config.url is not None
        url = config.url.rstrip("/")
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"--judge-url {url!r} begins with neither http:// nor https://")
        self._url = f"{url.removesuffix('/chat/completions')}/chat/completions"
        self._config = config
        self._key = read_key(config)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=config.concurrency)
        self._client = httpx.AsyncClient(headers=headers, timeout=config.timeout_sec, limits=limits)
        self._pace = _Pace(config.requests_per_minute)
        self._refused: set[str] = set()
        self._heard = self._guided = False

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def ask(self, request: Request) -> Answer:
        """Answer one request, tried ``1 + retries`` times.

        Raises:
            CaptionError: no usable answer in spite of retries, or the request is refused.
            ConfigError: the endpoint cannot be used at all.
        """
        failures = 0
        while True:
            await self._pace.turn()
            sent = self._payload(request)
            wait: float | None = None
            try:
                async with asyncio.timeout(self._config.timeout_sec):
                    response = await self._client.post(self._url, json=sent)
                self._heard = True
                if response.is_success:
                    self._guided = self._guided or "response_format" in sent
                    return _answer(response)
                if self._give_up(response, sent):
                    continue
                reason, wait = f"HTTP {response.status_code}", _retry_after(response)
            except TimeoutError:
                reason = f"no answer within {self._config.timeout_sec:g} s"
            except httpx.TimeoutException as error:
                reason = f"no answer within {self._config.timeout_sec:g} s ({type(error).__name__})"
            except httpx.ConnectError as error:
                if not self._heard and failures == self._config.retries:
                    raise ConfigError(
                        f"nothing answers at {self._shown()} ({error}): check --judge-url"
                    ) from error
                reason = "cannot connect"
            except (httpx.TransportError, _MalformedError) as error:
                reason = f"{type(error).__name__.removeprefix('_')}: {error}"
            except httpx.InvalidURL as error:
                raise ConfigError(f"--judge-url {self._shown()} is no URL: {error}") from error
            failures += 1
            if failures > self._config.retries:
                raise CaptionError(self._clean(f"{reason}, {failures} times"))
            backoff = min(_LONGEST_WAIT_SEC, _FIRST_WAIT_SEC * 2 ** (failures - 1))
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0) if wait is None else wait)

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
        return {"model": self._config.model, "messages": messages, **kept}

    def _give_up(self, response: httpx.Response, sent: dict[str, Any]) -> bool:
        """Whether to ask again at once, without a parameter that the endpoint refuses.

        Raises:
            ConfigError, RequestRejectedError: asking again cannot help.
        """
        code = response.status_code
        if code in _TRANSIENT:
            return False
        said = self._clean(" ".join(response.text.split())[:300])
        if code in (401, 403):
            raise ConfigError(
                f"{self._shown()} refuses the key (HTTP {code}): pass --judge-key-file or "
                f"--judge-key-env. It says: {said}"
            )
        if code in (404, 405):
            raise ConfigError(
                f"{self._shown()} knows no such API or no model {self._config.model!r} "
                f"(HTTP {code}): check --judge-url and --judge-model. It says: {said}"
            )
        if code in (400, 422):
            named = {name for name in _SPARE if name in sent and name in response.text}
            if "json_schema" in response.text and "response_format" in sent:
                named.add("response_format")
            if not named and "response_format" in sent and not self._guided:
                named = {"response_format"}
            if named:
                self._refused |= named
                return True
            # Another request in flight may have learnt it first.
            if any(name in sent for name in self._refused):
                return True
        raise RequestRejectedError(f"HTTP {code}: {said}")

    def _shown(self) -> str:
        url = httpx.URL(self._url)
        return str(url.copy_with(username=None, password=None, query=None))

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


class _MalformedError(Exception):
    """A body that is no chat completion."""


class _Pace:
    """Spreads requests evenly: ``per_minute`` of them at most, None for no limit."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until the next request may go."""
        if self._gap:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._gap
            await asyncio.sleep(at - now)


def _answer(response: httpx.Response) -> Answer:
    try:
        body = response.json()
        choice = body["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _MalformedError("the body is no chat completion") from error
    if not isinstance(text, str):
        # A refusal of OpenAI's models comes in place of the content.
        text = str(choice["message"].get("refusal") or "")
    usage = body.get("usage") or {}
    return Answer(
        text=text.strip(),
        finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or 0),
    )


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the endpoint asks to wait, None if it does not say."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        wait = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return None
        wait = (until.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return min(max(wait, 0.0), _LONGEST_WAIT_SEC)

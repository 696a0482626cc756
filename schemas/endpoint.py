"""Settings of an engine elsewhere: an endpoint with OpenAI's API of chat completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from schemas.settings import Settings, Unset


class EndpointConfig(Settings):
    """Where an engine of the kind openai is, how it is shown videos, and what it costs."""

    url: Annotated[str | None, Unset("none")] = None
    """Address of the API, such as http://host:8000/v1."""
    key_file: Annotated[str | None, Unset("no key")] = None
    """File that holds the API key, on the machine of the command."""
    key_env: Annotated[str | None, Unset("no key")] = None
    """Variable that holds the API key, on the machine of the command."""
    frames: Literal["images", "video"] = "images"
    """images: several frames are shown as pictures with their times in the text, which every
    endpoint that sees takes; video: as a video, in the form of vLLM's server, which must be started
    with --trust-request-mm-kwargs to be told their times."""
    picture: Literal["jpeg", "png"] = "jpeg"
    """How frames are compressed: jpeg is small, png exact."""
    sound: bool = True
    """Send the sound that the recipe's plan takes, as input_audio; false for a model that does not
    hear."""
    body: dict[str, Any] = Field(default_factory=dict)
    """What else to send with every request, such as reasoning_effort."""
    requests_per_minute: Annotated[PositiveFloat | None, Unset("no limit")] = None
    """Requests per minute at most, of all engines together."""
    retries: NonNegativeInt = 8
    """Tries after the first, per request."""
    timeout_sec: PositiveFloat = 300.0
    """Wall time of one try, in seconds."""
    price_per_million_prompt_tokens: Annotated[NonNegativeFloat | None, Unset("no costs")] = None
    """Price of a million tokens of prompts, in any currency."""
    price_per_million_output_tokens: Annotated[NonNegativeFloat | None, Unset("no costs")] = None
    """Price of a million tokens of answers, in any currency."""

    @model_validator(mode="after")
    def _one_key(self) -> EndpointConfig:
        if self.key_file and self.key_env:
            raise ValueError("the key comes by key_file or by key_env, not by both")
        return self

    def money(self, *, prompt_tokens: int, output_tokens: int) -> float | None:
        """What tokens cost; None where no price is set."""
        prices = (self.price_per_million_prompt_tokens, self.price_per_million_output_tokens)
        if prices == (None, None):
            return None
        pairs = zip((prompt_tokens, output_tokens), prices, strict=True)
        return sum(tokens * (price or 0.0) for tokens, price in pairs) / 1e6

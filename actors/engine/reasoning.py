"""What a model thinks before it answers, kept apart by vLLM's own parsers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from schemas.errors import ModelError

_HARMONY = "openai_gptoss"
_HARMONY_FINAL = "<|channel|>final<|message|>"
_HARMONY_END = "<|"
_HARMONY_THOUGHT = re.compile(r"<\|channel\|>analysis<\|message\|>(.*?)(?:<\||$)", re.DOTALL)


@dataclass(frozen=True)
class Thought:
    """An answer in two parts.

    Attributes:
        text: what answers the request.
        reasoning: what was thought before it, without marks.
        tokens: of what stands before the answer, marks included.
    """

    text: str
    reasoning: str = ""
    tokens: int = 0


class Reasoning:
    """Tells what a model thinks from what it answers.

    Args:
        parser: name of one of vLLM's reasoning parsers.
        tokenizer: the model's.
        chat_template_kwargs: what the chat template is told; some parsers follow it.

    Raises:
        ModelError: this vLLM has no such parser, or it does not fit the model's tokenizer.
    """

    def __init__(
        self, parser: str, tokenizer: Any, *, chat_template_kwargs: Mapping[str, Any]
    ) -> None:
        from vllm.reasoning import ReasoningParserManager

        self._tokenizer = tokenizer
        self._is_harmony = parser == _HARMONY
        try:
            kind: Any = ReasoningParserManager.get_reasoning_parser(parser)
            self._make = partial(kind, tokenizer, chat_template_kwargs=dict(chat_template_kwargs))
            self._make()
        except KeyError as error:
            known = ", ".join(ReasoningParserManager.list_registered())
            raise ModelError(f"engine.reasoning_parser: there are {known}") from error
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"engine.reasoning_parser: {parser} does not fit the model: {error}"
            ) from error

    def apart(self, text: str, ids: Sequence[int], prompt_ids: Sequence[int]) -> Thought:
        """The answer without what was thought.

        Args:
            text: the whole answer, control tokens that are not the end's included.
            ids: its token ids.
            prompt_ids: of the prompt, which may end with thinking that is over or begun.
        """
        if self._is_harmony:
            # vLLM's parser of this format takes its vocabulary from the network.
            before, mark, answer = text.rpartition(_HARMONY_FINAL)
            answer = answer.partition(_HARMONY_END)[0] if mark else ""
            thoughts = _HARMONY_THOUGHT.findall(before if mark else text)
            reasoning: str | None = "\n".join(thoughts)
        else:
            # New for each answer: some keep a state.
            parser = self._make()
            if parser.is_reasoning_end(list(prompt_ids)):
                return Thought(text)
            reasoning, found = parser.extract_reasoning(text, _request())
            answer = found or ""
        written = self._tokenizer(answer, add_special_tokens=False)["input_ids"]
        return Thought(answer, (reasoning or "").strip(), max(0, len(ids) - len(written)))


def _request() -> Any:
    from vllm.entrypoints.openai.chat_completion import protocol

    kind: Any = protocol.ChatCompletionRequest
    return kind(messages=[])

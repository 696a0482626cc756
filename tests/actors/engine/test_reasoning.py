"""What a model thinks stays out of its answers: vLLM's parsers, and the rule behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.engine.reasoning import Reasoning
from rayjob.recipes.rules import no_thinking
from schemas.errors import ModelError
from schemas.recipe import Answer
from tests.support.models.checkpoint import Checkpoint
from tests.support.models.qwen import gpt_oss, qwen3_text

OPEN, SILENT, PLAIN = "<think>\n", "<think>\n\n</think>\n\n", ""
"""How a prompt can end."""


def tokenizer_of(checkpoint: Callable[[], Checkpoint], folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint().write(folder / "model"))


@pytest.mark.parametrize("parser", ["qwen3", "deepseek_r1"])
@pytest.mark.parametrize(
    ("prompt", "written", "answer", "reasoning"),
    [
        (PLAIN, "<think>Let me see.</think>A dog.", "A dog.", "Let me see."),
        (OPEN, "Let me see.</think>A dog.", "A dog.", "Let me see."),
        (SILENT, "A dog.", "A dog.", ""),
        (PLAIN, "<think>Let me see, and", "", "Let me see, and"),
        (OPEN, "Let me see, and", "", "Let me see, and"),
    ],
)
def test_an_answer_is_what_stands_behind_the_thinking(
    tmp_path: Path, parser: str, prompt: str, written: str, answer: str, reasoning: str
) -> None:
    tokenizer = tokenizer_of(qwen3_text, tmp_path)
    thinks = prompt != SILENT
    apart = Reasoning(parser, tokenizer, chat_template_kwargs={"enable_thinking": thinks}).apart

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    thought = apart(written, ids(written), ids(f"<|im_start|>assistant\n{prompt}"))
    assert (thought.text.strip(), thought.reasoning) == (answer, reasoning)
    assert thought.tokens == len(ids(written)) - len(ids(answer))


@pytest.mark.parametrize(
    ("written", "answer", "thought"),
    [
        (
            "<|channel|>analysis<|message|>Let me see.<|end|><|start|>assistant"
            "<|channel|>final<|message|>A dog.",
            "A dog.",
            "Let me see.",
        ),
        ("<|channel|>analysis<|message|>Let me see, and", "", "Let me see, and"),
        ("<|channel|>final<|message|>A dog.", "A dog.", ""),
    ],
)
def test_the_channels_of_gpt_oss(tmp_path: Path, written: str, answer: str, thought: str) -> None:
    tokenizer = tokenizer_of(gpt_oss, tmp_path)
    reasoning = Reasoning("openai_gptoss", tokenizer, chat_template_kwargs={})
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    found = reasoning.apart(written, ids, [])
    assert (found.text, found.reasoning) == (answer, thought)
    assert found.tokens == len(ids) - len(tokenizer(answer, add_special_tokens=False)["input_ids"])


def test_a_parser_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there are .*qwen3, "):
        Reasoning("qwen33", tokenizer_of(qwen3_text, tmp_path), chat_template_kwargs={})


def test_a_parser_of_another_family(tmp_path: Path) -> None:
    """Its marks are not in the tokenizer."""
    with pytest.raises(ModelError, match="deepseek_r1 does not fit the model"):
        Reasoning("deepseek_r1", tokenizer_of(gpt_oss, tmp_path), chat_template_kwargs={})


@pytest.mark.parametrize(
    "text",
    [
        "<think>Let me see.</think>A dog.",
        "Let me see.\n</think>\n\nA dog.",
        "analysisLet me see.assistantfinalA dog.",
        "[THINK]Let me see.[/THINK]A dog.",
    ],
)
def test_a_caption_that_holds_thinking_is_refused(text: str) -> None:
    answer = Answer(text=text, finish_reason="stop", prompt_tokens=1, output_tokens=1)
    assert no_thinking(answer) == (
        "holds what the model thought; engine.reasoning_parser keeps it apart"
    )


def test_a_caption_about_thinking_is_not() -> None:
    text = "A man thinks; a sign says 'think'. The final assistant leaves."
    answer = Answer(text=text, finish_reason="stop", prompt_tokens=1, output_tokens=1)
    assert no_thinking(answer) is None

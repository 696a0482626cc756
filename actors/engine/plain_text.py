"""Text that is data: a model reads it letter by letter, whatever control tokens it spells."""

from __future__ import annotations

import copy
import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

BREAK = "\ufdd0"
"""Stands inside a text where a control token would be read, and is gone from its token ids. Unicode
keeps it free for use inside of programs."""

_ROUNDS = 4
"""Breaking a token may leave another one that overlaps it."""

_MARKUP = re.compile(r"[^\w\s\u2581].*[^\w\s\u2581]", re.DOTALL)
_TAG = re.compile(r"</?[a-z]+[1-6]?>")


class PlainText:
    """A model's tokenizer, for text without control tokens.

    Control tokens are those that the tokenizer calls special, and others that were added to it
    and look like markup, but for the tags of HTML.

    Args:
        tokenizer: as vLLM loads it.
    """

    def __init__(self, tokenizer: Any) -> None:
        from transformers import AddedToken, PreTrainedTokenizerBase

        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._control: dict[int, str] = {}
        # Mistral's own reads control tokens in no text, and can be neither copied nor added to.
        self._is_known = isinstance(tokenizer, PreTrainedTokenizerBase)
        if self._is_known:
            # A copy, because it gets a token more, and because a fast tokenizer refuses calls while
            # another thread changes it.
            self._tokenizer = copy.deepcopy(tokenizer)
            special = set(self._tokenizer.all_special_ids)
            self._control = {
                number: token.content
                for number, token in self._tokenizer.added_tokens_decoder.items()
                if len(token.content.strip()) > 1
                and (number in special or token.special or _is_markup(token.content))
            }
            self._tokenizer.add_tokens([AddedToken(BREAK, normalized=False)], special_tokens=True)
            self._break_id: int = self._tokenizer.convert_tokens_to_ids(BREAK)

    def broken(self, text: str, mark: str = BREAK) -> str:
        """The text with ``mark`` inside whatever would be read as a control token.

        Raises:
            ValueError: a control token is read all the same.
        """
        for _ in range(_ROUNDS):
            found = list(self._spelled(text))
            if not found:
                return text
            # Behind the first letter; white space before a token may belong to it.
            cuts = [stop - len(text[start:stop].lstrip()) + 1 for start, stop in found]
            text = mark.join(text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)]))
        raise ValueError("a text holds a control token of the model that cannot be told from text")

    def ids(self, rendered: str) -> list[int]:
        """Token ids of a text whose control tokens are meant, but for those that are broken."""
        with self._lock:
            ids: list[int] = self._tokenizer(rendered, add_special_tokens=False)["input_ids"]
        return [each for each in ids if each != self._break_id]

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, without any chat markup."""
        if self._is_known:
            return [len(self.ids(self.broken(text))) for text in texts]
        encoded = self._tokenizer(list(texts), add_special_tokens=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def _spelled(self, text: str) -> Iterator[tuple[int, int]]:
        """Where control tokens are read in a text."""
        if not self._control:
            return
        if not self._tokenizer.is_fast:
            longest_first = sorted(self._control.values(), key=len, reverse=True)
            pattern = "|".join(map(re.escape, longest_first))
            yield from (match.span() for match in re.finditer(pattern, text))
            return
        with self._lock:
            encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        for number, (start, stop) in zip(
            encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            # A letter that the tokenizer does not know becomes a special token as well.
            is_unknown = number == self._tokenizer.unk_token_id
            spelling = self._control.get(number)
            if spelling and not (is_unknown and text[start:stop].strip() != spelling):
                yield start, stop


def _is_markup(text: str) -> bool:
    return bool(_MARKUP.fullmatch(text) and not _TAG.fullmatch(text))

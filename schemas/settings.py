"""What a setting is: a field of a model, with its meaning and the flag that sets it.

``--help``, ``docs/settings.md`` and messages about mistakes all follow from the models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Annotated, Any, ClassVar, Final, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

_ALIKE = 0.7
"""Similarity from which one name may be a slip of the pen for another."""


class Settings(BaseModel):
    """A group of settings. The text under a field says what it means.

    Attributes:
        short_form: the setting that a single word for the whole group sets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    short_form: ClassVar[str | None] = None

    @classmethod
    def spelled_out(cls, data: Any) -> Any:
        """``data``, with the short form replaced by what it stands for."""
        return {cls.short_form: data} if cls.short_form and isinstance(data, str) else data

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, data: Any) -> Any:
        return cls.spelled_out(data)


class Flag:
    """Annotation of a field that a flag of the commands sets.

    Args:
        names: such as ``"--output", "-o"``. A field that is true or false also gets
            ``--no-NAME``, unless the name is written as ``--name/--opposite``.
        metavar: what stands for the value in ``--help``; by default its type.
        repeatable: the flag may be given several times; else a tuple of any length is
            written with commas.
    """

    def __init__(self, *names: str, metavar: str | None = None, repeatable: bool = False) -> None:
        self.names = names
        self.metavar = metavar
        self.repeatable = repeatable


@dataclass(frozen=True)
class Unset:
    """Annotation of a field: in words, what holds where it is not set."""

    words: str


NO_FLAGS: Final = object()
"""Annotation of a group whose flags a command does not take."""


@dataclass(frozen=True)
class Setting:
    """One setting by its dotted name.

    Attributes:
        group: the group that it stands for, where it is one.
        flag: None where only a file or ``--set`` reaches it.
    """

    key: str
    field: FieldInfo
    group: type[Settings] | None
    flag: Flag | None

    @property
    def meaning(self) -> str:
        """Its description: one or more sentences, in one line."""
        return " ".join((self.field.description or "").split())

    @property
    def value_type(self) -> Any:
        """The type of its value, without None and without bounds."""
        kind = self.field.annotation
        if type(None) in get_args(kind):
            (kind,) = (each for each in get_args(kind) if each is not type(None))
        return get_args(kind)[0] if get_origin(kind) is Annotated else kind

    @property
    def default(self) -> str:
        """What holds where it is not set, in words or as in YAML; empty where nothing does."""
        words = next((each.words for each in self.field.metadata if isinstance(each, Unset)), "")
        value = self.field.get_default(call_default_factory=True)
        if words or self.field.is_required() or value in (None, "", (), {}):
            return words
        if isinstance(value, bool):
            return str(value).lower()
        values = value if isinstance(value, tuple) else (value,)
        return ",".join(f"{each:g}" if isinstance(each, float) else f"{each}" for each in values)


def _listed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return [word.strip() for word in value.split(",") if word.strip()]


LISTED: Final = BeforeValidator(_listed)
"""Annotation of a tuple that may also be written as one text with commas."""


def settings_of(
    kind: type[BaseModel], within: str = "", *, flags: bool = True
) -> Iterator[Setting]:
    """All settings of a model in order, a group before what is in it."""
    for name, field in kind.model_fields.items():
        flag = next((each for each in field.metadata if isinstance(each, Flag)), None)
        key, group = f"{within}{name}", group_of(field)
        yield Setting(key, field, group, flag if flags else None)
        if group is not None:
            inside = flags and NO_FLAGS not in field.metadata
            yield from settings_of(group, f"{key}.", flags=inside)


def group_of(field: FieldInfo | None) -> type[Settings] | None:
    """The group that a field holds, or None."""
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    groups = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings))
    return next(groups, None)


def explain(error: ValidationError, kind: type[BaseModel], *, within: str = "") -> str:
    """What is wrong with the settings, one line for each mistake.

    Texts that were given are not repeated: they may be secrets.

    Args:
        kind: the model that refused them.
        within: the dotted name of the group that ``kind`` is, with a dot at its end.
    """
    known = {setting.key: setting for setting in settings_of(kind, within)}
    lines = []
    for item in error.errors():
        key = within + ".".join(map(str, item["loc"]))
        flag = known[key].flag if key in known else None
        if item["type"] == "missing" and flag is not None:
            lines.append(f"no {key}: pass {flag.names[0]}. {known[key].meaning}")
        elif item["type"] == "extra_forbidden":
            lines.append(f"{key}: there is no such setting{_instead(key, known)}")
        else:
            message, given = item["msg"].removeprefix("Value error, "), item["input"]
            got = f" (got {given!r})" if isinstance(given, int | float) else ""
            lines.append(f"{key}: {message}{got}" if key else message)
    return "\n".join(lines)


def _instead(key: str, known: Iterable[str]) -> str:
    group, _, name = key.rpartition(".")

    def likeness(other: str) -> tuple[float, float]:
        last = other.rpartition(".")[2]
        return SequenceMatcher(None, name, last).ratio(), SequenceMatcher(None, key, other).ratio()

    nearest = max(known, key=likeness, default="")
    if likeness(nearest)[0] >= _ALIKE:
        return f"; did you mean {nearest}?"
    beside = [other for other in known if other.rpartition(".")[0] == group]
    return f"; there are {', '.join(beside)}" if beside else ""

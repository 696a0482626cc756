"""Commands out of their settings: how one takes flags, and how it begins and ends."""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Container, Iterator
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from rayjob.settings.loading import read_config
from rayjob.settings.terminal import PrintableFormatter, printable
from schemas.errors import RayjobError, UsageError
from schemas.settings import Flag, Setting, Settings, settings_of

EXIT_OTHER = 1
EXIT_USAGE = 2

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.")]

_LONGEST_DEFAULT = 40
"""Letters of a default that ``--help`` shows."""

_Config = TypeVar("_Config", bound=Settings)

_CONFIG = typer.Option(None, "--config", "-c", metavar="FILE", help="YAML; flags win over it.")
_SET = typer.Option(
    None, "--set", metavar="KEY=VALUE", help="Any setting by its dotted name. Repeatable."
)


def settings_command(
    kind: type[_Config], *, flags: Container[str] | None = None
) -> Callable[[Callable[..., int]], Callable[..., None]]:
    """Make a command of a function that takes settings.

    The command has the flags that ``kind`` declares, ``--config`` and ``--set``, the options
    of typer that the function declares after its first two parameters, and its docstring as
    help. It ends with the exit code that the function returns, or with 2 or 1 and a line for
    a person where a RayjobError comes up.

    Args:
        kind: model of the settings. The function is called with an instance of it and a
            console that writes to stderr.
        flags: dotted names of the settings whose flags are taken, or None for all.
    """
    settings = [
        (setting, setting.flag)
        for setting in settings_of(kind)
        if setting.flag is not None and (flags is None or setting.key in flags)
    ]

    def decorate(action: Callable[..., int]) -> Callable[..., None]:
        own = list(inspect.signature(action, eval_str=True).parameters.values())[2:]

        def command(config: str | None, set_: list[str] | None, **values: Any) -> None:
            options = {each.name: values.pop(each.name) for each in own}
            given = {setting.key: values[_parameter(setting.key)] for setting, _ in settings}
            given = {key: value for key, value in given.items() if value not in (None, [])}
            console = Console(stderr=True)
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s"))
            logging.basicConfig(level=logging.WARNING, handlers=[handler])
            logging.getLogger("rayjob").setLevel(logging.INFO)
            with errors_told(console):
                code = action(
                    read_config(kind, config, assignments=set_ or (), flags=given),
                    console,
                    **options,
                )
            raise typer.Exit(code)

        command.__doc__ = action.__doc__
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                *(_option(_parameter(setting.key), *_typed(setting, flag))
                  for setting, flag in settings),
                _option("config", str | None, _CONFIG),
                _option("set_", list[str] | None, _SET),
                *own,
            ]
        )  # fmt: skip
        return command

    return decorate


@contextlib.contextmanager
def errors_told(console: Console) -> Iterator[None]:
    """End the process with 2 or 1 and a line for a person, whatever error comes up."""
    try:
        yield
    except RayjobError as error:
        show_error(console, error)
        code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_OTHER
        raise typer.Exit(code) from error
    except KeyboardInterrupt:
        show_error(console, RayjobError("interrupted"))
        raise
    except SystemExit as error:
        show_error(console, RayjobError(f"ended from outside, exit code {error.code}"))
        raise
    except typer.Exit:
        raise
    except Exception as error:
        traceback.print_exc()
        what = f"unforeseen {type(error).__name__}: {error}"
        show_error(console, RayjobError(what))
        raise typer.Exit(EXIT_OTHER) from error


def show_error(console: Console, error: RayjobError) -> None:
    """Tell a person."""
    console.print(Text.assemble(("error: ", "red"), printable(str(error))), soft_wrap=True)


def _parameter(key: str) -> str:
    return key.replace(".", "_")


def _option(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind)


def _typed(setting: Setting, flag: Flag) -> tuple[Any, Any]:
    """The type that typer reads, and the option; pydantic makes the rest of it."""
    kind, names, metavar = setting.value_type, flag.names, flag.metavar
    if kind is bool and "/" not in names[0]:
        names = (f"{names[0]}/--no-{names[0].removeprefix('--')}", *names[1:])
    elif get_origin(kind) is Literal:
        kind, metavar = str, metavar or "|".join(get_args(kind))
    elif ... in get_args(kind):
        kind = list[str] if flag.repeatable else str
    parts = [setting.meaning]
    parts += ["Repeatable."] if flag.repeatable else []
    if setting.default not in ("", "false") and len(setting.default) <= _LONGEST_DEFAULT:
        parts.append(f"[default: {setting.default}]")
    option = typer.Option(None, *names, metavar=metavar, help=escape(" ".join(parts)))
    return kind | None, option

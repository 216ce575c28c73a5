"""Types of arguments, and errors in one line that names the argument and its bounds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from service.errors import BadSetting, CannotProceed

MAX_PORT = 65_535


class Number(click.ParamType):  # type: ignore[type-arg]
    """A number within bounds; a whole number if the bounds are whole."""

    name = "number"

    def __init__(self, least: float, most: float) -> None:
        self._kind = int if isinstance(least, int) else float
        self._least, self._most = least, most

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Reads the number."""
        try:
            number = self._kind(value)
        except (ValueError, OverflowError):
            number = None
        if number is None or not self._least <= number <= self._most:
            whole = "a whole number" if self._kind is int else "a number"
            self.fail(f"must be {whole} from {self._least} to {self._most}", param, ctx)
        return number


class Text(click.ParamType):  # type: ignore[type-arg]
    """1 to `most` printable characters."""

    name = "text"

    def __init__(self, most: int) -> None:
        self._most = most

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Reads the text."""
        text = str(value)
        if not (1 <= len(text) <= self._most and text.isprintable()):
            self.fail(f"must be 1 to {self._most} printable characters", param, ctx)
        return text


class Directory(click.Path):
    """A path. An empty one is refused: it would mean the current directory."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Reads the path."""
        if not value:
            self.fail("must be a path", param, ctx)
        return super().convert(value, param, ctx)


def data_directory() -> str:
    """Finds the directory of `challenge dev`, where no option names it.

    Raises:
        BadSetting: `.env` cannot be read.
    """
    from service import settings  # as late as the commands, which start fast

    return settings.variables().get("CHALLENGE_DATA_DIR", ".data")


class Commands(click.Group):
    """Commands that end with status 2 for a bad setting or argument, 1 for what else goes wrong."""

    def main(self, *args: Any, **more: Any) -> NoReturn:
        """Runs the command that was typed."""
        try:
            status = super().main(*args, **{**more, "standalone_mode": False})
        except NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            status = error.exit_code
        except click.Abort:
            status = _complain("interrupted", 1)
        except click.ClickException as error:
            status = _complain(_explain(error), error.exit_code)
        except CannotProceed as error:
            status = _complain(str(error), 2 if isinstance(error, BadSetting) else 1)
        sys.exit(status if isinstance(status, int) else 0)


def _explain(error: click.ClickException) -> str:
    """Names an argument as settings are named: `--workers: must be …`."""
    if not isinstance(error, click.BadParameter) or error.param is None:
        return error.format_message()
    name = max(error.param.opts, key=len)
    name = name if name.startswith("-") else name.upper()
    variable = f" ({error.param.envvar})" if isinstance(error.param.envvar, str) else ""
    text = "must be given" if isinstance(error, click.MissingParameter) else error.message
    return f"{name}{variable}: {text}"


def _complain(text: str, status: int) -> int:
    line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    click.echo(f"challenge: {line}", err=True)
    return status

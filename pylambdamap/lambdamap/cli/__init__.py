"""The command line: ``lambdamap`` and ``python -m lambdamap``.

Each command is a module of this package that defines a click command of the same name, with _ for -.
It is imported when it is used.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
from typing import Any

import click

from lambdamap._version import __version__

COMMANDS = (
    "demo",
    "map",
    "invoke-map",
    "estimate",
    "journal",
    "serve",
    "doctor",
    "deploy",
    "delete",
    "dockerfile",
)
# The output device is full or broken. (A closed pipe is handled by click, or by the command.)
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class _LazyGroup(click.Group):
    """A group that imports commands when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"{__name__}.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().main(*args, **extra)
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            with contextlib.suppress(OSError):  # so that the flush at exit does not fail again
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            # An error with a name is a file's, such as a journal's.
            what = "cannot write the output" if error.filename is None else error.filename
            click.echo(f"Error: {what}: {error.strerror}", err=True)
            sys.exit(1)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="lambdamap")
def main() -> None:
    """Map Python functions over data on AWS Lambda."""

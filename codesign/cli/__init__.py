"""The command line: one module for every group of commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from codesign.cli._app import RefusedError, app

# Commands are listed in this order.
# isort: off
from codesign.cli import evaluation, accuracy, mapping, experiments, nas, devices, catalog  # noqa: F401

# isort: on

#: Options that take several values: ``--on a b`` is read as ``--on a --on b``.
_SEVERAL = ("--on",)


def main() -> NoReturn:
    """Entry point: runs a command.

    Exit code 1: an accelerator cannot run what it was asked to. 2: the request itself is wrong; the message says where.
    """
    from accelerators.costs import InfeasibleError
    from accelerators.documents import DocumentError
    from codesign.networks import NetworkError

    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - closed by the caller; files are still written
    try:
        try:
            app(_repeat_options(sys.argv[1:]))
        finally:
            # Here, where a full disk or a closed pipe can still be reported.
            sys.stdout.flush()
    except (RefusedError, DocumentError, NetworkError, InfeasibleError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        print(f"error: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
        # What is left in the buffer cannot be written either.
        os._exit(2)
    sys.exit(0)


def _repeat_options(arguments: Sequence[str]) -> list[str]:
    """Spell ``--on a b c`` as ``--on a --on b --on c``."""
    result: list[str] = []
    current: str | None = None
    for argument in arguments:
        if argument.startswith("-"):
            current = argument if argument in _SEVERAL else None
            if current is None:
                result.append(argument)
        elif current:
            result += [current, argument]
        else:
            result.append(argument)
    # An option without a value must still be an error of the parser.
    return [*result, current] if current and arguments[-1] == current else result

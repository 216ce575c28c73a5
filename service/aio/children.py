"""Child processes that end when this one does; on Linux even when it is killed."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence

_PR_SET_PDEATHSIG = 1
# Set by the child itself: between fork and exec, Python may not run in a process with threads.
# The setting survives exec. If the parent died before, getppid no longer returns its id.
_TIED = (
    f"import ctypes, os, sys; ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {signal.SIGTERM:d}); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); os.execvp(sys.argv[2], sys.argv[2:])"
)


async def spawn(
    *command: str, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> Process:
    """Starts a child, to which Linux sends SIGTERM when this process dies, also of SIGKILL.

    Elsewhere a child outlives a parent that was killed.

    Args:
        command: Program and arguments.
        env: Its environment; this process's by default.
        pass_fds: Descriptors that it inherits.
    """
    tie = (sys.executable, "-ISc", _TIED, str(os.getpid())) if _is_linux() else ()
    # Out of the terminal's process group: Ctrl-C comes to us, and we end the children in order.
    return await asyncio.create_subprocess_exec(
        *tie, *command, env=env, pass_fds=pass_fds, start_new_session=True
    )


async def end(child: Process, seconds: float) -> int:
    """Ends a child, or kills it when that takes longer; returns its status."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
    try:
        async with asyncio.timeout(seconds):
            return await child.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        return await child.wait()


def follow_parent() -> None:
    """Has Linux send this process SIGTERM when its parent dies."""
    if _is_linux():
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _is_linux() -> bool:
    return sys.platform == "linux"

"""Programs of other languages that call the service."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


async def run(*command: str, cwd: Path, **environment: str) -> str:
    """Runs a command, which must succeed, and returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()

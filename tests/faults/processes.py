"""Service processes: started as operators start them, ended as faults end them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
_INJECT = Path(__file__).parent / "inject"
_START_SECONDS = 30.0
_POLL_SECONDS = 0.01
_STANDING = {  # what an idle process still has under way
    "_serve", "Server.run", "Event.wait", "Pool._maintain",
    "Sweep.run", "Leases.run", "Retention.run", "Readiness.run",
    "AioServer._server_main_loop", "AioServer._request_call", "AioServer._request_registered_call",
}  # fmt: skip


async def pause(seconds: float) -> None:
    """Lets a lease or an outage take its time, which is what it is about."""
    await until(partial(_past, time.monotonic() + seconds), seconds + 5)


async def until(condition: Callable[[], bool], seconds: float, what: str = "") -> float:
    """Waits for a condition; gives how long it took.

    Raises:
        AssertionError: It did not come true in time.
    """
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what or condition}"
        await asyncio.sleep(_POLL_SECONDS)
    return time.monotonic() - began


def _past(moment: float) -> bool:
    return time.monotonic() > moment


class Skew:
    """How far the wall clock of a process is off: all of it, or only what is SQLite's clock."""

    def __init__(self, path: Path, seconds: float = 0, *, whole: bool = False) -> None:
        self.path = path
        self.whole = whole
        self.set(seconds)

    def set(self, seconds: float) -> None:
        with open(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(struct.pack("<q", int(seconds * 1000)))


class Replica:
    """One `python -m service serve`."""

    def __init__(
        self,
        name: str,
        directory: Path,
        settings: dict[str, str],
        skew: Skew,
        workers: int = 1,
        tree: Path = ROOT,
    ) -> None:
        self.name = name
        self.skew = skew
        self.log = directory / f"{name}.log"
        self._tasks = directory / f"{name}.tasks"
        own = {key: value for key, value in os.environ.items() if not key.startswith("CHALLENGE_")}
        environment = {
            **own,
            **{f"CHALLENGE_{key.upper()}": value for key, value in settings.items()},
            "PYTHONPATH": os.pathsep.join(map(str, (_INJECT, tree, tree / "gen"))),
            "FAULTS_CLOCK": str(skew.path),
            "FAULTS_TASKS": str(self._tasks),
            **({"FAULTS_CLOCK_ALL": "1"} if skew.whole else {}),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service", "serve", "--workers", str(workers)],
                cwd=directory, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.target = ""

    async def ready(self) -> Replica:
        """Waits until it serves."""
        await until(self._listens, _START_SECONDS, f"{self.name} serves")
        return self

    def events(self, name: str) -> list[dict[str, object]]:
        """Returns the lines of its log that tell of an event."""
        lines = self.log.read_bytes().splitlines()
        marked = [line for line in lines if f'"event":"{name}"'.encode() in line]
        return [json.loads(line) for line in marked]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def kill(self) -> None:
        """Ends it as a crash would."""
        self.signal(signal.SIGKILL)
        await until(lambda: not self.runs, 5.0, "a killed process ends")

    async def stop(self, seconds: float = 20.0) -> float:
        """Ends it as operators do; gives how long it took."""
        self.signal(signal.SIGTERM)
        return await self.stopped(seconds)

    async def stopped(self, seconds: float = 20.0) -> float:
        """Waits for the end that SIGTERM brings."""
        took = await until(lambda: not self.runs, seconds, f"{self.name} stops after SIGTERM")
        assert self._process.returncode == 0, f"{self.name} ended with {self._process.returncode}"
        return took

    async def under_way(self) -> list[str]:
        """Names the coroutines that run now, but for those that always do."""
        self._tasks.unlink(missing_ok=True)
        self.signal(signal.SIGUSR1)
        await until(self._tasks.exists, 5.0, "a dump of tasks")
        names = self._tasks.read_text().split("\n")
        return [name for name in names if name and name not in _STANDING]

    async def idle(self, seconds: float = 15.0) -> None:
        """Waits until nothing is under way: no task was left hanging."""
        deadline = time.monotonic() + seconds
        while left := await self.under_way():
            assert time.monotonic() < deadline, f"{self.name} still has {left}"
            await asyncio.sleep(0.05)

    def end(self) -> None:
        """Makes sure that it is gone."""
        if self.runs:
            self.signal(signal.SIGKILL)
        self._process.wait()

    def _listens(self) -> bool:
        assert self.runs, f"{self.name} ended: {self.log.read_text()[-2000:]}"
        if serving := self.events("serving"):
            self.target = f"127.0.0.1:{serving[0]['port']}"
        return bool(self.target)

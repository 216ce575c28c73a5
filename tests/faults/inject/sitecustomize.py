"""Read by Python at the start of a service process under test; the service knows nothing of it.

FAULTS_CLOCK names a file of 8 bytes: milliseconds that time.time_ns is off by, which is SQLite's
clock. With FAULTS_CLOCK_ALL set, time.time and datetime are off too.
FAULTS_TASKS names a file that SIGUSR1 fills with the names of the coroutines under way.
"""

import asyncio
import datetime
import gc
import mmap
import os
import signal
import struct
import time


def shift_clock(path: str) -> None:
    with open(path, "rb") as file:
        shared = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    true_ns = time.time_ns

    def off_ms() -> int:
        return int(struct.unpack_from("<q", shared)[0])

    class Shifted(datetime.datetime):
        __slots__ = ()

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Shifted":
            return super().now(tz) + datetime.timedelta(milliseconds=off_ms())

    time.time_ns = lambda: true_ns() + off_ms() * 1_000_000
    if "FAULTS_CLOCK_ALL" in os.environ:  # not while it jumps: gRPC takes deadlines by time.time
        time.time = lambda: time.time_ns() / 1e9
        datetime.datetime = Shifted


def dump_tasks(path: str) -> None:
    def dump(*_: object) -> None:
        tasks = [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Task)]
        names = [task.get_coro().__qualname__ for task in tasks if not task.done()]
        with open(path + ".part", "w") as file:
            file.write("\n".join(names))
        os.rename(path + ".part", path)

    signal.signal(signal.SIGUSR1, dump)


if "FAULTS_CLOCK" in os.environ:
    shift_clock(os.environ["FAULTS_CLOCK"])
if "FAULTS_TASKS" in os.environ:
    dump_tasks(os.environ["FAULTS_TASKS"])

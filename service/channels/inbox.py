"""Development's channel: messages are kept as files and shown on standard output."""

from __future__ import annotations

import asyncio
import json
import secrets
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path

from service.channels import BadDSN, Message, Outcome, Result

_SCHEME = "inbox://"


class Inbox:
    """One directory with a JSON file per message, named in the order of their coming."""

    def __init__(self, dsn: str) -> None:
        """Takes `inbox://DIRECTORY`; makes the directory if need be.

        Raises:
            BadDSN: There is no directory to be had by that name.
        """
        self.name = dsn
        path = dsn.removeprefix(_SCHEME)
        if not path:
            raise BadDSN(f"{_SCHEME} lacks a directory")
        self._directory = Path(path).absolute()
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise BadDSN(f"{dsn} is no directory: {type(error).__name__}") from None

    async def deliver(self, message: Message) -> Result:
        """Keeps and shows the message; see `Channel`."""
        try:
            name = await asyncio.to_thread(self._keep, message)
        except OSError as error:
            return Result(Outcome.RETRY, reason=f"not written: {type(error).__name__}")
        _show(message)
        return Result(Outcome.ACCEPTED, message_id=name)

    async def close(self) -> None:
        """Does nothing: no file is held open."""

    def _keep(self, message: Message) -> str:
        name = f"{time.time_ns():020}-{secrets.token_hex(4)}.json"
        kept = {**message._asdict(), "received_at": datetime.now(UTC).isoformat()}
        draft = self._directory / f".{name}"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(kept, ensure_ascii=False, indent=2), "utf-8")
        draft.rename(self._directory / name)  # readers see the whole of it or nothing
        return name


def _show(message: Message) -> None:
    heading = f"To: {message.recipient}"
    if message.subject:
        heading += f"\nSubject: {message.subject}"
    block = f"{heading}\n\n{message.text.rstrip()}"
    print(f"\n{textwrap.indent(block, '  | ', lambda _: True)}\n", flush=True)

"""A stand-in for paid providers: takes messages, and answers as it is told to."""

from __future__ import annotations

import asyncio
import re

from service.channels import Message, Outcome, Result

ACCEPTED = Result(Outcome.ACCEPTED, "msg_1")


class Provider:
    """A channel that keeps what it accepts."""

    def __init__(self, name: str = "test://provider") -> None:
        self.name = name
        self.calls: list[Message] = []
        self.accepted: list[Message] = []
        self.results: list[Result] = []
        """Answers to give, in order; then everything is accepted."""
        self.gate = asyncio.Event()
        """While cleared, calls wait."""
        self.gate.set()

    async def deliver(self, message: Message) -> Result:
        self.calls.append(message)
        await self.gate.wait()
        result = self.results.pop(0) if self.results else ACCEPTED
        if result.outcome is Outcome.ACCEPTED:
            self.accepted.append(message)
        return result

    async def close(self) -> None:
        pass

    async def called(self) -> bool:
        """Tells whether a message has come; for `eventually`."""
        return bool(self.calls)

    def code(self) -> str:
        """Reads the code of the last message, as the payer would."""
        return _code(self.accepted[-1])

    def asked_code(self) -> str:
        """Reads the code of the last message that came here, accepted or not."""
        return _code(self.calls[-1])

    def wrong(self) -> str:
        """Returns a code that is not the last message's."""
        right = self.code()
        return str((int(right) + 1) % 10 ** len(right)).zfill(len(right))


def _code(message: Message) -> str:
    found = re.search(r"\b\d{6,8}\b", message.text)
    assert found
    return found[0]

"""The channel `null://`: a provider in the process, which accepts at once."""

from __future__ import annotations

from service.channels import Message, Outcome, Verdict

_ACCEPTED = Outcome(Verdict.ACCEPTED, "msg_1")


class Accepting:
    """A channel without a provider of its own."""

    name = "null://"

    def __init__(self, _: str) -> None:
        """Needs nothing of its DSN."""

    async def deliver(self, message: Message) -> Outcome:
        """Accepts."""
        return _ACCEPTED

    async def close(self) -> None:
        """Does nothing: nothing is open."""

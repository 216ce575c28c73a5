"""The channel `null://`: a provider in the process, which accepts at once."""

from __future__ import annotations

from service.channels import Message, Outcome, Result

_ACCEPTED = Result(Outcome.ACCEPTED, "msg_1")


class Accepting:
    """A channel without a provider of its own."""

    name = "null://"

    def __init__(self, _: str) -> None:
        """Takes its DSN, which says no more."""

    async def deliver(self, message: Message) -> Result:
        """Accepts."""
        return _ACCEPTED

    async def close(self) -> None:
        """Does nothing: nothing is open."""

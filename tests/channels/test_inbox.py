"""The inbox of development."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.channels import Outcome
from service.channels.inbox import Inbox
from tests.channels.kits import EMAIL, MAIL


async def test_messages_are_shown_and_sorted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "deep" / "inbox"
    inbox = Inbox(f"inbox://{directory}")
    ids = [(await inbox.deliver(MAIL)).message_id for _ in range(20)]
    assert sorted(os.listdir(directory)) == ids
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    shown = capsys.readouterr().out
    assert shown.count(f"To: {EMAIL}") == 20
    assert MAIL.text.strip().splitlines()[0] in shown


async def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    inbox = Inbox(f"inbox://{tmp_path}/inbox")
    (tmp_path / "inbox").rmdir()
    assert (await inbox.deliver(MAIL)).outcome is Outcome.RETRY

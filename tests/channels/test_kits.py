"""Every scheme has a kit, and so goes through the contract suite."""

from __future__ import annotations

import pytest

from service.channels import SCHEMES
from tests.channels.kits import KITS

_ANOTHERS = {"smtps": "smtp", "apprise+": "apprise+json"}
"""Schemes whose kit has another name: `smtps` is `smtp` with TLS from the start."""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_has_a_kit(scheme: str) -> None:
    kits = {kit.name for kit in KITS}
    assert _ANOTHERS.get(scheme, scheme) in kits, "add a kit to tests/channels/kits.py"

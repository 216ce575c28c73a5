"""Forms: whatever a value holds arrives, and nothing of it is taken for the form's own signs."""

from __future__ import annotations

import sys
from urllib.parse import parse_qsl

import pytest

from service.aio.egress import encode_form


@pytest.mark.slow
def test_a_form_carries_every_character() -> None:
    every = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    blocks = ["".join(every[start : start + 4096]) for start in range(0, len(every), 4096)]
    for block in blocks:
        form = {"To": "+1 555", "Body": block, block[:3]: "%41&b=c;+", "Empty": ""}
        body = encode_form(form).decode("ascii")
        assert dict(parse_qsl(body, keep_blank_values=True, strict_parsing=True)) == form


def test_a_form_has_no_field_more_than_it_was_given() -> None:
    assert encode_form({"a": "1&b=2", "c": "+ ;=#"}) == b"a=1%26b%3D2&c=%2B+%3B%3D%23"

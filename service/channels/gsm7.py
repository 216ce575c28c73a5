"""The alphabet of SMS, and texts that fit it: one sign beyond it more than halves a segment."""

from __future__ import annotations

import re
import unicodedata

from service.telemetry import metrics

_DEFAULT = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")
"""Two septets each."""
_ALPHABET = _DEFAULT | _EXTENSION
"""3GPP TS 23.038, 6.2.1."""
_IN_ALPHABET = re.compile(f"[{re.escape(''.join(_ALPHABET))}]*")
_IN_GSM7, _IN_UCS2 = map(metrics.SMS_SEGMENTS.labels, ("gsm7", "ucs2"))
_LETTERS = ("Lu", "Ll", "Lt", "Lo")


def is_gsm7(text: str) -> bool:
    """Whether a text can be sent in septets; any other takes 16 bits a character."""
    return _IN_ALPHABET.fullmatch(text) is not None


def segments(text: str) -> int:
    """Counts the messages that a text is sent and billed as."""
    return _septets(text) if is_gsm7(text) else _words(text)


def fitted(text: str) -> str:
    """Spells in GSM-7 what it has no sign for, if the text then takes fewer segments.

    Letters of other scripts and emoji have no such spelling: a text that holds any stays as it is.
    """
    if is_gsm7(text):
        return text
    instead = spelt(text)
    return instead if segments(instead) < segments(text) else text


def spelt(text: str) -> str:
    """Spells what GSM-7 has no sign for, and leaves what has no spelling."""
    return "".join(map(_spelling, unicodedata.normalize("NFC", text)))


def note_segments(text: str) -> None:
    """Notes in the metrics of how many segments a text was that a provider was handed."""
    if is_gsm7(text):
        _IN_GSM7.observe(_septets(text))
    else:
        _IN_UCS2.observe(_words(text))


def _septets(text: str) -> int:
    twice = 0 if _EXTENSION.isdisjoint(text) else sum(char in _EXTENSION for char in text)
    return _parts(len(text) + twice, 160, 153)


def _words(text: str) -> int:
    return _parts(len(text.encode("utf-16-le")) // 2, 70, 67)


def _parts(units: int, alone: int, joined: int) -> int:
    return 1 if units <= alone else -(-units // joined)


def _spelling(char: str) -> str:
    from anyascii import anyascii  # its tables are loaded only for who needs them

    if char in _ALPHABET:
        return char
    if unicodedata.category(char) in _LETTERS and not _is_latin(char):
        return char
    spelling: str = anyascii(char).replace("`", "'")
    is_name = len(spelling) > 1 and spelling.startswith(":")  # of an emoji: ":coffee:"
    return char if is_name else spelling


def _is_latin(letter: str) -> bool:
    plain = unicodedata.normalize("NFKC", letter)  # full-width letters, ordinals, ligatures
    return any("LATIN" in unicodedata.name(char, "") for char in plain)

"""DSNs of channels, taken apart without ever showing their secrets."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from urllib.parse import unquote, urlsplit

from service.aio.egress import is_loopback
from service.channels import BadDSN

_SILENT = logging.CRITICAL + 1
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AUTHORITY = re.compile(r"(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[0-9]*)?")


class DSN:
    """`scheme://user:password@host:port/path?option=value`, percent-encoded.

    A `+` stands for itself in options, as base64 and phone numbers have it.

    Attributes:
        name: Scheme, host and port: what logs and the ledger may show.
        host: Lower case; an IPv6 address without its brackets.
        port: None for the scheme's own.
        loopback: The host is this machine.
        values: `user`, `password` and the options, decoded, and `path`, as it is; those that are
            not empty.
    """

    def __init__(
        self, text: str, *, needs: tuple[str, ...] = (), takes: tuple[str, ...] = ()
    ) -> None:
        """Takes a DSN apart.

        Args:
            text: The DSN.
            needs: Values that must be there.
            takes: Values that may be there; no others may.

        Raises:
            BadDSN: Malformed, or with too few or too many values; the text shows none of them.
        """
        scheme = text.partition("://")[0]
        try:
            parts = urlsplit(text)
            self.host, self.port = parts.hostname or "", parts.port
        except ValueError:
            self.host, self.port = "", None
        authority = parts.netloc.rpartition("@")[2].lower() if self.host else ""
        if not _AUTHORITY.fullmatch(authority) or parts.fragment:
            raise BadDSN(
                f"{scheme}:// lacks a host, or has a reserved character that is not percent-encoded"
            )
        self.name = f"{scheme}://{authority}"
        self.loopback = is_loopback(self.host)
        found = {
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "path": parts.path.removeprefix("/"),
            **_options(parts.query),
        }
        self.values: Mapping[str, str] = {name: value for name, value in found.items() if value}
        missing = [name for name in needs if name not in self.values]
        if missing:
            raise BadDSN(f"{self.name} lacks {', '.join(missing)}")
        if not self.values.keys() <= {*needs, *takes}:
            raise BadDSN(f"{self.name} takes {', '.join((*needs, *takes))} and nothing else")
        if any(_CONTROL.search(value) for value in self.values.values()):
            raise BadDSN(f"{self.name} has a control character in a value")

    def __repr__(self) -> str:
        """Shows no more than logs may."""
        return f"<DSN {self.name}>"


def library(name: str, extra: str) -> ModuleType:
    """Imports the library that an optional channel is built on, and silences it.

    What such libraries log, and urllib3 beneath them, holds what our logs must not: destinations,
    signatures, whole URLs.

    Raises:
        BadDSN: It is not installed; the text says how to.
    """
    try:
        module = import_module(name)
    except ImportError:
        raise BadDSN(f"{extra} channels need `pip install '.[{extra}]'`") from None
    for logger in (name.partition(".")[0], "urllib3"):
        logging.getLogger(logger).setLevel(_SILENT)
    return module


def _options(query: str) -> dict[str, str]:
    pairs = (option.partition("=") for option in query.split("&"))
    return {name: unquote(value) for name, _, value in pairs if name}

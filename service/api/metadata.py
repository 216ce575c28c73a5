"""The metadata of a call: what its caller and Envoy send with it, and what Envoy is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from grpc.aio import ServicerContext

from service.api import fields

Context = ServicerContext[Any, Any]
Metadata = Iterable[tuple[str, str | bytes]]
"""Keys in lower case, and values, of one call."""

REST_BODY = "x-rest-body"
"""Metadata that carries the JSON which Envoy puts in place of the body."""
REST_STATUS = "x-rest-status"
"""Metadata that carries the HTTP status which Envoy puts in place of the transcoder's."""
REST_RETRY_AFTER = "retry-after"
"""Metadata that carries whole seconds; Envoy passes it on as the header of that name."""
REST_PATH = "x-envoy-original-path"
"""Metadata that Envoy adds to what it makes of a REST request; native gRPC calls lack it."""
REQUEST_ID = "x-request-id"
"""Metadata that carries the id of the request, both ways."""


def metadata_of(context: Context) -> Metadata:
    """Returns the metadata that a call came with."""
    return cast(Metadata, context.invocation_metadata() or ())


def only(metadata: Metadata, name: str) -> str | None:
    """Finds the value of a header; a repeated one counts as malformed: the empty string."""
    found = [value for key, value in metadata if key == name]
    if not found:
        return None
    return str(found[0]) if len(found) == 1 else ""


def page_origin(metadata: Metadata) -> str | None:
    """Finds the origin of the page that calls, as it is allowlisted; None for no browser."""
    origin = only(metadata, "origin")
    return origin and fields.normal_origin(origin)


def is_rest(metadata: Metadata) -> bool:
    """Whether Envoy has made this call of a REST request."""
    return any(key == REST_PATH for key, _ in metadata)

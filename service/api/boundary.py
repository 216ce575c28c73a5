"""The frame of every call: request id, deadline, log and metrics, errors in wire form.

No other module aborts a call.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode

from service.aio.deadlines import Deadlines
from service.api import error_table, trailers
from service.api.metadata import REQUEST_ID, Context, is_rest, metadata_of
from service.errors import (
    ChallengeError,
    DeadlinePassed,
    QuotaOutlastsSession,
    RateLimited,
    RequestTooLarge,
    UnknownRpc,
    UnreadableRequest,
)
from service.telemetry import logs, metrics, tracing
from service.telemetry.tracing import Handler

RpcHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

MAX_REQUEST_BYTES = 16 * 1024
"""The largest request is an OpenSession with its 20 origins, well below."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_SESSION_ID = re.compile(r"cs_[A-Za-z0-9]{1,125}", re.ASCII)


class Boundary(grpc.aio.ServerInterceptor):
    """Wraps the handlers of our own services, and answers for rpcs that there are not."""

    def __init__(self, deadline_seconds: float) -> None:
        """Wraps nothing yet.

        Args:
            deadline_seconds: A call's time, whatever more its caller allows.
        """
        self._cap = deadline_seconds
        self._deadlines = Deadlines()
        self._wrapped: dict[str, RpcHandler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[RpcHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> RpcHandler | None:
        path = handler_call_details.method
        known = self._wrapped.get(path)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None or not _is_implemented(handler):
            return _UNKNOWN
        if handler.request_streaming:  # reflection
            return handler
        if not path.startswith("/govifi."):  # health, asked too often to be logged
            self._wrapped[path] = _only_read(handler)
            return self._wrapped[path]
        rpc = path.rpartition("/")[2]
        self._wrapped[path] = grpc.unary_unary_rpc_method_handler(
            tracing.call(path, self._wrap(rpc, handler)),
            None,  # read within the call, so that what cannot be read is answered as any error
            handler.response_serializer,
        )
        return self._wrapped[path]

    def _wrap(self, rpc: str, handler: RpcHandler) -> Handler:
        carry_out = cast(Handler, handler.unary_unary)
        read = cast(Callable[[bytes], Any], handler.request_deserializer)

        async def call(message: bytes, context: Context) -> Any:
            started = time.perf_counter()
            request_id = _request_id(context)
            logs.bind(request_id=request_id)
            remaining = context.time_remaining()
            cap = self._cap if remaining is None else min(remaining, self._cap)
            request: Any = None
            failure: BaseException | None = None
            try:
                request = _read(message, read)
                with self._deadlines.within(cap):
                    reply = await carry_out(request, context)
                context.set_trailing_metadata(((REQUEST_ID, request_id),))
                return reply
            except TimeoutError:
                failure = DeadlinePassed()
            except ChallengeError as error:
                failure = error
            except asyncio.CancelledError as error:  # the caller has gone
                failure = error
                raise
            except Exception as error:
                logs.exception("bug", rpc=rpc)
                failure = error
            finally:
                _ended(rpc, request, failure, time.perf_counter() - started)
            await _refuse(context, failure, request_id)

        return call


def _is_implemented(handler: RpcHandler) -> bool:
    """Whether this is more than what gRPC generates for a service: a plain function that raises."""
    carry_out = handler.unary_unary or handler.unary_stream or handler.stream_stream
    return inspect.iscoroutinefunction(carry_out) or inspect.isasyncgenfunction(carry_out)


def _read(message: bytes, read: Callable[[bytes], Any]) -> Any:
    """Reads a request.

    Raises:
        RequestTooLarge: No request needs so much.
        UnreadableRequest: It is none of this rpc's.
    """
    if len(message) > MAX_REQUEST_BYTES:
        raise RequestTooLarge
    try:
        return read(message)
    except DecodeError:
        raise UnreadableRequest from None


def _only_read(handler: RpcHandler) -> RpcHandler:
    """Wraps a handler of the library's, so that what cannot be read is answered as any error."""
    carry_out = cast(Handler, handler.unary_stream or handler.unary_unary)
    read = cast(Callable[[bytes], Any], handler.request_deserializer)

    async def call(message: bytes, context: Context) -> Any:
        try:
            request = _read(message, read)
        except ChallengeError as error:
            await _refuse(context, error, _request_id(context))
        return await carry_out(request, context)

    wrap = (
        grpc.unary_stream_rpc_method_handler
        if handler.response_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    return wrap(call, None, handler.response_serializer)


async def _refuse(context: Context, failure: BaseException | None, request_id: str) -> NoReturn:
    assert failure is not None
    rest = is_rest(metadata_of(context))
    row, metadata = trailers.of(failure, request_id, rest=rest)
    await context.abort(row.status, row.message, metadata)
    raise AssertionError("abort raises")


async def _answer_unknown(_: object, context: Context) -> None:
    request_id = _request_id(context)
    logs.bind(request_id=request_id)
    _ended("unknown", None, UnknownRpc(), 0.0)
    await _refuse(context, UnknownRpc(), request_id)


# Streams both ways: it takes whatever a caller sends or does not, and reads none of it.
_UNKNOWN: RpcHandler = grpc.stream_stream_rpc_method_handler(_answer_unknown)


def _request_id(context: Context) -> str:
    """Returns the caller's id of the call, or a new one where it has none that can be shown."""
    for key, value in metadata_of(context):
        if key == REQUEST_ID and isinstance(value, str) and is_request_id(value):
            return value
    return os.urandom(16).hex()


def is_request_id(text: str) -> bool:
    """Whether a text may stand in logs as a request's id: a credential may not."""
    return _REQUEST_ID.fullmatch(text) is not None and "_secret_" not in text


def _ended(rpc: str, request: Any, failure: BaseException | None, seconds: float) -> None:
    quota: dict[str, str] = {}
    if failure is None:
        status = StatusCode.OK
    elif isinstance(failure, asyncio.CancelledError):
        status = StatusCode.CANCELLED
    else:
        status = error_table.row_of(failure).status
        known = isinstance(failure, ChallengeError)
        metrics.CALL_ERRORS.labels(rpc, type(failure).__name__ if known else "Bug").inc()
        if isinstance(failure, RateLimited | QuotaOutlastsSession):
            metrics.QUOTA_REFUSALS.labels(failure.quota).inc()
            quota = {"quota": failure.quota}
    code = status.name
    metrics.call_duration(rpc, code).observe(seconds, tracing.exemplar())
    logs.info(
        "call",
        rpc=rpc,
        session_id=known_form(getattr(request, "session_id", "")),
        status=code,
        error=None if failure is None else type(failure).__name__,
        ms=round(seconds * 1000, 1),
        **quota,
    )


def known_form(session_id: str) -> str | None:
    """Returns a session id if it has that form: it may be a credential in the wrong place."""
    return session_id if _SESSION_ID.fullmatch(session_id) else None

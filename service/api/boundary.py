"""Around every call: request id, deadline, log and metrics, error to wire form.

No other module aborts a call.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
from grpc import StatusCode

from service.aio.deadlines import Deadlines
from service.api import error_table, requests
from service.errors import (
    ChallengeError,
    DeadlinePassed,
    InvalidRequest,
    QuotaOutlastsSession,
    RateLimited,
)
from service.telemetry import logs, metrics, tracing
from service.telemetry.tracing import Handler

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class Boundary(grpc.aio.ServerInterceptor):
    """Wraps the handlers of our own services; health and reflection pass as they are."""

    def __init__(self, deadline_seconds: float) -> None:
        """Takes what it works with.

        Args:
            deadline_seconds: A call's time, whatever more its caller allows.
        """
        self._cap = deadline_seconds
        self._deadlines = Deadlines()
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None or not method.startswith("/govifi."):
            return handler
        called = cast(Handler, handler.unary_unary)
        self._wrapped[method] = grpc.unary_unary_rpc_method_handler(
            tracing.call(method, self._wrap(method.rpartition("/")[2], called)),
            handler.request_deserializer,
            handler.response_serializer,
        )
        return self._wrapped[method]

    def _wrap(self, rpc: str, handler: Handler) -> Handler:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            started = time.perf_counter()
            request_id = _request_id(context)
            logs.bind(request_id=request_id)
            remaining = context.time_remaining()
            cap = self._cap if remaining is None else min(remaining, self._cap)
            failure: BaseException | None = None
            try:
                with self._deadlines.within(cap):
                    answer = await handler(request, context)
                context.set_trailing_metadata(((error_table.REQUEST_ID, request_id),))
                return answer
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
            row, metadata = error_table.trailers(failure, request_id)
            await context.abort(row.status, row.message, metadata)

        return call


def _request_id(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    for key, value in context.invocation_metadata() or ():
        if (
            key == error_table.REQUEST_ID
            and isinstance(value, str)
            and _REQUEST_ID.fullmatch(value)
        ):
            return value
    return os.urandom(16).hex()


def _ended(rpc: str, request: Any, failure: BaseException | None, seconds: float) -> None:
    if failure is None:
        status = StatusCode.OK
    elif isinstance(failure, asyncio.CancelledError):
        status = StatusCode.CANCELLED
    else:
        status = error_table.row_of(failure).status
        _count(rpc, failure)
    code = status.name
    metrics.call_duration(rpc, code).observe(seconds)
    logs.info(
        "call",
        rpc=rpc,
        session_id=_known_form(request.session_id),
        status=code,
        error=None if failure is None else type(failure).__name__,
        ms=round(seconds * 1000, 1),
    )


def _count(rpc: str, failure: BaseException) -> None:
    known = isinstance(failure, ChallengeError)
    metrics.CALL_ERRORS.labels(rpc, type(failure).__name__ if known else "Bug").inc()
    if isinstance(failure, RateLimited | QuotaOutlastsSession):
        metrics.QUOTA_REFUSALS.labels(failure.quota).inc()


def _known_form(session_id: str) -> str | None:
    """Keeps out of the log what is no session id: it may be a credential in the wrong place."""
    try:
        return requests.session_id(session_id)
    except InvalidRequest:
        return None

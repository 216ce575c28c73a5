"""The gRPC server: limits, keepalive, health, reflection, graceful drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
from govifi.challenge.v1 import (
    challenge_admin_pb2,
    challenge_admin_pb2_grpc,
    challenge_pb2,
    challenge_pb2_grpc,
)
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from service.aio.signals import stop_event
from service.api import reflection
from service.api.boundary import MAX_REQUEST_BYTES, Boundary
from service.app import App
from service.errors import CannotProceed
from service.serving.readiness import Readiness
from service.settings import Settings
from service.telemetry import logs

_DEADLINE_SECONDS = 10.0
_OPTIONS = (
    # Larger requests than the boundary's limit get an Error; larger ones than this, gRPC's own.
    ("grpc.max_receive_message_length", 16 * MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),  # evidence; what clients take by default
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.absolute_max_metadata_size", 24 * 1024),
    ("grpc.max_concurrent_streams", 1000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # Envoy's are 30 s apart
)
_CALLS_AT_ONCE = 2000
_NOTICE_SECONDS = 2.0
"""Between NOT_SERVING and refusing calls: the proxy's health check must see it."""
_SERVICES = (
    challenge_pb2.DESCRIPTOR.services_by_name["ChallengeService"].full_name,
    challenge_admin_pb2.DESCRIPTOR.services_by_name["ChallengeAdminService"].full_name,
)


class Server:
    """Serves an App until told to stop."""

    def __init__(self, app: App, settings: Settings, *, shares_port: bool = False) -> None:
        """Binds the port.

        Args:
            app: What it serves.
            settings: The settings.
            shares_port: Whether other workers listen on the same port.

        Raises:
            CannotProceed: The address is taken or malformed.
        """
        self._app = app
        self._drain_seconds = settings.drain_seconds
        self._without_channel = () if shares_port else settings.without_channel()
        self._says = "worker_serving" if shares_port else "serving"
        self._server = grpc.aio.server(
            interceptors=(Boundary(_DEADLINE_SECONDS),),
            options=(*_OPTIONS, ("grpc.so_reuseport", int(shares_port))),
            maximum_concurrent_rpcs=_CALLS_AT_ONCE,
        )
        challenge_pb2_grpc.add_ChallengeServiceServicer_to_server(app.public, self._server)
        challenge_admin_pb2_grpc.add_ChallengeAdminServiceServicer_to_server(
            app.admin, self._server
        )
        health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health, self._server)
        self._readiness = Readiness(health, ("", *_SERVICES), app.check_ready)
        if settings.environment == "development":
            reflection.add(self._server, _SERVICES)
        try:
            self.port = self._server.add_insecure_port(settings.grpc_listen)
        except RuntimeError:
            raise CannotProceed(
                "CHALLENGE_GRPC_LISTEN",
                f"cannot listen on {settings.grpc_listen}: "
                "the address is malformed or taken by another process",
            ) from None

    async def run(self, started: Callable[[], None] | None = None) -> None:
        """Serves until SIGTERM or SIGINT, then drains; calls `started` once it serves."""
        stop = stop_event()
        await self.start()
        if started is not None:
            started()
        await stop.wait()
        await self.stop()

    async def start(self) -> None:
        """Begins to serve."""
        await self._readiness.begin()
        await self._server.start()
        self._app.start()
        for setting in self._without_channel:
            logs.warning("no_channel", setting=setting)
        logs.info(self._says, port=self.port, site_keys=self._app.captchas.site_keys)

    async def stop(self) -> None:
        """Reports NOT_SERVING, for proxies to use another replica; ends calls, then deliveries."""
        logs.info("draining")
        await self._readiness.stop()
        await asyncio.sleep(min(_NOTICE_SECONDS, self._drain_seconds))
        await self._server.stop(self._drain_seconds)
        await self._app.stop(self._drain_seconds)
        logs.info("stopped")

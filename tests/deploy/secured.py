"""An Envoy that speaks TLS, and those who call it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import NamedTuple, Self

import grpc
import httpx
import yaml
from cryptography import x509

from tests.deploy.authority import Authority, Pair
from tests.rest.edge import Edge, check


class Secured(NamedTuple):
    """What the operator gives Envoy, and who signed it."""

    directory: Path
    public: Authority
    internal: Authority
    clients: Authority

    def trust(self, authority: Authority) -> None:
        """Lets Envoy's internal listener accept whom this authority has signed."""
        new = self.directory / "certificates/ca.new"
        new.write_bytes(authority.certificate)
        new.replace(self.directory / "certificates/clients/ca.crt")


class TLSEdge:
    """One Envoy with TLS on both listeners."""

    def __init__(self, edge: Edge, secured: Secured) -> None:
        self.edge = edge
        self.port = edge.port
        self.internal = _internal_port(secured.directory)
        self._secured = secured
        self.http = httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{edge.port}",
            verify=self.context(),
            event_hooks={"response": [check]},
            trust_env=False,
            timeout=30,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    def context(self, **versions: ssl.TLSVersion) -> ssl.SSLContext:
        """What a browser has: the public authority, and these versions at most and at least."""
        context = ssl.create_default_context(cadata=self._secured.public.certificate.decode())
        context.set_alpn_protocols(["h2", "http/1.1"])
        for name, version in versions.items():
            setattr(context, f"{name}_version", version)
        return context

    async def handshake(self, context: ssl.SSLContext) -> tuple[str | None, str | None, int]:
        """Connects to the public listener; gives version, protocol and the certificate's serial."""
        async with asyncio.timeout(10):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None
        serial = x509.load_der_x509_certificate(certificate).serial_number
        met = (connection.version(), connection.selected_alpn_protocol(), serial)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        return met

    def channel(self, client: Pair | None) -> grpc.aio.Channel:
        """A gRPC channel to the internal listener, with a client's certificate or none."""
        credentials = grpc.ssl_channel_credentials(
            root_certificates=self._secured.internal.certificate,
            private_key=client.key if client else None,
            certificate_chain=client.certificate if client else None,
        )
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        target = f"127.0.0.1:{self.internal}"
        return grpc.aio.secure_channel(target, credentials, options)


def _internal_port(directory: Path) -> int:
    tree = yaml.safe_load((directory / "envoy.yaml").read_text("utf-8"))
    listeners = {listener["name"]: listener for listener in tree["static_resources"]["listeners"]}
    port: int = listeners["internal"]["address"]["socket_address"]["port_value"]
    return port

"""The metrics' port: no client keeps a scraper waiting, and none stays for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from service.telemetry import exposition


@pytest.fixture
def port() -> Iterator[int]:
    """A running exposition."""
    server = exposition.serve("127.0.0.1:0")
    yield server.server_port
    server.shutdown()
    server.server_close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def scraped(port: int) -> bytes:
    with connect(port) as scraper:
        scraper.sendall(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        answer = b""
        while part := scraper.recv(65536):
            answer += part
    return answer


def ended(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


@pytest.mark.parametrize("said", [b"", b"G", b"GET /metrics HTTP/1.1\r\nhost: "])
def test_slow_clients_do_not_keep_a_scraper_waiting(
    port: int, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(exposition, "_SECONDS", 3600.0)  # none of them ends by itself
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            slow = stack.enter_context(connect(port))
            with contextlib.suppress(ConnectionError):
                slow.sendall(said)
        assert b"challenge_call_errors_total" in scraped(port)
        running = [one for one in threading.enumerate() if "process_request" in one.name]
        assert len(running) <= 20


def test_a_client_has_its_time_however_it_drips(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "_SECONDS", 0.5)
    with connect(port) as dripping, connect(port) as silent:
        with contextlib.suppress(ConnectionError):
            for _ in range(150):  # 15 s, far beyond its time
                dripping.sendall(b"G")
                dripping.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    if dripping.recv(1) == b"":
                        break
            else:
                pytest.fail("it may go on for ever")
        assert ended(silent)


def test_a_client_that_does_not_read_ends_too(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "_SECONDS", 0.5)
    with connect(port) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        deaf.sendall(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n" * 20)
        time_limit = time.monotonic() + 10
        while any("process_request" in one.name for one in threading.enumerate()):
            assert time.monotonic() < time_limit
            threading.Event().wait(0.05)

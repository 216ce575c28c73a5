"""The demonstration, `python -m examples.checkout`: the service, its proxy and the shop, together.

Starts the captchas' stand-in and `challenge dev`, waits until that is ready, serves the shop, and
stops it all on Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import click

from examples.checkout import captchas
from examples.checkout.demonstration import Demonstration
from examples.checkout.merchant import Merchant
from examples.checkout.web import Shop
from service.commands.arguments import data_directory
from service.commands.client import mint_token

_STOP_SECONDS = 20.0


@click.command()
@click.option("--port", envvar="CHECKOUT_PORT", default=8070, show_default=True)
@click.option("--rest-port", envvar="REST_PORT", default=8080, show_default=True)
@click.option("--grpc-port", envvar="GRPC_PORT", default=50051, show_default=True)
@click.option(
    "--data-dir", "data", type=click.Path(path_type=Path), envvar="CHALLENGE_DATA_DIR",
    default=data_directory,
    help="Keys, database and inbox of `challenge dev`; .data by default.",
)  # fmt: skip
@click.option(
    "--send-window", envvar="CHALLENGE_SEND_WINDOW_SECONDS", default=30, show_default=True,
    help="The service's, in seconds.",
)  # fmt: skip
def main(port: int, rest_port: int, grpc_port: int, data: Path, send_window: int) -> None:
    """Run the example checkout with everything that it needs, in the foreground."""
    with captchas.running() as widgets:
        merchant = Merchant(f"127.0.0.1:{grpc_port}", lambda: mint_token(data))
        demonstration = Demonstration(merchant, widgets, data / "inbox")
        rest_url = f"http://127.0.0.1:{rest_port}"
        try:
            shop = Shop(port, merchant, demonstration, rest_url, send_window)
        except (OSError, OverflowError):
            sys.exit(f"checkout: port {port} (CHECKOUT_PORT) is taken; choose another")
        command = (
            sys.executable, "-m", "service", "dev", "--with-parent", "--data-dir", str(data),
            "--rest-port", str(rest_port), "--grpc-port", str(grpc_port),
        )  # fmt: skip
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _stop)
        _serve(shop, command, {**os.environ, **widgets.settings}, data / "running.json")


def _serve(
    shop: Shop, command: Sequence[str], environment: Mapping[str, str], running: Path
) -> NoReturn:
    """Runs the service, and the shop once it is ready, until one of them ends."""
    before = _stamp(running)
    service = subprocess.Popen(command, env=environment)  # noqa: S603  (this very interpreter)
    try:
        while _stamp(running) in (None, before):
            if service.poll() is not None:
                sys.exit(1)  # it has said why
            time.sleep(0.05)
        threading.Thread(target=shop.serve_forever, daemon=True).start()
        print(f"\nThe example checkout is at {shop.url}  Ctrl-C stops everything.\n", flush=True)
        sys.exit(1 if service.wait() else 0)
    finally:
        shop.merchant.close()
        _end(service)


def _stamp(file: Path) -> int | None:
    """Identifies one writing of a file; a run that was killed may have left an older one."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _stop(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # once is enough
    sys.exit(0)


def _end(service: subprocess.Popen[bytes]) -> None:
    service.terminate()
    try:
        service.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        service.kill()


main()

"""The commands. Each imports what it needs when it runs, so that the others start fast."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from service.commands.arguments import MAX_PORT, Commands, Directory, Number, Text, data_directory

_ACCOUNT, _WORD, _LINE = Text(64), Text(128), Text(1024)
_DATA = click.option(
    "--data-dir", "data", type=Directory(), envvar="CHALLENGE_DATA_DIR",
    default=data_directory,
    help="Keys, database and inbox of `challenge dev`; .data by default.",
)  # fmt: skip
_TARGET = click.option(
    "--target", type=_LINE, help="host:port of the gRPC server; the running one by default."
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="challenge-service", prog_name="challenge")
def main() -> None:
    """Sends and verifies the codes of hosted payment sessions."""


@main.command()
@click.option("--workers", default=1, show_default=True, type=Number(1, 256),
              help="Processes that share the port; more than one needs PostgreSQL.")  # fmt: skip
def serve(workers: int) -> None:
    """Serve gRPC until SIGTERM, then drain."""
    from service import settings
    from service.serving import tuning
    from service.telemetry import logs

    loaded = settings.load()
    logs.configure(loaded)
    if workers == 1:
        tuning.tune()
        from service.serving.process import serve_forever

        serve_forever(loaded)
    else:
        import asyncio

        from service.serving.workers import supervise

        sys.exit(0 if asyncio.run(supervise(loaded, workers)) else 1)


@main.command()
def migrate() -> None:
    """Bring the database of CHALLENGE_DATABASE_URL to this version's schema."""
    from service import settings
    from service.storage.migrating import migrate as run
    from service.storage.opening import sqlite_path

    url = settings.load_database().database_url.get_secret_value()
    run(url)
    path = sqlite_path(url)  # it may have just been made: say which
    click.echo(f"the schema of {path} is up to date" if path else "the schema is up to date")


@main.command()
def purge() -> None:
    """Forget destinations of ended sessions, and rows past CHALLENGE_RETENTION_DAYS."""
    import asyncio

    from service import settings
    from service.commands.purging import run

    loaded = settings.load_database()
    asyncio.run(run(loaded, lambda what, count: click.echo(f"{what} {count}")))


@main.command()
@click.option(
    "--rest-port", envvar="REST_PORT", default=8080, show_default=True, type=Number(1, MAX_PORT),
    help="Envoy's public port, which browsers call.",
)  # fmt: skip
@click.option(
    "--grpc-port", envvar="GRPC_PORT", default=50051, show_default=True,
    type=Number(1, MAX_PORT - 1),
    help="The service's port; the proxy's internal listener takes the next one.",
)  # fmt: skip
@click.option("--with-parent", is_flag=True, help="Stop when the process that started it ends.")
@_DATA
def dev(rest_port: int, grpc_port: int, with_parent: bool, data: Path) -> None:
    """Run service, Envoy and inbox here, in the foreground."""
    from service.aio import children
    from service.commands.development import run

    if with_parent:
        children.follow_parent()
    run(data, rest_port, grpc_port)


@main.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--notice-seconds", default=2.0, show_default=True, type=Number(0.0, 300.0),
    help="How long new connections are still taken after SIGTERM.",
)  # fmt: skip
def edge(config: Path, notice_seconds: float) -> None:
    """Run Envoy with CONFIG until SIGTERM, then drain it."""
    import asyncio

    from service.commands.edge import run

    sys.exit(asyncio.run(run(config, notice_seconds)))


@main.command()
def keys() -> None:
    """Print new CHALLENGE_KEYS and CHALLENGE_FINGERPRINT_KEY, as lines of a .env.

    To rotate, put the key of the first line in front of the ring; the second never changes.
    """
    import secrets

    from service.keyring import random_key

    click.echo(f"CHALLENGE_KEYS=k{secrets.token_hex(3)}:{random_key()}")
    click.echo(f"CHALLENGE_FINGERPRINT_KEY={random_key()}")


@main.command()
@click.option("--service", "name", default="", metavar="NAME",
              help="What to ask about; the server as a whole by default.")  # fmt: skip
@_TARGET
@_DATA
def health(name: str, target: str | None, data: Path) -> None:
    """Exit with 0 if a running server says that it serves, otherwise with 1."""
    from service.commands.health import require_serving

    require_serving(data, target, name)
    click.echo("serving")


@main.command()
@click.option("--account", type=_ACCOUNT, help="Restrict the token to one account.")
@click.option("--expires-in", default=3600, show_default=True, type=Number(1, 31_536_000),
              help="Life of the token, in seconds.")  # fmt: skip
@_DATA
def token(account: str | None, expires_in: int, data: Path) -> None:
    """Print a token for the internal API, signed with the key of `challenge dev`."""
    from service.commands.client import mint_token

    click.echo(mint_token(data, expires_in=expires_in, account_uid=account))


@main.command("open-session")
@click.option("--sms", type=_LINE, metavar="+1…", help="Challenge: a code to this phone.")
@click.option("--email", type=_LINE, metavar="ADDRESS", help="Challenge: a code to this address.")
@click.option("--hcaptcha", type=_LINE, metavar="SITE_KEY", help="Challenge: an hCaptcha widget.")
@click.option("--turnstile", type=_LINE, metavar="SITE_KEY", help="Challenge: a Turnstile widget.")
@click.option(
    "--origin", "origins", type=_LINE, multiple=True, metavar="URL", help="Origin to allow."
)
@click.option("--scope", type=click.Choice(["payment", "wallet"]), default="payment")
@click.option("--expires-in", type=Number(1, 86_400), metavar="S",
              help="Life of the session, in seconds; 1800 by default.")  # fmt: skip
@click.option("--merchant", type=_WORD, default="Example Shop", show_default=True)
@click.option("--account", type=_ACCOUNT, default="acct_dev", show_default=True)
@click.option("--locale", type=_WORD, default="en", show_default=True)
@click.option(
    "--rest-url",
    type=_LINE,
    metavar="URL",
    help="Where browsers reach the server, for the curl; say it with --target.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_TARGET
@_DATA
def open_session(as_json: bool, target: str | None, data: Path, **options: Any) -> None:
    """Open a session on a running server and print its id, secret and a ready curl."""
    from service.commands import client

    chosen = [options[kind] for kind in client.CHALLENGES if options[kind]]
    if len(chosen) > 1:
        raise click.UsageError(f"choose one of {', '.join(f'--{k}' for k in client.CHALLENGES)}")
    opened = client.open_session(data, target, **options)
    click.echo(opened.as_json() if as_json else opened.as_text())


@main.command()
@click.argument("session_id", type=_LINE)
@click.argument("code", type=_WORD)
@_TARGET
@_DATA
def verify(session_id: str, code: str, target: str | None, data: Path) -> None:
    """Check CODE for SESSION_ID on a running server."""
    from service.commands import client

    click.echo(client.verify(data, target, session_id, code))


@main.command()
@click.argument("session_id", type=_LINE)
@_TARGET
@_DATA
def attempts(session_id: str, target: str | None, data: Path) -> None:
    """List what was tried to deliver the codes of SESSION_ID."""
    from service.commands import client

    for line in client.attempts(data, target, session_id):
        click.echo(line)


@main.command()
@click.argument("session_id", type=_LINE, required=False)
@click.option("--check", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Check an export instead; no server is asked.")  # fmt: skip
@click.option("--thumbprint", type=_WORD, help="The key that must have signed FILE.")
@click.option("--html", "as_page", is_flag=True, help="Print a page to attach to a dispute.")
@click.option("--time-zone", type=_WORD, metavar="Europe/…", help="The payer's, for that page.")
@_TARGET
@_DATA
def evidence(
    session_id: str | None,
    file: Path | None,
    thumbprint: str | None,
    as_page: bool,
    time_zone: str | None,
    target: str | None,
    data: Path,
) -> None:
    """Export what happened in SESSION_ID, signed, or check an export."""
    from service.commands import evidence as commands

    if session_id is not None and file is None:
        found = commands.export(data, target, session_id)
    elif file is not None and session_id is None:
        found = commands.read(file, thumbprint)
    else:
        raise click.UsageError("name a session, or a file to check")
    if as_page:
        from service.commands.timeline import page

        click.echo(page(found.checked, time_zone))
    else:
        click.echo(found.document if session_id else commands.summary(found.checked, thumbprint))


@main.command()
@click.argument("session_id", type=_LINE)
@_TARGET
@_DATA
def explain(session_id: str, target: str | None, data: Path) -> None:
    """Say why no code of SESSION_ID arrived or was accepted, and what to do."""
    from service.commands import evidence as commands

    click.echo(commands.explain(data, target, session_id))


@main.command()
@click.argument("destination", type=_LINE, required=False)
@_TARGET
@_DATA
def erase(destination: str | None, target: str | None, data: Path) -> None:
    """Erase a phone number or address, DESTINATION or a line of stdin, from every session."""
    from service.commands import evidence as commands

    given = destination or sys.stdin.readline().strip()
    if not given:
        raise click.UsageError("name a phone number or an address, as an argument or on stdin")
    click.echo(commands.erase(data, target, given))

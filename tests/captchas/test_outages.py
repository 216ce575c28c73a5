"""What fails between a captcha and its provider, once the token has been judged: the worst case."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Iterator

import pytest
from aiohttp import web

from examples.siteverify import Trouble
from service.captchas import Judgement, Verdict
from tests.captchas.conftest import Bench, presented
from tests.channels.clock import pass_time
from tests.harness.ports import free_port

PASSED = Judgement(Verdict.PASSED, "passed")
NO_REPLY = Judgement(Verdict.UNREACHABLE, "no-reply")
NOT_CONNECTED = Judgement(Verdict.UNREACHABLE, "not-connected")
OUTAGES = {
    Trouble.SILENCE: NO_REPLY,
    Trouble.SLOW_BODY: NO_REPLY,
    Trouble.RESET: Judgement(Verdict.UNREACHABLE, "connection-lost"),
    Trouble.HALF_A_BODY: Judgement(Verdict.UNREACHABLE, "connection-lost"),
    Trouble.SERVER_ERROR: Judgement(Verdict.UNREACHABLE, "http-5xx"),
}
OTHERS = {
    Trouble.ENDLESS_BODY: Judgement(Verdict.INCONCLUSIVE, "reply-too-large"),
    Trouble.NO_JSON: Judgement(Verdict.INCONCLUSIVE, "reply-unreadable"),
    Trouble.NO_HTTP: Judgement(Verdict.INCONCLUSIVE, "reply-unreadable"),
    Trouble.THROTTLED: Judgement(Verdict.INCONCLUSIVE, "http-429"),
    Trouble.NOT_FOUND: Judgement(Verdict.MISCONFIGURED, "http-4xx"),
    Trouble.REDIRECT: Judgement(Verdict.MISCONFIGURED, "redirected"),
}
of_hcaptcha = pytest.mark.parametrize("kind", ["hcaptcha"], indirect=True)
of_turnstile = pytest.mark.parametrize("kind", ["turnstile"], indirect=True)


def freeze() -> None:
    """Has the loop's clock stand still, so that only `pass_time` moves it, however busy we are."""
    loop = asyncio.get_running_loop()
    loop.time = lambda now=loop.time(): now  # type: ignore[method-assign]  # noqa: B008


async def pass_time_again_and_again(seconds: float) -> None:
    """Moves the clock on whenever nothing else happens, until that is cancelled."""
    while True:
        await pass_time(seconds)
        for _ in range(100):  # whoever has waited for that goes on
            await asyncio.sleep(0)


def hurry(bench: Bench, seconds: float) -> None:
    """Has whatever is slow take that long, without anybody waiting."""
    freeze()
    bench.stand_in.while_silent = lambda: pass_time_again_and_again(seconds)


def test_every_trouble_has_a_row() -> None:
    assert {*OUTAGES, *OTHERS} == set(Trouble)


@of_hcaptcha
@pytest.mark.parametrize("trouble", [*OTHERS, Trouble.SILENCE, Trouble.SLOW_BODY])
async def test_hcaptcha_is_asked_once(bench: Bench, trouble: Trouble) -> None:
    hurry(bench, 60)
    bench.stand_in.troubles = itertools.repeat(trouble)
    assert await bench.ask() == {**OUTAGES, **OTHERS}[trouble]
    assert len(bench.stand_in.asked) == 1


@of_hcaptcha
@pytest.mark.parametrize("trouble", [Trouble.SILENCE, Trouble.SLOW_BODY])
async def test_hcaptcha_has_all_of_the_five_seconds_to_answer(
    bench: Bench, trouble: Trouble
) -> None:
    hurry(bench, 3)  # it may be judging the token, which a second question would find spent
    bench.stand_in.troubles = itertools.repeat(trouble)
    assert await bench.ask() == OUTAGES[trouble]
    assert len(bench.stand_in.asked) == 1


@of_hcaptcha
@pytest.mark.parametrize("trouble", [Trouble.RESET, Trouble.HALF_A_BODY, Trouble.SERVER_ERROR])
async def test_a_failure_of_hcaptcha_is_an_outage_if_it_lasts(
    bench: Bench, trouble: Trouble
) -> None:
    bench.stand_in.troubles = itertools.repeat(trouble)
    assert await bench.ask() == OUTAGES[trouble]
    assert len(bench.stand_in.asked) == 4


@of_hcaptcha
@pytest.mark.parametrize("trouble", [Trouble.RESET, Trouble.HALF_A_BODY, Trouble.SERVER_ERROR])
async def test_a_single_failure_of_hcaptcha_is_none(bench: Bench, trouble: Trouble) -> None:
    bench.stand_in.troubles = iter([trouble])
    assert (await bench.ask()).verdict is Verdict.EXPIRED_OR_DUPLICATE
    assert len(bench.stand_in.asked) == 2


@of_turnstile
@pytest.mark.parametrize("trouble", OUTAGES)
async def test_turnstile_is_asked_again(bench: Bench, trouble: Trouble) -> None:
    hurry(bench, 2.5)
    bench.stand_in.troubles = iter([trouble])
    assert await bench.ask() == PASSED
    first, second = bench.stand_in.asked
    assert first == second
    assert first["idempotency_key"]


@of_turnstile
@pytest.mark.parametrize("trouble", OTHERS)
async def test_turnstile_is_not_asked_again_in_vain(bench: Bench, trouble: Trouble) -> None:
    bench.stand_in.troubles = itertools.repeat(trouble)
    assert await bench.ask() == OTHERS[trouble]
    assert len(bench.stand_in.asked) == 1


@of_turnstile
async def test_turnstile_has_five_seconds(bench: Bench) -> None:
    hurry(bench, 2.5)
    bench.stand_in.troubles = itertools.repeat(Trouble.SILENCE)
    assert await bench.ask() == NO_REPLY
    assert len(bench.stand_in.asked) == 2


@of_turnstile
async def test_the_last_try_ends_with_the_five_seconds(bench: Bench) -> None:
    hurry(bench, 1.1)
    loop = asyncio.get_running_loop()
    began = loop.time()

    def two_seconds_each() -> Iterator[Trouble]:
        for _ in range(2):
            loop.time = lambda time=loop.time: time() + 2  # type: ignore[method-assign]
            yield Trouble.RESET
        yield Trouble.SILENCE

    bench.stand_in.troubles = two_seconds_each()
    assert await bench.ask() == NO_REPLY
    assert len(bench.stand_in.asked) == 3
    assert 5 <= loop.time() - began < 6.4


@of_turnstile
async def test_turnstile_may_be_down_for_five_seconds(bench: Bench) -> None:
    bench.stand_in.troubles = itertools.repeat(Trouble.SERVER_ERROR)
    captcha = bench.captcha(pauses=lambda: itertools.repeat(0.0, 6))
    assert await captcha.judge(presented(bench.token())) == OUTAGES[Trouble.SERVER_ERROR]
    assert len(bench.stand_in.asked) == 7


@of_turnstile
async def test_no_try_begins_after_five_seconds(bench: Bench) -> None:
    bench.stand_in.troubles = itertools.repeat(Trouble.SERVER_ERROR)
    captcha = bench.captcha(pauses=lambda: itertools.repeat(5.0))
    assert await captcha.judge(presented(bench.token())) == OUTAGES[Trouble.SERVER_ERROR]
    assert len(bench.stand_in.asked) == 1


@of_turnstile
async def test_an_internal_error_passes(bench: Bench) -> None:
    bench.stand_in.says = {"success": False, "error-codes": ["internal-error"]}
    captcha = bench.captcha()

    def mended() -> Iterator[Trouble | None]:
        yield None
        bench.stand_in.says = None
        yield Trouble.RESET

    bench.stand_in.troubles = mended()
    assert await captcha.judge(presented(bench.token())) == PASSED
    assert len(bench.stand_in.asked) == 3


@of_turnstile
async def test_silence_after_an_answer_is_no_outage(bench: Bench) -> None:
    hurry(bench, 60)
    bench.stand_in.says = {"success": False, "error-codes": ["internal-error"]}
    bench.stand_in.troubles = iter([None, Trouble.SILENCE])
    assert await bench.ask() == Judgement(Verdict.INCONCLUSIVE, "internal-error")


async def test_nobody_listens(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    captcha = bench.captcha(url=f"http://127.0.0.1:{port}/")
    assert await captcha.judge(presented(bench.token())) == NOT_CONNECTED


async def test_what_was_never_sent_is_sent_later(bench: Bench) -> None:
    port, failed = free_port(), asyncio.Event()

    def pauses() -> Iterator[float]:
        failed.set()
        yield from itertools.repeat(0.0)

    captcha = bench.captcha(url=f"http://127.0.0.1:{port}{bench.path}", pauses=pauses)
    judging = asyncio.create_task(captcha.judge(presented(bench.token())))
    await failed.wait()
    await web.TCPSite(bench.runner, "127.0.0.1", port).start()
    assert await judging == PASSED
    assert len(bench.stand_in.asked) == 1


async def test_a_handshake_that_never_ends_sent_nothing(bench: Bench) -> None:
    freeze()
    connections = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        passing = asyncio.create_task(pass_time_again_and_again(2.05))
        while await reader.read(4096):  # its greeting, and then its end
            pass
        passing.cancel()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    captcha = bench.captcha(url=url, pauses=lambda: iter([0.0]))
    assert await captcha.judge(presented(bench.token())) == NOT_CONNECTED
    assert connections == 2
    server.close()


async def test_another_machine_is_reached_by_the_proxy_of_the_environment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        captcha = bench.captcha(url="https://captcha.invalid/siteverify", pauses=lambda: iter(()))
        assert await captcha.judge(presented(bench.token())) == NOT_CONNECTED
    assert asked == [b"CONNECT captcha.invalid:443 HTTP/1.1\r\n"]


async def test_no_proxy_leads_to_this_machine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert await bench.ask() == PASSED

"""What page code needs: preflights, and headers that let it read every answer."""

from __future__ import annotations

import httpx
import pytest

from tests.harness.service import Service
from tests.rest.edge import Edge, nobody, path_of

SHOP, EVIL = "https://shop.example", "https://evil.example"


async def preflight(edge: Edge, **changes: str) -> httpx.Response:
    headers = {
        "origin": SHOP,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-request-id",
        **changes,
    }
    return await edge.http.options(path_of(nobody().session_id), headers=headers)


def words(text: str) -> set[str]:
    return {word.strip().lower() for word in text.split(",")}


@pytest.mark.parametrize("origin", [SHOP, "http://localhost:3000", "null"])
async def test_preflight(edge: Edge, origin: str) -> None:
    answer = await preflight(edge, origin=origin)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == origin
    assert words(answer.headers["access-control-allow-methods"]) == {"post"}
    allowed = words(answer.headers["access-control-allow-headers"])
    tracing = {"traceparent", "tracestate", "baggage", "sentry-trace"}
    assert allowed == {"authorization", "content-type", "x-request-id"} | tracing
    assert int(answer.headers["access-control-max-age"]) > 0
    assert words(answer.headers["vary"]) == {"origin"}
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_preflight_does_not_reach_the_service(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.public.PublicServicer.Send", None)
    assert (await preflight(edge)).status_code == 204


async def test_page_code_can_read_answers(service: Service, edge: Edge) -> None:
    session = await service.challenged(allowed_origins=[SHOP])
    answer = await edge.send(session, origin=SHOP)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    exposed = words(answer.headers["access-control-expose-headers"])
    assert exposed == {"retry-after", "x-request-id"}


async def test_page_code_can_read_errors(service: Service, edge: Edge) -> None:
    session = await service.challenged(allowed_origins=[SHOP])
    path = path_of(session.session_id)
    answers = [
        await edge.send(session, origin=EVIL),
        await edge.http.post(path, headers={"origin": EVIL}),
        await edge.http.post(path + "?a=b", headers={"origin": EVIL}),
        await edge.http.get(path, headers={"origin": EVIL}),
        await edge.http.post(
            path, content="a", headers={"origin": EVIL, "content-type": "text/plain"}
        ),
        await edge.http.post(path, headers={"origin": EVIL}, json={"a": 1}),
        await edge.http.post("/elsewhere", headers={"origin": EVIL}),
    ]
    assert [answer.status_code for answer in answers] == [403, 401, 422, 405, 415, 422, 404]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == EVIL
        assert "x-request-id" in words(answer.headers["access-control-expose-headers"])


async def test_not_a_browser(service: Service, edge: Edge) -> None:
    session = await service.challenged(allowed_origins=[SHOP])
    answer = await edge.send(session)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert "strict-transport-security" not in answer.headers  # RFC 6797, 7.2


@pytest.mark.parametrize("origins", [(SHOP, EVIL), (EVIL, SHOP), (SHOP, SHOP)])
async def test_two_origins_pass_as_none(
    service: Service, edge: Edge, origins: tuple[str, str]
) -> None:
    session = await service.challenged(allowed_origins=[SHOP])
    answer = await edge.http.post(
        path_of(session.session_id),
        headers=[
            ("authorization", f"Bearer {session.secret}"),
            *(("origin", origin) for origin in origins),
        ],
    )
    assert answer.json()["code"] == "origin_not_allowed"


async def test_an_empty_origin_is_one(service: Service, edge: Edge) -> None:
    session = await service.challenged(allowed_origins=[SHOP])
    answer = await edge.send(session, origin="")
    assert answer.json()["code"] == "origin_not_allowed"

"""The running stack against its own description: cases that schemathesis derives from it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import schemathesis
import yaml
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from schemathesis.checks import CHECKS
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import Status, events, from_schema

from tests.harness.service import Service, Session
from tests.rest.edge import Edge

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.yaml"
SEED = 20
CASES = 100
"""At random. With those that enumerate the description there are some 200 requests in a run, so
that no address's share of the rate limit, 600, is spent."""
LONGEST_SECONDS = 10
"""After that much Envoy answers by itself."""
NEEDS_MORE_OPERATIONS = {
    "use_after_free": "a DELETE, to be followed by another call on the same resource",
    "ensure_resource_availability": "one that creates what another reads",
    "object_level_authorization": "one that creates; rows.py has another session's credential",
}
"""The checks that are off, and which operations they need; this API has but one."""
ALL_PHASES: dict[str, Any] = {}
FUZZING_ONLY = {"examples": {"enabled": False}, "coverage": {"enabled": False}}


class Explored(NamedTuple):
    """What came of it.

    Attributes:
        statuses: How often each was answered.
        checks: Those that ran.
        wrong: What is wrong, each with a curl that repeats it.
    """

    statuses: Counter[int]
    checks: set[str]
    wrong: list[str]


class Sessions:
    """Opens a session for each case, for schemathesis, which runs in a thread of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count()

    def open(self) -> Session:
        """Opens one; each kind of challenge has its turn, and none as well."""
        return asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(timeout=60)

    async def _open(self) -> Session:
        number = next(self._numbers)
        methods: list[dict[str, Any]] = [
            {"sms": admin_pb2.Sms(phone_number=f"+1415{2_000_000 + number}")},
            {"email": admin_pb2.Email(address=f"payer-{number}@example.com")},
            {"hcaptcha": admin_pb2.Captcha(site_key="key")},
            {"turnstile": admin_pb2.Captcha(site_key="key")},
            {},
        ]
        session = await self._service.open()
        if method := methods[number % len(methods)]:
            await self._service.issue(session, **method)
        return session


def explore(sessions: Sessions, port: int, mode: str, phases: dict[str, Any]) -> Explored:
    """Runs schemathesis.

    Args:
        sessions: Where each case gets its own.
        port: Of the public listener.
        mode: `all` for requests that are fine and those that are not, `negative` for the latter.
        phases: Configuration of its phases.
    """
    config = SchemathesisConfig.from_dict(
        {
            "base-url": f"http://127.0.0.1:{port}",
            "seed": SEED,
            "workers": 1,
            "cache": {"enabled": False},
            "generation": {
                "mode": mode, "max-examples": CASES, "database": "none", "no-shrink": True,
            },
            "phases": phases,
            "checks": {
                "enabled": True,
                "max_response_time": LONGEST_SECONDS,
                **{name: {"enabled": False} for name in NEEDS_MORE_OPERATIONS},
            },
        }
    )  # fmt: skip
    document = yaml.safe_load(DOCUMENT.read_text("utf-8"))
    schema = schemathesis.openapi.from_dict(document, config=config)

    numbers = itertools.count(1)

    @schema.auth(refresh_interval=None)  # a session is for one case
    class OwnSession:
        def get(self, _case: Any, _context: Any) -> Session:
            return sessions.open()

        def set(self, case: Any, session: Session, _context: Any) -> None:
            case.headers["Authorization"] = f"Bearer {session.secret}"
            # One in eight asks for a session that there is not; malformed ids stay as they are.
            known = next(numbers) % 8 > 0
            if known and not case.meta.is_negative_at(ParameterLocation.PATH):
                case.path_parameters["sessionId"] = session.session_id

    explored = Explored(Counter(), set(), [])
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished(recorder=recorder):
                for sent in recorder.interactions.values():
                    explored.statuses[sent.response.status_code if sent.response else 0] += 1
                for case_id, checks in recorder.checks.items():
                    explored.checks.update(check.name for check in checks)
                    explored.wrong.extend(
                        f"{check.name}: {check.failure_info and check.failure_info.failure}\n"
                        f"{recorder.cases[case_id].value.as_curl_command()}"
                        for check in checks
                        if check.status is not Status.SUCCESS
                        and not is_blank(recorder.cases[case_id].value.body)
                    )
            case events.NonFatalError(info=info):
                explored.wrong.append(info.format())
            case events.FatalError(exception=exception):
                raise exception
    return explored


def is_blank(body: object) -> bool:
    """Whether a body is white space: the contract takes it for none, no schema can say so."""
    return isinstance(body, bytes) and not body.strip(b" \t\r\n")


# The random numbers that it warns of are the service's, which runs meanwhile.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize(
    ("mode", "phases", "statuses"),
    [
        pytest.param("all", ALL_PHASES, {200, 422, 401, 404, 405, 415}, id="every-phase"),
        pytest.param("negative", FUZZING_ONLY, {422, 401}, id="malformed"),
    ],
)
async def test_the_stack_is_as_described(
    service: Service, edge: Edge, mode: str, phases: dict[str, Any], statuses: set[int]
) -> None:
    explored = await asyncio.to_thread(explore, Sessions(service), edge.port, mode, phases)
    assert not explored.wrong, "\n\n".join(explored.wrong)
    every = {*CHECKS.get_all_names(), "max_response_time"}
    assert explored.checks == every - NEEDS_MORE_OPERATIONS.keys()
    assert explored.statuses.keys() >= statuses, explored.statuses
    assert 429 not in explored.statuses, "the rate limit hides what is looked for"

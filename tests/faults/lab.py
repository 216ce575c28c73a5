"""A lab: one database, fake providers, service processes, payers, and the account of it all."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import random
import string
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc, error_pb2
from grpc_status import rpc_status

from service.evidence import documents
from service.keyring import KeyRing
from tests.faults import oracle, sms
from tests.faults.databases import Database
from tests.faults.oracle import Answer, Case, Figures
from tests.faults.processes import ROOT, Replica, Skew
from tests.faults.proxy import Proxy
from tests.faults.relay import Relay
from tests.faults.smtp import MailServer
from tests.faults.wire import WireLog
from tests.harness.tokens import AUDIENCE, ISSUER, Issuer

SHORT_LEASE = {"lease_seconds": "1"}
KEPT_LEASE = {"lease_seconds": "3"}
"""Short, and yet one that a busy machine does not lose while its holder lives."""
KEPT_PAST_SECONDS = 5.0
"""Longer than that and the pause between sweeps, shorter than a provider is waited for."""
"""For rows that let leases run out; elsewhere they last as by default, however busy the machine."""
SWEEP_SECONDS = 1.5
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 2000),  # how long connecting may take,
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
)
_OPEN = "dispatch_state IN ('queued', 'sending')"


class Door:
    """The calls of payers and owners to one address, or to several in turn."""

    def __init__(self, lab: Lab, target: str, *options: tuple[str, Any]) -> None:
        self._lab = lab
        self.channel = grpc.aio.insecure_channel(target, (*_OPTIONS, *options))
        self._public = challenge_pb2_grpc.ChallengeServiceStub(self.channel)
        self._admin = admin_grpc.ChallengeAdminServiceStub(self.channel)

    async def case(self, kind: str = "sms", destination: str = "", life: int = 1800) -> Case:
        """Opens a session and issues its challenge."""
        case = self._lab.new_case(kind, destination)
        request = admin_pb2.OpenSessionRequest(
            session_id=case.session_id,
            account_uid="acct_1",
            client_secret_sha256=hashlib.sha256(case.secret.encode()).digest(),
            merchant_display_name="Acme",
            expires_in=Duration(seconds=life),
        )
        await self.must(self._admin.OpenSession, request)
        await self.issue(case)
        return case

    async def cases(self, count: int, kind: str = "sms") -> list[Case]:
        return await asyncio.gather(*(self.case(kind) for _ in range(count)))

    async def issue(self, case: Case) -> None:
        request = admin_pb2.IssueChallengeRequest(session_id=case.session_id)
        if case.kind == "sms":
            request.sms.phone_number = case.destination
        else:
            request.email.address = case.destination
        await self.must(self._admin.IssueChallenge, request)

    async def send(self, case: Case, seconds: float | None = 15.0) -> Answer:
        """Sends, as the session's page would; what came of it is noted."""
        case.asked.append(time.monotonic())
        answer = await self._call(
            self._public.Send,
            challenge_pb2.SendRequest(session_id=case.session_id),
            f"Bearer {case.secret}",
            seconds,
        )
        case.sends.append(answer)
        return answer

    async def verify(self, case: Case, code: str, seconds: float | None = 15.0) -> Answer:
        """Verifies; what came of it is noted."""
        request = admin_pb2.VerifyChallengeRequest(session_id=case.session_id, code=code)
        answer = await self._call(self._admin.VerifyChallenge, request, self._lab.token, seconds)
        case.verifies.append(answer)
        return answer

    async def ask(self, case: Case, code: str, request_id: str) -> Answer:
        """Verifies by an id; a repeat of it is no answer of its own, so none is noted."""
        request = admin_pb2.VerifyChallengeRequest(
            session_id=case.session_id, request_id=request_id
        )
        if code:
            request.code = code
        return await self._call(self._admin.VerifyChallenge, request, self._lab.token, 15.0)

    async def close(self, case: Case) -> Answer:
        """Ends a session."""
        outcome = admin_pb2.CloseSessionRequest.OUTCOME_EXPIRED
        request = admin_pb2.CloseSessionRequest(session_id=case.session_id, outcome=outcome)
        return await self._call(self._admin.CloseSession, request, self._lab.token, 15.0)

    async def events(self, case: Case) -> Sequence[Any]:
        """Exports a session's evidence; returns its events once the document holds."""
        request = admin_pb2.ExportEvidenceRequest(session_id=case.session_id)
        reply = await self._admin.ExportEvidence(
            request, timeout=60.0, metadata=(("authorization", self._lab.token),)
        )
        return documents.check(reply.document).events

    async def must(self, rpc: Any, request: Any) -> None:
        """Calls what has to succeed, again and again while the service cannot be reached."""
        deadline = time.monotonic() + 20.0
        while not (answer := await self._call(rpc, request, self._lab.token, 5.0)).ok:
            transient = answer.status in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
            assert transient and time.monotonic() < deadline, answer
            await asyncio.sleep(0.05)

    async def _call(self, rpc: Any, request: Any, bearer: str, seconds: float | None) -> Answer:
        began = time.monotonic()
        try:
            reply = await rpc(request, timeout=seconds, metadata=(("authorization", bearer),))
        except grpc.aio.AioRpcError as error:
            text = f"{error.details()} {error.trailing_metadata()}"
            answer = Answer(began, time.monotonic(), error.code().name, _code(error), None, text)
        else:
            sent = reply.code_sent if isinstance(reply, challenge_pb2.Challenge) else None
            answer = Answer(began, time.monotonic(), "OK", "", sent, str(reply))
        self._lab.answers.append(answer)
        return answer


class Lab:
    """Everything that one run of a row needs."""

    def __init__(
        self, directory: Path, database: Database, clock: Skew, rng: random.Random
    ) -> None:
        self.directory = directory
        self.database = database
        self.clock = clock
        self.rng = rng
        self.cases: list[Case] = []
        self.answers: list[Answer] = []
        self.replicas: list[Replica] = []
        self.doors: list[Door] = []
        self.settings: dict[str, str] = {}
        """What differs from the settings of all rows."""
        key = base64.b64encode(rng.randbytes(32)).decode()
        self._keys = f"k1:{key}"
        self.ring = KeyRing.parse(self._keys)
        self._fingerprint_key = base64.b64encode(rng.randbytes(32)).decode()
        self._issuer = Issuer(directory)
        wide = {"iat": int(time.time()) - 7200, "nbf": int(time.time()) - 7200}
        self.token = f"Bearer {self._issuer.token(**wide, exp=int(time.time()) + 86_400)}"
        self._number = rng.randrange(1_000_000)

    async def __aenter__(self) -> Lab:
        await self.database.prepare()
        self.wire = WireLog(self.directory / "accepted.jsonl")
        self.sms = await sms.SMSProvider(self.wire).start()
        self.mail = await MailServer(self.wire).start()
        self.proxy: Proxy | None = None
        self.relay: Relay | None = None
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        for replica in self.replicas:
            replica.end()
            if error is not None:
                error.add_note(f"{replica.name}:\n{replica.log.read_text()[-10_000:]}")
        await self._leave()
        await self.sms.close()
        await self.mail.close()
        for between in (self.proxy, self.relay):
            if between is not None:
                await between.close()
        self.wire.close()
        await self.database.drop()

    def new_case(self, kind: str, destination: str = "") -> Case:
        # Letters only, so that no code can be mistaken for a part of an id.
        letters = "".join(self.rng.choices(string.ascii_letters, k=20))
        secret = "".join(self.rng.choices(string.ascii_letters, k=32))
        self._number += 1
        phone = f"+1415{2_000_000 + self._number * 7919 % 8_000_000}"
        destination = destination or (phone if kind == "sms" else f"{letters}@pay.example")
        case = Case(f"cs_{letters}", f"cs_{letters}_secret_{secret}", kind, destination)
        self.cases.append(case)
        return case

    def acknowledged(self) -> Answer:
        """Stands for a Send that was answered before the lab was there."""
        return Answer(0, 0, "OK")

    async def insert_due(self, cases: list[tuple[Case, dict[str, Any]]]) -> None:
        """Writes sessions whose codes are due, past the service, which does not run yet.

        Args:
            cases: And the columns that differ; a `code_expires_at` is from now.
        """
        now = time.time_ns() // 1_000_000
        rows = []
        for case, changes in cases:
            case.asked.append(0)
            expires = now + changes.get("code_expires_at", 600_000)
            rows.append({**self._due_row(case, now), **changes, "code_expires_at": expires})
        columns = list(rows[0] | {column: None for row in rows for column in row})
        sql = (
            f"INSERT INTO hosted_session ({', '.join(columns)}) "
            f"VALUES ({', '.join('?' for _ in columns)})"
        )
        await self.database.insert(sql, [[row.get(column) for column in columns] for row in rows])

    def _due_row(self, case: Case, now: int) -> dict[str, Any]:
        challenge = self.rng.randbytes(16).hex()
        return {
            "session_id": case.session_id, "account_uid": "acct_1", "scope": "payment",
            "secret_sha256": hashlib.sha256(case.secret.encode()).digest(),
            "allowed_origins": "", "locale": "en", "merchant_name": "Acme", "state": "open",
            "lifetime_ms": 1_800_000, "expires_at": now + 1_200_000, "sends": 1,
            "wrong_code": 0, "wrong_total": 0, "challenge_id": challenge,
            "challenge_type": case.kind, "challenge_state": "pending",
            "destination": self.ring.encrypt("k1", case.destination, challenge),
            "fingerprint": challenge, "delivery_hint": "--0000",
            "key_id": "k1", "code_counter": 1, "code_sent": False, "fence": 1,
            "dispatch_state": "queued", "due_at": now - 1000, "tries": 1, "unknowns": 0,
            "claimed_at": now - 600_000, "window_ends_at": now - 570_000,
        }  # fmt: skip

    async def proxied(self) -> Proxy:
        """Puts a proxy between the replicas to come and PostgreSQL."""
        self.proxy = await Proxy(self.database.address).start()
        return self.proxy

    async def relayed(self) -> Relay:
        """Puts a relay between callers to come and the service."""
        self.relay = await Relay().start()
        return self.relay

    def launch(
        self,
        *,
        proxied: bool = False,
        skew: Skew | None = None,
        workers: int = 1,
        tree: Path = ROOT,
        **settings: str,
    ) -> Replica:
        """Starts a replica, without waiting for it; `tree` is its release."""
        url = self.database.url
        if proxied:
            assert self.proxy is not None
            name = self.database.name
            url = f"postgresql://postgres@127.0.0.1:{self.proxy.port}/{name}?sslmode=disable"
        values = {
            "database_url": url,
            "database_pool_size": "24",
            "grpc_listen": "127.0.0.1:0",
            "keys": self._keys,
            "fingerprint_key": self._fingerprint_key,
            "jwks": str(self._issuer.jwks),
            "jwt_issuer": ISSUER,
            "jwt_audience": AUDIENCE,
            "sms_channels": self.sms.dsn,
            "email_channels": self.mail.dsn,
            "drain_seconds": "5",
            "account_sends_per_hour": "0",
            "satisfaction_payments": "0",
        }
        name = f"replica{len(self.replicas)}"
        replica = Replica(
            name, self.directory, {**values, **self.settings, **settings}, skew or self.clock,
            workers, tree,
        )  # fmt: skip
        self.replicas.append(replica)
        return replica

    async def replica(self, **options: Any) -> Replica:
        """Starts a replica and waits for it."""
        return await self.launch(**options).ready()

    def door(self, *replicas: Replica) -> Door:
        """Opens a way to call; to several replicas the calls go in turn, as through a proxy."""
        if len(replicas) == 1:
            return self.door_to(replicas[0].target)
        target = "ipv4:" + ",".join(replica.target for replica in replicas)
        config = (
            '{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":""}}'
        )
        return self.door_to(target, ("grpc.service_config", config))

    def door_to(self, target: str, *options: tuple[str, Any]) -> Door:
        """Opens a way to call an address."""
        door = Door(self, target, *options)
        self.doors.append(door)
        return door

    async def settled(self, since: float, seconds: float = 30.0) -> float:
        """Waits until every dispatch has ended; gives the seconds since the fault's end."""
        deadline = time.monotonic() + seconds
        while left := await self.database.rows(where=_OPEN):
            assert time.monotonic() < deadline, f"{len(left)} not settled: {left[0]}"
            await asyncio.sleep(0.05)
        return time.monotonic() - since

    async def conclude(self, since: float | None = None, seconds: float = 30.0) -> Figures:
        """Waits for the end of everything, stops it, and gives the account.

        Args:
            since: When the fault was over.
            seconds: How long recovery may take.
        """
        recovery = await self.settled(since, seconds) if since else 0.0
        running = [replica for replica in self.replicas if replica.runs]
        await self._leave()
        await asyncio.gather(*(replica.idle() for replica in running))
        rows = await self.database.rows()
        await self._end_sessions(running)
        await asyncio.gather(*(replica.stop() for replica in running))
        await self._look_for_leaks()
        await self.database.check()
        self._no_bugs()
        figures = oracle.reconcile(self.cases, self.wire.read(), rows, self.ring)
        return figures._replace(recovery=recovery)

    async def _leave(self) -> None:
        for door in self.doors:
            await door.channel.close()
        self.doors.clear()

    async def _end_sessions(self, running: list[Replica]) -> None:
        if not running:
            return
        door = self.door(running[0])
        room = asyncio.Semaphore(32)

        async def end(case: Case) -> None:
            async with room:
                await door.close(case)

        await asyncio.gather(*(end(case) for case in self.cases))

    async def _look_for_leaks(self) -> None:
        secrets = oracle.Secrets(self.cases, self.wire.read(), sms.TOKEN, self._keys[3:])
        for replica in self.replicas:
            secrets.look(f"the log of {replica.name}", replica.log.read_bytes())
        secrets.look("an answer", "\n".join(answer.text for answer in self.answers).encode())
        for number, data in enumerate(await self.database.residue()):
            secrets.look(f"file {number} of the database", data)

    def _no_bugs(self) -> None:
        for replica in self.replicas:
            for event in ("bug", "delivery_failed", "channel_failed"):
                assert not replica.events(event), replica.events(event)[:1]
        assert not [answer for answer in self.answers if answer.status == "INTERNAL"]


def _code(error: grpc.aio.AioRpcError) -> str:
    with contextlib.suppress(ValueError):
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            wanted = error_pb2.Error()
            if detail.Unpack(wanted):
                return error_pb2.Error.Code.Name(wanted.code)
    return ""

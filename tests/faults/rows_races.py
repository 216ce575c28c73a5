"""Rows 3 to 5 and 12: replicas that work on one session at the same time."""

from __future__ import annotations

import asyncio
import itertools
import time

from tests.faults.lab import KEPT_LEASE, KEPT_PAST_SECONDS, Door, Lab
from tests.faults.oracle import CAP_PER_CODE, CAP_PER_SESSION, Case, Figures
from tests.faults.processes import PATIENCE_SECONDS, Skew, pause, until
from tests.faults.table import BOTH, POSTGRES, row


async def _doors(lab: Lab) -> list[Door]:
    """Starts two replicas, or the one that SQLite allows."""
    count = 2 if lab.database.several else 1
    replicas = await asyncio.gather(*(lab.replica() for _ in range(count)))
    return [lab.door(replica) for replica in replicas]


async def _sent(lab: Lab, door: Door) -> tuple[Case, str]:
    case = await door.case(life=86_400)
    assert (await door.send(case)).sent
    return case, lab.wire.to(case.destination)[-1].code


@row(3, "200 correct answers at once, over two replicas", BOTH, fast=2, full=50)
async def two_hundred_right_answers(lab: Lab, times: int) -> Figures:
    """Exactly one succeeds, in the chain of evidence too; a run is 200 answers."""
    doors = await _doors(lab)
    for _ in range(times):
        case, code = await _sent(lab, doors[0])
        wrong = f"{(int(code) + 1) % 1_000_000:06}"
        turns = itertools.islice(itertools.cycle(doors), CAP_PER_CODE - 1)
        await asyncio.gather(*(door.verify(case, wrong) for door in turns))
        turns = itertools.islice(itertools.cycle(doors), 200)
        answers = await asyncio.gather(*(door.verify(case, code) for door in turns))
        assert sum(answer.satisfied for answer in answers) == 1
        assert sum(answer.already for answer in answers) == 199
        await lab.settled(time.monotonic())  # or its event is to come
        _, _, *told = await doors[-1].events(case)
        verdicts = [event["verdict"] for event in told if event["event"] == "answered"]
        assert verdicts == [*["wrong"] * (CAP_PER_CODE - 1), "right"]
    return (await lab.conclude())._replace(runs=times)


@row(4, "wrong answers among resends and reissues, over two replicas", BOTH, fast=2, full=50)
async def wrong_answers_among_resends(lab: Lab, times: int) -> Figures:
    """No more than the caps are counted, then the right code is refused; a run is one session."""
    lab.settings["send_window_seconds"] = "1"
    doors = await _doors(lab)
    for _ in range(times):
        case, code = await _sent(lab, doors[0])
        case.reissued = True
        wrong = f"{(int(code) + 1) % 1_000_000:06}"
        for guesses in (*(lab.rng.randint(1, 4) for _ in range(3)), 12):
            answers = [doors[guess % len(doors)].verify(case, wrong) for guess in range(guesses)]
            await asyncio.gather(*answers, _another_code(lab, doors, case))
            await _resend(lab, doors[0], case)  # a new challenge has no code before
        await asyncio.gather(*(doors[turn % len(doors)].verify(case, wrong) for turn in range(12)))
        counted = sum(a.text.startswith("That code is not right") for a in case.verifies)
        [kept] = [r for r in await lab.database.rows() if r["session_id"] == case.session_id]
        # The last one is told of the lock; a session may run out of codes before.
        assert counted <= kept["wrong_total"] <= min(counted + 1, CAP_PER_SESSION)
        assert kept["wrong_code"] <= CAP_PER_CODE
        newest = lab.wire.to(case.destination)[-1].code
        assert (await doors[-1].verify(case, newest)).code == "challenge_failed"
        assert (await doors[0].send(case)).code in ("challenge_failed", "rate_limited")
    return (await lab.conclude())._replace(runs=times)


async def _another_code(lab: Lab, doors: list[Door], case: Case) -> None:
    """Does what might reset a count: a resend, a new challenge, a code after an expired one."""
    what = lab.rng.choice(("resend", "reissue", "expire"))
    if what == "reissue":
        await doors[-1].issue(case)
    else:
        await lab.database.advance(2 if what == "resend" else 601)
        await doors[-1].send(case)


async def _resend(lab: Lab, door: Door, case: Case) -> None:
    await lab.database.advance(2)
    await door.send(case)


@row(5, "50 Sends of one session at once, over two replicas", BOTH, fast=3, full=50)
async def fifty_sends(lab: Lab, times: int) -> Figures:
    """One provider call, the same answer to all; a run is 50 Sends."""
    lab.settings["send_wait_seconds"] = "8"  # nobody is to lose patience on a busy machine
    doors = await _doors(lab)
    for _ in range(times):
        case = await doors[0].case()
        lab.sms.plan(("slow", lab.rng.uniform(0, 0.1)), to=case.destination)
        turns = itertools.islice(itertools.cycle(doors), 50)
        answers = await asyncio.gather(*(door.send(case) for door in turns))
        assert lab.sms.calls_to(case.destination) == 1
        assert {(answer.status, answer.sent, answer.text) for answer in answers} == {
            ("OK", True, answers[0].text)
        }
        assert (await doors[0].send(case)).sent  # the window is open still
        assert lab.sms.calls_to(case.destination) == 1
    return (await lab.conclude())._replace(runs=times)


@row(12, "clock of one replica an hour off", POSTGRES, fast=1, full=5, slow=True)
async def skewed_clock(lab: Lab, times: int) -> Figures:
    """No lease is taken early, no code lives longer; a run is one session and direction."""
    lab.settings.update(KEPT_LEASE)
    steady = await lab.replica()
    runs, worst = 0, 0.0
    for sign in (1, -1):
        skew = Skew(lab.directory / f"skew{sign}", 3600 * sign, whole=True)
        skewed = await lab.replica(skew=skew)
        doors = [lab.door(steady), lab.door(skewed)]
        for _ in range(times):
            cases = [await door.case() for door in doors]
            for case in cases:
                lab.sms.plan("hold", to=case.destination)
            calls = [  # no deadline: the clock that is off would be what it is taken by
                asyncio.create_task(door.send(case, seconds=None))
                for door, case in zip(doors, cases, strict=True)
            ]
            await until(lambda: lab.sms.holding == 2, PATIENCE_SECONDS, "the provider holds both")
            await pause(KEPT_PAST_SECONDS)
            lab.sms.release()
            lifted = time.monotonic()
            await asyncio.gather(*calls)
            worst = max(worst, await lab.settled(lifted))
            kept = {r["session_id"]: r for r in await lab.database.rows()}
            assert [kept[case.session_id]["tries"] for case in cases] == [1, 1]
            late, early = cases
            codes = [lab.wire.to(case.destination)[-1].code for case in cases]
            await lab.database.advance(570)
            assert (await doors[0].verify(early, codes[1])).ok
            await lab.database.advance(40)
            for door in doors:
                assert (await door.verify(late, codes[0], seconds=None)).code == "challenge_failed"
            runs += 2
        await skewed.idle()
        await skewed.stop()
    return (await lab.conclude())._replace(runs=runs, recovery=worst)

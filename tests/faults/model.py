"""Row 22: the rules of sessions and challenges, in the plainest words."""

from __future__ import annotations

from typing import NamedTuple

TTL, WINDOW, LEASE, LIFE = 600_000, 30_000, 10_000, 14_400_000
PROVIDERS = {"sms": 1, "email": 2}
ACCOUNT_SENDS = 12
SATISFIED, PAYMENTS = 900_000, 3
HOUR, DAY = 3_600_000, 86_400_000
ALLOWED = {"account-hour": ACCOUNT_SENDS, "all-hour": 15, "all-day": 30, "hour": 5, "day": 10}
WRONG_ALLOWED = {"wrong-all-day": 100, "wrong-day": 20}
_REFUSALS = ("refused", "undeliverable")


class Fallback(NamedTuple):
    kind: str
    destination: str
    weaker: bool


class Plain:
    """A session as the model sees it: what a payer and an owner would say of it."""

    def __init__(self, now: int, *, expected: bool) -> None:
        self.opened_at = now
        self.expires_at = now + LIFE
        self.challenge_expected = expected
        self.issues = 0
        self.amount_minor: int | None = None
        self.fallback: Fallback | None = None
        self.state = "open"
        self.kind = ""
        self.destination = ""
        self.challenge_state = "none"
        self.sends = self.wrong_code = self.wrong_total = 0
        self.code_counter = self.code_expires_at = self.window_ends_at = 0
        self.whom: list[str] = []
        self.previous_code_expires_at = self.satisfied_until = self.confirms_left = 0
        self.code_sent = self.code_unknown = self.asked = False
        self.dispatch_state = "idle"
        self.due_at: int | None = None
        self.tries = self.unknowns = self.claimed_at = 0
        self.messages = self.calls = 0
        self.attempts: list[tuple[int, str]] = []
        """Of the dispatch: which provider was asked, and what it came to."""

    @property
    def locked(self) -> bool:
        return self.wrong_code >= 5 or self.wrong_total >= 10

    def ended(self, now: int) -> str:
        if self.state == "completed":
            return "SessionCompleted"
        return "SessionExpired" if self.state == "expired" or now >= self.expires_at else ""

    def satisfied(self, now: int) -> bool:
        in_time = now < self.satisfied_until and self.confirms_left > 0
        return self.challenge_state == "satisfied" and in_time

    def needs_challenge(self, now: int) -> bool:
        pending = self.challenge_state in ("pending", "refused")
        return pending or (self.challenge_state == "satisfied" and not self.satisfied(now))

    @property
    def challenge_type(self) -> str | None:
        return self.kind or None

    @property
    def is_code(self) -> bool:
        return self.kind in ("sms", "email")

    def may_be_on_its_way(self, now: int) -> bool:
        unknown = self.code_unknown and not self.code_sent and now < self.code_expires_at
        return self.dispatch_state in ("queued", "sending") or unknown

    def void(self) -> None:
        """Outdates the code."""
        self.code_sent = self.code_unknown = False
        self.code_expires_at = self.window_ends_at = self.previous_code_expires_at = 0
        self.dispatch_state, self.due_at = "idle", None

    def drop_dispatch(self) -> None:
        if self.due_at is not None:
            self.dispatch_state, self.due_at = "expired", None


class Used(NamedTuple):
    began: int
    ends: int
    used: int


Said = str | tuple[str, bool] | None
"""An error, or which challenge is shown and whether its code was sent, or that none is needed."""


class Model:
    """The rules, in the plainest words."""

    def __init__(self, quotas: dict[str, Used]) -> None:
        self.quotas = quotas

    def issue(
        self,
        plain: Plain,
        now: int,
        challenge: tuple[str, str],
        amount: int | None,
        fallback: Fallback | None,
    ) -> str:
        if fallback and not self._fits(fallback, amount):
            return "InvalidRequest"
        if ended := plain.ended(now):
            return ended
        if plain.issues >= 20:
            answerable = self._lives(plain, now) and not plain.locked
            return "SendsSpent" if answerable else "QuotaOutlastsSession"
        plain.issues += 1
        plain.kind, plain.destination = challenge
        plain.amount_minor, plain.fallback = amount, fallback
        plain.challenge_state, plain.code_counter = "pending", 0
        plain.void()
        return ""

    def pay(self, plain: Plain, now: int, amount: int) -> str:
        if ended := plain.ended(now):
            return ended
        if plain.challenge_state == "none":
            return "InvalidRequest"
        for_all = plain.challenge_state == "waived" and plain.amount_minor is None
        if plain.amount_minor == amount or for_all:
            return ""
        plain.amount_minor = amount
        if plain.challenge_state != "refused":
            plain.challenge_state = "pending" if plain.kind else "none"
        plain.code_counter += 1
        plain.void()
        return ""

    def move_end(self, plain: Plain, now: int, ms: int) -> str:
        if ended := plain.ended(now):
            return ended
        if now + ms > plain.opened_at + DAY:
            return "InvalidRequest"
        plain.expires_at = now + ms
        return ""

    def waive(self, plain: Plain, now: int, amount: int | None) -> str:
        if ended := plain.ended(now):
            return ended
        plain.challenge_state, plain.amount_minor = "waived", amount
        plain.challenge_expected |= amount is not None
        plain.drop_dispatch()
        return ""

    def use_fallback(self, plain: Plain, now: int) -> str:
        if ended := plain.ended(now):
            return ended
        if not plain.needs_challenge(now):
            return ""
        if plain.locked:
            return "ChallengeLocked"
        return "" if self.fall_back(plain, now) else "NoFallback"

    def settle(self, plain: Plain, now: int) -> None:
        """Puts the fallback in the place of a challenge that leads nowhere."""
        dead = plain.challenge_state == "pending" and plain.dispatch_state == "dead"
        nothing_delivered = not (plain.code_sent or plain.code_unknown)
        nowhere = plain.challenge_state == "refused" or (dead and nothing_delivered)
        if nowhere and not plain.locked and not plain.ended(now):
            self.fall_back(plain, now)

    def fall_back(self, plain: Plain, now: int) -> bool:
        if not self._is_left(plain) or plain.may_be_on_its_way(now):
            return False
        assert plain.fallback is not None
        plain.kind, plain.destination, _ = plain.fallback
        plain.fallback = None
        plain.challenge_state, plain.code_counter = "pending", 0
        plain.void()
        return True

    def _is_left(self, plain: Plain) -> bool:
        return plain.fallback is not None and self._fits(plain.fallback, plain.amount_minor)

    def _fits(self, fallback: Fallback, amount: int | None) -> bool:
        return amount is None or fallback.weaker or fallback.kind == "sms"

    def send(self, plain: Plain, now: int, outcomes: list[str]) -> Said:
        if ended := plain.ended(now):
            return ended
        self.settle(plain, now)
        if not plain.needs_challenge(now):
            return None
        if not plain.is_code:
            return plain.kind, False
        if plain.locked:
            return "ChallengeLocked"
        if plain.challenge_state == "refused":
            return self._shown(plain) if self._is_left(plain) else "DestinationRefused"
        if plain.dispatch_state in ("queued", "sending") or now < plain.window_ends_at:
            return self._shown(plain)
        if plain.sends >= 5:
            return "SendsSpent" if self._lives(plain, now) else "QuotaOutlastsSession"
        if refused := self._spend(plain, now):
            return refused
        if now >= plain.code_expires_at - 60_000:
            if 0 < plain.code_expires_at <= now:  # voided codes leave the count
                plain.wrong_code = 0
            plain.code_counter += 1
            plain.previous_code_expires_at = plain.code_expires_at
            plain.code_expires_at = now + TTL
            plain.code_sent = plain.code_unknown = False
        plain.challenge_state = "pending"
        plain.sends += 1
        plain.attempts = []
        plain.tries, plain.unknowns, plain.claimed_at, plain.asked = 1, 0, now, False
        plain.window_ends_at = now + min(WINDOW, plain.code_expires_at - now)
        self.deliver(plain, now, outcomes)
        self.settle(plain, now)
        if plain.challenge_state == "refused" and not self._is_left(plain):
            return "DestinationRefused"
        return self._shown(plain)

    def _shown(self, plain: Plain) -> tuple[str, bool]:
        return plain.kind, plain.code_sent

    def sweep(self, plain: Plain, now: int, outcomes: list[str]) -> None:
        if plain.due_at is None or plain.due_at > now:
            return
        plain.unknowns += plain.dispatch_state == "sending"
        plain.code_unknown |= plain.dispatch_state == "sending"
        plain.tries += 1
        self.deliver(plain, now, outcomes)

    def deliver(self, plain: Plain, now: int, outcomes: list[str]) -> None:
        providers = PROVIDERS[plain.kind]
        while True:
            if plain.unknowns > 1:
                return self._end(plain, now, "dead")
            if now >= min(plain.code_expires_at, plain.expires_at) or plain.locked:
                return self._end(plain, now, "expired")
            refusals = [which for which, what in plain.attempts if what in _REFUSALS]
            asked = [which for which, _ in plain.attempts]
            left = [which for which in range(providers) if which not in refusals]
            provider = min(left, key=asked.count)
            plain.calls += 1
            plain.whom.append(f"test://{plain.kind}-{provider}")
            plain.asked = True
            outcome = outcomes.pop(0) if outcomes else "accepted"
            if outcome == "death":
                plain.dispatch_state, plain.due_at = "sending", now + LEASE
                return None
            if outcome == "accepted":
                plain.messages += 1
                plain.code_sent = True
                return self._end(plain, now, "sent")
            plain.attempts.append((provider, outcome))
            asked.append(provider)
            if outcome == "unknown":
                plain.unknowns += 1
                plain.code_unknown = True
                if plain.unknowns > 1:
                    return self._end(plain, now, "dead")
            if outcome in _REFUSALS:
                left.remove(provider)
                if not left:
                    if "undeliverable" in [what for _, what in plain.attempts]:
                        plain.challenge_state = "refused"
                    return self._end(plain, now, "dead")
            another = any(which not in asked for which in left)
            if another or (plain.tries == 1 and outcome in ("retry", "unknown")):
                plain.tries += 1
                continue
            pause = 1000 * min(30, 2 * 2 ** min(plain.tries, 10))
            pause = max(pause, 20_000 if outcome == "later" else 0)
            if now + pause >= min(plain.code_expires_at, plain.expires_at):
                return self._end(plain, now, "expired")
            plain.dispatch_state, plain.due_at = "queued", now + pause
            return None

    def verify(self, plain: Plain, now: int, answer: str, amount: int | None) -> str:
        if ended := plain.ended(now):
            return ended
        to_code = plain.is_code  # what is typed, and what a widget makes, is told apart
        self.settle(plain, now)
        fits = plain.amount_minor in (None, amount)
        if plain.challenge_state == "none":
            return "ChallengeRequired" if plain.challenge_expected else "NOT_REQUIRED"
        if plain.challenge_state == "waived" and fits:
            return "NOT_REQUIRED"
        if plain.satisfied(now) and fits:
            plain.confirms_left -= 1
            return "ALREADY_SATISFIED"
        if plain.locked:
            return "ChallengeLocked"
        if plain.amount_minor is not None and amount is None:
            return "InvalidRequest"
        if not fits or to_code != plain.is_code:
            return "ChallengeRequired"
        return self._judge(plain, now, answer)

    def _judge(self, plain: Plain, now: int, answer: str) -> str:
        if not plain.is_code:
            if answer == "before":  # stands for a provider that is down
                switched = self.fall_back(plain, now)
                return "ChallengeRequired" if switched else "CaptchaUnavailable"
            return self._count(plain, now, right=answer == "right")
        if plain.challenge_state == "refused" or not self._lives(plain, now):
            return "CodeExpired"
        if answer == "before" and now < plain.previous_code_expires_at:
            return "CodeReplaced"
        if refused := self._spend_answer(plain, now, right=answer == "right"):
            return refused
        return self._count(plain, now, right=answer == "right")

    def _count(self, plain: Plain, now: int, *, right: bool) -> str:
        if right:
            plain.challenge_state = "satisfied"
            plain.confirms_left, plain.satisfied_until = PAYMENTS - 1, now + SATISFIED
            plain.code_expires_at, plain.window_ends_at = 1, 0
            plain.drop_dispatch()
            return "SATISFIED"
        plain.wrong_code += 1
        plain.wrong_total += 1
        plain.challenge_state = "pending"  # also where it was satisfied once
        if plain.locked:
            return "ChallengeLocked"
        return "WrongAnswer" if plain.is_code else "CaptchaRefused"

    def _lives(self, plain: Plain, now: int) -> bool:
        arrived = plain.code_sent or plain.code_unknown or plain.dispatch_state == "sending"
        return arrived and now < plain.code_expires_at

    def _end(self, plain: Plain, now: int, state: str) -> None:
        plain.dispatch_state, plain.due_at = state, None
        if state == "sent" or plain.unknowns:
            return
        plain.sends -= 1  # it is certain that nothing was sent
        for key in () if plain.asked else self._keys(plain):
            kept = self.quotas.get(key)
            if kept and kept.began <= plain.claimed_at and kept.ends > now and kept.used:
                self.quotas[key] = kept._replace(used=kept.used - 1)

    def _spend(self, plain: Plain, now: int) -> str:
        """Takes one of each, or none of any; returns the refusal."""
        wrong = [key for key in self._wrong_keys(plain) if self._spent(key, now)]
        spent = [key for key in self._keys(plain) if self._spent(key, now)] + wrong
        if not spent:
            for key in self._keys(plain):
                self._take(key, now)
            return ""
        return self._refusal(plain, now, spent, answerable=self._lives(plain, now) and not wrong)

    def _spend_answer(self, plain: Plain, now: int, *, right: bool) -> str:
        keys = self._wrong_keys(plain)
        if spent := [key for key in keys if self._spent(key, now)]:
            return self._refusal(plain, now, spent, answerable=False)
        for key in keys:
            if not right:
                self._take(key, now)
            elif key in self.quotas:
                self.quotas[key] = self.quotas[key]._replace(used=0)
        return ""

    def _refusal(self, plain: Plain, now: int, spent: list[str], *, answerable: bool) -> str:
        def wait(key: str) -> int:
            step = 900_000 if "all-" in key else 1000
            return -(-(self.quotas[key].ends - now) // step) * step

        if now + max(map(wait, spent)) < plain.expires_at:
            return "RateLimited"
        return "SendsSpent" if answerable else "QuotaOutlastsSession"

    def _spent(self, key: str, now: int) -> bool:
        kept = self.quotas.get(key)
        return kept is not None and kept.ends > now and kept.used >= self._allowed(key)

    def _take(self, key: str, now: int) -> None:
        kept = self.quotas.get(key)
        if kept is None or kept.ends <= now:
            kept = Used(now, now + (DAY if "-day:" in key else HOUR), 0)
        self.quotas[key] = kept._replace(used=kept.used + 1)

    def _allowed(self, key: str) -> int:
        name = key.partition(":")[0]
        return (ALLOWED | WRONG_ALLOWED)[name.removeprefix("sms-").removeprefix("email-")]

    def _keys(self, plain: Plain) -> list[str]:
        kind, to = plain.kind, plain.destination
        return [
            "account-hour:acct",
            f"{kind}-all-hour:{to}", f"{kind}-all-day:{to}",
            f"{kind}-hour:acct:{to}", f"{kind}-day:acct:{to}",
        ]  # fmt: skip

    def _wrong_keys(self, plain: Plain) -> list[str]:
        return [f"wrong-all-day:{plain.destination}", f"wrong-day:acct:{plain.destination}"]

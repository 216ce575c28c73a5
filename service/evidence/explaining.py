"""Why no code arrived, or why one was refused: a sentence and the next step, nothing personal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from service.evidence.documents import Checked
from service.evidence.events import FallbackReason
from service.storage.rows import CANNOT_COMPOSE, CODE_TYPES, NO_CHANNEL, UNKNOWN_TWICE

History = Sequence[Mapping[str, Any]]

_CAPTCHA_REASONS = {
    "hostname-mismatch": "Open the session with the origin of the page among its allowed origins.",
    "action-mismatch": "Give the widget the action of CHALLENGE_TURNSTILE_BINDINGS.",
    "action-missing": "Set the widget's action, or its policy in CHALLENGE_TURNSTILE_BINDINGS.",
    "cdata-mismatch": "Set the widget's cdata to the session's id.",
    "cdata-missing": "Set the widget's cdata, or its policy in CHALLENGE_TURNSTILE_BINDINGS.",
}
_FALLBACKS = {
    FallbackReason.REFUSED: "the destination before is refused for good",
    FallbackReason.DEAD: "no provider took the message before",
    FallbackReason.OUTAGE: "the captcha's provider was down",
    FallbackReason.PAYER: "the payer asked for another way",
}
_IN_THE_LOG = "a refusal that counted nothing is in the log, as the error of its call"


class Explanation(NamedTuple):
    """What is so, and what to do.

    Attributes:
        why: The sentence.
        then: The next step while the session lives.
        final: Whether the step holds after its end, too.
    """

    why: str
    then: str
    final: bool = False


def explain(checked: Checked) -> str:
    """Explains what a session has come to."""
    found = _of_session(checked.events, checked.exported_at)
    if found.final or not _has_ended(checked.events, checked.exported_at):
        return f"{found.why} {found.then}"
    return f"{found.why} The session has ended by now: open a new one."


def _of_session(events: History, now: str) -> Explanation:
    if any(event["state"] == "completed" for event in _closed(events)):
        return Explanation("The payment is complete.", "Open a session for the next one.", True)
    position = _last(events, lambda event: event["event"] == "challenged")
    voided = _last(events, lambda event: "voids" in event)
    since = events[max(position, voided) + 1 :]
    erased = _last(events, lambda event: event["event"] == "erased" and "fallback" not in event)
    if waivers := [event for event in since if event["event"] == "waived"]:
        return _of_waiver(waivers[-1])
    if position < 0:
        return Explanation(
            "No challenge was issued, so there is no code.", "Call IssueChallenge for the session."
        )
    proof = _proof(since)
    if erased > position and not (proof and _proves(proof, since, now)):
        return Explanation(
            "The destination was erased, so nothing is sent there.",
            "Issue a challenge to a destination that the payer gives now.",
        )
    answers = [event for event in events if event["event"] == "answered"]
    if answers and answers[-1].get("answers_left") == 0:
        times = answers[-1]["wrong_total"]
        return Explanation(
            f"The challenge is locked: {_times(times, 'answer')} of the session were wrong.",
            "Open a new session.", True,
        )  # fmt: skip
    if proof:
        later = [event for event in since if event.get("claimed_at", "") > proof["at"]]
        if not later:
            return _of_proof(proof, since, now)
        since = later
    challenged = events[position]
    if challenged["type"] in CODE_TYPES and voided > position and not since:
        return Explanation(
            f"The payment was changed at {events[voided]['at']}, which voided code and proof.",
            "Have the page call Send for a new code.",
        )
    if challenged["type"] in CODE_TYPES:
        found = _of_code(challenged, since, now)
    else:
        found = _of_captcha(challenged, since)
    return found._replace(why=_fallback(challenged) + found.why)


def _of_waiver(waiver: Mapping[str, Any]) -> Explanation:
    if "payment" in waiver:
        return Explanation(
            "The challenge was waived for one payment, so nothing is sent.",
            "For another payment call UpdateSession with it, and have the page call Send.",
        )
    return Explanation(
        "The challenge was waived, so nothing is sent.",
        "Issue a challenge if the payer is to prove something after all.",
    )


def _fallback(challenged: Mapping[str, Any]) -> str:
    if "fallback" not in challenged:
        return ""
    because = _FALLBACKS[challenged["fallback"]]
    return f"The challenge is the fallback by {challenged['type']} now, for {because}. "


def _last(events: History, matches: Callable[[Mapping[str, Any]], bool]) -> int:
    """Finds the position of the last such event; -1 where there is none."""
    return max((n for n, event in enumerate(events) if matches(event)), default=-1)


def _closed(events: History) -> History:
    """Finds how the session was ended; a send under way may be told of after that."""
    return [event for event in events if event["event"] == "closed"]


def _proof(since: History) -> Mapping[str, Any] | None:
    """Finds the answer that satisfies the challenge."""
    answers = [event for event in since if event["event"] == "answered"]
    return answers[-1] if answers and answers[-1]["verdict"] == "right" else None


def _proves(proof: Mapping[str, Any], since: History, now: str) -> bool:
    return not _is_spent(proof, since) and now < proof["until"]


def _is_spent(proof: Mapping[str, Any], since: History) -> bool:
    counted = [proof, *(event for event in since if event["event"] == "confirmed")]
    return counted[-1].get("confirms_left") == 0


def _of_proof(proof: Mapping[str, Any], since: History, now: str) -> Explanation:
    if _proves(proof, since, now):
        return Explanation(
            f"The payer proved it at {proof['at']}, so nothing is sent or judged.",
            f"Payments may go on until {proof['until']}.",
        )
    spent = _is_spent(proof, since)
    ended = "by the number of its payments" if spent else f"at {proof['until']}"
    return Explanation(
        f"The payer proved it at {proof['at']}, but that ended {ended}.",
        "Have the page call Send, and the payer prove it again.",
    )


def _of_captcha(challenged: Mapping[str, Any], since: History) -> Explanation:
    refused = [event for event in since if event["event"] == "answered"]
    if not refused:
        return Explanation(
            f"The challenge is a widget of {challenged['type']}: no code is sent, and no token of "
            "it has been judged.",
            "Have the page show the widget, and pass its token to VerifyChallenge; if it was, the "
            "log's captcha_judged says why nobody could judge it.",
        )
    reason = refused[-1].get("reason", "")
    return Explanation(
        f"The widget's token was refused: {reason}.",
        _CAPTCHA_REASONS.get(reason, "Have the page reset the widget, and pass the new token."),
    )


def _of_code(challenged: Mapping[str, Any], since: History, now: str) -> Explanation:
    challenge_type = challenged["type"]
    tries = [event for event in since if event["event"] == "tried"]
    answers = [event for event in since if event["event"] == "answered"]
    if answers and (not tries or answers[-1]["seq"] > tries[-1]["seq"]):
        left = answers[-1]["answers_left"]
        return Explanation(
            "The payer's last answer was not the code that was sent last.",
            f"Have them type the newest code; {_times(left, 'answer')} left.",
        )
    if not tries:
        return Explanation(
            "No provider has answered for the code of the present challenge.",
            "Have the page call Send. If it has, metrics say which providers are busy or down, and "
            f"{_IN_THE_LOG}.",
        )
    last = tries[-1]
    if last["dispatch"] == "sent":
        return _of_accepted(last, now)
    channel, reason = last.get("channel"), last.get("reason", "no reason")
    said = f"{channel} said: {reason}" if channel else reason
    if last.get("refused"):
        return Explanation(
            f"The destination is refused for good ({said}).",
            "Ask the payer for another, and issue a challenge to that.",
        )
    if last["dispatch"] == "queued":
        return Explanation(
            f"The message was not taken yet ({said}).",
            "It is tried again by itself until the code ends; if this lasts, look at the provider.",
        )
    if last["dispatch"] == "expired":
        return Explanation(
            f"The code was given up before a provider took it ({said}).",
            "Have the page call Send for a new one.",
        )
    if last.get("outcome") == "unknown" or reason == UNKNOWN_TWICE:
        return Explanation(
            f"It is unknown twice whether the message was taken ({said}).",
            "Ask the provider; have the page call Send if it has nothing.",
        )
    if reason == NO_CHANNEL:
        return Explanation(
            f"There is no provider for {challenge_type}.",
            f"Set CHALLENGE_{challenge_type.upper()}_CHANNELS.",
        )
    if reason.startswith(CANNOT_COMPOSE):
        return Explanation(
            f"The message could not be written ({reason}).",
            "Put the key that has left CHALLENGE_KEYS back, or issue the challenge again.",
        )
    return Explanation(
        f"Every provider refuses the message ({said}).",
        "Look at the account with the provider, then have the page call Send.",
    )


def _of_accepted(sent: Mapping[str, Any], now: str) -> Explanation:
    taken = f"{sent['channel']} took the message at {sent['at']}"
    if "message_id" in sent:
        taken += f" as {sent['message_id']}"
    if now >= sent["code_expires_at"]:
        return Explanation(
            f"{taken}, and the code ended at {sent['code_expires_at']} without the right answer.",
            "Have the page call Send for a new one, or ask the provider what became of the last.",
        )
    return Explanation(
        f"{taken}.",
        f"Ask the provider what became of it, or have the page call Send once more: {_IN_THE_LOG}.",
    )


def _has_ended(events: History, now: str) -> bool:
    ends = [event["expires_at"] for event in events if "expires_at" in event]
    return bool(_closed(events) or (ends and now >= ends[-1]))


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"

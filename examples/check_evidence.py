"""Checks an export of evidence without the service: `check_evidence.py FILE [THUMBPRINT]`.

Needs Python 3.9 and `pip install cryptography`. THUMBPRINT is that of the service's key, from
somebody whom you trust: without it anybody may have made the export.
"""

import base64
import hashlib
import json
import re
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def require(holds, problem):
    if not holds:
        sys.exit(f"it does not hold: {problem}")


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def compact(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def check(document, pinned=None):
    session_id, events = document["session_id"], document["events"]
    head = sha256(session_id)  # of the event before the first
    for number, event in enumerate(events, start=1):
        require(event["seq"] == number, f"event {number} is not in its place")
        require(event["previous"] == head, f"event {number} does not follow the one before")
        head = sha256(compact(event))
    numbered = {str(event["seq"]): event for event in events}
    for number, values in document["personal"].items():  # what is erased is not here
        for name, one in values.items():
            committed = numbered[number][f"{name}_sha256"]
            require(re.fullmatch("[0-9a-f]{32}", one["salt"]), f"salt of event {number}")
            require(committed == sha256(one["salt"] + one["value"]), f"{name} of event {number}")
    jwk = document["jwks"]["keys"][0]
    named = compact({name: jwk[name] for name in ("crv", "kty", "x")}).encode()  # RFC 7638
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(named).digest()).decode().rstrip("=")
    require(pinned in (None, thumbprint), f"signed by another key, {thumbprint}")
    signed, _, signature = document["signature"].rpartition(".")  # RFC 7515 and 8037
    key = Ed25519PublicKey.from_public_bytes(unpadded(jwk["x"]))
    key.verify(unpadded(signature), signed.encode())
    claims = json.loads(unpadded(signed.partition(".")[2]))
    signed_of = claims["session_id"], claims["events"], claims["head"]
    require(signed_of == (session_id, len(events), head), "the signature is of other events")
    return f"{len(events)} events of {session_id} hold, signed by {thumbprint}"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(check(json.load(file), *sys.argv[2:3]))

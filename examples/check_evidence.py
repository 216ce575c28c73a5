"""Checks an export of evidence without the service: `check_evidence.py FILE [THUMBPRINT]`.

Needs Python 3.9 and `pip install cryptography`; prints all that is signed. THUMBPRINT is that of
the service's key, from somebody whom you trust: without it anybody may have made the export.
"""

import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def require(holds, problem):
    if not holds:
        raise ValueError(problem)


def sha256(value):
    made = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256((value if isinstance(value, str) else made).encode()).hexdigest()


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def once(pairs):
    require(len(dict(pairs)) == len(pairs), "a key stands twice")
    return dict(pairs)


def check(document, pinned=None):
    session, events, personal = (document[key] for key in ("session_id", "events", "personal"))
    head, committed = sha256(session), {}
    for number, event in enumerate(events, start=1):
        require((event["seq"], event["previous"]) == (number, head), f"event {number} does not fit")
        head = sha256(event)
        hashes = [key for key in event if key.endswith("_sha256")]
        committed.update({f"{key} of event {number}": event[key] for key in hashes})
    for number, values in personal.items():
        for name, one in values.items():
            hashed = committed.pop(f"{name}_sha256 of event {number}", 0)
            require(hashed == sha256(one["salt"] + one["value"]), f"{name} of event {number}")
    public = {"crv": "Ed25519", "kty": "OKP", "x": document["jwks"]["keys"][0]["x"]}
    thumbprint = base64.urlsafe_b64encode(bytes.fromhex(sha256(public))).decode()[:43]  # RFC 7638
    require(pinned in (None, thumbprint), f"signed by another key, {thumbprint}")
    signed, _, signature = document["signature"].rpartition(".")  # RFC 7515 and 8037
    key = Ed25519PublicKey.from_public_bytes(unpadded(public["x"]))
    key.verify(unpadded(signature), signed.encode())
    claims = json.loads(unpadded(signed.partition(".")[2]))
    said = [claims[key] for key in ("session_id", "events", "head", "personal")]
    require(said == [session, len(events), head, sha256(personal)], "the signature is of another")
    jwks = {"keys": [{**public, "kid": thumbprint, "alg": "EdDSA", "use": "sig"}]}
    rest = {"format": "challenge-evidence-1", "head": head, "jwks": jwks, "thumbprint": thumbprint}
    require({**document, **rest} == document and len(document) == 8, "more than what is signed")
    held = f"{len(events)} events of {session} hold, signed by {thumbprint} at {claims['at']}"
    return json.dumps([held, {"erased before": list(committed)}, *events, personal], indent=1)


if __name__ == "__main__":
    sys.excepthook = lambda _, e, __: sys.stderr.write(f"it does not hold: {e!a:.200}\n")
    with open(sys.argv[1], encoding="utf-8") as file:
        print(check(json.load(file, object_pairs_hook=once), *sys.argv[2:3]))

"""The types of the client for browsers say what its answers are, to a compiler."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.clients.readme import ROOT
from tests.harness.programs import find

CLIENT = ROOT / "clients/browser"
USE = """
import { type Challenge, ChallengeError, Session, send } from "challenge-browser-client";
declare const credential: string, restUrl: string;
const session = Session.from(credential);
if (session === null) throw new Error();
const challenge: Challenge = await send(restUrl, session, { deadlineMs: 1 });
if (challenge === null) {
  // nothing to prove
} else if ("site_key" in challenge) {
  const captcha: ["hcaptcha" | "turnstile", string] = [challenge.type, challenge.site_key];
} else {
  const code: ["sms" | "email", string, boolean] =
    [challenge.type, challenge.delivery_hint, challenge.code_sent];
}
const known = (error: ChallengeError): boolean => error.code === "rate_limited";
// @ts-expect-error the set of codes is closed
const unknown = (error: ChallengeError): boolean => error.code === "nonsense";
// @ts-expect-error null is not a session
send(restUrl, Session.from(credential));
"""
OPTIONS = {
    "strict": True, "noEmit": True, "module": "nodenext", "target": "es2022",
    "lib": ["es2022", "dom"], "types": [],
}  # fmt: skip


def test_the_types_hold(tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/challenge-browser-client").symlink_to(CLIENT)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "use.ts").write_text(USE)
    (tmp_path / "tsconfig.json").write_text(
        json.dumps({"compilerOptions": OPTIONS, "files": ["use.ts"]})
    )
    done = subprocess.run(
        [find("tsc")], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout

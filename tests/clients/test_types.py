"""The client for browsers, installed as its README says, tells a compiler what its answers are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.clients.readme import ROOT, block, commands, here, run
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
PAGE = """
declare const credential: string, restUrl: string;
declare function pay(): void;
declare function showWidget(type: "hcaptcha" | "turnstile", siteKey: string): void;
declare function askForCode(hint: string, sent: boolean): void;
declare function tryAgain(message: string, seconds: number | undefined): void;
declare function askForNewSession(message: string, requestId: string): void;
"""
OPTIONS = {
    "strict": True, "noEmit": True, "module": "nodenext", "target": "es2022",
    "lib": ["es2022", "dom"], "types": [],
}  # fmt: skip


def test_the_types_hold(tmp_path: Path) -> None:
    readme = (CLIENT / "README.md").read_text("utf-8")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for command in commands(readme):
        run([find("npm"), *here(command).split()[1:]], tmp_path)
    (tmp_path / "use.ts").write_text(USE)
    (tmp_path / "example.ts").write_text(PAGE + block(readme, "js"))
    (tmp_path / "tsconfig.json").write_text(
        json.dumps({"compilerOptions": OPTIONS, "files": ["use.ts", "example.ts"]})
    )
    done = subprocess.run(
        [find("tsc")], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout

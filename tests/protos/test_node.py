"""Node loads `proto/` alone, as proto/README.md says, and calls the service."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

from tests.harness.marks import one_database
from tests.harness.programs import find
from tests.harness.service import Service

ROOT = Path(__file__).parents[2]
PACKAGES = {"@grpc/grpc-js": "1.14.7", "@grpc/proto-loader": "0.8.1"}
CALL = """
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const { TARGET, SECRET, SESSION } = process.env;
const loaded = loader.loadSync("govifi/challenge/v1/challenge_admin.proto", { %s });
const { ChallengeService } = grpc.loadPackageDefinition(loaded).govifi.challenge.v1;
const client = new ChallengeService(TARGET, grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${SECRET}`);
client.Send({ sessionId: SESSION }, metadata, (error, challenge) => {
  console.log(JSON.stringify(error ?? challenge));
  client.close();
});
"""


async def run(*command: str, cwd: Path, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


@one_database
async def test_it_is_loaded_and_called_by(service: Service, tmp_path: Path) -> None:
    [said] = re.findall(
        r"`@grpc/proto-loader` with `(includeDirs: .+?)`",
        (ROOT / "proto/README.md").read_text("utf-8"),
    )
    (tmp_path / "package.json").write_text(json.dumps({"dependencies": PACKAGES}))
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    (tmp_path / "call.js").write_text(CALL % said, "utf-8")
    await run(find("npm"), "install", "--silent", "--no-audit", "--no-fund", cwd=tmp_path)
    session = await service.challenged()
    printed = await run(
        find("node"), "call.js", cwd=tmp_path,
        TARGET=service.target, SECRET=session.secret, SESSION=session.session_id,
    )  # fmt: skip
    assert json.loads(printed)["deliveryHint"] == "--0123"

"""Node loads `proto/` alone, or what is generated of it, as proto/README.md says, and calls."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from tests.harness.marks import one_database
from tests.harness.programs import find
from tests.harness.service import Service
from tests.protos.calling import run
from tests.rest import edge

ROOT = Path(__file__).parents[2]
PACKAGES = {"@grpc/grpc-js": "1.14.7", "@grpc/proto-loader": "0.8.1"}
GENERATED = {
    "@bufbuild/protobuf": "2.17.0", "@bufbuild/protoc-gen-es": "2.13.0",
    "@connectrpc/connect": "2.1.2", "@connectrpc/connect-node": "2.1.2",
}  # fmt: skip
BUF = """
version: v2
plugins: [{local: node_modules/.bin/protoc-gen-es, out: gen, opt: "target=js,import_extension=js"}]
"""
GENERATED_CALL = """
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ChallengeService } from "./gen/govifi/challenge/v1/challenge_pb.js";
import { Error_Code, ErrorSchema } from "./gen/govifi/challenge/v1/error_pb.js";

const { TARGET, SECRET, SESSION } = process.env;
const client = createClient(ChallengeService, createGrpcTransport({ baseUrl: `http://${TARGET}` }));
const headers = { authorization: `Bearer ${SECRET}` };
for (const sessionId of [SESSION, "cs_0123456789abcdef"]) {
  try {
    console.log((await client.send({ sessionId }, { headers, timeoutMs: 10_000 })).deliveryHint);
  } catch (refused) {
    const [error] = ConnectError.from(refused).findDetails(ErrorSchema);
    console.log(Code[refused.code], Error_Code[error.code], error.recoverable);
  }
}
"""
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


@one_database
async def test_what_is_generated_calls_and_reads_a_refusal(
    service: Service, tmp_path: Path
) -> None:
    package = {"type": "module", "dependencies": GENERATED}
    (tmp_path / "package.json").write_text(json.dumps(package))
    (tmp_path / "buf.gen.yaml").write_text(BUF)
    (tmp_path / "call.js").write_text(GENERATED_CALL, "utf-8")
    await run(find("npm"), "install", "--silent", "--no-audit", "--no-fund", cwd=tmp_path)
    buf = str(Path(sys.executable).parent / "buf")
    await run(buf, "generate", str(ROOT / "proto"), cwd=tmp_path)
    session = await service.challenged()
    async with edge.running(tmp_path, service.server.port) as proxy:
        printed = await run(
            find("node"), "call.js", cwd=tmp_path, TARGET=f"127.0.0.1:{proxy.internal_port}",
            SECRET=session.secret, SESSION=session.session_id,
        )  # fmt: skip
    assert printed == "--0123\nNotFound session_expired false\n"

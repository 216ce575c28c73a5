"""A caller in Java of `proto/` alone, as proto/README.md says: Google's classes from a library."""

from __future__ import annotations

from pathlib import Path

from tests.harness.marks import one_database
from tests.harness.programs import find
from tests.harness.service import Service
from tests.protos.calling import run
from tests.rest import edge

ROOT = Path(__file__).parents[2]
PROJECT = """<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>test</groupId>
  <artifactId>shop</artifactId>
  <version>1</version>
  <properties>
    <maven.compiler.source>17</maven.compiler.source>
    <maven.compiler.target>17</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <dependencies>
    <dependency>
      <groupId>io.grpc</groupId><artifactId>grpc-protobuf</artifactId><version>1.82.0</version>
    </dependency>
    <dependency>
      <groupId>io.grpc</groupId><artifactId>grpc-stub</artifactId><version>1.82.0</version>
    </dependency>
    <dependency>
      <groupId>io.grpc</groupId><artifactId>grpc-netty-shaded</artifactId><version>1.82.0</version>
    </dependency>
  </dependencies>
  <build>
    <extensions>
      <extension>
        <groupId>kr.motd.maven</groupId><artifactId>os-maven-plugin</artifactId>
        <version>1.7.1</version>
      </extension>
    </extensions>
    <plugins>
      <plugin>
        <groupId>org.xolstice.maven.plugins</groupId><artifactId>protobuf-maven-plugin</artifactId>
        <version>0.6.1</version>
        <configuration>
          <protoSourceRoot>${protos}</protoSourceRoot>
          <includes><include>govifi/**</include><include>buf/**</include></includes>
          <protocArtifact>
            com.google.protobuf:protoc:3.25.8:exe:${os.detected.classifier}
          </protocArtifact>
          <pluginId>grpc-java</pluginId>
          <pluginArtifact>
            io.grpc:protoc-gen-grpc-java:1.82.0:exe:${os.detected.classifier}
          </pluginArtifact>
        </configuration>
        <executions>
          <execution><goals><goal>compile</goal><goal>compile-custom</goal></goals></execution>
        </executions>
      </plugin>
    </plugins>
  </build>
</project>
"""
USE = """
import com.govifi.challenge.v1.ChallengeServiceGrpc;
import com.govifi.challenge.v1.SendRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;

class Shop {
    public static void main(String[] arguments) throws Exception {
        var channel = Grpc.newChannelBuilder(
            System.getenv("TARGET"), InsecureChannelCredentials.create()).build();
        var headers = new Metadata();
        headers.put(
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER),
            "Bearer " + System.getenv("SECRET"));
        var service = ChallengeServiceGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
        for (var id : new String[] {System.getenv("SESSION"), "cs_0123456789abcdef"}) {
            try {
                var challenge = service.send(SendRequest.newBuilder().setSessionId(id).build());
                System.out.println(challenge.getDeliveryHint());
            } catch (StatusRuntimeException refused) {
                for (var detail : StatusProto.fromThrowable(refused).getDetailsList()) {
                    if (detail.is(com.govifi.challenge.v1.Error.class)) {
                        var error = detail.unpack(com.govifi.challenge.v1.Error.class);
                        System.out.println(error.getCode() + " " + error.getRecoverable());
                    }
                }
            }
        }
        channel.shutdownNow();
    }
}
"""


@one_database
async def test_a_caller_is_compiled_answered_and_reads_a_refusal(
    service: Service, tmp_path: Path
) -> None:
    (tmp_path / "pom.xml").write_text(PROJECT, "utf-8")
    source = tmp_path / "src/main/java/Shop.java"
    source.parent.mkdir(parents=True)
    source.write_text(USE, "utf-8")
    goals = ("compile", "dependency:build-classpath", "-Dmdep.outputFile=libraries")
    await run(find("mvn"), "-B", "-q", f"-Dprotos={ROOT / 'proto'}", *goals, cwd=tmp_path)
    libraries = (tmp_path / "libraries").read_text("utf-8").strip()
    session = await service.challenged()
    async with edge.running(tmp_path, service.server.port) as proxy:
        printed = await run(
            find("java"), "-cp", f"target/classes:{libraries}", "Shop", cwd=tmp_path,
            TARGET=f"127.0.0.1:{proxy.internal_port}", SECRET=session.secret,
            SESSION=session.session_id,
        )  # fmt: skip
    assert printed == "--0123\nsession_expired false\n"

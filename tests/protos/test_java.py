"""`proto/` compiles as Java, as proto/README.md says: with Google's classes from a library."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness.programs import find

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
import com.govifi.challenge.v1.Challenge;
import com.govifi.challenge.v1.ChallengeAdminServiceGrpc.ChallengeAdminServiceBlockingStub;
import com.govifi.challenge.v1.GetChallengeRequest;

class Shop {
    static Challenge challenge(ChallengeAdminServiceBlockingStub admin, String sessionId) {
        var request = GetChallengeRequest.newBuilder().setSessionId(sessionId).build();
        return admin.getChallenge(request).getChallenge();
    }
}
"""


def test_it_compiles_and_a_caller_against_it(tmp_path: Path) -> None:
    (tmp_path / "pom.xml").write_text(PROJECT, "utf-8")
    source = tmp_path / "src/main/java/Shop.java"
    source.parent.mkdir(parents=True)
    source.write_text(USE, "utf-8")
    command = [find("mvn"), "-B", "-q", f"-Dprotos={ROOT / 'proto'}", "compile"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "target/classes/Shop.class").exists()

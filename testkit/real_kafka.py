"""One Apache Kafka broker (KRaft, loopback) for `make test-kafka`, with the interface of the embedded one."""

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from streamer.errors import ConfigError
from streamer.host.embedded import LOOPBACK, wait_for_kafka, wait_for_port
from streamer.host.processes import Child
from testkit.ports import lasting_port

LIBS = Path(__file__).resolve().parent.parent / ".state" / "kafka" / "libs"
# A JVM on two busy cores; it takes about 6 s on idle ones.
START_TIMEOUT_S = 90.0
LOG_LEVEL = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
# Tests write records stamped long ago; Kafka would delete their segments as soon as it looks, 30 s after its start.
log.retention.ms=-1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class RealKafka:
    """Apache Kafka in a folder: formatted at the first start, kept over `kill` and `start`."""

    def __init__(
        self, folder: Path, more: str = "", port: int | None = None, users: Mapping[str, str] | None = None
    ) -> None:
        """`more` are properties that are added to the usual ones, or replace them; `users` have SCRAM passwords."""
        self._users = users or {}
        self._folder = folder
        self._more = more
        self._port = port or lasting_port()
        self.bootstrap = f"{LOOPBACK}:{self._port}"
        java = shutil.which("java")
        if java is None or not LIBS.is_dir():
            raise ConfigError(f"No Java, or no jars in {LIBS}: run deploy/kafka/fetch.sh")
        self._java = [java, "-Xmx512m", "-XX:+UseSerialGC", LOG_LEVEL, "-cp", f"{LIBS}/*"]
        self._child = Child(
            "Apache Kafka",
            [*self._java, "kafka.Kafka", str(folder / "server.properties")],
            folder / "kafka.log",
        )

    @property
    def alive(self) -> bool:
        """Whether the broker process runs."""
        return self._child.alive

    async def start(self) -> None:
        """Format the folder if it is new, start, and return once the broker answers."""
        if not (self._folder / "server.properties").exists():
            self._format()
        self._child.start()
        await wait_for_port(self._port, self._child, START_TIMEOUT_S)
        await wait_for_kafka(self.bootstrap, self._child, START_TIMEOUT_S)

    async def stop(self) -> None:
        """Stop in order."""
        await self._child.stop(timeout_s=20.0)

    def kill(self) -> None:
        """kill -9."""
        self._child.kill()

    def acls(self, lines: Sequence[str]) -> None:
        """Run command lines of `kafka-acls`, as they are. Raises RuntimeError with what it printed."""
        for line in lines:
            _, *words = shlex.split(line)
            java = [*self._java, "org.apache.kafka.tools.AclCommand", *words]
            done = subprocess.run(java, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"{line}\n{done.stdout}{done.stderr}")

    def _format(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        properties = self._folder / "server.properties"
        text = (
            PROPERTIES.format(
                host=LOOPBACK, port=self._port, controller_port=lasting_port(), data=self._folder / "data"
            )
            + self._more
        )
        storage = [*self._java, "kafka.tools.StorageTool"]
        made = subprocess.run([*storage, "random-uuid"], check=True, capture_output=True, text=True)
        cluster_id = made.stdout.strip().splitlines()[-1]
        with tempfile.NamedTemporaryFile("w", dir=self._folder, suffix=".properties", delete=False) as file:
            file.write(text)
        scram = [
            f"--add-scram={kind}=[name={name},password={password}]"
            for name, password in self._users.items()
            for kind in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        ]
        subprocess.run(
            [*storage, "format", "--standalone", "-t", cluster_id, "-c", file.name, *scram],
            check=True,
            capture_output=True,
        )
        # Named last, so that a folder whose formatting failed is formatted again.
        Path(file.name).rename(properties)

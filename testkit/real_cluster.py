"""Three Apache Kafka brokers as one cluster (KRaft, loopback): each keeps a copy of everything, two must acknowledge."""

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from streamer.errors import ConfigError
from streamer.host.embedded import LOOPBACK, wait_for_kafka, wait_for_port
from streamer.host.processes import Child
from testkit.real_kafka import LIBS, LOG_LEVEL, START_TIMEOUT_S

PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=BETWEEN
listeners=CLIENT://{host}:{port},BETWEEN://{host}:{between},CONTROLLER://{host}:{controller}
advertised.listeners=CLIENT://{host}:{advertised},BETWEEN://{host}:{between}
listener.security.protocol.map=CLIENT:PLAINTEXT,BETWEEN:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
log.retention.ms=-1
group.initial.rebalance.delay.ms=0
default.replication.factor=3
min.insync.replicas=2
offsets.topic.num.partitions=1
offsets.topic.replication.factor=3
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
# A killed broker is known after this; the default of 9 s is for data centres.
broker.session.timeout.ms=6000
"""


class RealCluster:
    """Three nodes in a folder: formatted at the first start, kept over `kill` and `start_again`."""

    def __init__(self, folder: Path, ports: Sequence[tuple[int, int]], own: Sequence[int]) -> None:
        """`ports`: of each node the one it listens on, and the one it names to clients; `own`: two more a node."""
        java = shutil.which("java")
        if java is None or not LIBS.is_dir():
            raise ConfigError(f"No Java, or no jars in {LIBS}: run deploy/kafka/fetch.sh")
        self._java = [java, "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", LOG_LEVEL, "-cp", f"{LIBS}/*"]
        self._folder = folder
        self._ports = ports
        self._own = own
        self.bootstrap = ",".join(f"{LOOPBACK}:{named}" for _, named in ports)
        self._children = [
            Child(
                f"Apache Kafka {number}",
                [*self._java, "kafka.Kafka", str(self._properties(number))],
                folder / f"{number}.log",
            )
            for number in range(len(ports))
        ]

    async def start(self) -> None:
        """Format, start all, and return once each of them answers."""
        await asyncio.to_thread(self._format)
        for child in self._children:
            child.start()
        for number in range(len(self._ports)):
            await self._answers(number)

    async def start_again(self, number: int) -> None:
        """Start one that was killed, and return once it answers."""
        self._children[number].start()
        await self._answers(number)

    async def _answers(self, number: int) -> None:
        listens, named = self._ports[number]
        await wait_for_port(listens, self._children[number], START_TIMEOUT_S)
        await wait_for_kafka(f"{LOOPBACK}:{named}", self._children[number], START_TIMEOUT_S)

    async def stop(self) -> None:
        """Stop all: the copies are not needed any more."""
        for child in self._children:
            child.kill()

    def kill(self, number: int) -> None:
        """kill -9 one of them."""
        self._children[number].kill()

    def _properties(self, number: int) -> Path:
        return self._folder / f"{number}.properties"

    def _format(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        controllers, between = self._own[::2], self._own[1::2]
        voters = ",".join(f"{number + 1}@{LOOPBACK}:{port}" for number, port in enumerate(controllers))
        for number, (listens, named) in enumerate(self._ports):
            self._properties(number).write_text(
                PROPERTIES.format(
                    node=number + 1, voters=voters, host=LOOPBACK, port=listens, advertised=named, between=between[number],
                    controller=controllers[number], data=self._folder / f"data{number}",
                )
            )  # fmt: skip
            storage = [*self._java, "kafka.tools.StorageTool", "format", "-t", "QW5vbWFseUxMTSBjaGFvcw"]
            subprocess.run([*storage, "-c", str(self._properties(number))], check=True, capture_output=True)

"""Brokers: Apache Kafka in KRaft mode, and the embedded one of plist-admin; and a look at topics through kcat."""

import json
import os
import shutil
import subprocess
import uuid

from . import places
from .process import Server, free_port

JAVA_OPTIONS = ["-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true",
                "-XX:-UsePerfData"]

LOGGING = """log4j.rootLogger=WARN, out
log4j.logger.kafka.server.KafkaRaftServer=INFO
log4j.logger.kafka.coordinator.group.GroupCoordinator=INFO
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %p %c{1}: %m%n
"""


class Broker(Server):
    """What both brokers can: an address, and the topics through kcat."""

    keeps = True  # what was written is still there after a restart

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def is_up(self):
        return bool(self.metadata(timeout=2))

    def metadata(self, timeout=5):
        out = self._kcat(["-L", "-J"], timeout=timeout)
        return json.loads(out) if out else None

    def _kcat(self, arguments, timeout=15, data=None):
        """kcat's output. Its own timeouts are for the broker; ours ends it when the broker never answers."""
        argv = ["kcat", "-b", self.address, "-X", "socket.connection.setup.timeout.ms=1500", *arguments]
        try:
            done = subprocess.run(argv, input=data, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode:
            raise RuntimeError(f"kcat: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode(errors="replace")

    def produce(self, topic, key, value, headers=(), partition=None):
        """One message. `value` None is Kafka's null; bytes go as they are."""
        # kcat reads key:value lines; a delimiter that no test uses stands between them.
        arguments = ["-P", "-t", topic, "-K", "\x01", "-D", "\x02", "-Z", "-X", "message.timeout.ms=8000"]
        for name, text in headers:
            arguments += ["-H", f"{name}={text}"]
        if partition is not None:
            arguments += ["-p", str(partition)]
        as_bytes = [v if isinstance(v, bytes) else ("" if v is None else str(v)).encode() for v in (key, value)]
        self._kcat(arguments, data=b"\x01".join(as_bytes) + b"\x02")

    def consume(self, topic, timeout=20):
        """All messages of a topic: dictionaries with key, payload (None for null), headers, partition, offset."""
        out = self._kcat(["-C", "-t", topic, "-e", "-q", "-J", "-o", "beginning"], timeout=timeout)
        messages = [json.loads(line) for line in (out or "").splitlines() if line.strip()]
        for message in messages:
            pairs = message.get("headers") or []
            message["headers"] = dict(zip(pairs[::2], pairs[1::2]))
        return messages

    def pass_over(self, topic, group, timeout=30):
        """Has a group that nobody else is in read a topic to its end and commit that."""
        self._kcat(["-G", group, "-e", "-q", "-f", "", "-X", "auto.offset.reset=earliest", topic], timeout=timeout)


class Kafka(Broker):
    name = "kafka"
    start_timeout = 90.0
    stop_timeout = 60.0

    def __init__(self, folder, port, controller_port=None, bound=True, jars=None):
        super().__init__(folder, port, bound)
        self.jars = jars or places.kafka_jars()
        if not self.jars:
            raise places.Missing("Apache Kafka's jars are not there: run ./run test, or set PLIST_KAFKA_LIB")
        self.controller_port = controller_port or free_port()
        self.data = self.folder / "data"
        self.properties = self.folder / "server.properties"

    def prepare(self):
        (self.folder / "log4j.properties").write_text(LOGGING)
        self.properties.write_text("".join(f"{k}={v}\n" for k, v in {
            "process.roles": "broker,controller", "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address}", "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.data, "num.partitions": 8, "auto.create.topics.enable": "true",
            "num.network.threads": 2, "num.io.threads": 2, "background.threads": 2,
            "offsets.topic.replication.factor": 1, "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1, "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4, "group.initial.rebalance.delay.ms": 0,
            # A broker that was killed is not waited for when it comes back.
            "broker.session.timeout.ms": 2500, "broker.heartbeat.interval.ms": 500,
            # A daemon that was killed is missed soon: its partitions go to another of the same region.
            "group.min.session.timeout.ms": 1000,
        }.items()))
        if not (self.data / "meta.properties").exists():
            self._format()

    def _format(self):
        shutil.rmtree(self.data, ignore_errors=True)
        identity = uuid.uuid4().hex[:22]
        done = subprocess.run(self._java("kafka.tools.StorageTool", "format", "-t", identity, "-c", str(self.properties)),
                              cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"formatting Kafka's storage: {done.stdout}{done.stderr}")

    def _java(self, *arguments):
        java = os.environ.get("JAVA_HOME")
        java = f"{java}/bin/java" if java and os.access(f"{java}/bin/java", os.X_OK) else "java"
        return [java, *JAVA_OPTIONS, f"-Dlog4j.configuration=file:{self.folder}/log4j.properties", "-cp", f"{self.jars}/*",
                *arguments]

    def lose_disk(self):
        """It is killed, and begins again with nothing: no topics, no groups."""
        self.kill()
        shutil.rmtree(self.data)
        self.start()

    def argv(self):
        return self._java("kafka.Kafka", str(self.properties))


class EmbeddedBroker(Broker):
    """`plist-admin broker`: speaks the protocol, keeps everything in memory, forgets it when it ends."""

    name = "embedded-broker"
    keeps = False

    def argv(self):
        return [places.program("plist-admin"), "broker", "--listen", self.address]

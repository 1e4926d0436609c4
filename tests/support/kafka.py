"""Brokers: Apache Kafka in KRaft mode and the embedded broker of plist-admin; topics are inspected with kcat."""

import contextlib
import json
import os
import shlex
import shutil
import socket
import struct
import subprocess
import uuid

from . import places
from .process import PATIENCE_S, Server, free_port

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
    """The common base of both brokers: an address, and topics through kcat."""

    keeps = True  # messages survive a restart
    properties_of_clients = {}

    def secure(self, pair, authority, properties_of_clients):
        """Clients use TLS from now on."""
        raise places.Missing(f"{self.name} does not speak TLS; ./run demo --tls needs Apache Kafka")

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def is_up(self):
        return bool(self.metadata(timeout=2))

    def metadata(self, timeout=5):
        out = self._kcat(["-L", "-J"], timeout=timeout)
        return json.loads(out) if out else None

    def _kcat(self, arguments, timeout=PATIENCE_S, data=None):
        """The output of kcat. kcat has its own timeouts; ours applies if the broker never answers."""
        known = [argument for pair in self.properties_of_clients.items() for argument in ("-X", "=".join(pair))]
        argv = ["kcat", "-b", self.address, "-X", "socket.connection.setup.timeout.ms=1500", *known, *arguments]
        try:
            done = subprocess.run(argv, input=data, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode:
            raise RuntimeError(f"kcat: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode(errors="replace")

    def produce(self, topic, key, value, headers=(), partition=None):
        """Sends one message. `value` None is Kafka's null; bytes are sent unchanged."""
        # kcat reads key:value lines; the delimiter is one that no test uses.
        arguments = ["-P", "-t", topic, "-K", "\x01", "-D", "\x02", "-Z", "-X", "message.timeout.ms=30000"]
        for name, text in headers:
            arguments += ["-H", f"{name}={text}"]
        if partition is not None:
            arguments += ["-p", str(partition)]
        as_bytes = [v if isinstance(v, bytes) else ("" if v is None else str(v)).encode() for v in (key, value)]
        self._kcat(arguments, data=b"\x01".join(as_bytes) + b"\x02")

    def consume(self, topic, timeout=PATIENCE_S):
        """All messages of a topic: dictionaries with key, payload (None for null), headers, partition, offset."""
        out = self._kcat(["-C", "-t", topic, "-e", "-q", "-J", "-o", "beginning"], timeout=timeout)
        messages = [json.loads(line) for line in (out or "").splitlines() if line.strip()]
        for message in messages:
            pairs = message.get("headers") or []
            message["headers"] = dict(zip(pairs[::2], pairs[1::2]))
        return messages

    def pass_over(self, topic, group, timeout=PATIENCE_S):
        """Reads a topic to its end as the only member of a group and commits."""
        self._kcat(["-G", group, "-e", "-q", "-f", "", "-X", "auto.offset.reset=earliest", topic], timeout=timeout)

    @contextlib.contextmanager
    def member(self, topic, group):
        """A member of a group that reads a topic, as a program would that shares its partitions by the group."""
        argv = ["kcat", "-b", self.address, "-G", group, "-f", "", "-X", "auto.offset.reset=earliest", topic]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as program:
            try:
                for line in program.stderr:  # it ends with the program
                    if "rebalanced" in line:
                        break
                yield
            finally:
                program.terminate()


class Kafka(Broker):
    name = "kafka"
    start_timeout = 90.0
    stop_timeout = 60.0

    def __init__(self, folder, port, controller_port=None, bound=True, jars=None):
        super().__init__(folder, port, bound)
        self.jars = jars or places.kafka_jars()
        if not self.jars:
            raise places.Missing("Apache Kafka's jars are missing: run ./run test, or set PLIST_KAFKA_LIB")
        self.controller_port = controller_port or free_port()
        self.data = self.folder / "data"
        self.properties = self.folder / "server.properties"
        self.protocol, self.tls, self.users = "PLAINTEXT", {}, {}

    def secure(self, pair, authority, properties_of_clients):
        """Clients use TLS and need a certificate. The controller stays plain: nothing else uses its port."""
        self.protocol, self.properties_of_clients = "SSL", properties_of_clients
        store = pair.certificate.with_suffix(".pem")
        store.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
        store.chmod(0o600)
        self.tls = {"ssl.client.auth": "required", "ssl.keystore.type": "PEM", "ssl.keystore.location": store,
                    "ssl.truststore.type": "PEM", "ssl.truststore.location": authority.certificate}

    def authorize(self, users):
        """Clients log in with SCRAM as one of {name: password}, and only `admin` may do anything unless an ACL allows it."""
        self.protocol, self.users = "SASL_PLAINTEXT", users
        self.properties_of_clients = self.login("admin")
        module = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        self.tls = {"sasl.enabled.mechanisms": "SCRAM-SHA-512", "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
                    "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": f'{module} username="admin" password="{users["admin"]}";',
                    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                    "super.users": "User:admin;User:ANONYMOUS"}  # the latter is the controller, whose port is plain

    def login(self, user):
        """What librdkafka needs to know to be this user."""
        return {"security.protocol": "sasl_plaintext", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": user,
                "sasl.password": self.users[user]}

    def acls_tool(self, folder):
        """Makes the program kafka-acls.sh, and the file with which it logs in as admin."""
        login = folder / "admin.properties"
        login.write_text("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config="
                         "org.apache.kafka.common.security.scram.ScramLoginModule required "
                         f'username="admin" password="{self.users["admin"]}";\n')
        tool = folder / "kafka-acls.sh"
        tool.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, self._java("kafka.admin.AclCommand")))} "$@"\n')
        tool.chmod(0o755)
        return login

    def made_of(self):
        return super().made_of() + [self.protocol]

    def prepare(self):
        (self.folder / "log4j.properties").write_text(LOGGING)
        self.properties.write_text("".join(f"{k}={v}\n" for k, v in {
            "process.roles": "broker,controller", "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"{self.protocol}://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"{self.protocol}://{self.address}", "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": f"{self.protocol}:{self.protocol},CONTROLLER:PLAINTEXT",
            "security.inter.broker.protocol": self.protocol, **self.tls,
            "log.dirs": self.data, "num.partitions": 8, "auto.create.topics.enable": "true",
            "num.network.threads": 2, "num.io.threads": 2, "background.threads": 2,
            "offsets.topic.replication.factor": 1, "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1, "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4, "group.initial.rebalance.delay.ms": 0,
            # A killed broker can rejoin soon.
            "broker.session.timeout.ms": 2500, "broker.heartbeat.interval.ms": 500,
            # A killed daemon is detected soon, and its partitions go to another daemon of
            # the same region.
            "group.min.session.timeout.ms": 1000,
        }.items()))
        if not (self.data / "meta.properties").exists():
            self._format()

    def _format(self):
        shutil.rmtree(self.data, ignore_errors=True)
        identity = uuid.uuid4().hex[:22]
        scram = [a for user, password in self.users.items()
                 for a in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")]
        done = subprocess.run(self._java("kafka.tools.StorageTool", "format", "-t", identity, "-c", str(self.properties), *scram),
                              cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"formatting Kafka's storage: {done.stdout}{done.stderr}")

    def _java(self, *arguments):
        java = os.environ.get("JAVA_HOME")
        java = f"{java}/bin/java" if java and os.access(f"{java}/bin/java", os.X_OK) else "java"
        return [java, *JAVA_OPTIONS, f"-Dlog4j.configuration=file:{self.folder}/log4j.properties", "-cp", f"{self.jars}/*",
                *arguments]

    def lose_disk(self):
        """Kills the broker and starts it without data: no topics, no groups."""
        self.kill()
        shutil.rmtree(self.data)
        self.start()

    def _tool(self, *arguments):
        done = subprocess.run(self._java(*arguments), cwd=self.folder, capture_output=True, text=True, timeout=90, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")

    def set_topic(self, topic, **settings):
        """Settings of a topic, with '_' for '.': set_topic("t", retention_ms=1000); None removes one."""
        given = ["=".join((name.replace("_", "."), f"[{value}]")) for name, value in settings.items() if value is not None]
        gone = [name.replace("_", ".") for name, value in settings.items() if value is None]
        self._tool("kafka.admin.ConfigCommand", "--bootstrap-server", self.address, "--alter", "--entity-type", "topics",
                   "--entity-name", topic, *(["--add-config", ",".join(given)] if given else []),
                   *(["--delete-config", ",".join(gone)] if gone else []))

    def _ask(self, key, body):
        """Sends one request of protocol version 0, if the jars have no tool for it; returns the response body."""
        header = struct.pack(">hhih", key, 0, 1, 4) + b"test"
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(struct.pack(">i", len(header + body)) + header + body)
            answer = connection.makefile("rb")
            return answer.read(struct.unpack(">i", answer.read(4))[0])[4:]

    def _ask_for_topic(self, key, body):
        """The response is an array with one topic: its name and its error code."""
        answer = self._ask(key, body)
        at = 4 if key == 20 else 8  # behind the array's length, and the throttle time of the newer request
        at += 2 + struct.unpack(">h", answer[at:at + 2])[0]
        code = struct.unpack(">h", answer[at:at + 2])[0]
        if code:
            raise RuntimeError(f"Kafka refuses request {key}: error {code}")

    def delete_topic(self, topic):
        self._ask_for_topic(20, struct.pack(">ih", 1, len(topic)) + topic.encode() + struct.pack(">i", 20000))

    def extend_topic(self, topic, partitions):
        self._ask_for_topic(37, struct.pack(">ih", 1, len(topic)) + topic.encode() + struct.pack(">iiib", partitions, -1, 20000, 0))

    def argv(self):
        return self._java("kafka.Kafka", str(self.properties))


class EmbeddedBroker(Broker):
    """`plist-admin broker`: speaks the protocol and keeps everything in memory."""

    name = "embedded-broker"
    keeps = False

    def argv(self):
        return [places.program("plist-admin"), "broker", "--listen", self.address]

"""The rights that `plist-admin kafka acls` prints, at a broker that authorizes: they are enough, and no more."""

import os
import shutil
import subprocess
import time

import pytest
from conftest import broker_kind

from support import places
from support.process import wait_until
from support.stack import Stack

pytestmark = pytest.mark.needs_kafka  # the embedded broker knows no users

TOPICS = ("property-updates", "plist-heartbeats", "plist-dead")
USERS = {"admin": "admin-secret", "plist-us": "us-secret", "plist-eu": "eu-secret", "mallory": "mallory-secret"}


class Guarded(Stack):
    """Two regions, each with a principal of its own, whose rights are those that plist-admin prints."""

    def __init__(self, folder):
        super().__init__(folder, broker="kafka", change=self.guard)
        self.broker.authorize(USERS)
        for region, daemon in self.plistd.items():
            daemon.more = lambda r=region: {"KAFKA_USER": f"plist-{r}", "KAFKA_SECRET": USERS[f"plist-{r}"]}

    def environment(self):
        return {"KAFKA_USER": "admin", "KAFKA_SECRET": USERS["admin"]}

    def guard(self, config):
        config["kafka"]["dead_letter_topic"] = "plist-dead"
        config["kafka"]["properties"] = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "SCRAM-SHA-512",
                                         "sasl.username": "${KAFKA_USER}", "sasl.password": "${KAFKA_SECRET}"}

    def fill(self):
        """Makes the topics, and runs the commands as an administrator of the broker does."""
        self.broker.wait_up()
        for topic in (*TOPICS, "other"):
            self.broker.produce(topic, "nobody", None)  # which makes it
        self.allow("acls")

    def allow(self, *words):
        login = self.broker.acls_tool(self.folder)
        text = self.admin("kafka", *words, "--command-config", login).stdout
        done = subprocess.run(["sh", "-e"], input=text, capture_output=True, text=True, timeout=240, check=False,
                              env={**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"})
        assert done.returncode == 0, done

    def acl(self, *words):
        """One command of an administrator."""
        login = self.broker.acls_tool(self.folder)
        subprocess.run([self.folder / "kafka-acls.sh", "--bootstrap-server", self.broker.address, "--command-config", login, *words],
                       check=True, capture_output=True, timeout=120)

    def kcat(self, user, *arguments, data=None):
        """What kcat says as this user."""
        known = [a for pair in self.broker.login(user).items() for a in ("-X", "=".join(pair))]
        done = subprocess.run(["kcat", "-b", self.broker.address, *known, *arguments], input=data, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def guarded():
    assert broker_kind() == "kafka"
    folder = places.data_folder("plist-guarded-")
    stack = Guarded(folder)
    try:
        yield stack.start()
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def denied(daemon):
    return [line for line in daemon.log_text().splitlines() if "authoriz" in line.lower() or "denied" in line.lower()]


def test_the_printed_rights_are_enough_for_all_that_a_daemon_does(guarded):
    record = guarded.new_record("us")
    assert guarded.client("eu").put(record, price=7, version=1).status == 200
    guarded.wait_version("us", record, 2)
    assert guarded.client("us").delete(record, version=2).status == 204
    guarded.settle()
    guarded.broker.produce("property-updates", "12345", "not an event")
    wait_until("the dead letter is copied", lambda: any(m["payload"] == "not an event" for m in guarded.broker.consume("plist-dead")))
    guarded.database("us").execute("DELETE FROM dead_letters")
    guarded.database("eu").execute("DELETE FROM dead_letters")
    for daemon in guarded.plistd.values():
        assert daemon.operators.get("/ready").status == 200
        assert not denied(daemon), denied(daemon)
        assert daemon.metrics()["plist_broker_up"] if "plist_broker_up" in daemon.metrics() else True


def test_a_principal_has_no_other_rights(guarded):
    assert "authorization failed" in guarded.kcat("plist-us", "-P", "-t", "other", data="x").lower()
    assert "authorization failed" in guarded.kcat("plist-us", "-C", "-t", "other", "-e").lower()
    assert "authorization failed" in guarded.kcat("plist-us", "-C", "-t", "plist-dead", "-e").lower(), "it only writes there"
    said = guarded.kcat("plist-us", "-G", "plist-eu", "-e", "property-updates").lower()
    assert "group authorization failed" in said, "another region's place"
    assert '"other"' not in guarded.kcat("plist-us", "-L"), "nor does it see it"
    before = {m["key"] for m in guarded.broker.consume("other")}
    assert before == {"nobody"}


def test_others_can_neither_read_nor_write_and_a_wrong_password_is_refused(guarded):
    for arguments, data in ((["-P", "-t", "property-updates"], "x"), (["-C", "-t", "property-updates", "-e"], None), (["-P", "-t", "plist-heartbeats"], "x")):
        assert "authorization failed" in guarded.kcat("mallory", *arguments, data=data).lower(), arguments
    guarded.broker.users = USERS | {"mallory": "guessed"}
    try:
        assert "authentication failed" in guarded.kcat("mallory", "-L").lower()
    finally:
        guarded.broker.users = USERS


@pytest.mark.parametrize("operation, words", [("Write", "uthorization failed"), ("Read", "property-updates: Fetch from broker")])
def test_a_right_that_is_missing_is_named_and_nothing_is_lost(guarded, operation, words):
    us, topic = guarded.plistd["us"], ["--topic", "property-updates", "--allow-principal", "User:plist-us", "--operation", operation]
    record, mark = guarded.new_record("us"), us.log_mark()
    guarded.acl("--remove", "--force", *topic)
    try:
        writer, reader = ("us", "eu") if operation == "Write" else ("eu", "us")
        began = time.monotonic()

        def named():
            return words in us.log_text(mark) and "property-updates" in us.log_text(mark)
        if operation == "Read":  # before that, the event could still be fetched
            wait_until("the log names it", named)
        assert guarded.client(writer).put(record, price=9, version=1).status == 200
        wait_until("the log names it", named)
        assert time.monotonic() - began < 60 and guarded.database(reader).property(record)["version"] == 1
    finally:
        guarded.acl("--add", *topic)
    guarded.wait_version(reader, record, 2)
    guarded.settle()


def test_settings_that_may_not_be_read_are_a_problem_that_status_names(guarded):
    def problems():
        return sum(daemon.metrics()["plist_topic_problems"] for daemon in guarded.plistd.values())
    rights = ["--topic", "property-updates", "--operation", "DescribeConfigs"]
    everybody = [a for user in ("plist-us", "plist-eu") for a in ("--allow-principal", f"User:{user}")]
    assert problems() == 0
    guarded.acl("--remove", "--force", *rights, *everybody)
    try:
        wait_until("both say so", lambda: problems() == 2)
        assert "topic property-updates: its settings are not known" in guarded.plistd["us"].log_text()
    finally:
        guarded.acl("--add", *rights, *everybody)
    wait_until("both know them again", lambda: problems() == 0)

"""Two regions in which every connection uses TLS, as `./run demo --tls` starts them; and databases whose certificate is wrong."""

import os
import shutil
import subprocess

import psycopg2
import pytest
from conftest import broker_kind

from support import places
from support.client import Client, new_id
from support.load import Load
from support.process import wait_until
from support.stack import Stack
from support.tls import Authority

pytestmark = pytest.mark.needs_kafka  # the embedded broker speaks no TLS


@pytest.fixture(scope="module")
def secure():
    folder = places.data_folder("plist-secure-")
    stack = Stack(folder, broker=broker_kind(), tls=True)
    try:
        yield stack.start()
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_write_travels_from_a_client_to_the_other_region_over_tls_only(secure):
    record = secure.new_record("us")
    answer = secure.front("us").put(record, price=7, version=1)
    assert answer.status == 200, answer
    secure.wait_version("eu", record, 2)
    assert secure.front("eu").read(record).json["version"] == 2
    plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename LIKE 'plist%%' AND NOT ssl"
    for region, database in secure.databases.items():
        assert database.value(plain) == 0, region
        assert database.value("SELECT count(*) FROM pg_stat_ssl WHERE ssl") > 1


def test_nobody_is_answered_in_the_clear_or_without_a_certificate(secure):
    for server in (secure.nginx, secure.plistd["us"]):
        plain = subprocess.run(["curl", "-sS", f"http://127.0.0.1:{server.port}/us/health"], capture_output=True, text=True, timeout=20, check=False)
        assert plain.returncode or "HTTPS" in plain.stdout, plain
    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        psycopg2.connect(f"postgresql://plist@127.0.0.1:{secure.postgres['us'].port}/plist?sslmode=disable")
    known = {k: v for k, v in secure.tls.broker_properties().items() if k not in ("ssl.certificate.location", "ssl.key.location")}
    for properties in ({}, known):
        flags = [a for pair in properties.items() for a in ("-X", "=".join(pair))]
        done = subprocess.run(["kcat", "-b", secure.broker.address, "-L", "-m", "3", *flags], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode, done


def test_a_client_that_knows_the_authority_by_the_variable_of_curl_is_answered(secure, monkeypatch):
    monkeypatch.setenv("CURL_CA_BUNDLE", str(secure.tls.trusted()))
    assert Client(secure.nginx.url, "us").get("/us/health").status == 200
    done = subprocess.run(["curl", "-fsS", f"{secure.nginx.url}/us/health"], capture_output=True, text=True, timeout=20, check=False,
                          env={**os.environ, "CURL_CA_BUNDLE": str(secure.tls.trusted())})
    assert done.returncode == 0, done


# Certificates that are replaced.


def test_certificates_of_all_servers_are_replaced_without_a_lost_request_or_event(secure):
    tls, here = secure.tls, ("localhost", "127.0.0.1")
    tools = {d: d.metrics()["plist_relay_producers_replaced_total"] for d in secure.plistd.values()}
    ids = [secure.new_record("us") for _ in range(8)]
    with Load([secure.front("us"), secure.front("eu")], ids, threads=4) as load:
        for _ in range(2):
            load.wait_accepted(20)
            show(secure.postgres["us"], tls.internal.issue("postgres-us", here))
            tls.broker_client.become(tls.internal.issue("fresh", use="clientAuth"))
            tls.nginx.become(tls.internal.issue("fresh", use="clientAuth"))
            tls.site.become(tls.public.issue("fresh", here))
            for region, daemon in secure.plistd.items():
                tls.plistd[region].become(tls.internal.issue("fresh", ("plistd", *here)))
                mark = daemon.log_mark()
                daemon.reload()
                for words in ("reconnecting to Kafka", "replacing the consumer"):
                    wait_until("its clients of Kafka are new", lambda d=daemon, m=mark, w=words: w in d.log_text(m))
            secure.nginx.reload()
            load.wait_accepted(20)
    assert not load.errors and set(load.statuses) <= {200, 409}, (load.errors, load.statuses)
    secure.settle()
    assert tools == {d: d.metrics()["plist_relay_producers_replaced_total"] for d in secure.plistd.values()}, "no event was undelivered"


@pytest.mark.parametrize("file", ["certificate", "key", "authority", "open key"])
def test_a_file_that_cannot_serve_the_broker_is_refused_by_a_reload(secure, file):
    us, pair = secure.plistd["us"], secure.tls.broker_client
    path = {"certificate": pair.certificate, "key": pair.key, "authority": secure.tls.internal.certificate, "open key": pair.key}[file]
    kept, before, mark = path.read_bytes(), us.reloads(), us.log_mark()
    if file == "open key":
        path.chmod(0o644)
    else:
        path.write_bytes(kept[:len(kept) // 2])
    try:
        us.hangup()
        wait_until("the reload is refused", lambda: us.reloads() == (before[0], before[1] + 1))
        words = {"authority": str(path), "open key": f"kafka.properties.ssl.key.location: {path}: holds secrets but has mode 0644"}
        assert words.get(file, "kafka.properties: ") in us.log_text(mark)
        record = secure.client("us").post(price=5).json["id"]
    finally:
        path.write_bytes(kept)
        pair.key.chmod(0o600)
    secure.wait_version("eu", record, 1)
    assert "has refused the last reload" in secure.admin("status", check=False).stderr
    us.reload()


def test_an_authority_that_replaces_that_of_the_broker_takes_effect_with_a_reload(secure):
    second, bundle = Authority(secure.folder / "tls", "second-ca"), secure.tls.internal.certificate
    bundle.write_bytes(bundle.read_bytes() + second.certificate.read_bytes())
    for daemon in secure.plistd.values():
        daemon.reload()
    secure.broker.secure(second.issue("kafka", ("localhost", "127.0.0.1"), use="serverAuth,clientAuth"), secure.tls.internal, secure.broker.properties_of_clients)
    secure.broker.stop()
    secure.broker.start()
    record = secure.front("us").post(price=5).json["id"]
    secure.wait_version("eu", record, 1)
    assert secure.front("eu").put(record, price=6, version=1).status == 200
    secure.wait_version("us", record, 2)


# The database's certificate.


@pytest.fixture
def wrong(secure, request):
    """The database of us shows a certificate that is wrong in this way to new sessions."""
    postgres, names = secure.postgres["us"], ("localhost", "127.0.0.1")
    other = Authority(secure.folder / "tls", "other-ca")
    good = postgres.pair
    issuer = other if request.param == "authority" else secure.tls.internal
    shown = issuer.issue("wrong", ("other-host",) if request.param == "name" else names, days=-1 if request.param == "expired" else 9)
    show(postgres, shown)
    yield request.param
    show(postgres, good)


def show(postgres, pair):
    """PostgreSQL uses this certificate from now on."""
    postgres.pair = pair
    postgres.take_certificate()
    with psycopg2.connect(postgres.superuser_url + "?sslmode=disable") as connection:
        connection.cursor().execute("SELECT pg_reload_conf()")
    connection.close()

    def shown():
        told = subprocess.run(["openssl", "s_client", "-starttls", "postgres", "-connect", f"127.0.0.1:{postgres.port}"], input="",
                              capture_output=True, text=True, check=False).stdout
        return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=told, capture_output=True, text=True,
                              check=False).stdout.strip() == pair.serial()
    wait_until("PostgreSQL shows the certificate", shown)


WORDS = {"authority": "certificate verify failed", "name": "does not match host name", "expired": "certificate verify failed"}


@pytest.mark.parametrize("wrong", ["authority", "name", "expired"], indirect=True)
def test_a_database_with_a_wrong_certificate_is_refused_with_the_reason_and_gets_no_query(secure, wrong):
    done = secure.admin("migrate", check=False)
    assert done.returncode and WORDS[wrong] in done.stderr and "us" in done.stderr, done
    daemon = secure.second_daemon("us", DATABASE_URL=secure.postgres["us"].url)
    daemon.secure(secure.tls.front())
    try:
        daemon.start()
        reason = daemon.wait_unready(WORDS[wrong])
        assert daemon.log_contains(WORDS[wrong])
        answer = daemon.client.put(1, new_id(), price=7, version=1)
        assert answer.status == 503, (reason, answer)
    finally:
        daemon.stop()

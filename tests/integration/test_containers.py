"""The container files parse, each service has a health check, and each condition can be met. Needs no container engine."""

import re
import shutil
import ssl
import subprocess

import pytest
import yaml

from support import places
from support.plistd import admin

FILES = ("docker-compose.yml", "docker-compose.zookeeper.yml")
TLS = ("docker-compose.yml", "docker-compose.tls.yml")


class Loader(yaml.SafeLoader):
    """YAML with Compose's !override, which replaces a value from an earlier file."""


Loader.add_constructor("!override", lambda loader, node: (
    loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else loader.construct_sequence(node, deep=True)))


def merge(old, new, key=None):
    """Maps and lists of volumes are merged, other values replaced."""
    if isinstance(old, dict) and isinstance(new, dict) and not (key == "environment" and "KAFKA_BROKER_ID" in new):
        return old | {k: merge(old[k], v, k) if k in old else v for k, v in new.items()}
    return old + new if key == "volumes" and "kafka-zookeeper" not in str(new) else new


def services(*files):
    """The services of all files; later files override earlier ones."""
    merged = {}
    for name in files:
        merged = merge(merged, yaml.load((places.TOP / name).read_text(), Loader)["services"])
    return merged


def test_every_part_of_the_chain_is_a_service():
    assert services(FILES[0]).keys() == {"nginx", "kafka", "db-us", "db-eu", "backend-us", "backend-eu", "migrate"}
    assert "zookeeper" in services(*FILES)


@pytest.mark.parametrize("files", [FILES[:1], FILES, TLS], ids=["kraft", "zookeeper", "tls"])
def test_every_service_that_keeps_running_has_a_health_check(files):
    for name, service in services(*files).items():
        assert name in ("migrate", "certificates") or service["healthcheck"]["test"], name


@pytest.mark.parametrize("files", [FILES[:1], FILES, TLS], ids=["kraft", "zookeeper", "tls"])
def test_every_condition_can_come_true(files):
    known = services(*files)
    for name, service in known.items():
        for other, wanted in service.get("depends_on", {}).items():
            if wanted["condition"] == "service_completed_successfully":
                assert known[other]["restart"] == "no", (name, other)
            else:
                assert wanted["condition"] == "service_healthy" and "test" in known[other]["healthcheck"], (name, other)


def test_the_backends_have_the_variables_that_the_daemon_reads():
    for region in ("us", "eu"):
        environment = services(FILES[0])[f"backend-{region}"]["environment"]
        assert environment["REGION"] == region
        assert {"DATABASE_URL", "KAFKA_BROKER", "PORT"} <= environment.keys()
        assert f"@db-{region}:" in environment["DATABASE_URL"]


def test_the_databases_give_plist_plain_roles():
    for region in ("us", "eu"):
        database = services(FILES[0])[f"db-{region}"]
        assert database["environment"].get("POSTGRES_USER", "postgres") != "plist", "the image makes that one a superuser"
        assert "./conf/postgres:/docker-entrypoint-initdb.d:ro" in database["volumes"]
    script = (places.TOP / "conf" / "postgres" / "roles.sh").read_text()
    assert re.findall(r"^CREATE ROLE (\S+) LOGIN", script, re.M) == ["plist", "plist_query"]
    assert "SUPERUSER" not in script


def test_nginx_needs_no_names_to_start_while_a_region_is_down():
    known = services(FILES[0])
    for region in ("us", "eu"):
        address = known[f"backend-{region}"]["networks"]["default"]["ipv4_address"]
        for name in ("nginx", "backend-us", "backend-eu", "migrate"):
            assert known[name]["environment"][f"{region.upper()}_UPSTREAM"] == f"{address}:8000", (name, region)


def test_every_variable_of_the_shipped_yaml_that_has_no_default_is_given():
    values = yaml.safe_dump(yaml.safe_load((places.TOP / "conf" / "plist.yaml").read_text()))  # without the comments
    wanted = set(re.findall(r"\$\{([A-Z_]+)\}", values))
    assert wanted
    for name in ("nginx", "backend-us", "backend-eu", "migrate"):
        assert wanted <= services(FILES[0])[name]["environment"].keys(), name


def test_the_example_environment_names_the_variables_that_compose_asks_for():
    asked = {name for file in TLS for name in re.findall(r"\$\{([A-Z_]+):-", (places.TOP / file).read_text())}
    named = set(re.findall(r"^([A-Z_]+)=", (places.TOP / ".env.example").read_text(), re.M))
    assert asked == named


# TLS.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The folder that the service `certificates` fills."""
    folder = tmp_path_factory.mktemp("certificates")
    for _ in range(2):  # the second time, there is nothing to do
        kept = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        subprocess.run(["sh", places.TOP / "conf" / "tls" / "certificates.sh", folder], check=True, capture_output=True)
    assert kept and kept == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return folder


def given(name, files=TLS):
    """The environment of a service, with the defaults of its variables."""
    return {k: re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(v)) for k, v in services(*files)[name]["environment"].items()}


def test_with_tls_every_service_has_the_files_that_its_settings_name(certificates):
    known = services(*TLS)
    for name in known.keys() - {"certificates"}:
        text = yaml.safe_dump([known[name].get("command", []), known[name]["environment"]])
        if "plist-tls.yaml" in text:
            text += (places.TOP / "conf" / "plist-tls.yaml").read_text().replace("${PLIST_TLS:-/tls}", "/tls")
            assert "./conf/plist-tls.yaml:/etc/plist/plist-tls.yaml:ro" in known[name]["volumes"]
        files = set(re.findall(r"/tls/([a-z/-]+\.(?:crt|key|pem))", text))
        assert files, name
        assert not [file for file in files if not (certificates / file).is_file()], name
        assert "tls:/tls:ro" in known[name]["volumes"] and "certificates" in known[name]["depends_on"], name


def test_the_configuration_with_tls_is_valid_and_nginx_takes_it(certificates, tmp_path):
    environment = given("backend-us") | {"PLIST_TLS": certificates, "PLIST_CLIENTS": "open"}
    config = places.TOP / "conf" / "plist-tls.yaml"
    for name in ("REGION", "PORT", "DATABASE_URL"):
        del environment[name]
    done = admin("config", "check", config=config, environment=environment)
    assert "is valid" in done.stderr and "warning" not in done.stderr, done
    (tmp_path / "nginx.conf").write_text(admin("nginx", config=config, environment=environment | given("nginx")).stdout)
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    done = subprocess.run([nginx, "-t", "-p", f"{tmp_path}/", "-e", "stderr", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_certificate_is_for_the_name_by_which_the_others_reach_its_service(certificates):
    for authority, file, names in (("public-ca", "plist/site", ["localhost"]), ("internal-ca", "plist/plistd", ["plistd"]),
                                   ("internal-ca", "postgres-us/server", ["db-us"]), ("internal-ca", "postgres-eu/server", ["db-eu"]),
                                   ("internal-ca", "kafka/broker", ["kafka"])):
        done = subprocess.run(["openssl", "verify", "-purpose", "sslserver", "-CAfile", certificates / f"{authority}.crt", certificates / f"{file}.crt"],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
        shown = ssl._ssl._test_decode_cert(str(certificates / f"{file}.crt"))
        assert [value for _, value in shown["subjectAltName"]] == names


def test_with_tls_nothing_is_sent_in_the_clear(certificates):
    known = services(*TLS)
    for name in ("nginx", "backend-us", "backend-eu", "migrate"):
        urls = [value for key, value in given(name).items() if key.endswith("DATABASE_URL")]
        assert urls and all("sslmode=verify-full&sslrootcert=/tls/internal-ca.crt" in url for url in urls), name
    listeners = given("kafka")["KAFKA_LISTENERS"].split(",")
    assert all(listener.startswith("SSL://") or "://127.0.0.1:" in listener for listener in listeners)
    hba = [line.split()[0] for line in (places.TOP / "conf" / "tls" / "pg_hba.conf").read_text().splitlines() if line and line[0] != "#"]
    assert set(hba) == {"local", "hostssl"}
    for region in ("us", "eu"):
        command = known[f"db-{region}"]["command"]
        assert "ssl=on" in command and "hba_file=/pg_hba.conf" in command

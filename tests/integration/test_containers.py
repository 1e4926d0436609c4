"""The files for containers, read: they parse, every service is watched, every condition can come true. No engine is needed."""

import re

import pytest
import yaml

from support import places

FILES = ("docker-compose.yml", "docker-compose.zookeeper.yml")


class Loader(yaml.SafeLoader):
    """YAML with Compose's !override, which replaces what an earlier file said."""


Loader.add_constructor("!override", lambda loader, node: (
    loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else loader.construct_sequence(node, deep=True)))


def services(*files):
    """The services of the files together, a later file over an earlier one."""
    merged = {}
    for name in files:
        for service, said in yaml.load((places.TOP / name).read_text(), Loader)["services"].items():
            merged[service] = merged.get(service, {}) | said
    return merged


def test_every_part_of_the_chain_is_a_service():
    assert services(FILES[0]).keys() == {"nginx", "kafka", "db-us", "db-eu", "backend-us", "backend-eu", "migrate"}
    assert "zookeeper" in services(*FILES)


@pytest.mark.parametrize("files", [FILES[:1], FILES], ids=["kraft", "zookeeper"])
def test_every_service_that_stays_is_watched(files):
    for name, service in services(*files).items():
        assert name == "migrate" or service["healthcheck"]["test"], name


@pytest.mark.parametrize("files", [FILES[:1], FILES], ids=["kraft", "zookeeper"])
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


def test_nginx_needs_no_names_to_start_while_a_region_is_away():
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
    asked = set(re.findall(r"\$\{([A-Z_]+):-", (places.TOP / FILES[0]).read_text()))
    named = set(re.findall(r"^([A-Z_]+)=", (places.TOP / ".env.example").read_text(), re.M))
    assert asked == named

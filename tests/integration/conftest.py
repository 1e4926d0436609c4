"""Fixtures of the integration tests: one stack of two regions and one of three, started when first needed and kept for all tests.

PLIST_TEST_BROKER=embedded runs them against the embedded broker; what needs a broker that keeps its data is then skipped.
"""

import os
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support import places  # noqa: E402
from support.stack import Stack  # noqa: E402


def broker_kind():
    return os.environ.get("PLIST_TEST_BROKER") or ("kafka" if places.kafka_jars() else "embedded")


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_kafka: needs a broker that keeps its data, which the embedded one does not")


def pytest_runtest_setup(item):
    """Where Kafka is not to be had such a test is skipped; continuous integration must have it."""
    if "needs_kafka" in item.keywords and broker_kind() == "embedded":
        reason = "Apache Kafka is not here, and the embedded broker keeps nothing"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def _kept(tmp_name, **options):
    """A stack that lives as long as the fixture. What went wrong stays to be looked at with PLIST_KEEP=1."""
    folder = places.data_folder(tmp_name)
    stack = Stack(folder, broker=broker_kind(), **options)
    try:
        yield stack.start()
    finally:
        try:
            stack.stop()
        finally:
            if not os.environ.get("PLIST_KEEP"):
                shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _two_regions():
    yield from _kept("plist-two-")


@pytest.fixture(scope="session")
def _three_regions():
    yield from _kept("plist-three-", regions=("us", "eu", "ap"))


@pytest.fixture
def stack(_two_regions):
    """us and eu, everything up, with the YAML as it stands in conf/. A test may stop what it likes and change what it likes."""
    yield _two_regions.restore()


@pytest.fixture
def stack3(_three_regions):
    """The same with us, eu and ap."""
    yield _three_regions.restore()


@pytest.fixture
def us(stack):
    return stack.client("us")


@pytest.fixture
def eu(stack):
    return stack.client("eu")


def pytest_sessionfinish(session):
    """Leaves the counts where ./run finds them."""
    path = os.environ.get("PLIST_TEST_COUNTS")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if path and reporter:
        count = {name: len(reporter.stats.get(name, [])) for name in ("passed", "failed", "error", "skipped")}
        with open(path, "w", encoding="ascii") as out:
            out.write(f"{count['passed']} {count['failed'] + count['error']} {count['skipped']}\n")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the last lines of every log of its stack."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for name in ("stack", "stack3"):
            stack = item.funcargs.get(name)
            if stack:
                for server in stack.servers():
                    report.sections.append((f"log of {server.name}", server.log_tail(12)))

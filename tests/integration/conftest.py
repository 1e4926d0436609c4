"""Fixtures of the integration tests: a stack of two regions and one of three, started on first use and shared by all tests.

With PLIST_TEST_BROKER=embedded the tests use the embedded broker; tests that need a persistent broker are skipped.
"""

import os
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support import places, process  # noqa: E402
from support.rolling import Rolling  # noqa: E402
from support.stack import Stack  # noqa: E402


def broker_kind():
    return os.environ.get("PLIST_TEST_BROKER") or ("kafka" if places.kafka_jars() else "embedded")


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_kafka: needs a persistent broker; the embedded one keeps nothing")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Failures(config), "plist-failures")


# Files with slow tests come first, so that no worker is left alone with them.
SLOW_FIRST = ("test_workflows.py", "test_rolling_schema.py", "test_restarts.py", "test_broker_disk.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in SLOW_FIRST)


class _Failures:
    """Shows at once why a test failed: a run that is killed never reaches pytest's summary."""

    def __init__(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = f"{crash.path}:{crash.lineno}: {crash.message}" if crash else report.longreprtext
            self.config.pluginmanager.get_plugin("terminalreporter").write_line(f"\n  {report.when}: {reason}"[:2000])


def pytest_runtest_setup(item):
    """Skips tests marked needs_kafka if Kafka is not installed; in continuous integration they fail."""
    if "needs_kafka" in item.keywords and broker_kind() == "embedded":
        reason = "Apache Kafka is not installed, and the embedded broker stores nothing"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def _kept(tmp_name, **options):
    """A stack that lives as long as the fixture. PLIST_KEEP=1 keeps its folder for inspection."""
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


LENT = pytest.StashKey()  # the stacks that a test uses, however it has asked for them


def _lend(request, stack):
    """Restores a shared stack for one test. If that fails or the test does, the next test gets new servers."""
    request.node.stash.setdefault(LENT, []).append(stack)
    return stack.restore()


@pytest.fixture
def stack(request, _two_regions):
    """us and eu, with all servers up and the YAML from conf/. A test may stop and change anything. Dead letters of
    earlier tests are deleted, since they would turn `status` red."""
    restored = _lend(request, _two_regions)
    for region in restored.regions:
        restored.database(region).execute("DELETE FROM plist.dead_letters")
    return restored


@pytest.fixture
def empty(stack):
    """Before the fixtures that are named after it: nothing that other tests have left in the tables is there."""
    stack.renew()


@pytest.fixture
def stack3(request, _three_regions):
    """The same with us, eu and ap."""
    return _lend(request, _three_regions)


@pytest.fixture
def rolling(stack):
    """Changes fields daemon by daemon, and undoes the changes afterwards."""
    rolling = Rolling(stack)
    yield rolling
    rolling.end()


@pytest.fixture
def us(stack):
    return stack.client("us")


@pytest.fixture
def eu(stack):
    return stack.client("eu")


def pytest_sessionfinish(session):
    """Writes the counts for ./run, and the names of failed tests that may be run again: all in which no server has
    crashed. Only the controller does: none of pytest's workers has all of them. A test that failed when it was set up,
    run and cleaned up is one failed test."""
    path = os.environ.get("PLIST_TEST_COUNTS")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not path or not reporter or hasattr(session.config, "workerinput"):
        return
    reports = {name: reporter.stats.get(name, []) for name in ("passed", "failed", "error", "skipped")}
    bad = reports["failed"] + reports["error"]
    red = dict.fromkeys(report.nodeid for report in bad)
    green = {report.nodeid for report in reports["passed"]} - set(red)
    crashed = {report.nodeid for report in bad if report.user_properties}
    pathlib.Path(path + ".failed").write_text("".join(f"{name}\n" for name in red if name not in crashed), encoding="utf-8")
    pathlib.Path(path).write_text(f"{len(green)} {len(red)} {len(reports['skipped'])}\n", encoding="ascii")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test fails, too, if a server has crashed meanwhile. Adds the last lines of all logs of the stack to the report
    of a failed test. The next test gets a new stack."""
    outcome = yield
    report = outcome.get_result()
    ended = process.crashed()
    if ended and not report.failed:
        report.outcome, report.longrepr = "failed", "; ".join(ended)
    if ended:
        report.user_properties.extend(("crashed", name) for name in ended)
        report.sections.append(("crashes", "; ".join(ended)))
    if report.failed:
        for stack in item.stash.get(LENT, ()):
            stack.failed = True
            for server in stack.servers():
                report.sections.append((f"log of {server.name}", server.log_tail(12)))

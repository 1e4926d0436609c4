"""Policies that an operator can trust: refused before they go live, changed while writes go on, looked back on, undone."""

import shutil
import subprocess
from decimal import Decimal

import pytest

from support import places
from support.client import new_id
from support.process import wait_until

COUNTS_CALLS = """
local policy = require "plist.policy"
local calls = 0
return {
  name = "counts_calls", doc = "Remembers how often it was asked.",
  resolve = function(rows) calls = calls + 1; return policy.take(calls % #rows + 1) end,
}
"""


def write_policy(root, name, text):
    (root / "policies" / f"{name}.lua").write_text(text)


@pytest.fixture
def lua(stack, tmp_path):
    """A copy of lua/ for a test to write into; nothing runs on it until a test says so."""
    root = tmp_path / "lua"
    shutil.copytree(places.TOP / "lua", root)
    return root


def on(root, policy=None, **resource):
    """A change of the YAML: this Lua folder, and this policy for properties."""
    def change(config):
        config["lua"]["path"] = str(root)
        if policy:
            resource["policy"] = f"policies/{policy}.lua"
        config["resources"]["properties"].update(resource)
    return change


# The gate.


def test_a_refused_policy_does_not_go_live_by_a_reload(stack, us, lua):
    record = stack.new_record()
    write_policy(lua, "counts_calls", COUNTS_CALLS)
    stack.write_config(on(lua, "counts_calls"))
    daemon = stack.plistd["us"]
    taken, refused = daemon.reloads()
    mark = daemon.log_mark()
    daemon.hangup()
    wait_until("the refusal is counted", lambda: daemon.reloads() == (taken, refused + 1), 20)
    said = daemon.log_text(mark)
    assert "counts_calls.lua is refused for properties" in said, said
    assert us.put(record, price=Decimal("5.00"), version=1).status == 200
    named = stack.admin("policy", "list", "-o", "json", check=False)
    assert "counts_calls" not in daemon.client.get("/metrics").text, named.stdout


def test_a_refused_policy_is_refused_by_the_check_and_at_start(stack, lua):
    write_policy(lua, "counts_calls", COUNTS_CALLS)
    stack.write_config(on(lua, "counts_calls"))
    done = stack.admin("config", "check", check=False)
    assert done.returncode == 1
    assert "is refused for properties" in done.stderr
    for more in (["--check-config"], []):
        argv = [*stack.plistd["us"].argv(), *more]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, env=stack.plistd["us"].environment())
        assert done.returncode == 78, done
        assert "is refused for properties" in done.stderr


def test_a_refused_shadow_is_a_warning(stack, lua):
    write_policy(lua, "counts_calls", COUNTS_CALLS)
    stack.write_config(on(lua, shadow="policies/counts_calls.lua"))
    done = stack.admin("config", "check", check=False)
    assert done.returncode == 0
    assert "warning: the shadow policy policies/counts_calls.lua is refused" in done.stderr


def test_what_was_checked_once_is_not_checked_again(stack, lua):
    write_policy(lua, "counts_calls", COUNTS_CALLS + f"-- {new_id()}\n")
    stack.write_config(on(lua, "counts_calls"))
    before = set((stack.folder / "checked").iterdir())
    stack.admin("config", "check", check=False)
    added = set((stack.folder / "checked").iterdir()) - before
    assert len(added) == 1
    # Were it probed again it would not say this.
    added.pop().write_text("refused by what was remembered.")
    assert "by what was remembered." in stack.admin("config", "check", check=False).stderr

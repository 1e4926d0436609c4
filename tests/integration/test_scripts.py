"""The demonstration scripts, run as a user would run them."""

import os
import subprocess

from support import places


def run(name, **environment):
    return subprocess.run([places.TOP / "tests" / name], capture_output=True, text=True, timeout=600, check=False,
                          env={k: v for k, v in os.environ.items() if k != "NGINX_URL"} | environment)


def test_two_parallel_writes_are_one_200_and_one_409(stack):
    done = run("test_concurrent", NGINX_URL=stack.nginx.url)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_region_that_is_stopped_hard_is_answered_for_by_the_other():
    done = run("demonstrate_failover")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "answered by eu" in done.stdout

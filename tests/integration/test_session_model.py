"""The model of session tokens holds, and finds the faults planted in it (tests/model/session.pml)."""

import subprocess

from support import places


def test_the_model_of_session_tokens_holds_and_finds_planted_faults():
    done = subprocess.run([places.TOP / "tests" / "campaigns" / "session-model", "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == 5

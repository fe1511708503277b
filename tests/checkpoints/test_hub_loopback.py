"""The Hub, both ways: each step of _hub_steps.py, by the real client and a loopback server, in fresh processes."""

import json
import os
import subprocess
import sys

import _hub_steps
import pytest


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Name of each step -> its traceback, or None."""
    place = tmp_path_factory.mktemp("loopback")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    env |= {"HF_HOME": str(place / "home"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    env |= {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    found = {}
    for kind, more in (("online", {}), ("offline", {"HF_HUB_OFFLINE": "1"})):
        out = place / f"{kind}.json"
        done = subprocess.run(
            [sys.executable, _hub_steps.__file__, kind, str(out)],
            env={**env, **more},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        found |= json.loads(out.read_text())
    return found


STEPS = [step.__name__ for kind in ("online", "closed", "offline") for step in _hub_steps.steps_of(kind)]


@pytest.mark.parametrize("step", STEPS)
def test_with_the_real_client(results, step):
    assert results[step] is None, results[step]

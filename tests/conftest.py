"""Settings for all tests."""

import os
from importlib import import_module
from pathlib import Path

# One thread for each test process, before torch is imported: with pytest-xdist as many tests run at once as there are
# cores, and small tensors gain nothing from several threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from minihub import MiniHub, point_client_at

from saltzoo.zoo import registry

pytest.register_assert_rewrite("_proofs")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on loopback for the Hugging Face client of this process, with an empty cache in tmp_path / "hf"."""
    with MiniHub(writers={"secret": ["org"]}) as hub:
        point_client_at(hub.url, monkeypatch, tmp_path / "hf")
        yield hub


@pytest.fixture
def load_benchmark(monkeypatch):
    """Return a function that imports a module of the benchmarks, as a script in their folder would import it."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return import_module


@pytest.fixture
def own_registry(monkeypatch):
    """Let a test register models and weights that no other test sees."""
    monkeypatch.setattr(registry, "_models", dict(registry._models))
    monkeypatch.setattr(registry, "_weights", dict(registry._weights))

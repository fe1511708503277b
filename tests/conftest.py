"""Settings for all tests."""

import os

# One thread for each test process, before torch is imported: with pytest-xdist as many tests run at once as there are
# cores, and small tensors gain nothing from several threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

pytest.register_assert_rewrite("_proofs")

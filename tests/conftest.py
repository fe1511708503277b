"""Failures inside the shared proofs tell their values, as those of a test do."""

import pytest

pytest.register_assert_rewrite("_proofs")

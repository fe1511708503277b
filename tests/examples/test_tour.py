"""The tour: the script runs and says what is true, and the notebook is made from it and runs."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saltzoo

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "tour.py"
NOTEBOOK = SCRIPT.with_suffix(".ipynb")


def run(folder, *words):
    command = [sys.executable, str(SCRIPT), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=600, check=False
    )


def code_of(cells):
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_made_from_the_script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        spec = importlib.util.spec_from_file_location("make_notebook", ROOT / "docs" / "make_notebook.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert NOTEBOOK.read_text(encoding="utf-8") == module.notebook()


def test_the_notebook_holds_the_script_and_no_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = code_of(cells)
    lines = [line for line in SCRIPT.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert [line for line in "\n".join(code[:-1]).splitlines() if line and not line.startswith("#")] == lines
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)
    assert len({cell["id"] for cell in cells}) == len(cells)
    headings = re.findall(r"^# (#+ .+)$", SCRIPT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "markdown")
    assert re.findall(r"^#+ .+$", texts, flags=re.MULTILINE) == headings


@pytest.mark.slow
def test_a_page_that_is_there_is_kept(tmp_path):
    (tmp_path / "tour.png").write_bytes(b"mine")
    done = run(tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: already there: tour.png. Choose another --out, or replace it with --overwrite\n"
    assert (tmp_path / "tour.png").read_bytes() == b"mine"


@pytest.mark.slow
def test_the_script_segments_and_draws(tmp_path):
    done = run(tmp_path, "--out", "pictures/page.png")
    assert (done.returncode, done.stderr) == (0, "")
    score, blank, _ = map(float, re.search(r"score is (\S+); .* score (\S+)\. .* is (\S+)\.\n", done.stdout).groups())
    assert score > blank + 0.2
    assert float(re.search(r"intersection over union (\S+)\.\n", done.stdout)[1]) > 0.8
    assert f"{len(saltzoo.list_models())} models have a name" in done.stdout
    with Image.open(tmp_path / "pictures" / "page.png") as picture:
        page = np.asarray(picture)
    assert page.shape[1] >= 6 * 202
    assert page.shape[0] >= 2 * 202 + 320
    assert (page[..., 0] > page[..., 2] + 60).mean() > 0.02  # orange


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "image/png" in book.cells[-1]["outputs"][0]["data"]
    assert (tmp_path / "tour.png").exists()

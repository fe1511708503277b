"""Commands from a wheel in an empty folder, where only what the wheel requires without extras can be imported."""

import csv
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import segyio
from PIL import Image
from tiny_recipe import RECIPE

import saltzoo
from saltzoo.data import rle_decode, synthetic_tiles

ROOT = Path(__file__).parents[2]

BLOCKER = """
import sys
from importlib.machinery import PathFinder

BLOCKED = {blocked!r}


class Filter:
    find_distributions = staticmethod(PathFinder.find_distributions)
    invalidate_caches = staticmethod(PathFinder.invalidate_caches)

    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else PathFinder.find_spec(name, path, target)


sys.meta_path[:] = [Filter if finder is PathFinder else finder for finder in sys.meta_path]
"""


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def required(names):
    """Names of distributions that these need, without extras."""
    done, todo = set(), {plain(name) for name in names}
    while todo:
        name = todo.pop()
        done.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        todo |= {plain(re.match(r"[\w.-]+", line)[0]) for line in lines if "extra ==" not in line} - done
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A function that runs the command of the unpacked wheel, without what extras bring."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    told = (next((folder / "site").glob("*.dist-info")) / "METADATA").read_text(encoding="utf-8")
    wanted = re.findall(r"^Requires-Dist: ([\w.-]+)(?!.*extra ==)", told, re.MULTILINE)
    assert {"torch", "numpy", "pillow"} <= {plain(name) for name in wanted}
    allowed = required(wanted)
    blocked = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {plain(owner) for owner in owners} & allowed and not module.startswith("_")
    } - {"saltzoo"}
    assert {"scipy", "zarr", "segyio", "xarray", "matplotlib"} <= blocked
    (folder / "site" / "sitecustomize.py").write_text(BLOCKER.format(blocked=blocked))
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "1"}

    def run(*words):
        command = [sys.executable, "-m", "saltzoo", *map(str, words)]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)

    seen = subprocess.run(
        [sys.executable, "-c", "import saltzoo; print(saltzoo.__file__)"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout.startswith(str(folder / "site"))
    return folder, run


@pytest.mark.slow
def test_segy_needs_no_extra(installed):
    folder, run = installed
    for words in (
        ("synthetic", "cube.sgy", "--mask", "truth.sgy", "--shape", 6, 40, 64),
        ("info", "cube.sgy"),
        ("predict", "cube.sgy", "--out", "salt.sgy", "--model", "saltnet_s.wide", "--device", "cpu"),
        ("report", "salt.sgy", "--horizons", "horizons", "--qc", "page.png"),
    ):
        done = run(*words)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    with segyio.open(folder / "salt.sgy") as file:
        assert file.trace.raw[:].shape == (240, 64)
        assert 0 <= file.trace.raw[:].min() < file.trace.raw[:].max() <= 1
    assert (folder / "page.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("report", "a.sgy", "--bodies", "b.csv"), 1, 'pip install "saltzoo[clean]"'),
        (("synthetic", "b.zarr"), 1, "pip install 'saltzoo[zarr]'"),
        (("predict", "a.sgy", "--out", "b.zarr", "--model", "saltnet_s.wide"), 1, "pip install 'saltzoo[zarr]'"),
    ],
)
def test_a_missing_extra_is_one_line(installed, words, status, line):
    folder, run = installed
    if not (folder / "a.sgy").exists():
        assert run("synthetic", "c.sgy", "--mask", "a.sgy", "--shape", 6, 40, 64).returncode == 0
    before = sorted(os.listdir(folder))
    done = run(*words)
    assert done.returncode == status
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(os.listdir(folder)) == before


def write_tiles(folder, tiles, *parts):
    for part in parts:
        (folder / part).mkdir(parents=True)
        for name, picture in zip(tiles.ids, getattr(tiles, part), strict=True):
            Image.fromarray(picture).save(folder / part / f"{name}.png")


@pytest.mark.slow
def test_train_validate_and_submit(installed):
    folder, run = installed
    test = synthetic_tiles(3, seed=2)
    write_tiles(folder / "tgs" / "train", synthetic_tiles(12, seed=1), "images", "masks")
    write_tiles(folder / "tgs" / "test", test, "images")
    (folder / "recipe.toml").write_text(RECIPE)

    def answer(*words):
        done = run(*words, "--data", "tgs", "--device", "cpu", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    trained = answer("train", "recipe.toml", "--fold", 1, "--out", "run")
    model = ("--model", "local-dir:run/model")
    scores = answer("validate", *model)
    assert scores["fold"] == 1
    assert scores["unseen"] == "yes"
    assert scores["salt_map"] == pytest.approx(trained["salt_map"], abs=0.05)
    answer("submit", *model, "--threshold", 0.4, "--out", "answer.csv")
    with open(folder / "answer.csv", newline="", encoding="utf-8") as file:
        rows = {row["id"]: rle_decode(row["rle_mask"], (101, 101)) for row in csv.DictReader(file)}
    assert sorted(rows) == sorted(test.ids)
    found = saltzoo.predict(saltzoo.create_model(f"local-dir:{folder / 'run' / 'model'}"), test.images) > 0.4
    assert found.any()
    for name, mask in zip(test.ids, found, strict=True):
        np.testing.assert_array_equal(rows[name], mask)

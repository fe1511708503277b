"""The wheel and the source archive: what they hold, their size, and whether PyPI takes them."""

import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import saltzoo
from saltzoo.zoo.catalog import WEIGHTS

ROOT = Path(__file__).parents[1]
FOLDERS = ("saltzoo", "tests", "docs", "examples", "benchmarks")
MB = 10**6
SUFFIXES = {".py", ".typed", ".safetensors", ".json", ".md"}
"""Of files in the wheel beside its metadata."""
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(1, 10))}
"""Names that Windows keeps for itself, with any suffix."""


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(dist):
    """Sizes of the files in the wheel by name."""
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as file:
        return {one.filename: one.file_size for one in file.infolist()}


@pytest.fixture(scope="module")
def sdist(dist):
    """Sizes of the files in the source archive by name, without its folder."""
    with tarfile.open(next(dist.glob("*.tar.gz"))) as file:
        members = [one for one in file if not one.isdir()]
    assert all(one.isfile() for one in members)
    assert {PurePosixPath(one.name).parts[0] for one in members} == {f"saltzoo-{saltzoo.__version__}"}
    return {one.name.partition("/")[2]: one.size for one in members}


def sources():
    """Names of the package's files in the repository, with their sizes."""
    files = [path for path in (ROOT / "saltzoo").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in files}


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_licence_alone(wheel):
    metadata = f"saltzoo-{saltzoo.__version__}.dist-info"
    of_package = {name: size for name, size in wheel.items() if not name.startswith(f"{metadata}/")}
    assert of_package == sources()
    assert {PurePosixPath(name).suffix for name in of_package} == SUFFIXES
    assert "saltzoo/py.typed" in of_package
    assert set(wheel) - set(of_package) == {
        f"{metadata}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }


@pytest.mark.slow
def test_the_wheel_holds_the_weights_of_the_catalog(wheel):
    folders = {PurePosixPath(name).parts[2] for name in wheel if name.startswith("saltzoo/pretrained/")}
    assert folders == {spec.name for spec in WEIGHTS}
    for folder in folders:
        tensors = [name for name in wheel if name.startswith(f"saltzoo/pretrained/{folder}/") and "safetensors" in name]
        assert tensors
        assert min(wheel[name] for name in tensors) > MB / 2  # and not a pointer to a large file


@pytest.mark.slow
def test_nothing_is_large_by_mistake(dist, wheel, sdist):
    for archive in dist.iterdir():
        assert archive.stat().st_size < 100 * MB  # the limit of PyPI
    for name, size in {**wheel, **sdist}.items():
        assert size < (30 * MB if name.endswith(".safetensors") else MB), name


@pytest.mark.slow
def test_the_source_archive_has_what_git_has_and_its_tests_can_run(sdist):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository")
    tracked = {name for name in listed.stdout.splitlines() if not name.startswith(".") or name == ".gitignore"}
    assert tracked - set(sdist) == set()
    assert {name for name in sdist if "__pycache__" in name or name.startswith((".venv", "dist/", "runs/"))} == set()
    assert {"PKG-INFO", "pyproject.toml", "LICENSE", "tests/conftest.py", "saltzoo/py.typed"} <= set(sdist)


@pytest.mark.parametrize("repository", ["", "someone/saltzoo"])
def test_the_readme_of_pypi_has_no_relative_links(repository):
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = hook.with_absolute_links(text, repository)
    relative = re.findall(r"\]\((?!https://)", text)
    assert len(relative) > 20
    assert re.findall(r"\]\((?!https://)", found) == []
    if not repository:
        assert "](https://github.com" not in found
        assert "![" not in found
        assert "*Left" not in found
        assert "[training](" in text
        assert " training," in found
        return
    ours = re.findall(
        r"\]\(https://(?:raw\.githubusercontent|github)\.com/someone/saltzoo/(?:blob/)?HEAD/([^)]+)\)", found
    )
    assert len(ours) == len(relative)
    assert all((ROOT / path).is_file() for path in ours)
    assert found.count("![") == 1
    assert "![A synthetic section" in found
    assert "(https://raw.githubusercontent.com/someone/saltzoo/HEAD/docs/pictures/section.jpg)" in found
    assert hook.addresses(repository)["Documentation"] == "https://someone.github.io/saltzoo/"


@pytest.mark.slow
def test_twine_takes_both(dist):
    if importlib.util.find_spec("twine") is None:
        pytest.skip("twine is not installed")
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())]
    done = subprocess.run(check, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_names_of_files_suit_windows():
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    assert len(names) > 300
    assert {name for name in names if set(name) & set('<>:"\\|?*') or name.endswith((".", " "))} == set()
    assert {name for name in names if DEVICES & {part.split(".")[0].lower() for part in name.split("/")}} == set()
    assert len({name.lower() for name in names}) == len(set(names))
    assert max(map(len, names)) < 160  # of 260 with the folder


def test_importing_the_package_imports_next_to_nothing():
    code = "import sys; before = set(sys.modules); import saltzoo; print(*sorted(set(sys.modules) - before))"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["saltzoo", "saltzoo._version"]

"""Which folders may import which, where heavy libraries are imported, and what the public names are."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import saltzoo

ROOT = Path(saltzoo.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

GROUND = {"_checks", "_config", "_files", "_torch", "_version", "contracts", "preprocess"}
"""Files at the top that every folder may import. They import only each other."""

MAY = {
    "layers": set(),
    "losses": {"encoders"},  # VGG19 of the topology loss
    "metrics": set(),
    "seismic": {"draw"},
    "data": {"seismic"},
    "draw": set(),
    "encoders": {"layers"},
    "decoders": {"layers"},
    "heads": {"layers"},
    "models": {"encoders", "decoders", "heads", "layers"},
    "checkpoints": set(),
    "zoo": {"checkpoints", "models"},
    "inference": {"metrics", "zoo"},
    "deploy": {"layers", "models", "zoo"},
    "convert": {"checkpoints", "models", "zoo"},
    "benchmark": {"deploy", "losses", "zoo"},
    "training": {"checkpoints", "data", "draw", "inference", "layers", "losses", "metrics", "models", "seismic", "zoo"},
    "cli": {
        "benchmark",
        "checkpoints",
        "data",
        "deploy",
        "draw",
        "inference",
        "metrics",
        "models",
        "seismic",
        "training",
        "zoo",
    },
}
"""The folders that a folder may import besides itself and GROUND. A new folder needs a row."""


def folder_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path):
    """Yield (module, name or None) for every import in a file, at its top or in a function, with absolute names."""
    package = ["saltzoo", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def folders_imported(path):
    for module, name in imports_of(path):
        parts = module.split(".")
        if parts[0] == "saltzoo":
            yield parts[1] if len(parts) > 1 else (name or "__init__")


def importers_of(*libraries):
    return {
        str(path.relative_to(ROOT))
        for path in FILES
        if any(module.split(".")[0] in libraries for module, _ in imports_of(path))
    }


def test_imports_are_found():
    assert ("saltzoo.contracts", "FeatureSpec") in set(imports_of(ROOT / "encoders" / "timm" / "encoder.py"))
    assert ("timm", None) in set(imports_of(ROOT / "encoders" / "timm" / "encoder.py"))
    assert set(folders_imported(ROOT / "checkpoints" / "folder.py")) == {
        "_checks",
        "_version",
        "checkpoints",
        "preprocess",
    }
    assert "contracts" in set(folders_imported(ROOT / "models" / "segmenter.py"))


def test_files_import_only_what_the_table_allows():
    assert {folder_of(path) for path in FILES} == {*MAY, *GROUND, "__init__", "__main__"}
    forbidden = {}
    for path in FILES:
        folder = folder_of(path)
        if folder not in ("__init__", "__main__"):
            allowed = GROUND if folder in GROUND else MAY[folder] | GROUND | {folder}
            forbidden[path.relative_to(ROOT).as_posix()] = set(folders_imported(path)) - allowed
    assert {path: folders for path, folders in forbidden.items() if folders} == {}


def test_the_top_is_small():
    entries = {"__init__.py", "__main__.py"}  # of the package and of the command: they hold no code that others import
    assert len([path for path in ROOT.glob("*.py") if path.name not in entries]) <= 8


def test_the_table_has_no_cycle():
    done = set()
    while ready := {folder for folder, may in MAY.items() if folder not in done and may <= done}:
        done |= ready
    assert done == set(MAY)


def test_each_heavy_library_is_imported_in_one_place():
    assert importers_of("timm") == {f"encoders/timm/{name}.py" for name in ("encoder", "same_padding", "weights")}
    assert importers_of("scipy") == {"inference/clean.py", "seismic/bodies.py"}
    assert importers_of("safetensors") == {"checkpoints/folder.py"}
    assert importers_of("huggingface_hub") == {f"checkpoints/hub/{name}.py" for name in ("client", "fetch", "push")}
    assert importers_of("distributed", "dask") == {"cli/survey_dask.py"}
    assert importers_of("zarr") == {"seismic/zarr_store.py", "seismic/zarr_writer.py"}
    assert (
        importers_of("segyio", "torchvision", "segmentation_models_pytorch", "pickle", "requests", "matplotlib")
        == set()
    )


def calls_of(path):
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Call)]


def test_nothing_unpickles():
    doors = ("torch.load", "np.load", "numpy.load")
    calls = {(path.relative_to(ROOT).as_posix(), ast.unparse(call.func)) for path in FILES for call in calls_of(path)}
    assert ("checkpoints/hub/fetch.py", "hf_hub_download") in calls
    places = {
        "checkpoints/state_dict.py",
        "training/resume.py",
    }  # weights of other software; the state of a training run
    assert {(path, name) for path, name in calls if name in doors} == {(place, "torch.load") for place in places}
    for place in places:
        (load,) = [call for call in calls_of(ROOT / place) if ast.unparse(call.func) == "torch.load"]
        assert "weights_only=True" in [ast.unparse(keyword) for keyword in load.keywords]


def loaded_after(code):
    code += "; import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return set(done.stdout.splitlines()[-1].split())


def test_listing_imports_nothing_heavy():
    modules = loaded_after(
        "import saltzoo; assert saltzoo.list_models(); assert saltzoo.is_model('unet'); dir(saltzoo)"
    )
    assert "saltzoo" in modules
    assert modules.isdisjoint({"torch", "timm", "numpy", "huggingface_hub", "safetensors", "PIL"})


def test_segmenting_a_survey_loads_neither_timm_nor_the_compiler():
    """They take 200 MiB and seconds; networks with an encoder of timm load them when they are built."""
    modules = loaded_after("import saltzoo.cli.loading, saltzoo.cli.survey, saltzoo; saltzoo.create_model('saltnet_s')")
    assert {"torch", "numpy"} <= modules
    assert modules.isdisjoint({"timm", "torchvision", "triton", "sympy", "scipy", "zarr", "distributed", "onnx"})


@pytest.mark.parametrize("name", saltzoo.__all__)
def test_every_public_name_exists_and_is_listed(name):
    assert getattr(saltzoo, name) is not None
    assert name in dir(saltzoo)
    module = saltzoo._MODULE_OF.get(name)
    if module:
        assert getattr(saltzoo, name) is getattr(import_module(f"saltzoo.{module}"), name)


def test_public_names_are_sorted_and_complete():
    assert len(set(saltzoo.__all__)) == len(saltzoo.__all__)
    assert set(saltzoo.__all__) == {*saltzoo._MODULE_OF, *saltzoo._SUBPACKAGES, "__version__"}


@pytest.mark.parametrize("name", ["no_such_name", "torch", "Timm"])
def test_other_names_raise_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module 'saltzoo' has no attribute {name!r}"):
        getattr(saltzoo, name)


@pytest.mark.parametrize(
    "package",
    [
        "layers",
        "losses",
        "metrics",
        "data",
        "encoders",
        "decoders",
        "heads",
        "inference",
        "models",
        "training",
        "seismic",
    ],
)
def test_every_name_of_a_package_exists(package):
    module = import_module(f"saltzoo.{package}")
    assert module.__doc__
    for name in module.__all__:
        assert getattr(module, name) is not None

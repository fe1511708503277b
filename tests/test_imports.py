"""Who may import whom, and what importing costs."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import saltzoo

ROOT = Path(saltzoo.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

MAY = {
    "spec": set(),
    "features": set(),
    "output": set(),
    "preprocess": set(),
    "card": set(),
    "draw": set(),
    "annotations": set(),
    "arguments": set(),
    "precision": set(),
    "layers": {"arguments", "precision"},
    "machine": set(),
    "losses": {"arguments", "encoders", "output", "precision"},
    "metrics": {"arguments"},
    "data": set(),
    "catalog": {"spec"},
    "registry": {"catalog", "spec"},
    "encoders": {"features", "layers"},
    "decoders": {"features", "layers"},
    "heads": {"layers"},
    "models": {"encoders", "decoders", "heads", "layers", "preprocess", "features", "output"},
    "checkpoint": {"preprocess", "__version__"},
    "saving": {"arguments", "card", "checkpoint", "preprocess", "__version__"},
    "hub": {"card", "checkpoint", "saving", "__version__"},
    "sources": {"checkpoint", "hub", "registry", "spec", "__version__"},
    "fit": {"preprocess"},
    "costs": {"models"},
    "building": {"annotations", "models", "registry"},
    "factory": {"building", "checkpoint", "fit", "models", "registry", "sources", "__version__"},
    "inference": {"models", "output"},
    "training": {
        "annotations",
        "arguments",
        "checkpoint",
        "data",
        "draw",
        "factory",
        "inference",
        "layers",
        "losses",
        "machine",
        "metrics",
        "models",
        "output",
        "registry",
        "saving",
        "sources",
    },
    "convert": {"checkpoint", "factory", "fit", "models"},
    "cli": {"checkpoint", "costs", "factory", "hub", "registry", "sources", "spec", "__version__"},
}
"""Top-level room -> the rooms of saltzoo that it may import besides itself. A new room needs a row."""


def room_of(path):
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports_of(path):
    """Absolute dotted names of everything a file imports, wherever in it: (module, name or None)."""
    package = ["saltzoo", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def rooms_imported(path):
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


def test_the_parser_of_imports_sees_them():
    assert ("saltzoo.features", "FeatureSpec") in set(imports_of(ROOT / "encoders" / "timm.py"))
    assert ("timm", None) in set(imports_of(ROOT / "encoders" / "timm.py"))
    assert set(rooms_imported(ROOT / "checkpoint.py")) == {"__version__", "preprocess"}
    assert set(rooms_imported(ROOT / "models" / "segmenter.py")) == {"output", "preprocess"}


@pytest.mark.parametrize(
    "path", [p for p in FILES if p != ROOT / "__init__.py"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_go_one_way(path):
    room = room_of(path)
    assert room in MAY, f"{room} is new: say in MAY what it may import"
    assert set(rooms_imported(path)) - {room} <= MAY[room]


def test_every_rule_is_of_a_room_that_is_there():
    assert {room_of(path) for path in FILES} - {"__init__"} == set(MAY)


def test_each_heavy_library_has_one_door():
    assert importers_of("timm") == {"encoders/timm.py"}
    assert importers_of("safetensors") == {"checkpoint.py"}
    assert importers_of("huggingface_hub") == {"hub/client.py", "hub/fetch.py", "hub/push.py"}
    assert importers_of("torchvision", "segmentation_models_pytorch", "pickle", "requests", "matplotlib") == set()


def calls_of(path):
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Call)]


def test_nothing_unpickles():
    doors = ("torch.load", "np.load", "numpy.load")
    calls = {(path.relative_to(ROOT).as_posix(), ast.unparse(call.func)) for path in FILES for call in calls_of(path)}
    assert ("hub/fetch.py", "hf_hub_download") in calls
    places = {"convert/state_dict.py", "training/state.py"}  # tensors of any making; a run's own state
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


def test_listing_loads_nothing_heavy():
    modules = loaded_after(
        "import saltzoo; assert saltzoo.list_models(); assert saltzoo.is_model('unet'); dir(saltzoo)"
    )
    assert "saltzoo" in modules
    assert modules.isdisjoint({"torch", "timm", "numpy", "huggingface_hub", "safetensors", "PIL"})


@pytest.mark.parametrize("name", saltzoo.__all__)
def test_every_public_name_is_there_and_is_listed(name):
    assert getattr(saltzoo, name) is not None
    assert name in dir(saltzoo)
    module = saltzoo._MODULE_OF.get(name)
    if module:
        assert getattr(saltzoo, name) is getattr(import_module(f"saltzoo.{module}"), name)


def test_public_names_are_sorted_and_complete():
    assert len(set(saltzoo.__all__)) == len(saltzoo.__all__)
    assert set(saltzoo.__all__) == {*saltzoo._MODULE_OF, *saltzoo._SUBPACKAGES, "__version__"}


@pytest.mark.parametrize("name", ["no_such_name", "torch", "Timm"])
def test_what_is_not_public_is_not_there(name):
    with pytest.raises(AttributeError, match=f"module 'saltzoo' has no attribute {name!r}"):
        getattr(saltzoo, name)


@pytest.mark.parametrize(
    "package", ["layers", "losses", "metrics", "data", "encoders", "decoders", "heads", "models", "training"]
)
def test_every_name_of_a_package_is_there(package):
    module = import_module(f"saltzoo.{package}")
    assert module.__doc__
    for name in module.__all__:
        assert getattr(module, name) is not None

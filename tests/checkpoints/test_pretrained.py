"""Bundled weights: their configs and cards, use without a network, and their place in a wheel."""

import csv
import json
import logging
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import saltzoo
from saltzoo.training import Recipe, read_recipe
from saltzoo.zoo.catalog import WEIGHTS
from saltzoo.zoo.sources import BUNDLED

ROOT = Path(__file__).parents[2]
NAMES = [spec.name for spec in WEIGHTS]
MB = 10**6
FILES = {"config.json", "model.safetensors", "README.md"}
ENSEMBLES = {"unet_efficientnet_lite0_scse_hc.tgs_folds": 5}
"""Ensembles, and their numbers of members."""
SINGLE = [name for name in NAMES if name not in ENSEMBLES]


def config_of(name):
    return json.loads((BUNDLED / name / "config.json").read_text())


def size_of(name):
    return sum(path.stat().st_size for path in (BUNDLED / name).rglob("*") if path.is_file())


def files_of(name):
    """Return the names of the files in the folder of weights, as they should be."""
    if name not in ENSEMBLES:
        return FILES
    members = {f"member{number}/{file}" for number in range(ENSEMBLES[name]) for file in FILES}
    return {"config.json", "README.md"} | members


HELD_OUT = (
    "640 tiles, ids 91490404",  # fold 0 by coverage
    "618 tiles, ids d6687bb7",  # fold 0 by id
    "407 tiles, ids 2457f59e",  # fold 0 of synthetic tiles, by id
)


def license_of(name):
    return "apache-2.0" if name.endswith(".synthetic") else "cc-by-nc-4.0"


def data_of(name):
    return "2000 synthetic tiles of saltzoo" if name.endswith(".synthetic") else "TGS Salt Identification Challenge"


def test_they_are_the_weights_of_the_catalog():
    assert {folder.name for folder in BUNDLED.iterdir() if folder.is_dir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_holds_weights_only(name):
    found = {path.relative_to(BUNDLED / name).as_posix() for path in (BUNDLED / name).rglob("*") if path.is_file()}
    assert found == files_of(name)


@pytest.mark.parametrize("name", SINGLE)
def test_a_checkpoint_says_how_it_was_trained(name):
    config = config_of(name)
    assert config["architecture"] == name.partition(".")[0]
    assert config["license"] == license_of(name)
    recipe = read_recipe(ROOT / "examples" / "recipes" / f"{name}.toml")
    assert Recipe.from_saved(config["recipe"]) == replace(recipe, amp="bf16")  # what "auto" meant where they trained
    for metric in config["metrics"]:
        assert metric["data"] == data_of(name)
        assert (metric["fold"], metric["seed"]) == ("0 of 5", recipe.seed)
        assert metric["held_out"] in HELD_OUT
        assert metric["epoch"] == f"{config['recipe']['epochs']} of {config['recipe']['epochs']}"
        assert metric["minutes"] > 0
        assert "torch" in metric["machine"]
    card = (BUNDLED / name / "README.md").read_text()
    assert f'license: "{license_of(name)}"' in card
    assert "create_model(" in card


@pytest.mark.parametrize("name", ENSEMBLES)
def test_members_of_an_ensemble_were_trained_on_one_fold_each(name):
    members = [config_of(f"{name}/member{number}") for number in range(ENSEMBLES[name])]
    assert [member["recipe"]["fold"] for member in members] == list(range(ENSEMBLES[name]))
    assert len({metric["held_out"] for member in members for metric in member["metrics"]}) == ENSEMBLES[name]
    assert config_of(name)["license"] == "cc-by-nc-4.0"
    assert "each" in config_of(name)["metrics"][0]["fold"]


@pytest.mark.parametrize("name", [name for name in NAMES if license_of(name) != "apache-2.0"])
def test_scores_are_those_of_the_validation(name):
    card = {metric["name"]: metric["value"] for metric in config_of(name)["metrics"]}
    with open(ROOT / "benchmarks" / "results" / "validate_cpu.csv", newline="") as file:
        lines = [row for row in csv.DictReader(file) if row["model"] == name and row["data"] != "synthetic"]
    validated = {row["tta"]: float(row["salt_map"]) for row in lines}
    assert card == {
        "salt_map": pytest.approx(validated["none"], abs=2e-4),
        "salt_map_hflip": pytest.approx(validated["hflip"], abs=2e-4),
    }


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("saltnet_m.tgs", 0.835),
        ("saltnet_s.tgs3", 0.83),
        ("saltnet_s.tgs2", 0.82),
        ("saltnet_s.wide2", 0.825),
        ("saltnet_s.wide", 0.82),
        ("saltnet_s.sections", 0.72),
        ("saltnet_s.tgs", 0.805),
        ("unet_efficientnet_lite0_scse_hc.tgs", 0.82),
        ("unet_efficientnet_lite0_scse_hc.tgs_folds", 0.828),
        ("unet_resnet34_scse.tgs2", 0.799),
    ],
)
def test_they_reach_a_score(name, least):
    (metric,) = [metric for metric in config_of(name)["metrics"] if metric["name"] == "salt_map_hflip"]
    assert metric["value"] >= least


def test_salt_larger_than_a_tile_is_found_by_the_weights_for_sections():
    section, truth = saltzoo.data.synthetic_tile(3, size=360)
    found = {}
    for tag in ("sections", "wide2"):
        mask = saltzoo.predict_tiled(saltzoo.create_model(f"saltnet_s.{tag}", pretrained=True), section) > 0.5
        found[tag] = (mask & truth).sum() / (mask | truth).sum()
    assert found["sections"] > 0.95
    assert found["wide2"] < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_loading_says_that_they_are_bundled(name, caplog):
    caplog.set_level(logging.INFO, logger="saltzoo")
    model = saltzoo.create_model(name, pretrained=True)
    assert f"weights of {name}: bundled with saltzoo {saltzoo.__version__}" in caplog.text
    assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values() if tensor.is_floating_point())
    if name in SINGLE:
        assert model.config.model_args == config_of(name)["model_args"]


def test_a_name_without_a_tag_stands_for_its_first_tag():
    first, named = (saltzoo.create_model(name, pretrained=True) for name in ("saltnet_s", "saltnet_s.tgs3"))
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), named.parameters(), strict=True))


def test_they_work_without_a_network(hub):
    hub.close()
    tiles = saltzoo.data.synthetic_tiles(3, seed=0)
    for name in NAMES:
        probabilities = saltzoo.predict(saltzoo.create_model(name, pretrained=True), tiles.images)
        assert 0 < probabilities.mean() < 1
    assert hub.asked() == []


@pytest.mark.slow
def test_a_wheel_holds_all_of_them_and_may_be_published(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        pretrained = {name for name in file.namelist() if "/pretrained/" in name}
    assert pretrained == {f"saltzoo/pretrained/{weights}/{name}" for weights in NAMES for name in files_of(weights)}
    assert wheel.stat().st_size < 100 * MB  # the limit of PyPI


def test_they_stay_small():
    assert max(size_of(name) for name in NAMES if name.startswith("saltnet_s.")) <= 5 * MB
    assert size_of("unet_efficientnet_lite0_scse_hc.tgs") <= 12 * MB
    assert size_of("unet_efficientnet_lite0_scse_hc.tgs_folds") <= 45 * MB
    assert sum(size_of(name) for name in NAMES) <= 100 * MB  # PyPI's limit of a file; a wheel is compressed too
    assert saltzoo.cost(saltzoo.create_model("saltnet_s"), (101, 101)).parameters <= 2_500_000

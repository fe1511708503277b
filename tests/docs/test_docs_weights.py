"""The generated page of weights agrees with checkpoints and results."""

import csv
import importlib.util
import json
import re
from pathlib import Path

import pytest

import saltzoo
from saltzoo.zoo.sources import BUNDLED

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "results" / "weights.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = saltzoo.list_models(pretrained=True)


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        spec = importlib.util.spec_from_file_location("make_weights", DOCS / "make_weights.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def rows_of(text, name):
    lines = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
    return [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in lines]


def validated(name, *, synthetic=False):
    with open(ROOT / "benchmarks" / "results" / "validate_cpu.csv", newline="") as file:
        lines = [row for row in csv.DictReader(file) if row["model"] == name]
    return {row["tta"]: row for row in lines if (row["data"] == "synthetic") == synthetic}


def test_pages_are_up_to_date(script):
    assert script.page() == PAGE
    assert script.readme() == README


def sections_of(name):
    with (ROOT / "benchmarks" / "results" / "sections_cpu.csv").open(newline="") as file:
        return [line for line in csv.DictReader(file) if line["model"] == name]


@pytest.mark.parametrize("name", NAMES)
def test_the_page_describes_weights(name):
    made, plain, mirrored, *others = rows_of(PAGE, name)
    model = saltzoo.create_model(name, pretrained=True)
    config = json.loads((BUNDLED / name / "config.json").read_text())
    assert made[0] == f"{sum(p.numel() for p in model.parameters()):,}"
    assert made[1] == f"{sum(file.stat().st_size for file in (BUNDLED / name).rglob('*.safetensors')) / 1e6:.1f}"
    assert made[2] == ("apache-2.0" if name.endswith(".synthetic") else "cc-by-nc-4.0")
    assert made[4] == str(config["recipe"]["epochs"])
    keys = ("salt_map", "iou", "dice", "empty", "nonempty")
    for row, line in ((plain, validated(name)["none"]), (mirrored, validated(name)["hflip"])):
        assert row[:2] == [line["fold"], line["tta"]]
        assert row[2:7] == [f"{float(line[key]):.4f}" for key in keys]
    lines = validated(name, synthetic=True)
    assert others[:2] == [[tta, *(f"{float(lines[tta][key]):.4f}" for key in keys)] for tta in ("none", "hflip")]
    assert others[2:] == [
        [
            *(line[key] for key in ("tile", "side", "with_salt")),
            *(f"{float(line[key]):.3f}" for key in ("iou", "median_iou")),
            line["without_salt"],
            f"{100 * float(line['false_alarms']):.1f}%",
        ]
        for line in sections_of(name)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_has_the_same_scores(name):
    (row,) = rows_of(README, name)
    assert row[2:4] == [f"{float(validated(name)[tta]['salt_map']):.4f}" for tta in ("none", "hflip")]


def test_commands_name_existing_recipes():
    recipes = re.findall(r"--recipe (\S+)", PAGE)
    scripts = re.findall(r"python (examples/train_\S+) --data DIR --out runs/(\S+)", PAGE)
    named = [Path(recipe).stem for recipe in recipes] + [name for _, name in scripts]
    assert sorted(named) == [name for name in NAMES if not name.endswith("_folds")]
    assert all((ROOT / file).exists() for file in (*recipes, *(script for script, _ in scripts)))


def test_content_goes_between_its_marks(script):
    text = "a\n<!-- x -->\nold\n<!-- y -->\nb\n"
    assert script.between(text, ("<!-- x -->\n", "<!-- y -->"), "new\n") == text.replace("old", "new")
    for wrong in (text.replace("y", "x"), text + "<!-- y -->", "b"):
        with pytest.raises(ValueError, match="each once"):
            script.between(wrong, ("<!-- x -->\n", "<!-- y -->"), "new\n")


def test_weights_without_scores_stop_the_generator(script):
    with pytest.raises(ValueError, match=r"no scores of saltnet_s\.tgs: run python benchmarks/validate\.py"):
        script.scores_of("saltnet_s.tgs", [])

"""Generated pages agree with the code: the page of models, and what all pages share."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saltzoo
from saltzoo import create_model
from saltzoo.zoo.catalog import SOURCES
from saltzoo.zoo.registry import find_model

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "models.md").read_text(encoding="utf-8")
NAMES = saltzoo.list_models()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.partition("## Names")[2].splitlines()
    if line.startswith("| `")
]
MODELS = {row[0].strip("`"): [*row[1:8], row[9]] for row in ROWS if len(row) == 10}  # without the exports
LIGHT = ["saltnet_s", "saltnet_m", "resunet_101", "frrn_a", "unet_resnet34_scse_hc", "unet_mobilenetv4_conv_small"]


@pytest.fixture(scope="module")
def script():
    """Return a function that loads a module of docs as its scripts import it."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield load


@pytest.fixture(scope="module")
def generator(script):
    return script("make_models")


def test_every_name_has_a_row():
    assert list(MODELS) == NAMES
    assert f"{len(NAMES)} models have a name" in PAGE


@pytest.mark.parametrize("name", LIGHT)
def test_numbers_are_those_of_the_model(name):
    with torch.device("meta"):
        model = create_model(name)
    millions, gflops, smallest, *_ = MODELS[name]
    assert float(millions) == pytest.approx(sum(p.numel() for p in model.parameters()) / 1e6, abs=0.006)
    assert smallest == "32"
    assert float(gflops) == pytest.approx(saltzoo.cost(model, (101, 101)).flops / 1e9, abs=0.006)


def test_smaller_images_than_the_smallest_are_refused():
    model = create_model("unet_inception_v4").eval()
    side = int(MODELS["unet_inception_v4"][2])
    with torch.no_grad():
        assert model(torch.randn(1, 1, side, side)).shape == (1, 1, side, side)
        with pytest.raises(ValueError, match=f"can't take images of {side - 1} x {side - 1}"):
            model(torch.randn(1, 1, side - 1, side - 1))


@pytest.mark.parametrize(
    ("name", "attention", "heads"),
    [
        ("unet", "", ""),
        ("unet_resnet34_bam_hc_ds_cls", "bam", "hc, ds, cls fused"),
        ("unet_resnet34_scse_ds", "scse", "ds"),
        ("saltnet_s", "scse", "hc"),
        ("pspunet_small_scse_gum", "scse", "aux"),
        ("frrn_b", "", ""),
    ],
)
def test_a_row_names_attention_and_heads(name, attention, heads):
    assert MODELS[name][3:5] == [attention, heads]


@pytest.mark.parametrize("name", NAMES)
def test_papers_and_sources_are_those_of_the_catalog(name):
    *_, paper, source, options = MODELS[name]
    links = re.findall(r"\[([\d.]+)\]\(https://arxiv\.org/abs/([\d.]+)\)", paper)
    assert "arXiv " * bool(links) + ", ".join(number for number, _ in links) == find_model(name).paper.replace(
        ", arXiv", ","
    )
    assert all(number == target for number, target in links)
    assert source == find_model(name).source
    family = re.fullmatch(r"\[`(\w+)`\]\(#options-of-\1\)", options)[1]
    assert find_model(family).builder == find_model(name).builder
    assert f"\n## Options of `{family}`\n" in PAGE


def test_sources_have_a_legend():
    assert {row[6] for row in MODELS.values()} == {"", *SOURCES}
    assert all(f"- **{key}**: {meaning}\n" in PAGE for key, meaning in SOURCES.items())


@pytest.mark.parametrize("builder", sorted({find_model(name).builder for name in NAMES}))
def test_every_option_is_listed_with_its_default(builder):
    name = next(name for name in NAMES if find_model(name).builder == builder)
    family = re.search(r"#options-of-(\w+)", MODELS[name][-1])[1]
    section = PAGE.partition(f"## Options of `{family}`\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| (.+) \|$", section, flags=re.MULTILINE)
    parameters = inspect.signature(find_model(name).load_builder()).parameters
    assert [option for option, _, _ in rows] == list(parameters)
    for option, default, description in rows:
        value = parameters[option].default
        assert default == (f'"{value}"' if isinstance(value, str) else str(value).replace("'", '"'))
        assert len(description) > 10


def test_descriptions_come_from_docstrings(generator):
    class Base:
        """Base.

        Attributes:
            one: of the base, on
                two lines.
            two: of the base.
        """

    class Child(Base):
        """Child.

        Attributes:
            two: of the child: again.

        Raises:
            ValueError: never.
        """

    def builder():
        """Build.

        Args:
            three: an argument.

        Returns:
            four: nothing.
        """

    assert generator.descriptions(Child) == {"one": "of the base, on two lines.", "two": "of the child: again."}
    assert generator.descriptions(builder) == {"three": "an argument."}


def test_an_option_without_a_description_stops_the_generator(generator):
    def builder(*, described=1, undescribed=2):
        """Build.

        Args:
            described: an option.
        """

    with pytest.raises(ValueError, match="undescribed"):
        generator._options_section(builder, "builder")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
def test_python_blocks_run(block):
    names = {}
    exec(compile(block, "models.md", "exec"), names)
    assert names["composed"](torch.zeros(2, 1, 40, 40)).shape == (2, 2, 40, 40)
    assert names["cost"].parameters == sum(p.numel() for p in names["model"].parameters())
    assert names["names"] == [name for name in NAMES if "scse" in name]


def test_check_reports_an_outdated_page(script, tmp_path, monkeypatch, capsys):
    path, write_or_check = tmp_path / "models.md", script("_page").write_or_check

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["make_models.py", *options])
        return write_or_check({path: lambda: "new\n"}, "words")

    assert run("--check") == 1
    assert "models.md is out of date: run python docs/make_models.py" in capsys.readouterr().err
    path.write_text("old\n")
    assert run("--check") == 1
    assert run() == 0
    assert path.read_text() == "new\n"
    assert run("--check") == 0


@pytest.mark.parametrize("name", ["speed", pytest.param("models", marks=pytest.mark.slow)])
def test_a_page_is_up_to_date(script, name):
    module = script(f"make_{name}")
    assert module.page() == module.PAGE.read_text(encoding="utf-8")


def test_a_template_and_its_script_must_agree(script, tmp_path, monkeypatch):
    page = script("_page")
    (tmp_path / "x.md").write_text("$one and $two\n")
    monkeypatch.setattr(page, "TEMPLATES", tmp_path)
    assert page.fill("x.md", {"one": 1, "two": "$one"}) == "1 and $one\n"
    for values in ({"one": 1}, {"one": 1, "two": 2, "three": 3}):
        with pytest.raises(ValueError, match=r"docs/templates/x\.md and its script disagree about t"):
            page.fill("x.md", values)


def test_links_exist():
    pages = [page for page in DOCS.rglob("*.md") if page.parent.name != "templates"]
    assert len(pages) > 20
    for page in pages:
        links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == [], page


def test_paths_in_the_architecture_exist():
    paths = re.findall(
        r"`((?:saltzoo|tests|benchmarks)/[\w./]+)`", (DOCS / "project" / "architecture.md").read_text(encoding="utf-8")
    )
    assert len(paths) > 20
    assert [path for path in paths if "NAME" not in path and not (DOCS.parent / path).exists()] == []


def test_the_picture_of_the_readme_shows_its_tiles(script):
    picture = DOCS / "pictures" / "tiles.png"
    assert picture.stat().st_size < 200_000
    with Image.open(picture) as opened:
        upper = np.asarray(opened)[4 : 4 + 202]
    images = script("make_tiles").tiles().images
    shown = np.stack([upper[::2, 4 + 206 * i : 4 + 206 * i + 202 : 2, 0] for i in range(len(images))])
    np.testing.assert_array_equal(shown, images)

"""Pages of the site: their Python runs, their commands exist, each is in the navigation, links are right."""

import importlib
import importlib.util
import inspect
import re
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import saltzoo
from saltzoo.cli.main import saltzoo as command

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    page.relative_to(DOCS).with_suffix("").as_posix(): page.read_text(encoding="utf-8")
    for page in sorted(DOCS.rglob("*.md"))
    if page.parent.name != "templates"
}
OWN = [  # others are run by the tests of their own
    name
    for name in PAGES
    if name.split("/")[0] in ("start", "howto", "explanation") and name not in ("howto/export", "howto/surveys")
]


def blocks(name, language):
    return re.findall(rf"```{language}\n(.*?)```", PAGES[name], flags=re.DOTALL)


@pytest.fixture(scope="module")
def namespaces(tmp_path_factory):
    """Return a function that runs a page's Python, once, in a folder of its own."""
    done = {}

    def run(name):
        if name not in done:
            done[name] = {}
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("page"))
                for block in blocks(name, "python"):
                    exec(compile(block, name, "exec"), done[name])
                done[name]["files"] = {path.as_posix() for path in Path().rglob("*")}
        return done[name]

    return run


@pytest.mark.parametrize("name", [name for name in OWN if blocks(name, "python")])
def test_python_blocks_run(namespaces, name):
    assert namespaces(name)["files"] >= {
        "start/first_picture": {"sheet.png"},
        "start/own_pictures": {"line_mask.png"},
        "howto/section": {"salt.npy"},
        "howto/adapt": {"cube.sgy", "lines/inline_1004.png", "lines/inline_1012.png", "lines/inline_1020.png"},
        "howto/ensembles": {"both/config.json"},
        "howto/from_smp": {"converted/config.json"},
    }.get(name, set())


def test_numbers_of_the_pages_hold(namespaces):
    empty = namespaces("explanation/empty_masks")
    assert [float(empty[key]) for key in ("score", "worse", "salty")] == [1, 0.5, 1]
    tiles = namespaces("howto/tiles")
    np.testing.assert_array_equal(tiles["mask"], tiles["probabilities"][0] > 0.5)
    assert 0 < namespaces("explanation/tiling")["differ"] < 0.1


def commands_of(text):
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0].rpartition("/")[2] == "saltzoo":
                yield words[1:]


@pytest.mark.parametrize("name", [name for name in PAGES if list(commands_of(PAGES[name]))])
def test_commands_have_their_options(name):
    for subcommand, *words in commands_of(PAGES[name]):
        known = {option for parameter in command.commands[subcommand].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
        for option, value in pairwise(words):
            if option == "--model" and ":" not in value:
                assert value in saltzoo.list_models(pretrained=subcommand != "benchmark") or value.endswith(".onnx")


def test_every_page_is_in_the_navigation():
    shown = {"index"}
    for name, text in PAGES.items():
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", text, flags=re.DOTALL):
            lines = [line for line in tree.splitlines() if line and not line.startswith(":")]
            shown |= {(Path(name).parent / line).as_posix() for line in lines}
    assert shown == set(PAGES)


def test_every_public_package_has_a_page():
    shown = {found for text in PAGES.values() for found in re.findall(r"automodule:: (\S+)", text)}
    public = {f"saltzoo.{name}" for name in saltzoo.__all__ if inspect.ismodule(getattr(saltzoo, name))}
    assert len(public) > 8
    assert public <= shown


@pytest.fixture(scope="module")
def conf():
    spec = importlib.util.spec_from_file_location("conf", DOCS / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](../../examples/train.py)", "[a](https://github.com/o/n/blob/main/examples/train.py)"),
        ("[a](../../examples/recipes)", "[a](https://github.com/o/n/tree/main/examples/recipes)"),
        ("[a](../make_losses.py)", "[a](https://github.com/o/n/blob/main/docs/make_losses.py)"),
        ("[a](../results/speed.md)", "[a](../results/speed.md)"),
        ("![a](../pictures/tiles.png)", "![a](../pictures/tiles.png)"),
        ("[a](https://x.org)", "[a](https://x.org)"),
    ],
)
def test_links_to_files_lead_to_the_repository(conf, text, expected):
    page = DOCS / "howto" / "training.md"
    assert conf.link_to_repository(page, text, repository="o/n") == expected
    plain = conf.link_to_repository(page, text, repository="")
    assert plain == ("a" if "github.com" in expected else expected)


def test_words_of_the_search_lead_to_pages(conf):
    for name, words in conf.WORDS.items():
        text = conf.with_words(name, PAGES[name])
        added = re.search(r"^# .*\n\n```\{index\} (.+)\n```\n\n", text, flags=re.MULTILINE)
        assert added[1].split(", ") == [f"! {word}" for word in words]
    assert conf.with_words("start/install", "# Install\n") == "# Install\n"


@pytest.mark.parametrize("name", ["folds", "performance", "recipes", "tiling"])
def test_generated_pages_are_up_to_date(monkeypatch, name):
    monkeypatch.syspath_prepend(DOCS)
    spec = importlib.util.spec_from_file_location(f"make_{name}", DOCS / f"make_{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == module.PAGE.read_text(encoding="utf-8")


def test_pages_and_diagrams_of_families_are_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    module = importlib.import_module("make_families")
    members = module.members()
    assert sorted(name for names in members.values() for name in names) == saltzoo.list_models()
    assert {path.stem for path in module.PAGES.glob("*.md")} == set(members)
    path = module.PAGES / "saltnet_s.md"
    assert module.page("saltnet_s", members["saltnet_s"]) == path.read_text(encoding="utf-8")
    diagrams = module.diagrams()
    assert {path.stem for path in diagrams} == set(members)
    assert all(text == path.read_text(encoding="utf-8") for path, text in diagrams.items())


def test_a_diagram_shows_the_maps():
    svg = (DOCS / "pictures" / "networks" / "saltnet_s.svg").read_text(encoding="utf-8")
    found = [int(text) for text in re.findall(r'fill="white" text-anchor="middle">(\d+)<', svg)]
    model = saltzoo.create_model("saltnet_s")
    assert tuple(found[: len(model.encoder.spec.channels)]) == model.encoder.spec.channels


@pytest.mark.parametrize("path", sorted((DOCS / "pictures" / "networks").glob("*.svg")), ids=lambda path: path.stem)
def test_a_line_leads_from_the_coarsest_map_into_the_decoder(path):
    svg = path.read_text(encoding="utf-8")
    blue, orange = (
        [int(y) + 14 for y in re.findall(rf'<rect x="\d+" y="(\d+)"[^>]*fill="{color}"', svg)]
        for color in ("#4C8BBF", "#D9822B")
    )
    beside = f'<line x1="236" y1="{blue[-1]}" x2="392" y2="{blue[-1]}" stroke="#555555"'
    above = f'<path d="M 236 {blue[-1]} H 470 V {orange[0] + 15}"'
    (line,) = [line for line in svg.splitlines() if line.startswith((beside, above))]
    assert line.startswith(beside if blue[-1] == orange[0] else above)
    assert "dasharray" not in line
    assert blue[-1] >= orange[0]


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    build = pytest.importorskip("sphinx.cmd.build")
    assert build.build_main(["-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]) == 0
    assert (tmp_path / "reference" / "api" / "losses.html").exists()

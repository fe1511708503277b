"""Each row of docs/reference/pictures_table.md: an input, written here, and what `saltzoo predict` does with it."""

import re
import struct
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saltzoo
from saltzoo.cli import loading, main, segmenting

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "pictures_table.md"
GRAY = np.random.default_rng(0).integers(3, 256, (40, 60), dtype=np.uint8)
GRAY[0, 0] = 255
FLOAT = GRAY / np.float32(255)
COLOURS = np.stack([GRAY, GRAY[::-1], GRAY], -1)
RANGE = ["--value-range", "0", "1"]
READ, REFUSED, AT_ONCE = 0, 1, 2
"""Exit statuses."""


def save(pixels, name, **options):
    Image.fromarray(pixels).save(name, **options)


def png(name, *chunks):
    parts = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks]
    Path(name).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def rgb16(name):
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.zeros((2, 2, 3), ">u2")))
    png(name, (b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))


def bomb(name):
    png(name, (b"IHDR", struct.pack(">IIBBBBB", 20000, 10000, 8, 0, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b""))


def palette(name, *colours):
    picture = Image.new("P", (60, 40))
    picture.putdata((GRAY.ravel() % len(colours)).tolist())
    picture.putpalette([channel for colour in colours for channel in colour])
    picture.save(name)


def pages(name):
    save(GRAY, name, save_all=True, append_images=[Image.fromarray(GRAY[::-1].copy())])


def large_array(name):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile(name, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)


def on_its_side(name):
    exif = Image.Exif()
    exif[274] = 6
    save(GRAY, name, exif=exif)


def renamed(name):
    save(GRAY, "made.png")
    Path("made.png").rename(name)


def with_sample(value):
    samples = FLOAT.copy()
    samples[2, 3] = value
    return samples


def alpha(opacity):
    return np.dstack([GRAY, GRAY, GRAY, np.full_like(GRAY, opacity)])


LUMINANCE = (COLOURS @ np.array([0.299, 0.587, 0.114])).round()
GRAY_PALETTE = np.array([200, 50, 90])[GRAY % 3]
COLOUR_PALETTE = np.array([60, 50])[GRAY % 2]

ROWS = [
    # input, name of the file, how it is written, options, status, words in the output, gray levels 0..255 or None
    ("PNG, TIFF, PGM of 8 or 16 unsigned bits", "a.png", lambda n: save(GRAY, n), [], READ, "", GRAY),
    ("PNG, TIFF, PGM of 8 or 16 unsigned bits", "a.tif", lambda n: save(GRAY * np.uint16(257), n), [], READ, "", GRAY),
    ("PNG, TIFF, PGM of 8 or 16 unsigned bits", "a.pgm", lambda n: save(GRAY * np.uint16(257), n), [], READ, "", GRAY),
    (
        "16 bits, of which at most 12 are used",
        "a.png",
        lambda n: save(GRAY * np.uint16(16), n),
        [],
        REFUSED,
        "65535 is w",
        None,
    ),
    ("8 bits, at most 1 (a mask)", "a.png", lambda n: save(GRAY // 200, n), [], REFUSED, "where 255 is white", None),
    ("floating point (TIFF, .npy, .npz)", "a.tif", lambda n: save(FLOAT, n), [], REFUSED, "no format defines", None),
    ("floating point (TIFF, .npy, .npz)", "a.npy", lambda n: np.save(n, FLOAT), [], REFUSED, "no format defines", None),
    (
        "floating point (TIFF, .npy, .npz)",
        "a.npz",
        lambda n: np.savez(n, FLOAT),
        [],
        REFUSED,
        "no format defines",
        None,
    ),
    ("floating point with --value-range", "a.tif", lambda n: save(FLOAT, n), RANGE, READ, "", GRAY),
    ("floating point with --value-range", "a.npy", lambda n: np.save(n, FLOAT), RANGE, READ, "", GRAY),
    ("floating point with --value-range", "a.npz", lambda n: np.savez(n, FLOAT), RANGE, READ, "", GRAY),
    (
        "a sample outside --value-range",
        "a.npy",
        lambda n: np.save(n, with_sample(9)),
        RANGE,
        REFUSED,
        "must hold all",
        None,
    ),
    (
        "amplitudes with --normalize survey",
        "a.npy",
        lambda n: np.save(n, FLOAT),
        ["--normalize", "survey"],
        READ,
        "",
        GRAY,
    ),
    ("several pages, or N H W", "a.tif", pages, [], REFUSED, "has 2 pages: pass --page 0 to --page 1", None),
    ("several pages, or N H W", "a.npy", lambda n: np.save(n, np.stack([GRAY] * 2)), [], REFUSED, "has 2 pages", None),
    ("several pages with --page", "a.tif", pages, ["--page", "1"], READ, "", GRAY[::-1]),
    (
        "an .npz file of several arrays",
        "a.npz",
        lambda n: np.savez(n, x=GRAY, y=GRAY),
        [],
        REFUSED,
        "2 arrays (x, y)",
        None,
    ),
    ("an array H W 3", "a.npy", lambda n: np.save(n, COLOURS), [], REFUSED, "seems to hold colours", None),
    ("RGB of equal channels", "a.png", lambda n: save(np.dstack([GRAY] * 3), n), [], READ, "", GRAY),
    (
        "RGB in colours (a screenshot)",
        "a.png",
        lambda n: save(COLOURS, n),
        [],
        READ,
        "warning: a.png is in colours",
        LUMINANCE,
    ),
    ("a palette of grays", "a.png", lambda n: palette(n, (200,) * 3, (50,) * 3, (90,) * 3), [], READ, "", GRAY_PALETTE),
    (
        "a palette of colours",
        "a.png",
        lambda n: palette(n, (200, 0, 0), (50,) * 3),
        [],
        READ,
        "is in colours",
        COLOUR_PALETTE,
    ),
    (
        "CMYK",
        "a.jpg",
        lambda n: Image.new("CMYK", (60, 40)).save(n),
        [],
        REFUSED,
        "colour space CMYK: save it in gray",
        None,
    ),
    ("opaque alpha channel", "a.png", lambda n: save(alpha(255), n), [], READ, "", GRAY),
    ("partly transparent", "a.png", lambda n: save(alpha(254), n), [], REFUSED, "is partly transparent: fill", None),
    ("16 bits in RGB", "a.png", rgb16, [], REFUSED, "of which 8 bits can be read", None),
    (
        "constant",
        "a.png",
        lambda n: save(GRAY * 0 + 7, n),
        [],
        READ,
        "constant, 7 everywhere: its mask means no",
        GRAY * 0 + 7,
    ),
    ("one pixel", "a.png", lambda n: save(GRAY[:1, :1], n), [], READ, "constant", GRAY[:1, :1]),
    (
        "NaN",
        "a.npy",
        lambda n: np.save(n, with_sample(np.nan)),
        RANGE,
        REFUSED,
        "1 samples that are NaN or infinite",
        None,
    ),
    (
        "infinite",
        "a.npy",
        lambda n: np.save(n, with_sample(np.inf)),
        RANGE,
        REFUSED,
        "1 samples that are NaN or inf",
        None,
    ),
    ("an empty file", "a.png", lambda n: Path(n).touch(), [], REFUSED, "cannot be read as a picture", None),
    ("an empty array", "a.npy", lambda n: np.save(n, GRAY[:0]), [], REFUSED, "holds no samples, (0, 60)", None),
    (
        "truncated",
        "a.png",
        lambda n: (save(GRAY, n), Path(n).write_bytes(Path(n).read_bytes()[:900])),
        [],
        REFUSED,
        "give a comp",
        None,
    ),
    (
        "truncated",
        "a.npy",
        lambda n: (np.save(n, GRAY), Path(n).write_bytes(Path(n).read_bytes()[:900])),
        [],
        REFUSED,
        "complete",
        None,
    ),
    ("no picture", "a.png", lambda n: Path(n).write_text("text"), [], REFUSED, "of no known format", None),
    ("a wrong ending", "a.npy", renamed, [], READ, "", GRAY),
    ("a wrong ending", "a.txt", renamed, [], READ, "", GRAY),
    ("a decompression bomb", "a.png", bomb, [], REFUSED, "has more than 178956970 pixels", None),
    (
        "a compressed array that is too large",
        "a.npz",
        large_array,
        [],
        REFUSED,
        "has more than 178956970 samples",
        None,
    ),
    (
        "pickled objects in .npy",
        "a.npy",
        lambda n: np.save(n, np.array([[{}]])),
        [],
        REFUSED,
        "holds Python objects",
        None,
    ),
    ("stored on its side (EXIF)", "a.png", on_its_side, [], READ, "", np.rot90(GRAY, -1)),
    (
        "a folder called NAME.png",
        "*.png",
        lambda n: (Path("a.png").mkdir(), save(GRAY, "b.png")),
        [],
        READ,
        "b.png: ",
        None,
    ),
    ("missing", "a.png", lambda n: None, [], REFUSED, "No such file or directory: 'a.png'", None),
    ("a folder without pictures", ".", lambda n: Path("a.txt").touch(), [], AT_ONCE, "holds no picture", None),
    ("a pattern without matches", "*.tif", lambda n: save(GRAY, "a.png"), [], AT_ONCE, "no file matches '*.tif'", None),
]


@pytest.fixture(autouse=True)
def network(monkeypatch, tmp_path):
    """The probability of salt is the gray level; the working folder is empty."""

    def predict_tiled(model, picture, **how):
        return (picture[:] / (1 if picture.dtype.kind == "f" else np.iinfo(picture.dtype).max)).astype(np.float32)

    monkeypatch.setattr(segmenting, "predict_tiled", predict_tiled)
    monkeypatch.setattr(loading, "create_model", loaded)
    monkeypatch.chdir(tmp_path)


@cache
def loaded(name, *, pretrained):
    return saltzoo.create_model(name, pretrained=pretrained)


def predict(capsys, *words):
    status = main(["predict", *words, "--model", "saltnet_s.tgs", "--out", "out", "--probabilities", "npy"])
    done = capsys.readouterr()
    return status, " ".join((done.out + done.err).split())


@pytest.mark.parametrize(("what", "name", "write", "options", "status", "words", "levels"), ROWS)
def test_a_row(capsys, what, name, write, options, status, words, levels):
    write(name)
    found, printed = predict(capsys, name, *options)
    assert found == status, printed
    assert words in printed
    assert "Traceback" not in printed
    if status != READ:
        assert not Path("out").exists()
    if levels is None:
        return
    probabilities = np.load("out/a_probability.npy")
    np.testing.assert_allclose(probabilities * 255, levels, atol=0.51)
    with Image.open("out/a_mask.png") as mask:
        assert mask.size == (levels.shape[1], levels.shape[0])
        np.testing.assert_array_equal(np.asarray(mask), (probabilities > 0.5) * 255)
    assert ("warning: " in printed) == bool(words)


def test_two_pictures_of_one_name_are_refused_at_once(capsys):
    for name in ("a.png", "A.png", "a.tif"):
        save(GRAY, name)
    for second in ("A.png", "a.tif"):
        status, printed = predict(capsys, "a.png", second)
        assert status == AT_ONCE
        assert f"two pictures have the same name, a.png and {second}" in printed
    assert not Path("out").exists()


def test_an_output_that_is_there_is_refused_at_once(capsys):
    save(GRAY, "a.png")
    Path("out").mkdir()
    Path("out/a_mask.png").write_text("mine")
    status, printed = predict(capsys, "a.png")
    assert status == AT_ONCE
    assert "already there: out/a_mask.png. Choose another --out" in printed
    assert [path.read_text() for path in Path("out").iterdir()] == ["mine"]
    assert predict(capsys, "a.png", "--resume")[0] == READ
    assert Path("out/a_mask.png").read_text() == "mine"
    assert predict(capsys, "a.png", "--overwrite")[0] == READ
    assert Path("out/a_mask.png").read_bytes() != b"mine"


def test_an_output_that_is_an_input_is_refused_at_once(capsys):
    Path("out").mkdir()
    for name in ("a.png", "a_mask.png"):
        save(GRAY, f"out/{name}")
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    for option in ([], ["--overwrite"], ["--resume"]):
        status, printed = predict(capsys, "out", *option)
        assert status == AT_ONCE
        assert "a_mask.png is one of the pictures and would be replaced" in printed
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


def test_every_row_of_the_page_is_tested():
    rows = re.findall(r"^\| (.*?) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)[1:]
    said = dict(rows)
    assert len(said) == len(rows)
    apart = {"two pictures of one name", "an output that is there", "an output that is an input"}
    assert {row[0] for row in ROWS} | apart == set(said)
    for what, *_, status, _words, _levels in ROWS:
        assert said[what].startswith("refused") == (status != READ), what
        assert said[what].startswith("refused at once") == (status == AT_ONCE), what

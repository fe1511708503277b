"""The reader of pictures: each kind of sample means what its format says, or is refused with what to pass."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from saltzoo.seismic import as_uint8, read_mask, read_picture

GRAY = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
UNIT = GRAY / 255
RANGES = {
    "uint8": (GRAY, None, (0, 255)),
    "uint16": (GRAY.astype(np.uint16) * 257, None, (0, 65535)),
    "int16": (GRAY.astype(np.int16) * 100 - 12750, (-12750, 12750), (-12750, 12750)),
    "int32": (GRAY.astype(np.int32) * 1000 - 127500, (-127500, 127500), (-127500, 127500)),
    "uint32": (GRAY.astype(np.uint32) * (2**32 // 255), (0, 255 * (2**32 // 255)), (0, 255 * (2**32 // 255))),
    "int8": ((GRAY.astype(np.int16) - 128).astype(np.int8), (-128, 127), (-128, 127)),
    "float32": ((UNIT * 4 - 2).astype(np.float32), (-2, 2), (-2, 2)),
}
"""By dtype: samples of one picture, the value_range that is needed, and the one that is right."""


def tiff(path, pixels, *, photometric=1, bits=None, tags=()):
    """Write an uncompressed little-endian TIFF file by hand, as Pillow cannot write all kinds of samples."""
    data = pixels.tobytes()
    height, width = pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    entries = {256: width, 257: height, 258: bits or 8 * pixels.itemsize, 259: 1, 262: photometric, 273: 8}
    entries |= {277: samples, 278: height, 279: len(data), 339: kind, **dict(tags)}
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data) + len(data) % 2)
    path.write_bytes(head + data + b"\0" * (len(data) % 2) + struct.pack("<H", len(entries)) + body + bytes(4))
    return path


def write_png(path, chunks):
    parts = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def save(pixels, path, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def unit(picture):
    return picture if picture.dtype == np.float32 else picture / np.iinfo(picture.dtype).max


@pytest.mark.parametrize("dtype", RANGES)
def test_samples_of_every_kind_give_the_same_gray_levels(tmp_path, dtype):
    pixels, needed, right = RANGES[dtype]
    path = tiff(tmp_path / "a.tif", pixels)
    np.testing.assert_allclose(unit(read_picture(path, value_range=right)), UNIT, atol=1e-6)
    if needed is None:
        picture = read_picture(path)
        assert picture.dtype == pixels.dtype
        np.testing.assert_array_equal(picture, pixels)
    else:
        with pytest.raises(ValueError, match=r"a\.tif holds \w+ samples, .* pass value_range=\(BLACK, WHITE\)"):
            read_picture(path)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif", "pgm"])
def test_lossless_formats_of_8_bits_give_their_samples(tmp_path, suffix):
    picture = read_picture(save(GRAY, tmp_path / f"a.{suffix}"))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, GRAY)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_lossless_formats_of_16_bits_give_their_samples(tmp_path, suffix):
    pixels = np.random.default_rng(1).integers(0, 65536, (40, 60), dtype=np.uint16)
    picture = read_picture(save(pixels, tmp_path / f"a.{suffix}"))
    assert picture.dtype == np.uint16
    np.testing.assert_array_equal(picture, pixels)


def test_jpeg_gives_gray_levels_close_to_its_own(tmp_path):
    smooth = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))
    np.testing.assert_allclose(read_picture(save(smooth, tmp_path / "a.jpg", quality=95)), smooth, atol=4)


def test_12_bits_are_scaled_by_their_own_full_scale(tmp_path):
    packed = np.array([[0xFF, 0xF0, 0x01]], np.uint8)  # two samples: 4095 and 1
    path = tiff(tmp_path / "a.tif", packed, bits=12, tags={256: 2}.items())
    np.testing.assert_allclose(read_picture(path), [[1, 1 / 4095]], rtol=1e-6)


def test_a_pgm_of_12_bits_is_scaled_by_its_own_white(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 4095\n" + np.array([4095, 0], ">u2").tobytes())
    np.testing.assert_array_equal(read_picture(tmp_path / "a.pgm"), [[65535, 0]])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_where_the_smallest_sample_is_white_the_picture_is_inverted(tmp_path, dtype):
    pixels, _, right = RANGES[dtype]
    path = tiff(tmp_path / "a.tif", pixels, photometric=0)
    given = None if dtype != "float32" else right
    np.testing.assert_allclose(unit(read_picture(path, value_range=given)), 1 - UNIT, atol=1e-6)


def test_one_bit_is_black_and_white(tmp_path):
    path = save(GRAY > 99, tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(path), np.where(GRAY > 99, np.uint8(255), np.uint8(0)))
    np.testing.assert_array_equal(read_picture(path, value_range=(0, 1)), (GRAY > 99).astype(np.float32))


def test_gray_palettes_colours_and_opaque_alpha_are_read(tmp_path):
    opaque = np.full_like(GRAY, 255)
    Image.fromarray(GRAY).convert("P").save(tmp_path / "palette.png")
    save(np.stack([GRAY] * 3, -1), tmp_path / "rgb.png")
    save(np.stack([GRAY] * 3 + [opaque], -1), tmp_path / "rgba.png")
    save(np.stack([GRAY, opaque], -1), tmp_path / "la.png")
    for name in ("palette", "rgb", "rgba", "la"):
        np.testing.assert_array_equal(read_picture(tmp_path / f"{name}.png"), GRAY, err_msg=name)


def test_a_palette_is_followed(tmp_path):
    indices = Image.new("P", (2, 1))
    indices.putdata([0, 1])
    indices.putpalette([200, 200, 200, 50, 50, 50])
    indices.save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").tolist() == [[200, 50]]


def test_colours_are_refused(tmp_path):
    almost = np.stack([GRAY] * 3, -1)
    almost[3, 4, 2] ^= 1
    save(almost, tmp_path / "rgb.png")
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 50, 50, 50])
    palette.save(tmp_path / "palette.png")
    for name in ("rgb.png", "palette.png"):
        with pytest.raises(ValueError, match=rf"{name} is in colours: save it in gray"):
            read_picture(tmp_path / name)
    for mode, name in (("CMYK", "a.jpg"), ("LAB", "a.tif")):
        Image.new(mode, (4, 4)).save(tmp_path / name)
        with pytest.raises(ValueError, match=f"is in the colour space {mode}: save it in gray"):
            read_picture(tmp_path / name)


def test_transparent_pixels_are_refused(tmp_path):
    alpha = np.full_like(GRAY, 255)
    alpha[0, 0] = 254
    deep = GRAY.astype(np.uint16) * 257
    paths = [
        save(np.stack([GRAY] * 3 + [alpha], -1), tmp_path / "rgba.png"),
        save(np.stack([GRAY, alpha], -1), tmp_path / "la.png"),
        save(GRAY, tmp_path / "gray.png", transparency=int(GRAY[0, 0])),
        save(deep, tmp_path / "deep.png", transparency=int(deep[0, 0])),
        save(GRAY, tmp_path / "a.gif", transparency=int(GRAY[0, 0])),
    ]
    for path in paths:
        with pytest.raises(ValueError, match="is partly transparent: fill"):
            read_picture(path)


def test_16_bits_in_several_channels_are_refused(tmp_path):
    """Pillow reads the upper 8 bits only."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.zeros((2, 2, 3), ">u2"))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    write_png(tmp_path / "a.png", chunks)
    (tmp_path / "a.ppm").write_bytes(b"P6 1 1 65535\n" + bytes(6))
    for name in ("a.png", "a.ppm"):
        with pytest.raises(ValueError, match="has 16-bit samples in the mode RGB, of which 8 bits can be read"):
            read_picture(tmp_path / name)


def test_a_second_sample_that_would_be_dropped_is_refused(tmp_path):
    path = tiff(tmp_path / "a.tif", np.stack([GRAY, GRAY], -1), tags={338: 0}.items())
    with pytest.raises(ValueError, match=r"a\.tif"):
        read_picture(path)


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_a_page_of_several_must_be_chosen(tmp_path, suffix):
    path, pages = tmp_path / f"a.{suffix}", [GRAY, 255 - GRAY, GRAY // 2]
    first, *others = map(Image.fromarray, pages)
    first.save(path, save_all=True, append_images=others, **({"lossless": True} if suffix == "webp" else {}))
    with pytest.raises(ValueError, match=r"has 3 pages: pass page=0 to page=2"):
        read_picture(path)
    for page, pixels in enumerate(pages):
        np.testing.assert_array_equal(read_picture(path, page=page), pixels)
    for page in (3, -1):
        with pytest.raises(ValueError, match=rf"page of .* must be in 0\.\.2, got {page}"):
            read_picture(path, page=page)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_a_picture_stored_on_its_side_is_turned(tmp_path, suffix):
    ramp = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None], 40, axis=0)
    exif = Image.Exif()
    exif[274] = 6  # the first row is the right side
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(ramp).save(path, **({"tiffinfo": {274: 6}} if suffix == "tif" else {"exif": exif}))
    np.testing.assert_allclose(read_picture(path), np.rot90(ramp, -1), atol=6)


def test_samples_beyond_the_range_are_refused(tmp_path):
    path = save(np.array([[-1.0, 3.0]], np.float32), tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"must hold all samples of .*a\.tif, -1 to 3, got 0 to 1: pass a wider"):
        read_picture(path, value_range=(0, 1))
    with pytest.raises(ValueError, match="0 to 255, got 0 to 1"):
        read_picture(save(np.array([[0, 255]], np.uint8), tmp_path / "a.png"), value_range=(0, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, value):
    path = save(np.array([[0, value]], np.float32), tmp_path / "a.tif")
    for given in (None, (0, 1)):
        with pytest.raises(ValueError, match="has 1 samples that are NaN or infinite"):
            read_picture(path, value_range=given)


@pytest.mark.parametrize(
    ("dtype", "most", "full"), [(np.uint8, 1, 255), (np.uint16, 255, 65535), (np.uint16, 4095, 65535)]
)
def test_few_bits_in_a_wide_file_are_refused_until_told(tmp_path, dtype, most, full):
    pixels = np.array([[0, most]], dtype)
    path = save(pixels, tmp_path / "a.png")
    with pytest.raises(ValueError, match=rf"at most {most}, where {full} is white: pass value_range=\(0, {full}\) if"):
        read_picture(path)
    np.testing.assert_allclose(read_picture(path, value_range=(0, full)), pixels / full, rtol=1e-6)
    np.testing.assert_allclose(read_picture(path, value_range=(0, most)), pixels / most, rtol=1e-6)
    assert not read_picture(save(pixels * 0, path)).any()  # black whatever is white


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (3, TypeError, "must be a pair of numbers"),
        ((0, 1, 2), TypeError, "must be a pair of numbers"),
        (("0", "1"), TypeError, "must be a pair of numbers"),
        ((False, True), TypeError, "must be a pair of numbers"),
        ((1, 0), ValueError, "must be finite, black below white"),
        ((0, np.inf), ValueError, "must be finite"),
        ((0, np.nan), ValueError, "must be finite"),
    ],
)
def test_wrong_ranges_are_refused(tmp_path, given, error, message):
    with pytest.raises(error, match=f"value_range {message}"):
        read_picture(tmp_path / "none.png", value_range=given)


def test_too_many_pixels_are_refused(tmp_path):
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 20000, 10000, 8, 0, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b"")]
    with pytest.raises(ValueError, match=r"a\.png has more than 178956970 pixels, .*: cut it into several files"):
        read_picture(write_png(tmp_path / "a.png", chunks))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "webp", "bmp", "pgm"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_files_are_refused(tmp_path, suffix):
    data = save(GRAY, tmp_path / f"whole.{suffix}").read_bytes()
    path = tmp_path / f"cut.{suffix}"
    for end in (0, 1, 10, 30, len(data) // 2, len(data) - 30):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=rf"cut\.{suffix} cannot be read as a picture .*: give a complete file"):
            read_picture(path)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"a\.png cannot be read as a picture"):
        read_picture(tmp_path / "a.png")
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # Ghostscript must not run
    with pytest.raises(ValueError, match=r"a\.eps cannot be read as a picture"):
        read_picture(tmp_path / "a.eps")
    with pytest.raises(OSError, match=r"none\.png"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(OSError, match=tmp_path.name):
        read_picture(tmp_path)


def test_pictures_in_8_bits_are_rounded():
    deep = np.arange(65536, dtype=np.uint16)[None]
    np.testing.assert_array_equal(as_uint8(deep)[0], np.floor(np.arange(65536) / 257 + 0.5))
    np.testing.assert_array_equal(as_uint8(UNIT.astype(np.float32)), GRAY)
    np.testing.assert_array_equal(as_uint8(GRAY), GRAY)


SALT = GRAY > 128


@pytest.mark.parametrize(
    ("pixels", "name", "value"),
    [
        (SALT, "a.png", 255),
        (SALT * np.uint8(255), "a.png", 255),
        (SALT * np.uint8(1), "a.png", 1),
        (SALT * np.uint16(65535), "a.png", 255),
        (SALT * np.uint16(1), "a.png", 1),
        (SALT.astype(np.float32), "a.tif", 1),
        (np.stack([SALT * np.uint8(255)] * 3, -1), "a.png", 255),
    ],
)
def test_masks_of_two_values_are_read(tmp_path, pixels, name, value):
    mask, salt = read_mask(save(pixels, tmp_path / name))
    assert (mask.dtype, salt) == (np.bool_, value)
    np.testing.assert_array_equal(mask, SALT)


def test_masks_without_salt_and_of_nothing_but_salt_are_read(tmp_path):
    mask, salt = read_mask(save(np.zeros((3, 4), np.uint8), tmp_path / "a.png"))
    assert (mask.any(), salt) == (False, 0)
    mask, salt = read_mask(save(np.full((3, 4), 255, np.uint8), tmp_path / "a.png"))
    assert (mask.all(), salt) == (True, 255)


@pytest.mark.parametrize("values", [[0, 2], [0, 1, 255], [0, 128, 255], [0, 254], [7, 7], [255, 254]])
def test_masks_of_other_values_are_refused(tmp_path, values):
    path = save(np.array([values], np.uint8), tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png must hold 0 for background and one of 1, 255 and 65535 for salt"):
        read_mask(path)

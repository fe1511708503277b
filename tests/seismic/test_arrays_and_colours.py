"""NumPy files and coloured pictures: the samples that were written, or an error that says what to do."""

import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saltzoo.seismic import read_amplitudes, read_mask, read_picture

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (40, 60), dtype=np.uint8)
TWO = np.stack([GRAY, 255 - GRAY])


def write(path, array):
    (np.save if path.suffix == ".npy" else np.savez_compressed)(path, array)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("array", [GRAY, GRAY.astype(np.uint16) * 257, GRAY > 99], ids=["u1", "u2", "b1"])
def test_unsigned_arrays_are_gray_levels(tmp_path, suffix, array):
    picture = read_picture(write(tmp_path / f"a{suffix}", array))
    expected = array if array.dtype != np.bool_ else np.where(array, np.uint8(255), np.uint8(0))
    assert picture.dtype == expected.dtype
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i2", ">i4", "i1", "<u4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_other_numbers_need_a_range(tmp_path, dtype, order, suffix):
    array = np.asarray((GRAY // 4).astype(dtype), order=order)
    path = write(tmp_path / f"a{suffix}", array)
    with pytest.raises(ValueError, match=r"whose black and white no format defines: pass value_range="):
        read_picture(path)
    np.testing.assert_allclose(read_picture(path, value_range=(0, 63)), (GRAY // 4) / 63, rtol=1e-6)
    amplitudes = read_amplitudes(path)
    assert amplitudes.dtype == np.float32
    np.testing.assert_array_equal(amplitudes, array.astype(np.float32))


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from(["u1", "<u2", ">u2"]),
    fortran=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_the_header_is_read_as_numpy_reads_it(tmp_path_factory, shape, dtype, fortran, seed):
    array = np.random.default_rng(seed).integers(100, 256, shape).astype(dtype) * np.array(250, dtype)
    path = tmp_path_factory.mktemp("a") / "a.npy"
    np.save(path, np.asarray(array, order="F" if fortran else "C"))
    np.testing.assert_array_equal(read_picture(path, value_range=(0, 65535)), (np.load(path) / 65535).astype("f4"))


def test_a_large_array_is_mapped(tmp_path):
    path = write(tmp_path / "a.npy", GRAY.astype(np.float32))
    assert isinstance(read_amplitudes(path).base, np.memmap) or isinstance(read_amplitudes(path), np.memmap)


def test_pages_of_arrays_are_chosen(tmp_path):
    stack = write(tmp_path / "a.npy", TWO)
    np.savez(tmp_path / "b.npz", first=TWO[0], second=TWO[1])
    for path in (stack, tmp_path / "b.npz"):
        with pytest.raises(ValueError, match=r"has 2 (pages|arrays \(first, second\)): pass page=0 to page=1"):
            read_picture(path)
        for page in (0, 1):
            np.testing.assert_array_equal(read_picture(path, page=page), TWO[page])
        for page in (2, -1):
            with pytest.raises(ValueError, match=rf"page must be in 0\.\.1, got {page}"):
                read_picture(path, page=page)
    one = write(tmp_path / "c.npy", TWO[:1])
    np.testing.assert_array_equal(read_picture(one), GRAY)
    with pytest.raises(ValueError, match="has one page: page must be 0 or None, got 1"):
        read_picture(write(tmp_path / "d.npy", GRAY), page=1)
    with pytest.raises(TypeError, match=r"page must be a whole number or None, got 0\.0"):
        read_picture(one, page=0.0)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5, 3), np.uint8), "whose last axis seems to hold colours"),
        (np.zeros(7), r"holds an array \(7,\): save a picture H W"),
        (np.zeros((1, 2, 3, 5)), "save a picture H W, or pages N H W"),
        (np.zeros((4, 4), complex), "holds complex128 samples: save real numbers"),
        (np.array([["a"]]), "samples: save real numbers"),
        (np.zeros((0, 5), np.uint8), r"holds no samples, \(0, 5\)"),
        (np.array([[{}]], object), "holds Python objects: save real numbers"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_that_are_no_pictures_are_refused(tmp_path, array, words, suffix):
    with pytest.raises(ValueError, match=rf"a\{suffix} .*{words}"):
        read_picture(write(tmp_path / f"a{suffix}", array))


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.save(tmp_path / "a.npy", np.array([[Bomb()]], object))
    np.savez(tmp_path / "a.npz", np.array([[Bomb()]], object))
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb()))
    for name in ("a.npy", "a.npz", "b.npy"):
        with pytest.raises(ValueError, match=name):
            read_picture(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_truncated_arrays_are_refused(tmp_path, suffix):
    data = write(tmp_path / f"whole{suffix}", GRAY).read_bytes()
    path = tmp_path / f"cut{suffix}"
    for end in (8, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=rf"cut\{suffix} (cannot be read as|holds no array)"):
            read_picture(path)


def test_a_damaged_archive_is_refused(tmp_path):
    path = write(tmp_path / "a.npz", GRAY)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.npz cannot be read as an array"):
        read_picture(path)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("notes.txt", "none")
    with pytest.raises(ValueError, match=r"b\.npz holds no array"):
        read_picture(tmp_path / "b.npz")


def test_a_compressed_array_that_is_too_large_is_refused_by_its_header(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(ValueError, match=r"a\.npz has more than 178956970 samples in a compressed array"):
        read_picture(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.npz", "a.dat", "a"])
def test_the_content_tells_the_format_not_the_suffix(tmp_path, name):
    Image.fromarray(GRAY).save(tmp_path / "made.png")
    (tmp_path / name).write_bytes((tmp_path / "made.png").read_bytes())
    np.testing.assert_array_equal(read_picture(tmp_path / name), GRAY)
    with open(tmp_path / name, "wb") as file:
        np.save(file, GRAY)
    np.testing.assert_array_equal(read_picture(tmp_path / name), GRAY)


def test_masks_are_read_from_arrays(tmp_path):
    for array, salt in ((GRAY > 99, 255), ((GRAY > 99) * np.uint8(1), 1), ((GRAY > 99) * np.uint16(65535), 255)):
        mask, value = read_mask(write(tmp_path / "a.npy", array))
        np.testing.assert_array_equal(mask, GRAY > 99)
        assert value == salt


def test_colours_become_their_luminance_with_a_warning(tmp_path):
    colours = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"is in colours.*to_gray=True"):
        read_picture(tmp_path / "a.png")
    difference = (colours.max(-1).astype(int) - colours.min(-1)).max()
    with pytest.warns(UserWarning, match=rf"a\.png is in colours that differ by up to {difference} of 255") as caught:
        picture = read_picture(tmp_path / "a.png", to_gray=True)
    assert caught[0].filename == __file__
    np.testing.assert_allclose(picture, colours @ np.array([0.299, 0.587, 0.114]), atol=0.51)


@pytest.mark.filterwarnings("error")
def test_gray_in_three_channels_is_read_without_a_warning(tmp_path):
    Image.fromarray(np.stack([GRAY] * 3, -1)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", to_gray=True), GRAY)


def test_a_palette_of_colours_becomes_its_luminance_and_transparency_stays_refused(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putdata([0, 1])
    palette.putpalette([200, 0, 0, 50, 50, 50])
    palette.save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match="up to 200"):
        assert read_picture(tmp_path / "a.png", to_gray=True).tolist() == [[60, 50]]
    Image.fromarray(np.dstack([GRAY, GRAY, 255 - GRAY, GRAY])).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="is partly transparent"):
        read_picture(tmp_path / "b.png", to_gray=True)
    Image.new("CMYK", (4, 4)).save(tmp_path / "c.jpg")
    with pytest.raises(ValueError, match="is in the colour space CMYK: save it in gray"):
        read_picture(tmp_path / "c.jpg", to_gray=True)


def test_amplitudes_keep_nan_and_refuse_inverted_files(tmp_path):
    array = np.array([[np.nan, 1.5, -3e5]], np.float32)
    np.testing.assert_array_equal(read_amplitudes(write(tmp_path / "a.npy", array)), array)
    Image.fromarray(array).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_amplitudes(tmp_path / "a.tif"), array)
    Image.fromarray(array).save(tmp_path / "b.tif", tiffinfo={262: 0})
    with pytest.raises(ValueError, match=r"b\.tif must store amplitudes, but says that its smallest sample is white"):
        read_amplitudes(tmp_path / "b.tif")


def test_amplitudes_in_colours_get_no_advice_that_does_not_apply(tmp_path):
    colours = np.stack([GRAY, GRAY, 255 - GRAY], -1).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="must store amplitudes, but is in colours") as caught:
        read_amplitudes(tmp_path / "a.png")
    assert "to_gray" not in str(caught.value)

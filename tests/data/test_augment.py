"""Augmentation: exact geometry, aligned masks, repeatable draws."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from saltzoo.data.augment import Augment, warp
from saltzoo.losses import bce_loss

STILL = {"x_scale": (1.0, 1.0), "y_scale": (1.0, 1.0), "shift": 0.0, "shear": 0.0, "rotate": 0.0}
NOTHING = Augment(flip=0, affine=0, photometric=0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(count=6, height=21, width=33, channels=1):
    images = torch.rand(count, channels, height, width, generator=seeded(1))
    blobs = torch.nn.functional.avg_pool2d(torch.rand(count, 1, height, width, generator=seeded(2)), 5, 1, 2)
    return images, blobs[:, 0] > blobs.mean()


def eye(count=1):
    return torch.eye(2).expand(count, 2, 2)


@pytest.mark.parametrize("shift", [(0, 0), (5, 0), (-7, 0), (0, 4), (0, -3), (16, -9)])
def test_an_integer_shift_moves_pixels_and_reflects_at_the_border(shift):
    x = batch()[0].double()
    right, down = shift
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (16, 16), (16, 16)), mode="symmetric")
    expected = padded[:, :, 16 - down : 16 - down + 21, 16 - right : 16 - right + 33]
    moved = warp(x, eye(6).double(), torch.tensor([shift], dtype=torch.float64).expand(6, 2))
    np.testing.assert_allclose(moved.numpy(), expected, atol=1e-10)


def test_half_a_pixel_is_the_mean_of_two():
    x = batch()[0]
    moved = warp(x, eye(6), torch.tensor([[0.5, 0.0]]).expand(6, 2))
    torch.testing.assert_close(moved[..., 1:], (x[..., 1:] + x[..., :-1]) / 2)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("side", [20, 21])
def test_quarter_turns_are_rot90(turns, side):
    x = batch(height=side, width=side)[0]
    # A draw of 1 is the largest angle. The turn is clockwise on the screen, where y points down.
    config = Augment(**STILL | {"rotate": 90.0 * turns}, rotate_p=1)
    matrix = config._matrix(torch.ones(4, 6), torch.zeros(6))
    torch.testing.assert_close(warp(x, matrix, torch.zeros(6, 2)), x.rot90(-turns, (2, 3)))


def test_a_rotation_does_not_distort_a_wide_tile():
    """A quarter turn of a disc away from the border: a matrix in units of the tile would make it an ellipse."""
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(81.0) - 40, indexing="ij")
    right, above = (((x - 12) ** 2 + y**2) < 16).float(), ((x**2 + (y + 12) ** 2) < 16).float()
    anticlockwise = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    turned = warp(right[None, None], anticlockwise, torch.zeros(1, 2))[0, 0]
    inside = slice(20, 61)  # reflections lie outside
    torch.testing.assert_close(turned[:, inside], above[:, inside], atol=1e-4, rtol=0)


def test_the_matrix_undoes_rotation_shear_and_scale():
    config = Augment(x_scale=(0.5, 2.0), y_scale=(0.5, 2.0), shear=0.5, rotate=60.0, rotate_p=0.5)
    draws = torch.rand(4, 50, generator=seeded(), dtype=torch.float64)
    rotated = torch.rand(50, generator=seeded(1), dtype=torch.float64)
    matrices = config._matrix(draws, rotated).numpy()
    for (sx, sy, shear, angle), chance, matrix in zip(draws.T.numpy(), rotated.numpy(), matrices, strict=True):
        theta = math.radians(120 * angle - 60) if chance < 0.5 else 0.0
        rotation = [[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]]
        forward = rotation @ np.array([[1, shear - 0.5], [0, 1]]) @ np.diag([0.5 + 1.5 * sx, 0.5 + 1.5 * sy])
        np.testing.assert_allclose(matrix, np.linalg.inv(forward), atol=1e-12)


@pytest.mark.parametrize(("axis", "name"), [(2, "x_scale"), (1, "y_scale")])
def test_a_scale_above_1_magnifies(axis, name):
    masks = torch.zeros(1, 40, 40, dtype=torch.bool)
    masks[:, 16:24, 16:24] = True
    _, out = Augment(flip=0, affine=1, photometric=0, **STILL | {name: (2.0, 2.0)})(masks.float(), masks)
    assert out.any(dim=axis).sum() == 8
    assert out.any(dim=3 - axis).sum() == 16


def test_some_warps_rotate_in_both_directions():
    masks = torch.zeros(400, 41, 41, dtype=torch.bool)
    masks[:, 17:24, 29:36] = True
    config = Augment(flip=0, affine=1, photometric=0, **STILL | {"rotate": 30.0}, rotate_p=0.25)
    _, out = config(masks.float(), masks, generator=seeded())
    down = (out.any(dim=2).float() * (torch.arange(41) - 20)).sum(1)
    assert (out != masks).any((1, 2)).float().mean() == pytest.approx(0.25, abs=0.06)
    assert (down > 0).float().mean() == pytest.approx(0.125, abs=0.05)
    assert (down < 0).float().mean() == pytest.approx(0.125, abs=0.05)


def test_shifts_are_within_their_limit_in_pixels():
    masks = torch.zeros(150, 101, 101, dtype=torch.bool)
    masks[:, 45:56, 45:56] = True
    _, out = Augment(flip=0, affine=1, photometric=0, **STILL | {"shift": 16.0})(
        masks.float(), masks, generator=seeded()
    )
    for axis in (1, 2):
        line = out.any(dim=3 - axis).float()
        middle = (line * torch.arange(101)).sum(1) / line.sum(1) - 50
        assert -16.5 <= middle.min() < -14
        assert 14 < middle.max() <= 16.5


def test_a_tile_with_nothing_drawn_is_the_input_bit_for_bit():
    images, masks = batch()
    out, out_masks = NOTHING(images, masks)
    assert torch.equal(out, images)
    assert torch.equal(out_masks, masks)


def test_a_tile_with_only_the_flip_drawn_is_exactly_flipped():
    images, masks = batch()
    out, out_masks = Augment(flip=1, affine=0, photometric=0)(images, masks)
    assert torch.equal(out, images.flip(-1))
    assert torch.equal(out_masks, masks.flip(-1))


def test_unwarped_tiles_of_a_batch_stay_exact():
    images, masks = batch(count=400, height=9, width=9)
    out, out_masks = Augment(photometric=0)(images, masks, generator=seeded())
    kept = (out == images).flatten(1).all(1)
    flipped = (out == images.flip(-1)).flatten(1).all(1)
    assert kept.float().mean() == pytest.approx(0.15, abs=0.05)
    assert flipped.float().mean() == pytest.approx(0.15, abs=0.05)
    assert torch.equal(out_masks[kept], masks[kept])
    assert torch.equal(out_masks[flipped], masks[flipped].flip(-1))


def test_the_flip_comes_before_the_warp():
    """The result is the warp of a flipped tile, as with a flip in the affine matrix."""
    images, masks = batch()
    always, never = Augment(flip=1, affine=1), Augment(flip=0, affine=1)
    flipped = always(images, masks, generator=seeded(5))
    expected = never(images.flip(-1), masks.flip(-1), generator=seeded(5))
    assert all(map(torch.equal, flipped, expected))


@pytest.mark.parametrize("seed", range(2))
def test_image_and_mask_stay_aligned(seed):
    masks = batch(count=20)[1]
    out, out_masks = Augment(affine=1, photometric=0)(masks.float(), masks, generator=seeded(seed))
    assert torch.equal(out > 0.5, out_masks)
    assert not torch.equal(out_masks, masks)


def test_contrast_keeps_the_mean_of_each_tile():
    images, masks = batch(channels=2)
    images = images * 0.5 + 0.25
    out, _ = Augment(flip=0, affine=0, photometric=1, brightness=0, contrast=(1.5, 1.5))(images, masks)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(out, ((images - mean) * 1.5 + mean).clamp(0, 1))


def test_brightness_adds_one_number_per_tile_within_its_limit():
    images, masks = batch(count=200)
    images = images * 0.5 + 0.25
    config = Augment(flip=0, affine=0, photometric=1, brightness=0.1, contrast=(1.0, 1.0))
    added = (config(images, masks, generator=seeded())[0] - images).flatten(1)
    torch.testing.assert_close(added.amax(1), added.amin(1), atol=1e-6, rtol=0)
    assert -0.1001 < added.min() < -0.09
    assert 0.09 < added.max() < 0.1001


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.float16, torch.float32])
def test_values_stay_in_range_and_masks_stay_binary(dtype, mask_dtype):
    images, masks = batch(count=50)
    images = images.round().to(dtype)  # black and white, so that every change of brightness reaches the limits
    out, out_masks = Augment()(images, masks.to(mask_dtype), generator=seeded())
    assert out.dtype == dtype
    assert out_masks.dtype == mask_dtype
    assert out.min() >= 0
    assert out.max() <= 1
    assert ((out_masks == 0) | (out_masks == 1)).all()


def test_half_precision_does_not_coarsen_the_geometry():
    images, masks = batch()
    images = images.bfloat16()
    expected, expected_masks = Augment(affine=1)(images.float(), masks, generator=seeded())
    out, out_masks = Augment(affine=1)(images, masks, generator=seeded())
    assert torch.equal(out, expected.bfloat16())
    assert torch.equal(out_masks, expected_masks)


def test_constant_tiles_stay_constant_and_empty():
    out, masks = Augment()(torch.zeros(50, 11, 11), torch.zeros(50, 11, 11), generator=seeded())
    assert (out == out[:, :1, :1]).all()
    assert not masks.any()


def test_a_generator_repeats_and_the_default_generator_follows_the_seed():
    images, masks = batch()
    assert all(
        map(
            torch.equal,
            Augment()(images, masks, generator=seeded(3)),
            Augment()(images, masks, generator=seeded(3)),
        )
    )
    assert not torch.equal(
        Augment()(images, masks, generator=seeded(3))[0], Augment()(images, masks, generator=seeded(4))[0]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        from_default = Augment()(images, masks)
    assert all(map(torch.equal, from_default, Augment()(images, masks, generator=seeded(3))))


def test_configurations_draw_the_same_numbers():
    images, masks = batch()
    first, second = seeded(), seeded()
    Augment()(images, masks, generator=first)
    NOTHING(images, masks, generator=second)
    assert torch.equal(first.get_state(), second.get_state())


def test_layouts_give_the_same_result_and_inputs_are_not_changed():
    images, masks = batch()
    before = images.clone(), masks.clone()
    expected, expected_masks = Augment()(images, masks, generator=seeded())
    flat, flat_masks = Augment()(images[:, 0], masks, generator=seeded())
    assert torch.equal(flat, expected[:, 0])
    assert torch.equal(flat_masks, expected_masks)
    wide = images.repeat(1, 3, 1, 1).contiguous(memory_format=torch.channels_last)
    last, _ = Augment()(wide, masks, generator=seeded())
    torch.testing.assert_close(last, expected.repeat(1, 3, 1, 1))
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


def test_autocast_does_not_coarsen_the_geometry():
    images, masks = batch()
    expected = Augment(affine=1)(images, masks, generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, Augment(affine=1)(images, masks, generator=seeded()), expected))


def test_an_empty_batch_stays_empty():
    out, masks = Augment()(torch.zeros(0, 1, 8, 9), torch.zeros(0, 8, 9))
    assert out.shape == (0, 1, 8, 9)
    assert masks.shape == (0, 8, 9)


def test_no_value_is_read():
    """Tensors on the meta device have no values, so code that would synchronise with a GPU raises."""
    images, masks = (x.to("meta") for x in batch())
    out, out_masks = Augment()(images, masks)
    assert out.shape == images.shape
    assert out_masks.shape == masks.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_synchronisation_on_a_gpu():
    images, masks = (x.cuda() for x in batch())
    generator = torch.Generator("cuda").manual_seed(0)
    Augment()(images, masks, generator=generator)
    torch.cuda.set_sync_debug_mode("error")
    try:
        out, out_masks = Augment()(images, masks, generator=generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert out.is_cuda
    assert out_masks.is_cuda


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (torch.zeros(2, 5, 5, dtype=torch.uint8), torch.zeros(2, 5, 5), "got .* torch.uint8: divide uint8"),
        (torch.zeros(5, 5), torch.zeros(5, 5), r"images must be N C H W or N H W, .* got \(5, 5\)"),
        (torch.zeros(2, 1, 5, 5), torch.zeros(2, 1, 5, 5), r"\(2, 5, 5\), got \(2, 1, 5, 5\)"),
        (torch.zeros(2, 1, 5, 5), torch.zeros(2, 5, 6), r"\(2, 5, 5\), got \(2, 5, 6\)"),
        (torch.zeros(2, 5, 5), torch.zeros(2, 5, 5, dtype=torch.int64), "got torch.int64: use masks > 0"),
        (torch.zeros(2, 5, 5), torch.zeros(2, 5, 5, device="meta"), "images are on cpu but masks on meta"),
    ],
)
def test_wrong_tensors_are_refused(images, masks, message):
    with pytest.raises(ValueError, match=message):
        Augment()(images, masks)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"flip": 1.5}, r"flip must be at least 0 and at most 1, got 1\.5"),
        ({"rotate_p": -0.1}, "rotate_p must be at least 0 and at most 1"),
        ({"affine": math.nan}, "affine must be at least 0 and at most 1, got nan"),
        (
            {"x_scale": (1.2, 0.8)},
            r"x_scale must be a range \(low, high\) with low <= high, finite, got \(1\.2, 0\.8\)",
        ),
        ({"y_scale": (math.nan, 1.0)}, "y_scale must be above 0, got nan"),
        ({"contrast": (0.0, 1.0)}, r"contrast must be above 0, got 0\.0"),
        ({"shift": -1}, "shift must be at least 0, got -1"),
        ({"shift": math.inf}, "shift must be a finite number, got inf"),
        ({"contrast": (1.0, math.inf)}, r"contrast must be a range .*finite, got \(1\.0, inf\)"),
    ],
)
def test_wrong_configurations_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        Augment(**config)


@pytest.mark.parametrize("config", [{"x_scale": 1.1}, {"x_scale": (1.1,)}, {"flip": "yes"}, {"flip": True}])
def test_values_of_another_type_are_refused(config):
    (name,) = config
    with pytest.raises(TypeError, match=f"{name} must be "):
        Augment(**config)


# Unknown pixels

UNKNOWN = 255


def labels(count=40, dtype=torch.float32):
    """Return masks with a band of unknown pixels around the salt, as interpreters draw them."""
    masks = batch(count)[1].to(dtype)
    masks[:, 8:11] = UNKNOWN
    masks[::2, :, 20:22] = UNKNOWN
    return masks


def by_loops(masks, matrix, shift):
    """Sample masks pixel by pixel: the nearest pixel where one of the four is unknown, else their mean cut at 1/2."""
    out = torch.empty_like(masks)
    height, width = masks.shape[-2:]

    def inside(position, size):  # reflection at the edge of the outer pixels
        position = (position + 0.5) % (2 * size)
        return min(max(min(position, 2 * size - position) - 0.5, 0.0), size - 1.0)

    for n, (mask, turn, move) in enumerate(zip(masks.tolist(), matrix.tolist(), shift.tolist(), strict=True)):
        for row in range(height):
            for column in range(width):
                x, y = column - (width - 1) / 2 - move[0], row - (height - 1) / 2 - move[1]
                at_x = inside(turn[0][0] * x + turn[0][1] * y + (width - 1) / 2, width)
                at_y = inside(turn[1][0] * x + turn[1][1] * y + (height - 1) / 2, height)
                left, top = min(int(at_x), width - 2), min(int(at_y), height - 2)
                part_x, part_y = at_x - left, at_y - top
                parts = [
                    (mask[top + i][left + j], (part_y if i else 1 - part_y) * (part_x if j else 1 - part_x))
                    for i in (0, 1)
                    for j in (0, 1)
                ]
                if any(value == UNKNOWN for value, weight in parts if weight > 0):
                    out[n, row, column] = max(parts, key=lambda part: part[1])[0]
                else:
                    out[n, row, column] = sum(value * weight for value, weight in parts) > 0.5
    return out


def test_unknown_pixels_are_sampled_from_the_nearest():
    images, masks = batch(6)[0].double(), labels(6, torch.float64)
    config = Augment(flip=0, affine=1, photometric=0)
    draws = torch.rand(12, 6, generator=seeded(4), dtype=torch.float64)
    expected = by_loops(masks, config._matrix(draws[2:6], draws[6]), (draws[7:9].T * 2 - 1) * config.shift)
    _, out = config(images, masks, generator=seeded(4), ignore_index=UNKNOWN)
    assert (out == UNKNOWN).any()
    np.testing.assert_array_equal(out.numpy(), expected.numpy())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64, torch.bfloat16])
def test_masks_with_unknown_pixels_keep_their_values(dtype):
    images, masks = batch(40)[0], labels(40, dtype)
    before = masks.clone()
    out_images, out = Augment()(images, masks, generator=seeded(), ignore_index=UNKNOWN)
    assert out.dtype == dtype
    assert set(out.double().unique().tolist()) == {0, 1, UNKNOWN}
    assert torch.equal(masks, before)
    assert torch.equal(out_images, Augment()(images, masks == 1, generator=seeded())[0])


def test_masks_without_unknown_pixels_are_what_they_were():
    images, masks = batch(40)
    expected = Augment()(images, masks.float(), generator=seeded())
    assert all(map(torch.equal, Augment()(images, masks.float(), generator=seeded(), ignore_index=UNKNOWN), expected))


def test_unwarped_masks_with_unknown_pixels_are_kept_or_flipped():
    images, masks = batch(40)[0], labels(40)
    assert torch.equal(NOTHING(images, masks, ignore_index=UNKNOWN)[1], masks)
    flip = Augment(flip=1, affine=0, photometric=0)
    assert torch.equal(flip(images, masks, ignore_index=UNKNOWN)[1], masks.flip(-1))


def test_unknown_pixels_train_with_a_loss_that_ignores_them():
    _, masks = Augment()(batch(8)[0], labels(8), generator=seeded(), ignore_index=UNKNOWN)
    logits = torch.randn(8, 21, 33, generator=seeded(9), requires_grad=True)
    bce_loss(logits, masks, ignore_index=UNKNOWN).backward()
    assert torch.equal(logits.grad == 0, masks == UNKNOWN)


@pytest.mark.parametrize("ignore_index", [None, -1])
@pytest.mark.parametrize("value", [255.0, 0.5, -100.0, math.nan])
def test_masks_of_other_values_are_refused(ignore_index, value):
    images, masks = batch()
    masks = masks.float()
    masks[3, 4, 5] = value
    with pytest.raises(ValueError, match=r"masks must hold 0 and 1.*got the values .*ignore_index"):
        Augment()(images, masks, ignore_index=ignore_index)


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, math.nan])
def test_images_beyond_0_to_1_are_refused(value):
    images, masks = batch()
    images[2, 0, 1, 1] = value
    with pytest.raises(ValueError, match=r"images must be in 0\.\.1, got .*: divide by their full scale, or clip"):
        Augment()(images, masks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_beyond_1_is_taken(dtype):
    images, masks = torch.full((2, 4, 4), 1 + torch.finfo(dtype).eps, dtype=dtype), torch.zeros(2, 4, 4)
    assert (Augment()(images, masks)[0] <= 1).all()


def test_where_values_cannot_be_read_a_wrong_tile_becomes_nan(monkeypatch):
    """As on a GPU, where a check would wait for the device."""
    images, masks = batch(5)
    masks = masks.float()
    expected = Augment()(images, masks, generator=seeded())
    monkeypatch.setattr("saltzoo.data.augment.is_readable", lambda tensor: False)
    assert all(map(torch.equal, Augment()(images, masks, generator=seeded()), expected))
    images[1, 0, 2, 2], masks[3, 4, 4] = 2.0, UNKNOWN
    out, _ = Augment()(images, masks, generator=seeded())
    assert out.isnan().flatten(1).all(1).tolist() == [False, True, False, True, False]
    assert torch.equal(out[::2], expected[0][::2])
    out, _ = Augment()(images, masks, generator=seeded(), ignore_index=UNKNOWN)
    assert out.isnan().flatten(1).any(1).tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("ignore_index", "error", "message"),
    [
        (0, ValueError, "must not be 0"),
        (1, ValueError, "must not be 0"),
        (0.5, TypeError, "must be a whole number or None"),
        (-100, ValueError, "cannot occur in a target of torch.uint8"),
    ],
)
def test_a_wrong_ignore_index_is_refused(ignore_index, error, message):
    images, masks = batch()
    with pytest.raises(error, match=message):
        Augment()(images, masks.to(torch.uint8), ignore_index=ignore_index)


@pytest.mark.parametrize(
    ("dtype", "ignore_index", "limit"),
    [
        (torch.uint8, -1, "holds 0 to 255"),
        (torch.uint8, 300, "holds 0 to 255"),
        (torch.bool, 255, "holds 0 to 1"),
        (torch.int8, 255, "holds -128 to 127"),
        (torch.float16, 4097, "rounds it"),
        (torch.float16, 70000, "rounds it"),
        (torch.bfloat16, 257, "rounds it"),
        (torch.float32, 2**24 + 1, "rounds it"),
    ],
)
def test_an_ignore_index_that_the_masks_cannot_hold_is_refused(dtype, ignore_index, limit):
    images, masks = batch()
    masks = masks.to(dtype)
    before = masks.clone()
    with pytest.raises(ValueError, match=rf"ignore_index={ignore_index} cannot occur in a target of {dtype}.*{limit}"):
        Augment()(images, masks, ignore_index=ignore_index)
    with pytest.raises(ValueError, match=limit):
        bce_loss(torch.zeros(masks.shape), masks, ignore_index=ignore_index)
    assert torch.equal(masks, before)


@pytest.mark.parametrize(
    ("dtype", "ignore_index"),
    [(torch.float16, 4096), (torch.float16, -2048), (torch.bfloat16, 256), (torch.int8, -128), (torch.float32, 2**24)],
)
def test_an_ignore_index_that_the_masks_hold_comes_through(dtype, ignore_index):
    images, masks = batch(6)
    masks = masks.to(dtype)
    masks[:, 3:9, 4:8] = ignore_index
    _, out = Augment()(images, masks, generator=seeded(), ignore_index=ignore_index)
    assert set(out.double().unique().tolist()) == {0, 1, ignore_index}


def test_an_empty_batch_with_an_ignore_index_stays_empty():
    out, masks = Augment()(torch.zeros(0, 1, 8, 9), torch.zeros(0, 8, 9), ignore_index=UNKNOWN)
    assert out.shape == (0, 1, 8, 9)
    assert masks.shape == (0, 8, 9)


@pytest.mark.parametrize("dims", [(0, 0), (0, None), (None, 0)])
def test_vmap_augments_each_batch_alike(dims):
    images, masks = batch(6)[0].unflatten(0, (3, 2)), labels(6).unflatten(0, (3, 2))
    config = partial(Augment(affine=1), ignore_index=UNKNOWN)
    given = [x if dim == 0 else x[1] for x, dim in zip((images, masks), dims, strict=True)]
    torch.manual_seed(0)
    got = torch.vmap(config, dims, randomness="same")(*given)
    for n in range(3):
        torch.manual_seed(0)
        want = config(*(x if dim is None else x[n] for x, dim in zip(given, dims, strict=True)))
        torch.testing.assert_close(got[0][n], want[0])
        assert torch.equal(got[1][n], want[1])

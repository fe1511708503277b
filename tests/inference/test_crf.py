"""The dense CRF against sums over all pairs of pixels."""

import math

import pytest
import torch

from saltzoo.inference import Bilateral, crf


def by_hand(probabilities, image, *, iterations, sxy, compat, bilateral=None):
    """Mean field for K H W by a loop over all pairs of pixels, as the paper has it, with symmetric normalisation."""
    classes, height, width = probabilities.shape
    places = [(row, column) for row in range(height) for column in range(width)]

    def gaussian(one, other):
        return math.exp(-((one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2) / (2 * sxy**2))

    def near_and_alike(one, other):
        distance = ((one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2) / (2 * bilateral.sxy**2)
        gray = float(image[one] - image[other]) ** 2 / (2 * bilateral.sgray**2)
        return math.exp(-distance - gray)

    kernels = [(compat, gaussian)] + ([(bilateral.compat, near_and_alike)] if bilateral else [])
    sums = [{one: sum(kernel(one, other) for other in places) for one in places} for _, kernel in kernels]
    unary = [{one: math.log(float(probabilities[k][one])) for one in places} for k in range(classes)]
    guess = [{one: float(probabilities[k][one]) for one in places} for k in range(classes)]
    for _ in range(iterations):
        energy = [dict(unary[k]) for k in range(classes)]
        for (weight, kernel), total in zip(kernels, sums, strict=True):
            for k in range(classes):
                for one in places:
                    energy[k][one] += weight * sum(
                        kernel(one, other) / math.sqrt(total[one] * total[other]) * guess[k][other] for other in places
                    )
        for one in places:
            exponentials = [math.exp(energy[k][one]) for k in range(classes)]
            for k in range(classes):
                guess[k][one] = exponentials[k] / sum(exponentials)
    return torch.tensor([[[guess[k][row, c] for c in range(width)] for row in range(height)] for k in range(classes)])


@pytest.fixture
def tile():
    """Probabilities H W away from 0 and 1, and a gray image of whole levels."""
    generator = torch.Generator().manual_seed(2)
    probabilities = torch.rand(5, 7, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    image = torch.randint(0, 256, (5, 7), generator=generator, dtype=torch.uint8)
    return probabilities, image


BILATERAL = Bilateral(sxy=2.5, sgray=0.2, compat=1.5)


@pytest.mark.parametrize("bilateral", [None, BILATERAL])
@pytest.mark.parametrize(("sxy", "compat"), [(3.0, 3.0), (0.8, 2.0)])
def test_one_class_is_the_sum_over_all_pairs(tile, sxy, compat, bilateral):
    p, image = tile
    options = {"iterations": 4, "sxy": sxy, "compat": compat, "bilateral": bilateral}
    want = by_hand(torch.stack([1 - p, p]), image.double() / 255, **options)[1]
    got = crf(p, image, **options)
    assert torch.allclose(got, want.double(), rtol=0, atol=1e-6)
    assert (got - p).abs().max() > 0.01
    assert torch.allclose(crf(p.float(), image.float() / 255, **options).double(), got, rtol=0, atol=1e-4)


def test_several_classes_are_the_sum_over_all_pairs(tile):
    _, image = tile
    p = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.1
    p = p / p.sum(0)
    options = {"iterations": 3, "sxy": 1.5, "compat": 2.0, "bilateral": BILATERAL}
    want = by_hand(p, image.double() / 255, **options).double()
    assert torch.allclose(crf(p[None], image, **options)[0], want, rtol=0, atol=1e-6)


def test_images_of_a_batch_do_not_mix(tile):
    p, image = tile
    many, images = torch.stack([p, 1 - p, p.flip(0)]), torch.stack([image, image.flip(1), image])
    together = crf(many, images, bilateral=BILATERAL)
    for one, own, got in zip(many, images, together, strict=True):
        assert torch.allclose(crf(one, own, bilateral=BILATERAL), got, rtol=0, atol=1e-12)
    assert torch.equal(crf(many[:, None], images, bilateral=BILATERAL)[:, 0], together)


def test_transposed_and_mirrored_images_give_transposed_and_mirrored_results(tile):
    p, image = tile
    want = crf(p, image, bilateral=BILATERAL)
    for turn in (lambda x: x.T, lambda x: x.flip(0), lambda x: x.flip(1)):
        assert torch.allclose(crf(turn(p), turn(image), bilateral=BILATERAL), turn(want), rtol=0, atol=1e-12)
    assert torch.allclose(1 - crf(1 - p), crf(p), rtol=0, atol=1e-12)  # salt and background change places


def test_limits():
    p = torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(1))
    assert torch.equal(crf(p, iterations=0), p)
    assert torch.allclose(crf(p, compat=1e-9), p, rtol=0, atol=1e-5)
    sure = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert torch.isfinite(crf(sure)).all()
    assert crf(p.half()).dtype == torch.float16


@pytest.mark.parametrize(
    ("p", "image", "options", "error", "words"),
    [
        (torch.ones(4, 4, dtype=torch.long), None, {}, TypeError, "must be a floating-point tensor, got torch.int64"),
        ([[0.5]], None, {}, TypeError, "got list: use torch.from_numpy"),
        (torch.rand(4), None, {}, ValueError, r"probabilities must be \(H, W\), .* got \(4,\)"),
        (torch.full((4, 4), 1.5), None, {}, ValueError, "must be in 0..1 without NaN"),
        (torch.full((4, 4), float("nan")), None, {}, ValueError, "must be in 0..1 without NaN"),
        (torch.rand(4, 4), None, {"iterations": -1}, ValueError, "iterations must be 0 or more, got -1"),
        (torch.rand(4, 4), None, {"sxy": 0.0}, ValueError, "sxy must be a finite number above 0, got 0.0"),
        (torch.rand(4, 4), None, {"bilateral": BILATERAL}, ValueError, "image must be a tensor of gray images"),
        (torch.rand(4, 4), torch.rand(4, 5), {"bilateral": BILATERAL}, ValueError, r"got \(4, 5\)"),
        (torch.rand(4, 4), 2 * torch.ones(4, 4), {"bilateral": BILATERAL}, ValueError, "image must be uint8, or float"),
    ],
)
def test_wrong_input_is_refused(p, image, options, error, words):
    with pytest.raises(error, match=words):
        crf(p, image, **options)


def test_wrong_kernels_are_refused():
    with pytest.raises(ValueError, match="sgray must be a finite number above 0, got -1"):
        Bilateral(sgray=-1)


def test_pictures_without_pixels_and_half_an_update_are_refused():
    with pytest.raises(ValueError, match="with one or more pixels"):
        crf(torch.rand(2, 0, 9))
    with pytest.raises(TypeError, match=r"iterations must be a whole number, got 1\.5"):
        crf(torch.rand(9, 9), iterations=1.5)

"""DeepSupervisionLoss: its terms by closed forms, empty images, and every form of a target."""

import math
import re

import pytest
import torch
import torch.nn.functional as F

from saltzoo.contracts import SegOutput
from saltzoo.losses import BCELoss, CELoss, DeepSupervisionLoss, bce_loss, ce_loss, lovasz_hinge

WEIGHTS = {"map_weight": 0.3, "image_weight": 0.2, "auxiliary_weight": 0.7}
MAPS = ((3, 4), (5, 8), (10, 16))


def masks(count=4, empty=(1,), height=10, width=16):
    rng = torch.Generator().manual_seed(0)
    target = (torch.rand(count, height, width, generator=rng) < 0.4).double()
    target[list(empty)] = 0
    return target


def output(count=4, dtype=torch.float64, seed=0, height=10, width=16, maps=MAPS):
    rng = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()

    shapes = [(count, 1, *size) for size in maps]
    image, auxiliary = noise(count, 1), noise(count, 1, 5, 8)
    return SegOutput(noise(count, 1, height, width), tuple(noise(*s) for s in shapes), image, auxiliary)


def share_under(target, height, width):
    """Return the mean of the mask over each cell of a coarser grid, cell by cell."""
    share = target.new_empty(len(target), height, width)
    for i in range(height):
        rows = slice(i * target.shape[1] // height, -(-(i + 1) * target.shape[1] // height))
        for j in range(width):
            columns = slice(j * target.shape[2] // width, -(-(j + 1) * target.shape[2] // width))
            share[:, i, j] = target[:, rows, columns].mean((1, 2))
    return share


def cross_entropy(logits, target):
    return -(target * logits.sigmoid().log() + (1 - target) * (-logits).sigmoid().log())


def terms(out, target, loss):
    """Return each term without its weight, in plain arithmetic."""
    full = [n for n in range(len(target)) if target[n].any()]
    maps = [
        cross_entropy(x[full, 0], share_under(target, *x.shape[-2:])[full]).mean() if full else x.sum() * 0
        for x in out.maps
    ]
    some = torch.tensor([[float(n in full)] for n in range(len(target))], dtype=target.dtype)
    grown = F.interpolate(out.auxiliary, target.shape[-2:], mode="bilinear", align_corners=False)
    return loss(out.logits, target), maps, cross_entropy(out.image, some).mean(), loss(grown, target)


@pytest.mark.parametrize("loss", [bce_loss, lovasz_hinge])
@pytest.mark.parametrize("empty", [(), (1,), (0, 2, 3), (0, 1, 2, 3)])
def test_is_the_sum_of_its_terms(loss, empty):
    out, target = output(), masks(empty=empty)
    mask, maps, image, auxiliary = terms(out, target, loss)
    want = mask + 0.3 * sum(maps) + 0.2 * image + 0.7 * auxiliary
    inputs = [out.logits, *out.maps, out.image, out.auxiliary]
    got = DeepSupervisionLoss(loss, **WEIGHTS)(out, target)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    for a, b in zip(torch.autograd.grad(got, inputs), torch.autograd.grad(want, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "given", "error", "words"),
    [
        ("map_weight", math.nan, ValueError, "map_weight must be a finite number, got nan"),
        ("map_weight", [0.1, math.inf], ValueError, "map_weight[1] must be a finite number, got inf"),
        ("map_weight", "1", TypeError, "map_weight must be a list of numbers, got '1'"),
        ("map_weight", ["1"], TypeError, "map_weight[0] must be a number, got '1'"),
        ("map_weight", torch.nn.Parameter(torch.ones(2)), TypeError, "map_weight must be a number, got Parameter"),
        ("image_weight", "1", TypeError, "image_weight must be a number, got '1'"),
        ("image_weight", None, TypeError, "image_weight must be a number, got None"),
        ("auxiliary_weight", math.inf, ValueError, "auxiliary_weight must be a finite number, got inf"),
    ],
)
def test_weights_are_checked_whenever_they_are_set(name, given, error, words):
    loss = DeepSupervisionLoss(bce_loss, map_weight=[0.1, 0.2])
    before = repr(loss)
    with pytest.raises(error, match=re.escape(words)):
        DeepSupervisionLoss(bce_loss, **{name: given})
    with pytest.raises(error, match=re.escape(words)):
        setattr(loss, name, given)
    with pytest.raises(ValueError, match=r"map_weight\[1\] must be a finite number"):
        loss.map_weight[1] = math.nan
    assert repr(loss) == before


def test_default_weights_are_those_of_the_docstring():
    out, target = output(), masks()
    mask, maps, image, auxiliary = terms(out, target, bce_loss)
    torch.testing.assert_close(
        DeepSupervisionLoss(bce_loss)(out, target), mask + 0.1 * sum(maps) + 0.05 * image + 0.4 * auxiliary
    )


@pytest.mark.parametrize(
    ("part", "weight", "value"),
    [
        ({"maps": (torch.zeros(4, 1, 3, 4), torch.zeros(4, 1, 5, 8))}, "map_weight", 2 * math.log(2)),
        ({"image": torch.zeros(4, 1)}, "image_weight", math.log(2)),
        ({"image": torch.full((4, 1), 1e4)}, "image_weight", 2500.0),  # one of four is empty
        ({"auxiliary": torch.zeros(4, 1, 2, 2)}, "auxiliary_weight", math.log(2)),
        ({}, "map_weight", 0.0),
    ],
)
def test_each_term_depends_on_its_part_of_the_output(part, weight, value):
    target = masks()
    logits = torch.where(target == 1, 200.0, -200.0)[:, None]  # the loss of the mask is 0
    loss = DeepSupervisionLoss(bce_loss, **{**dict.fromkeys(WEIGHTS, 0.0), weight: 10.0})
    torch.testing.assert_close(loss(SegOutput(logits, **part), target).item(), 10 * value, rtol=1e-5, atol=1e-6)


def test_empty_images_do_not_count_in_the_maps():
    target = masks(empty=(1, 3))
    out = output()
    DeepSupervisionLoss(bce_loss)(out, target).backward()
    for x in out.maps:
        assert (x.grad[[1, 3]] == 0).all()
        assert (x.grad[[0, 2]] != 0).all()
    assert (out.logits.grad != 0).all()  # they count in the loss of the mask
    assert (out.image.grad != 0).all()
    alone = output()
    kept = SegOutput(alone.logits[[0, 2]], tuple(x[[0, 2]] for x in alone.maps))
    only_maps = DeepSupervisionLoss(lambda x, _y: x.sum() * 0, map_weight=1.0)
    bare = SegOutput(alone.logits, alone.maps)
    torch.testing.assert_close(only_maps(bare, target), only_maps(kept, target[[0, 2]]))


@pytest.mark.parametrize("value", [torch.nan, 1e30])
def test_maps_of_empty_images_change_nothing(value):
    target, out = masks(), output()
    want = DeepSupervisionLoss(bce_loss)(out, target)
    spoilt = tuple(x.detach().clone().index_fill(0, torch.tensor([1]), value).requires_grad_() for x in out.maps)
    got = DeepSupervisionLoss(bce_loss)(out._replace(maps=spoilt), target)
    torch.testing.assert_close(got, want)
    for x, y in zip(torch.autograd.grad(got, spoilt), torch.autograd.grad(want, out.maps), strict=True):
        torch.testing.assert_close(x, y)


def test_a_batch_without_salt():
    out, target = output(), masks(empty=range(4))
    value = DeepSupervisionLoss(lovasz_hinge)(out, target)
    value.backward()
    assert value.isfinite()
    for x in out.maps:
        assert (x.grad == 0).all()
    for x in (out.logits, out.image, out.auxiliary):
        assert x.grad.isfinite().all()
        assert x.grad.any()


def test_a_plain_tensor_passes_through():
    logits, target = output().logits, masks()
    seen = []
    loss = DeepSupervisionLoss(lambda *pair: (seen.append(pair), bce_loss(*pair))[1])
    assert torch.equal(loss(logits, target), bce_loss(logits, target))
    assert seen[0][0] is logits
    assert seen[0][1] is target
    bare = loss(SegOutput(logits), target)
    assert torch.equal(bare, bce_loss(logits, target))


def test_gradcheck_in_float64():
    target = masks(3, height=5, width=6)
    out = output(3, height=5, width=6, maps=((2, 3), (5, 6)))
    inputs = [out.logits, *out.maps, out.image, out.auxiliary]
    loss = DeepSupervisionLoss(bce_loss, **WEIGHTS)

    def call(logits, first, second, image, auxiliary):
        return loss(SegOutput(logits, (first, second), image, auxiliary), target)

    assert call(*inputs).dtype == torch.float64
    assert torch.autograd.gradcheck(call, inputs)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64])
@pytest.mark.parametrize("channel", [False, True])
def test_every_form_of_a_target_is_the_same(dtype, channel):
    out, target = output(dtype=torch.float32), masks().float()
    want = DeepSupervisionLoss(bce_loss)(out, target)
    given = target.to(dtype)
    got = DeepSupervisionLoss(bce_loss)(out, given[:, None] if channel else given)
    torch.testing.assert_close(got, want)
    assert torch.equal(given, target.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_float32(dtype):
    out, target = output(dtype=dtype), masks()
    exact = SegOutput(out.logits.float(), tuple(x.float() for x in out.maps), out.image.float(), out.auxiliary.float())
    want = DeepSupervisionLoss(lovasz_hinge)(exact, target)
    with torch.autocast("cpu", dtype=dtype):
        got = DeepSupervisionLoss(lovasz_hinge)(out, target)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want)
    got.backward()
    assert [x.grad.dtype for x in (*out.maps, out.image, out.auxiliary)] == [dtype] * 5


def test_a_map_of_the_full_size_is_compared_with_the_mask_itself():
    target = masks(empty=())
    x = output().logits
    only_maps = DeepSupervisionLoss(lambda x, _y: x.sum() * 0, map_weight=1.0)
    torch.testing.assert_close(only_maps(SegOutput(x, (x,)), target), bce_loss(x, target))


@pytest.mark.slow
@pytest.mark.parametrize("empty", [(1,), range(4)])
def test_compiles_as_one_graph(empty):
    torch._dynamo.reset()
    loss = DeepSupervisionLoss(lovasz_hinge, **WEIGHTS)
    fast = torch.compile(loss, fullgraph=True, backend="eager")
    out, target = output(dtype=torch.float32), masks(empty=empty).float()
    inputs = [out.logits, *out.maps, out.image, out.auxiliary]
    got, want = fast(out, target), loss(out, target)
    torch.testing.assert_close(got, want)
    for a, b in zip(torch.autograd.grad(got, inputs), torch.autograd.grad(want, inputs), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_does_not_wait_for_the_device():
    out, target = output(dtype=torch.float32), masks().float()
    want = DeepSupervisionLoss(lovasz_hinge)(out, target)
    cuda = SegOutput(out.logits.cuda(), tuple(x.cuda() for x in out.maps), out.image.cuda(), out.auxiliary.cuda())
    target = target.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = DeepSupervisionLoss(lovasz_hinge)(cuda, target)
        got.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(got.cpu(), want)


def test_needs_no_value_of_the_device():
    out, target = output(dtype=torch.float32), masks().float()
    meta = SegOutput(
        out.logits.to("meta"), tuple(x.to("meta") for x in out.maps), out.image.to("meta"), out.auxiliary.to("meta")
    )
    loss = DeepSupervisionLoss(BCELoss(ignore_index=-1), **WEIGHTS, ignore_index=-1)
    assert torch.autograd.grad(loss(meta, target.to("meta")), meta.maps[0])[0].shape == out.maps[0].shape


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (
            lambda: DeepSupervisionLoss(None),
            TypeError,
            "loss must be a function or an instance of a module, as in BCELoss(), got None",
        ),
        (lambda: DeepSupervisionLoss(BCELoss), TypeError, "an instance of a module, as in BCELoss(), got <class"),
        (
            lambda: DeepSupervisionLoss(bce_loss, map_weight=math.nan),
            ValueError,
            "map_weight must be a finite number",
        ),
        (lambda: DeepSupervisionLoss(bce_loss, map_weight=(1, math.inf)), ValueError, "map_weight[1] must be a finite"),
        (lambda: DeepSupervisionLoss(bce_loss, image_weight=math.nan), ValueError, "image_weight must be a finite"),
        (
            lambda: DeepSupervisionLoss(BCELoss(reduction="none"))(output(), masks()),
            ValueError,
            "the loss of the mask must be a scalar, got shape (4, 10, 16): use reduction='mean' or 'sum'",
        ),
        (
            lambda: DeepSupervisionLoss(bce_loss)(output()._replace(auxiliary=torch.zeros(4, 2, 3, 4)), masks()),
            ValueError,
            "auxiliary logits must be N K h w with (N, K) = (4, 1), got (4, 2, 3, 4)",
        ),
    ],
)
def test_errors_when_built_or_called(build, error, words):
    with pytest.raises(error, match=re.escape(words)):
        build()


def test_shows_its_options_and_keeps_no_state():
    loss = DeepSupervisionLoss(torch.nn.BCEWithLogitsLoss(), **WEIGHTS)
    assert "map_weight=0.3, image_weight=0.2, auxiliary_weight=0.7" in repr(loss)
    assert loss.state_dict() == {}


@pytest.mark.parametrize(
    ("change", "target", "words"),
    [
        ({}, masks(3), "must have the same shape, got (4, 10, 16) and (3, 10, 16) (as N, H, W)"),
        ({}, masks()[:, :9], "and (4, 9, 16)"),
        ({}, masks()[0], "like its counterpart, got (10, 16)"),
        ({}, masks()[:, None].expand(-1, 2, -1, -1), "and (4, 2, 10, 16) (as N, C, H, W)"),
        ({"logits": torch.zeros(4, 2, 10, 16)}, masks(), "must be masks, got classes and labels"),
        ({"maps": (torch.zeros(4, 2, 3, 4),)}, masks(), "N K h w, here (4, 1, 3, 4), got (4, 2, 3, 4)"),
        ({"maps": (torch.zeros(3, 1, 3, 4),)}, masks(), "N K h w, here (4, 1, 3, 4), got (3, 1, 3, 4)"),
        ({"image": torch.zeros(4)}, masks(), "the image's logits must be N 1, here (4, 1), got (4,)"),
        ({"image": torch.zeros(4, 2)}, masks(), "the image's logits must be N 1, here (4, 1), got (4, 2)"),
        ({"image": torch.zeros(3, 1)}, masks(), "the image's logits must be N 1, here (4, 1), got (3, 1)"),
    ],
)
def test_refuses_shapes_that_do_not_fit(change, target, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        DeepSupervisionLoss(bce_loss)(output()._replace(**change), target)


def test_a_weight_for_every_map():
    out, target = output(), masks()
    mask, maps, image, auxiliary = terms(out, target, bce_loss)
    beside = 0.05 * image + 0.4 * auxiliary
    got = DeepSupervisionLoss(bce_loss, map_weight=(0.1, 0.2, 0.4))(out, target)
    torch.testing.assert_close(got, mask + 0.1 * maps[0] + 0.2 * maps[1] + 0.4 * maps[2] + beside)
    with pytest.raises(ValueError, match="a weight for each of the model's 3 maps, got 2: give 3, coarsest first"):
        DeepSupervisionLoss(bce_loss, map_weight=[0.1, 0.2])(out, target)


def test_empty_images_count_with_skip_empty_off():
    out, target = output(), masks()
    only_maps = DeepSupervisionLoss(lambda x, _y: x.sum() * 0, map_weight=1.0, skip_empty=False)
    want = sum(cross_entropy(x[:, 0], share_under(target, *x.shape[-2:])).mean() for x in out.maps)
    torch.testing.assert_close(only_maps(SegOutput(out.logits, out.maps), target), want)


def many(count, classes, dtype=torch.float64):
    """Return an output of several classes or channels."""
    rng = torch.Generator().manual_seed(1)

    def noise(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()

    maps = tuple(noise(count, classes, *size) for size in MAPS)
    return SegOutput(noise(count, classes, 10, 16), maps, noise(count, 1), noise(count, classes, 5, 8))


@pytest.mark.parametrize("ignored", [False, True])
def test_labels(ignored):
    """Each map is compared with the shares of classes under its pixels; images of class 0 alone are left out."""
    out = many(4, 3)
    target = torch.randint(3, (4, 10, 16), generator=torch.Generator().manual_seed(2))
    target[1] = 0
    if ignored:
        target[0, :4] = 255
        target[2] = 255
    full = [0, 2, 3] if not ignored else [0, 3]
    total = ce_loss(out.logits, target, ignore_index=255)
    for x in out.maps:
        height, width = x.shape[-2:]
        losses = []
        for n in full:
            for i in range(height):
                rows = slice(i * 10 // height, -(-(i + 1) * 10 // height))
                for j in range(width):
                    cell = target[n, rows, j * 16 // width : -(-(j + 1) * 16 // width)]
                    valid = cell[cell != 255]
                    if len(valid):
                        shares = torch.stack([(valid == c).double().mean() for c in range(3)])
                        losses.append(-(shares * x[n, :, i, j].log_softmax(0)).sum())
        total = total + 0.3 * torch.stack(losses).mean()
    counted = [0, 1, 2, 3] if not ignored else [0, 1, 3]
    some = torch.tensor([[1.0], [0.0], [1.0], [1.0]], dtype=torch.float64)
    total = total + 0.2 * cross_entropy(out.image, some)[counted].mean()
    grown = F.interpolate(out.auxiliary, (10, 16), mode="bilinear", align_corners=False)
    total = total + 0.7 * ce_loss(grown, target, ignore_index=255)
    options = {"ignore_index": 255 if ignored else None}
    loss = DeepSupervisionLoss(CELoss(**options), **WEIGHTS, **options)
    inputs = [out.logits, *out.maps, out.image, out.auxiliary]
    got = loss(out, target)
    torch.testing.assert_close(got, total)
    for a, b in zip(torch.autograd.grad(got, inputs), torch.autograd.grad(total, inputs), strict=True):
        torch.testing.assert_close(a, b)


def test_channels_are_separate_masks():
    out, target = many(4, 2), torch.stack([masks(), masks().flip(2)], 1)
    got = DeepSupervisionLoss(bce_loss, **WEIGHTS)(out, target)
    total = bce_loss(out.logits, target) + 0.2 * cross_entropy(out.image, torch.tensor([[1.0], [0], [1], [1]])).mean()
    for x in out.maps:
        apart = [cross_entropy(x[:, c], share_under(target[:, c], *x.shape[-2:]))[[0, 2, 3]] for c in range(2)]
        total = total + 0.3 * torch.stack(apart).mean()
    grown = F.interpolate(out.auxiliary, (10, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(got, total + 0.7 * bce_loss(grown, target))


@pytest.mark.parametrize("value", [torch.nan])
def test_ignored_pixels_change_nothing(value):
    """Ignoring the lower half equals cutting it off, if no map's pixel lies across the border."""
    target = masks(empty=(), height=8)
    rng = torch.Generator().manual_seed(3)
    upper = SegOutput(
        torch.randn(4, 1, 8, 16, generator=rng).double(), (torch.randn(4, 1, 4, 4, generator=rng).double(),)
    )
    whole = SegOutput(*(torch.cat([upper.logits, torch.full_like(upper.logits, value)], 2),))
    whole = whole._replace(maps=(torch.cat([upper.maps[0], torch.full_like(upper.maps[0], value)], 2),))
    wide = torch.cat([target, torch.full_like(target, 255)], 1)
    loss = DeepSupervisionLoss(BCELoss(ignore_index=255), map_weight=0.3, ignore_index=255)
    torch.testing.assert_close(loss(whole, wide), DeepSupervisionLoss(bce_loss, map_weight=0.3)(upper, target))

"""Segmenter: what it returns is decided when it is built; mask_only; and a gradient for every parameter."""

import copy
import itertools
import json
import re
from dataclasses import replace

import _proofs
import pytest
import timm
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from saltzoo import Preprocess, Segmenter, SegOutput, create_model, predict, save_pretrained
from saltzoo.heads import AuxiliaryHead, ClassificationHead, DeepSupervisionHead, HypercolumnHead
from saltzoo.losses import DeepSupervisionLoss, bce_loss, lovasz_hinge

NAMES = {
    "saltnet_s": {"channels": (8, 12, 16), "decoder_channels": (10, 8), "blocks": 1},
    "unet_plain": {"channels": (6, 8, 10)},
}
HEADS = [
    {"hypercolumn": hypercolumn, "deep_supervision": deep, "classifier": classifier}
    for hypercolumn, deep, classifier in itertools.product((False, True), (False, True), ("none", "beside", "fused"))
    if hypercolumn or classifier != "fused"
]
every_kind = pytest.mark.parametrize(
    ("name", "heads"),
    list(itertools.product(NAMES, HEADS)),
    ids=lambda value: value if isinstance(value, str) else "-".join(str(v) for v in value.values()),
)
EVERYTHING = {"hypercolumn": True, "deep_supervision": True, "classifier": "fused"}


def small(name="saltnet_s", **options):
    """A small model with norms that are not as they start."""
    torch.manual_seed(0)
    return _proofs.randomise_batch_norms(create_model(name, **NAMES[name], **options))


def kinds(output):
    if torch.is_tensor(output):
        return tuple(output.shape)
    assert type(output) is SegOutput
    shapes = [None if x is None else tuple(x.shape) for x in (output.logits, output.image, output.auxiliary)]
    return [*shapes, [tuple(x.shape) for x in output.maps]]


@every_kind
def test_returns_the_same_in_training_and_evaluation(name, heads):
    model = small(name, num_classes=2, **heads)
    x = torch.randn(2, 1, 33, 40)
    training, evaluation = kinds(model.train()(x)), kinds(model.eval()(x))
    assert training == evaluation
    assert model.returns_mask is (heads["classifier"] == "none" and not heads["deep_supervision"])
    if model.returns_mask:
        assert evaluation == (2, 2, 33, 40)
        return
    logits, image, auxiliary, maps = evaluation
    assert logits == (2, 2, 33, 40)
    assert image == (None if heads["classifier"] == "none" else (2, 1))
    assert auxiliary is None
    depth = len(model.decoder.channels)
    assert [shape[:2] for shape in maps] == [(2, 2)] * (depth if heads["deep_supervision"] else 0)
    assert [shape[2] for shape in maps] == sorted(shape[2] for shape in maps)  # coarsest first


@every_kind
@pytest.mark.parametrize("training", [True, False])
def test_mask_only_is_the_same_network_without_the_rest(name, heads, training):
    model = small(name, **heads).train(training)
    plain = model.mask_only()
    fused = heads["classifier"] == "fused"
    assert plain.training is training
    assert {m.training for m in plain.modules()} == {training}
    assert plain.returns_mask
    assert plain.deep_supervision is plain.auxiliary is None
    assert (plain.classifier is model.classifier) if fused else plain.classifier is None
    assert plain.preprocess is model.preprocess
    assert plain.in_chans == model.in_chans
    assert plain.mask_only() is plain
    # Shared, not copied: the very tensors, and no others.
    dropped = ("deep_supervision.", *(() if fused else ("classifier.",)))
    own, whole = plain.state_dict(), model.state_dict()
    assert list(own) == [key for key in whole if not key.startswith(dropped)]
    assert all(own[key].data_ptr() == whole[key].data_ptr() for key in own)
    x = torch.randn(2, 1, 40, 33)
    with torch.no_grad():
        output = model(x)
        got = plain(x)
    assert torch.equal(got, output if torch.is_tensor(output) else output.logits)
    # And the model is what it was.
    assert kinds(model(x)) == kinds(output)


def test_mask_only_of_a_plain_model_is_itself():
    model = small(hypercolumn=True)
    assert model.mask_only() is model
    assert not model.config.mask_only


def test_what_the_mask_learns_both_learn():
    model = small(**EVERYTHING)
    plain = model.mask_only()
    x = torch.randn(2, 1, 40, 33)
    before = plain.eval()(x)
    plain.train()(x).square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    model.eval()
    after = plain.eval()(x)
    assert not torch.allclose(after, before)
    assert torch.equal(after, model(x).logits)
    twin = copy.deepcopy(plain)
    assert torch.equal(twin(x), after)


def test_mask_only_keeps_the_modes_of_its_parts():
    model = small(**EVERYTHING).train()
    model.encoder.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    plain = model.mask_only()
    assert {modes[name] for name, _ in plain.named_modules()} == {True, False}
    assert all(module.training is modes[name] for name, module in plain.named_modules())


@pytest.mark.parametrize("heads", [EVERYTHING, {"deep_supervision": True, "classifier": "beside"}], ids=str)
def test_mask_only_is_saved_and_comes_back(heads, tmp_path):
    model = small(**heads)
    model.preprocess = Preprocess(mean=(0.4,), std=(0.2,), multiple=8)
    plain = model.mask_only()
    assert plain.config == replace(model.config, mask_only=True)
    assert not model.config.mask_only
    folder = save_pretrained(plain, tmp_path / "plain")
    assert json.loads((folder / "config.json").read_text())["mask_only"] is True
    again = create_model(f"local-dir:{folder}")
    assert again.config == plain.config
    assert again.preprocess == plain.preprocess
    assert again.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(2, 1, 33, 40)
    assert torch.equal(again.eval()(x), plain.eval()(x))
    assert torch.equal(create_model(f"local-dir:{folder}", mask_only=True).eval()(x), plain(x))
    # A checkpoint of a checkpoint is the same.
    third = create_model(f"local-dir:{save_pretrained(again, tmp_path / 'again')}")
    assert third.config == plain.config
    assert torch.equal(third.eval()(x), plain(x))


@pytest.mark.parametrize("heads", HEADS, ids=lambda value: "-".join(str(v) for v in value.values()))
def test_the_mask_of_a_checkpoint_of_the_full_model(heads, tmp_path):
    model = small(**heads)
    folder = save_pretrained(model, tmp_path)
    plain = create_model(f"local-dir:{folder}", mask_only=True)
    assert plain.returns_mask
    assert not any(part.training for part in plain.modules())
    assert plain.config == model.mask_only().config
    x = torch.randn(2, 1, 33, 40)
    output = model.eval()(x)
    assert torch.equal(plain.eval()(x), output if torch.is_tensor(output) else output.logits)


@every_kind
def test_a_name_without_what_only_training_needs(name, heads):
    torch.manual_seed(0)
    plain = create_model(name, mask_only=True, **NAMES[name], **heads)
    assert plain(torch.randn(2, 1, 33, 40)).shape == (2, 1, 33, 40)
    assert plain.deep_supervision is None
    assert (plain.classifier is not None) == (heads["classifier"] == "fused")
    again = create_model(name, mask_only=plain.config.mask_only, **plain.config.model_args)
    assert again.config == plain.config
    assert again.state_dict().keys() == plain.state_dict().keys()


@every_kind
def test_every_parameter_gets_a_gradient(name, heads):
    """Without a gradient for each parameter, DistributedDataParallel blocks or raises."""
    model = small(name, attention="scse", drop_rate=0.1, **heads)
    target = torch.rand(3, 33, 40) < 0.4
    target[0] = False
    output = model(torch.randn(3, 1, 33, 40))
    DeepSupervisionLoss(lovasz_hinge)(output, target).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_every_parameter_gets_a_gradient_of_a_batch_without_salt():
    model = small(**EVERYTHING)
    DeepSupervisionLoss(bce_loss)(model(torch.randn(2, 1, 33, 40)), torch.zeros(2, 33, 40)).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert [n for n, p in model.deep_supervision.named_parameters() if p.grad.any()] == []


@pytest.mark.parametrize("heads", [EVERYTHING, {**EVERYTHING, "classifier": "beside"}, HEADS[0]], ids=str)
def test_trains_under_distributed_data_parallel(heads, tmp_path):
    """It refuses a second step if a parameter went without a gradient in the first."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = small(**heads)
        net, alone = DistributedDataParallel(model), copy.deepcopy(model)
        loss = DeepSupervisionLoss(bce_loss)
        x, y = torch.randn(2, 1, 33, 40), torch.rand(2, 33, 40) < 0.4
        for step in range(2):
            output = net(x)
            assert isinstance(output, torch.Tensor if model.returns_mask else SegOutput)
            for run, out in ((net, output), (alone, alone(x))):
                run.zero_grad()
                loss(out, y).backward()
            for (key, a), b in zip(model.named_parameters(), alone.parameters(), strict=True):
                torch.testing.assert_close(a.grad, b.grad, msg=f"{key} at step {step}")
    finally:
        dist.destroy_process_group()


def test_predict_takes_the_mask_of_every_kind():
    tiles = torch.rand(3, 37, 40)
    for heads in HEADS:
        model = small(**heads)
        for tta in (None, "hflip"):
            got = predict(model, tiles, tta=tta)
            assert torch.equal(got, predict(model.mask_only(), tiles, tta=tta))
            assert got.shape == tiles.shape


def by_hand(**heads):
    """A model wired from parts, with every head there is."""
    torch.manual_seed(0)
    parts = small()
    head = HypercolumnHead(parts.decoder.channels, 2, reads_image="classifier" in heads, scale=2)
    return Segmenter(parts.encoder, parts.decoder, head, **heads)


def test_an_auxiliary_head_reads_the_encoder():
    model = by_hand(
        classifier=ClassificationHead(16),
        deep_supervision=DeepSupervisionHead((16, 10, 8), 2),
        auxiliary=AuxiliaryHead(12, 2, stage=1),
    )
    output = model(torch.randn(2, 1, 33, 40))
    assert kinds(output) == [(2, 2, 33, 40), (2, 1), (2, 2, 9, 10), [(2, 2, 5, 5), (2, 2, 9, 10), (2, 2, 17, 20)]]
    with torch.no_grad():
        x = torch.randn(2, 1, 33, 40)
        features = model.eval().encoder(x)
        torch.testing.assert_close(model(x).auxiliary, model.auxiliary(features))
        torch.testing.assert_close(model(x).image, model.classifier(features[-1]))
    plain = model.mask_only()
    assert plain.config is None
    assert plain.auxiliary is None
    assert torch.equal(plain(x), model(x).logits)
    with pytest.raises(ValueError, match="create_model"):
        save_pretrained(plain, "nowhere")


@pytest.mark.parametrize("part", ["classifier", "deep_supervision", "auxiliary"])
def test_each_head_alone_makes_a_seg_output(part):
    heads = {
        "classifier": ClassificationHead(16),
        "deep_supervision": DeepSupervisionHead((16, 10, 8), 2),
        "auxiliary": AuxiliaryHead(12, 2, stage=1),
    }
    output = by_hand(**{part: heads[part]})(torch.randn(2, 1, 33, 40))
    there = {"classifier": output.image, "deep_supervision": output.maps, "auxiliary": output.auxiliary}
    assert [name for name, value in there.items() if value is not None and len(value)] == [part]


def test_a_head_that_reads_the_image_needs_a_classifier():
    parts = small()
    head = HypercolumnHead(parts.decoder.channels, 1, reads_image=True, scale=2)
    with pytest.raises(
        ValueError, match="this HypercolumnHead reads the image's logit: give a classifier that makes it"
    ):
        Segmenter(parts.encoder, parts.decoder, head)


def test_the_logit_of_the_image_reaches_its_mask_only_where_it_is_fused():
    x = torch.randn(2, 1, 33, 40)
    changes = {}
    for classifier in ("beside", "fused"):
        model = small(hypercolumn=True, classifier=classifier).eval()
        with torch.no_grad():
            before = model(x)
            model.classifier.linear.bias += 1
            after = model(x)
        torch.testing.assert_close(after.image, before.image + 1)
        changes[classifier] = not torch.equal(after.logits, before.logits)
    assert changes == {"beside": False, "fused": True}


def test_its_preprocess_is_that_of_seismic_tiles_unless_another_is_given():
    parts = small()
    assert Segmenter(parts.encoder, parts.decoder, parts.head, in_chans=1).preprocess == Preprocess.gray(1)
    mine = Preprocess(mean=(0.1,), std=(0.9,))
    assert Segmenter(parts.encoder, parts.decoder, parts.head, preprocess=mine).preprocess is mine


def test_channels_are_those_of_its_preprocess():
    parts = small()
    three = Preprocess.gray(3)
    assert Segmenter(parts.encoder, parts.decoder, parts.head, preprocess=three).in_chans == 3
    assert Segmenter(parts.encoder, parts.decoder, parts.head, preprocess=three, in_chans=3).in_chans == 3
    with pytest.raises(ValueError, match=re.escape("in_chans must be the 3 channel(s) of preprocess, got 1")):
        Segmenter(parts.encoder, parts.decoder, parts.head, preprocess=three, in_chans=1)


def test_parts_are_modules():
    parts = small()

    class Encoder:
        spec = parts.encoder.spec

    with pytest.raises(TypeError, match="must be torch modules, got Encoder, UnetDecoder, HypercolumnHead"):
        Segmenter(Encoder(), parts.decoder, parts.head)


@_proofs.refused_batches
@pytest.mark.parametrize("heads", [HEADS[0], EVERYTHING], ids=["plain", "everything"])
def test_refuses_a_batch_of_another_shape(heads, shape, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        small(**heads)(torch.zeros(shape))


@pytest.mark.parametrize("name", ["saltnet_s", "unet_resnet18_scse"])
def test_forward_features_are_what_the_decoder_reads(name):
    model = create_model(name).eval()
    x = torch.randn(2, 1, 45, 50)
    seen = []
    hook = model.decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        logits = model(x)
        hook.remove()
        features = model.forward_features(x)
        again = model.head(model.decoder(features, x.shape[-2:]), x.shape[-2:], None)
    assert [one.shape[1] for one in features] == list(model.encoder.spec.channels)
    for one, other in zip(features, seen[0], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    torch.testing.assert_close(again, logits, rtol=0, atol=0)


def test_forward_features_of_a_plain_network_are_those_of_timm():
    ours = create_model("unet", encoder="resnet18").eval()
    theirs = timm.create_model("resnet18", features_only=True, in_chans=1).eval()
    theirs.load_state_dict(ours.encoder.backbone.state_dict())
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        for one, other in zip(ours.forward_features(x), theirs(x), strict=True):
            torch.testing.assert_close(one, other)


def test_forward_features_refuse_what_forward_refuses():
    with pytest.raises(ValueError, match="expected a batch N 1 H W"):
        create_model("saltnet_s").forward_features(torch.zeros(1, 3, 64, 64))

"""from_smp: the same logits as segmentation_models_pytorch, and refusals of what has no counterpart."""

import re

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from saltzoo.convert import from_smp

UNUSED = "decoder.blocks.4.attention1."


def smp_unet(encoder="resnet18", *, seed=0, calibrate=None, **options):
    """Return a Unet with random norms; `calibrate` is the size of noise from which norms take their statistics."""
    torch.manual_seed(seed)
    model = smp.Unet(encoder, encoder_weights=None, **{"in_channels": 1, **options})
    model.requires_divisible_input_shape = False  # SMP refuses 101, although its decoder takes it
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        for norm in norms:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.2)
            norm.momentum = None
        if calibrate:
            model.train()
            for _ in range(2):
                model(torch.randn(2, options.get("in_channels", 1), calibrate, calibrate))
        for norm in norms:
            norm.running_mean += 0.05 * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.25)
    return model.eval()


@torch.no_grad()
def both(theirs, ours, size, dtype=torch.float32):
    theirs, ours = theirs.to(dtype), ours.eval().to(dtype)
    x = torch.randn(2, ours.in_chans, size, size, dtype=dtype)
    return theirs(x), ours(x)


@pytest.mark.parametrize(("attention", "size"), [("scse", 101), pytest.param(None, 128, marks=pytest.mark.slow)])
def test_resnet34_has_the_same_logits(attention, size):
    theirs = smp_unet("resnet34", calibrate=size, decoder_attention_type=attention)
    want, got = both(theirs, from_smp(theirs), size)
    assert want.std() > 0.05
    assert (got - want).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("resnet18", {"decoder_attention_type": "scse", "classes": 3}),
        ("resnet18", {"in_channels": 3, "decoder_channels": (64, 48, 32, 16, 16)}),
        pytest.param("resnet50", {"decoder_attention_type": "scse"}, marks=pytest.mark.slow),
        ("resnet18", {"decoder_interpolation": "bilinear"}),
        ("tu-resnet18", {"decoder_attention_type": "scse"}),
        ("tu-convnext_atto", {}),
        pytest.param("tu-mambaout_femto", {"decoder_interpolation": "bilinear"}, marks=pytest.mark.slow),
        ("tu-regnety_002", {"decoder_attention_type": "scse", "classes": 2}),
    ],
)
def test_the_same_function_in_float64(encoder, options):
    theirs = smp_unet(encoder, **options)
    want, got = both(theirs, from_smp(theirs), 64, torch.float64)
    assert got.shape == (2, options.get("classes", 1), 64, 64)
    assert (got - want).abs().max() < 1e-6 * want.abs().max()


@pytest.fixture(scope="module")
def plain():
    """A Unet without attention, for tests that do not change it."""
    return smp_unet()


def test_a_state_dict_with_a_config_gives_the_same_as_the_model():
    theirs = smp_unet(decoder_attention_type="scse", classes=2)
    given = theirs.state_dict()
    keys = set(given)
    config = {**theirs.config, "_model_class": "Unet", "decoder_channels": [256, 128, 64, 32, 16]}  # as in JSON
    want, got = from_smp(theirs).state_dict(), from_smp(given, config).state_dict()
    assert got.keys() == want.keys()
    assert all(torch.equal(value, want[key]) for key, value in got.items())
    assert set(given) == keys


def test_what_a_config_leaves_out_is_as_smp_has_it():
    theirs = smp.Unet("resnet18", encoder_weights=None).eval()
    config = {key: theirs.config[key] for key in ("encoder_name", "decoder_channels")}
    want, got = both(theirs, from_smp(theirs.state_dict(), config), 64, torch.float64)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_drops_only_the_attention_that_smp_never_uses():
    theirs = smp_unet(decoder_attention_type="scse")
    ours = from_smp(theirs)
    unused = [key for key in theirs.state_dict() if key.startswith(UNUSED)]
    assert len(unused) == 6
    assert len(ours.state_dict()) == len(theirs.state_dict()) - len(unused)
    with torch.no_grad():  # SMP never uses it
        x = torch.randn(1, 1, 32, 32)
        before = theirs(x)
        for key in unused:
            theirs.get_parameter(key).fill_(9.0)
        assert torch.equal(theirs(x), before)


def test_weights_are_copies():
    theirs = smp_unet()
    ours = from_smp(theirs)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(1)
        for buffer in theirs.buffers():
            buffer.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())


def test_the_config_is_complete_so_that_the_model_can_be_saved():
    ours = from_smp(smp_unet(decoder_attention_type="scse", classes=3))
    assert ours.config.architecture == "unet"
    wanted = {"encoder": "resnet18", "attention": "scse", "attention_sites": ["concat", "decoder"]}
    wanted |= {"attention_reduction": 16, "num_classes": 3, "in_chans": 1}
    assert wanted.items() <= ours.config.model_args.items()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder_depth": 4}, "encoder_depth=4"),
        ({"decoder_use_norm": "layernorm"}, "decoder_use_norm='layernorm'"),
        ({"decoder_add_center_block": True}, "decoder_add_center_block=True"),
        ({"decoder_interpolation": "bicubic"}, "decoder_interpolation='bicubic' has no counterpart here"),
        ({"decoder_use_norm": False}, "decoder_use_norm=False"),
        ({"decoder_use_norm": 1}, "decoder_use_norm=1"),
        (
            {"decoder_use_norm": {"type": "batchnorm", "eps": 1e-2}},
            "decoder_use_norm={'type': 'batchnorm', 'eps': 0.01}",
        ),
        ({"decoder_use_batchnorm": "inplace"}, "decoder_use_batchnorm='inplace'"),
        ({"activation": "sigmoid"}, "activation='sigmoid'"),
        ({"activation": nn.Sigmoid}, "activation=<class"),
        ({"aux_params": {"classes": 2}}, "aux_params="),
        ({"encoder_name": "vgg11"}, "encoder 'vgg11' differs"),
        ({"decoder_attention_type": "cbam"}, "no attention 'cbam'"),
        ({"_model_class": "Linknet"}, "one of Linknet"),
        ({"decoder_attention_type": "scse"}, "keys differ"),
        ({"classes": 3}, "head.conv.weight is (1, 16, 3, 3) in SMP and (3, 16, 3, 3) here"),
        ({"decoder_channels": (256, 128, 64, 32, 8)}, "decoder.blocks.4.conv1.conv.weight is"),
        ({"in_channels": 3}, "conv1.weight is (64, 1, 7, 7) in SMP and (64, 3, 7, 7) here"),
    ],
)
def test_refuses_a_config_without_a_counterpart(plain, change, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        from_smp(plain.state_dict(), {**plain.config, **change})


def test_refuses_a_shape_with_the_right_number_of_values_only(plain):
    weights = plain.state_dict()
    key = "decoder.blocks.0.conv1.0.weight"
    weights[key] = weights[key].transpose(0, 1).contiguous()
    with pytest.raises(ValueError, match=r"decoder.blocks.0.conv1.conv.weight is"):
        from_smp(weights, plain.config)


@pytest.mark.parametrize("key", ["stray", "decoder.blocks.5", "module.encoder.conv1.weight"])
def test_refuses_an_unknown_key(plain, key):
    with pytest.raises(ValueError, match=re.escape(f"1 keys differ, such as ['{key}")):
        from_smp({**plain.state_dict(), key: torch.zeros(1)}, plain.config)


def test_refuses_other_models():
    with pytest.raises(ValueError, match="keys differ"):
        from_smp(smp.UnetPlusPlus("resnet18", encoder_weights=None))
    with pytest.raises(ValueError, match="only the config of a Unet"):
        from_smp(smp.FPN("resnet18", encoder_weights=None))
    with pytest.raises(ValueError, match=r"6 keys differ|is .* in SMP and"):  # SMP uses five of its six maps
        from_smp(smp_unet("tu-darknet17"))


@pytest.mark.parametrize(
    ("model", "config", "kind"),
    [(nn.Conv2d(1, 1, 1), None, "Conv2d"), ({}, None, "dict"), (5, {"encoder_name": "resnet18"}, "int")],
)
def test_refuses_an_argument_without_a_config(model, config, kind):
    with pytest.raises(TypeError, match=f"{kind} came without"):
        from_smp(model, config)


@pytest.mark.parametrize(
    "options",
    [
        {"decoder_use_norm": True},
        {"decoder_use_norm": "BatchNorm"},
        {"decoder_use_norm": {"type": "batchnorm"}},
        {"activation": "identity"},
        {"activation": nn.Identity},
    ],
)
def test_options_that_mean_the_same_are_converted(options):
    theirs = smp_unet(**options)
    want, got = both(theirs, from_smp(theirs), 64, torch.float64)
    assert (got - want).abs().max() < 1e-6 * want.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_dtype_is_kept(dtype):
    theirs = smp_unet(decoder_attention_type="scse").to(dtype)
    ours = from_smp(theirs)
    values = dict(theirs.state_dict())
    for key, value in ours.state_dict().items():
        assert value.dtype == (torch.int64 if "num_batches" in key else dtype)
    assert torch.equal(ours.encoder.backbone.conv1.weight, values["encoder.conv1.weight"])
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in ours.parameters())
    if dtype == torch.float64:
        with torch.no_grad():
            x = torch.randn(1, 1, 64, 64, dtype=dtype)
            want, got = theirs(x), ours.eval()(x)
        assert got.dtype == dtype
        assert (got - want).abs().max() < 1e-12 * want.abs().max()


@pytest.mark.slow
def test_wrapped_models_and_channels_last_are_converted(plain):
    want = from_smp(plain).state_dict()
    last = smp_unet().to(memory_format=torch.channels_last)
    wrapped = {f"module._orig_mod.{key}": value for key, value in plain.state_dict().items()}
    for given in (torch.compile(plain), nn.DataParallel(torch.compile(plain)), last):
        got = from_smp(given).state_dict()
        assert all(torch.equal(value, want[key]) and value.is_contiguous() for key, value in got.items())
    got = from_smp(wrapped, plain.config).state_dict()
    assert all(torch.equal(value, want[key]) for key, value in got.items())


def test_a_model_without_values_is_refused(plain):
    with torch.device("meta"):
        empty = smp.Unet("resnet18", encoder_weights=None, in_channels=1)
    for given in (empty, empty.state_dict()):
        with pytest.raises(
            ValueError, match=r"this Unet cannot be converted: .* has no values \(its device is \"meta\"\)"
        ):
            from_smp(given, empty.config)


def eps(unet):
    unet.decoder.blocks[1].conv1[1].eps = 1e-3


def activation(unet):
    unet.decoder.blocks[2].conv2[2] = nn.GELU()


def limited_activation(unet):
    unet.encoder.layer2[0].relu = nn.ReLU6()


def no_activation(unet):
    unet.decoder.blocks[4].conv2[2] = nn.Identity()


def dilation(unet):
    conv = unet.encoder.layer3[1].conv1
    conv.dilation = conv.padding = (2, 2)


def stride(unet):
    unet.encoder.maxpool.stride = 1


def dropout(unet):
    unet.encoder.layer4[1].add_module("drop", nn.Dropout(0.5))


def rate_of_dropout(unet):
    unet.encoder.model.layer1[0].drop_block = nn.Dropout(0.3)


def upsampling(unet):
    unet.decoder.blocks[0].interpolation_mode = "bilinear"


def hook(unet):
    unet.segmentation_head.register_forward_hook(lambda module, args, output: output.sigmoid())


def forward(unet):
    old = unet.forward
    unet.forward = lambda x: old(x).tanh()


CHANGES = [
    (eps, r"decoder.blocks.1.conv1.1 is BatchNorm2d\(.*eps=0.001.* and was built as BatchNorm2d\(.*eps=1e-05"),
    (activation, "decoder.blocks.2.conv2.2 is a GELU and was built as a ReLU"),
    (limited_activation, "encoder.layer2.0.relu is a ReLU6 and was built as a ReLU"),
    (no_activation, "decoder.blocks.4.conv2.2 is a Identity and was built as a ReLU"),
    (dilation, r"encoder.layer3.1.conv1 is Conv2d\(.*dilation=\(2, 2\)"),
    (stride, r"encoder.maxpool is MaxPool2d\(.*stride=1"),
    (dropout, r"encoder.layer4.1.drop \(Dropout\) is added"),
    (upsampling, "its results differ"),
    (hook, "its results differ"),
    (forward, "its results differ"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_unet_that_was_changed_by_hand_is_refused_with_the_difference(change, words):
    theirs = smp_unet()
    change(theirs)
    with pytest.raises(ValueError, match=rf"this Unet was changed after it was built.*: .*{words}.*Undo the change"):
        from_smp(nn.DataParallel(theirs))


def test_a_timm_encoder_with_another_dropout_is_refused():
    theirs = smp_unet("tu-resnet18")
    rate_of_dropout(theirs)
    with pytest.raises(ValueError, match=r"drop_block is a Dropout and was built as a Identity"):
        from_smp(theirs)


@pytest.mark.parametrize("option", [{"drop_rate": 0.3}, {"block_args": {"attn_layer": "se"}}])
def test_an_option_of_the_encoder_is_refused(option):
    ((key, value),) = option.items()
    given = {**smp.Unet("resnet18", encoder_weights=None).config, **option}
    with pytest.raises(ValueError, match=re.escape(f"an SMP Unet with {key}={value!r} has no counterpart here")):
        from_smp({}, given)


def test_the_momentum_of_norms_is_kept():
    theirs = smp_unet()
    for number, norm in enumerate(module for module in theirs.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = number / 100
    ours = from_smp(theirs)
    assert ours.encoder.backbone.layer2[0].bn1.momentum == theirs.encoder.layer2[0].bn1.momentum > 0
    assert ours.decoder.blocks[3].conv2.norm.momentum == theirs.decoder.blocks[3].conv2[1].momentum > 0.2


def test_the_given_unet_is_left_as_it_is():
    theirs = smp_unet().train()
    before = {key: value.clone() for key, value in theirs.state_dict().items()}
    ours = from_smp(theirs)
    assert ours.training
    assert all(module.training for module in theirs.modules())
    assert all(torch.equal(value, before[key]) for key, value in theirs.state_dict().items())

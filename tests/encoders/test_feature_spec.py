"""Channels and sizes of the maps of many timm networks against `spec` and the padding of each family."""

import pytest
import torch

from saltzoo.encoders import TimmEncoder

SIZES = [(97, 131), (101, 101), (123, 87)]


def up(side, reductions):
    """Sizes after halvings that each round up."""
    return [-(-side // r) for r in reductions]


def down(side, reductions):
    """Sizes after halvings that each round down."""
    return [side // r for r in reductions]


def halved_from(first, how):
    """Sizes from that of the finest map, or several of them, by halvings that each round up or down."""

    def sizes(side, reductions):
        found = first(side)
        found = list(found) if isinstance(found, tuple) else [found]
        while len(found) < len(reductions):
            found.append(-(-found[-1] // 2) if how == "up" else found[-1] // 2)
        return found

    return sizes


def window(side, kernel, stride=2, padding=0):
    """The size after a convolution or pooling."""
    return (side + 2 * padding - kernel) // stride + 1


def inceptions(side, _reductions):
    """Filters of 3 x 3 without padding, one of stride 2 and more, then poolings and filters of stride 2."""
    found = [window(side, 3) - 2]
    found.append(window(found[0], 3) - 2)
    for _ in range(3):
        found.append(window(found[-1], 3))
    return found


def even(side, reductions):
    """Sizes of a network whose last three stages cut their maps into patches of 2 x 2 and grow them to fit."""
    found = [side]
    for r in reductions:
        half = -(-found[-1] // 2)
        found.append(half + half % 2 if r >= 8 else half)
    return found[1:]


UP = [
    *["test_resnet", "test_byobnet", "test_efficientnet", "test_mambaout", "test_nfnet", "resnet18"],
    *["resnetv2_50", "efficientnet_b0", "hgnetv2_b0", "mobilenetv4_conv_small", "mobilenetv3_small_050"],
    *["darknet17", "regnety_002", "ghostnet_050", "pvt_v2_b0", "mambaout_femto", "mobileone_s0", "cspnext_tiny"],
    *["dpn68", "efficientvit_b0", "efficientvit_m0", "fastvit_t8", "ghostnetv2_100", "hardcorenas_a"],
    *["lowformer_b0", "mobilevit_xxs", "repghostnet_050", "repvit_m0_9", "rexnet_100", "skresnet18"],
    *["starnet_s050", "swiftformer_xs", "xception41", "resnest14d", "nf_regnet_b0", "lcnet_050", "davit_tiny"],
    *["mvitv2_tiny", "tiny_vit_5m_224", "nextvit_small", "efficientvim_m1", "res2net50_14w_8s", "gernet_s"],
    *["shvit_s1", "selecsls42", "test_maxvit", "swin_tiny_patch4_window7_224", "dla46_c", "sam2_hiera_tiny"],
    *["tresnet_m", "hrnet_w18_small", "lambda_resnet26t", "halonet26t", "bat_resnext26ts"],
]
DOWN = [
    *["test_convnext", "convnext_atto", "edgenext_xx_small", "fasternet_t0", "inception_next_atto"],
    *["focalnet_tiny_srf", "twins_svt_small", "rdnet_tiny", "vgg11_bn"],
]
RULES = {
    **dict.fromkeys(UP, up),
    **dict.fromkeys(DOWN, down),
    "swinv2_cr_tiny_ns_224": halved_from(lambda side: side // 4, "up"),
    "poolformer_s12": halved_from(lambda side: window(side, 7, 4, 2), "up"),
    "densenet121": halved_from(lambda side: (-(-side // 2), -(-side // 4)), "down"),
    "nasnetalarge": halved_from(lambda side: window(side, 3), "up"),
    # Poolings without padding that take an incomplete last window.
    "legacy_seresnet18": halved_from(lambda side: (half := -(-side // 2), half // 2), "up"),
    "ese_vovnet19b_slim_dw": halved_from(lambda side: (-(-side // 2), -(-side // 4)), "down"),
    "legacy_xception": halved_from(lambda side: window(side, 3) - 2, "up"),
    "inception_v3": inceptions,
    "mobilevitv2_050": even,
}
# Made for one size.
ONE_SIZE = [
    "coat_lite_tiny",
    "visformer_tiny",
    "pit_ti_224",
    "test_coatnet",
    "botnet26t_256",
    "gcvit_xxtiny",
    "nest_tiny",
]


def expect(encoder, rule, size):
    """Run an encoder on an image and compare every map with the rule and with `spec`."""
    with torch.no_grad():
        maps = encoder(torch.randn(1, 1, *size))
    reductions = encoder.spec.reductions
    assert tuple(one.shape[1] for one in maps) == encoder.spec.channels
    heights, widths = (rule(side, reductions) for side in size)
    assert [tuple(one.shape[2:]) for one in maps] == list(zip(heights, widths, strict=True))
    for r, height, width in zip(reductions, heights, widths, strict=True):
        assert abs(size[0] / r - height) <= 5
        assert abs(size[1] / r - width) <= 5


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_maps_have_the_sizes_and_channels_of_their_spec(name):
    torch.manual_seed(0)
    encoder = TimmEncoder(name).eval()
    for size in SIZES:
        expect(encoder, RULES[name], size)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_SIZE)
def test_maps_of_a_network_for_one_size_have_the_sizes_and_channels_of_their_spec(name):
    encoder = TimmEncoder(name).eval()
    assert encoder.multiple is None
    height, width = encoder.backbone.pretrained_cfg["input_size"][1:]
    if name == "pit_ti_224":  # its patches of 16 x 16 overlap by half, without padding
        expect(encoder, halved_from(lambda side: window(side, 16, 8), "up"), (height, width))
    else:
        expect(encoder, up, (height, width))


def test_maps_of_a_small_network_have_the_sizes_and_channels_of_their_spec():
    for name in ("test_resnet", "test_convnext", "test_maxvit"):
        expect(TimmEncoder(name).eval(), RULES[name], (97, 131))

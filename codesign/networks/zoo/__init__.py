"""The zoo: published networks by name, each with the figures that it is checked against."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

from codesign.networks.graph import Network, NetworkError
from codesign.networks.zoo.alexnet import alexnet, alexnet_grouped
from codesign.networks.zoo.keyword import ds_cnn
from codesign.networks.zoo.mobile import efficientnet_b0, mnasnet1_0, mobilenet_v2, mobilenet_v3_large
from codesign.networks.zoo.resnet import resnet18, resnet50
from codesign.networks.zoo.squeezenet import squeezenet1_0
from codesign.networks.zoo.transformers import bert_base, gpt2_decode, gpt2_prefill, vit_b_16
from codesign.networks.zoo.unet import unet
from codesign.networks.zoo.vgg import vgg16


@dataclass(frozen=True)
class Entry:
    """A network of the zoo.

    ``gmacs`` is the published figure with the digits that its source gives, in 10^9 multiply-accumulates at the
    constructor's defaults; None if nobody publishes one. ``tolerance`` is relative: 0 asks for equality in all
    published digits. ``parameters`` are exact. ``source`` says where both come from.
    """

    name: str
    build: Callable[..., Network]
    summary: str
    gmacs: str | None
    parameters: int
    source: str
    aliases: tuple[str, ...] = ()
    tolerance: float = 0.0


_TORCHVISION = "torchvision 0.20, models/{}: num_params and _ops of the IMAGENET1K_V1 weights"

#: All networks by name, in the order in which they are listed.
ZOO: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "alexnet",
            alexnet,
            "AlexNet in one tower, ImageNet",
            "0.714",
            61_100_840,
            _TORCHVISION.format("alexnet.py"),
        ),
        Entry(
            "alexnet_grouped",
            alexnet_grouped,
            "AlexNet of 2012 in two groups, the one that chips report",
            "0.724",
            60_965_224,
            "Sze et al., Efficient processing of deep neural networks, Proc. IEEE 2017, table II (666 M in "
            "convolutions, 724 M in all); parameters of Caffe's bvlc_alexnet",
        ),
        Entry("vgg16", vgg16, "VGG16, ImageNet", "15.47", 138_357_544, _TORCHVISION.format("vgg.py")),
        Entry("resnet18", resnet18, "ResNet-18, ImageNet", "1.814", 11_689_512, _TORCHVISION.format("resnet.py")),
        Entry("resnet50", resnet50, "ResNet-50 v1.5, ImageNet", "4.089", 25_557_032, _TORCHVISION.format("resnet.py")),
        Entry(
            "squeezenet1_0",
            squeezenet1_0,
            "SqueezeNet 1.0, ImageNet",
            "0.819",
            1_248_424,
            _TORCHVISION.format("squeezenet.py"),
            ("squeezenet",),
        ),
        Entry(
            "mobilenet_v2",
            mobilenet_v2,
            "MobileNetV2 1.0, ImageNet",
            "0.301",
            3_504_872,
            _TORCHVISION.format("mobilenetv2.py"),
        ),
        Entry(
            "mnasnet1_0",
            mnasnet1_0,
            "MnasNet-B1 1.0, ImageNet",
            "0.314",
            4_383_312,
            _TORCHVISION.format("mnasnet.py"),
            ("mnasnet",),
        ),
        Entry(
            "mobilenet_v3_large",
            mobilenet_v3_large,
            "MobileNetV3-Large 1.0, ImageNet",
            "0.217",
            5_483_032,
            _TORCHVISION.format("mobilenetv3.py"),
            ("mobilenet_v3",),
        ),
        Entry(
            "efficientnet_b0",
            efficientnet_b0,
            "EfficientNet-B0, ImageNet",
            "0.386",
            5_288_548,
            _TORCHVISION.format("efficientnet.py"),
            ("efficientnet",),
        ),
        Entry(
            "unet",
            unet,
            "U-Net of 2015, 572 x 572 to 388 x 388",
            None,
            31_030_658,
            "Ronneberger et al. 2015, figure 1; parameters of tf_unet (J. Akeret) at 5 levels of 64 features. The "
            "paper gives no operation count: the tests compare with the sum over its 23 convolutions",
        ),
        Entry(
            "bert_base",
            bert_base,
            "BERT-base encoder with pooler, 128 tokens",
            "11.25",
            109_482_240,
            "22.5 GFLOPs at 128 tokens in Sun et al., MobileBERT, ACL 2020, table 4 (which counts some elementwise "
            "work too); parameters of Hugging Face's BertModel, bert-base-uncased",
            ("bert",),
            0.01,
        ),
        Entry(
            "vit_b_16",
            vit_b_16,
            "Vision transformer B/16, ImageNet",
            "17.564",
            86_567_656,
            _TORCHVISION.format("vision_transformer.py") + "; with the attention products (16.849 without)",
            ("vit", "vit_base"),
        ),
        Entry(
            "gpt2_prefill",
            gpt2_prefill,
            "GPT-2 small reading a prompt of 1024 tokens",
            "145.8241536",
            124_439_808,
            "291,648,307,200 FLOPs forward at 1024 tokens in nanoGPT, transformer_sizing.ipynb; parameters of Hugging "
            "Face's GPT2LMHeadModel, whose output head is tied to the embedding",
            ("gpt2",),
        ),
        Entry(
            "gpt2_decode",
            gpt2_decode,
            "GPT-2 small generating one token after 1023",
            None,
            124_439_808,
            "parameters as gpt2_prefill; operations: the tests compare with the closed form",
        ),
        Entry(
            "ds_cnn",
            ds_cnn,
            "DS-CNN keyword spotting, MLPerf Tiny",
            "0.0027",
            23_756,
            "5.4 M operations for DS-CNN-S in Zhang et al., Hello Edge, 2017, table 5; trainable parameters that Keras "
            "reports for MLPerf Tiny's reference model",
        ),
    )
}


def _normalised(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_ALIAS = {_normalised(alias): entry.name for entry in ZOO.values() for alias in (entry.name, *entry.aliases)}


def find(name: str) -> Entry:
    """The zoo's entry for a name or alias; case, ``-``, ``_`` and ``.`` do not matter.

    Raises NetworkError with the closest names for one that is unknown.
    """
    key = _normalised(name)
    if key in _BY_ALIAS:
        return ZOO[_BY_ALIAS[key]]
    close = difflib.get_close_matches(key, _BY_ALIAS, n=4, cutoff=0.6)
    names = list(dict.fromkeys(_BY_ALIAS[alias] for alias in close))
    hint = f": did you mean {', '.join(names)}?" if names else ""
    raise NetworkError(
        f"unknown network {name!r}{hint} (a network is a path that ends in .onnx, or one of {', '.join(ZOO)})"
    )

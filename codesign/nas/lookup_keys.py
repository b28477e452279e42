"""Keys of published latency tables for the blocks of a network of inverted residuals.

Three styles: ``ofa`` (Once-for-All on phones), ``proxyless`` (ProxylessNAS and MnasNet) and ``nsganet`` (NSGANetV2).
In ``ofa`` the expansion is the number of middle channels, in the others the ratio. A stride of 2 halves upwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from codesign.networks import Network, NetworkError

Style = Literal["ofa", "proxyless", "nsganet"]
STYLES: tuple[Style, ...] = ("ofa", "proxyless", "nsganet")
_CLASSES = 1000


def style_of(keys: Iterable[str]) -> Style | None:
    """How the keys of a table are written; None for operators (and anything else)."""
    for key in keys:
        if key.startswith("MBConv-"):
            return "nsganet"
        if key.startswith("expanded_conv-"):
            return "ofa" if "-hs:" in key else "proxyless"
    return None


def parts(network: Network, style: Style) -> list[tuple[str, list[str]]]:
    """Keys of the parts of a network, and the layers that belong to each.

    Raises NetworkError for a network that is not made of inverted residuals with a published form.
    """
    if network.description is None:
        raise NetworkError(
            f"{network.name}: has no keys in a table of blocks: it is not one of the networks of inverted residuals "
            "(ofa_mobilenet_v3, proxylessnas)"
        )
    net, size = network.description["net"], network.description["image_size"]
    prefixes = ["first_conv", *(f"blocks.{i}" for i in range(sum(block is not None for block in net["blocks"])))]
    prefixes += ["final_expand_layer"] if net["final_expand"] is not None else []
    prefixes += ["global_avg_pool"] if net["final_expand"] is not None and style != "nsganet" else []
    prefixes += ["feature_mix_layer", "classifier"]
    keys = block_keys(net, size, style)
    names = [layer.name for layer in network]
    return [
        (key, [name for name in names if name == prefix or name.startswith(f"{prefix}.")])
        for key, prefix in zip(keys, prefixes, strict=True)
    ]


def block_keys(net: Mapping[str, Any], resolution: int, style: Style) -> list[str]:
    """Keys of all parts of a published network (a ``net`` of ``ofa_specialized_nets.json``) for square images.

    Raises NetworkError for a description without what the keys need.
    """
    try:
        return _keys(net, resolution, style)
    except (KeyError, TypeError, IndexError) as error:
        raise NetworkError(
            f"a network of inverted residuals must have stem, blocks and feature_mix ({error})"
        ) from None


def _keys(net: Mapping[str, Any], resolution: int, style: Style) -> list[str]:
    size = -(-resolution // 2)
    first = "first_conv" if style == "nsganet" else "Conv"
    found = [f"{first}-input:{_square(resolution, 3)}-output:{_square(size, net['stem'])}"]
    channels = net["stem"]
    for block in net["blocks"]:
        if block is None:
            continue
        after = -(-size // block["s"])
        middle = block["mid"] or round(block["cin"] * block["e"])
        shapes = f"input:{_square(size, block['cin'])}-output:{_square(after, block['cout'])}"
        skip = int(bool(block["shortcut"]))
        rest = f"kernel:{block['k']}-stride:{block['s']}-idskip:{skip}"
        se, swish = int(bool(block["se"])), int(block["act"] == "h_swish")
        if style == "ofa":
            found.append(f"expanded_conv-{shapes}-expand:{middle}-{rest}-se:{se}-hs:{swish}")
        elif style == "proxyless":
            found.append(f"expanded_conv-{shapes}-expand:{block['e']}-{rest}")
        else:
            found.append(f"MBConv-{shapes}-expand:{block['e']}-{rest}-se:{se}")
        size, channels = after, block["cout"]
    wide, mixed = net.get("final_expand"), net["feature_mix"]
    if wide is None:
        found.append(f"Conv_1-input:{_square(size, channels)}-output:{_square(size, mixed)}")
        found.append(f"Logits-input:{_square(size, mixed)}-output:{_CLASSES}")
    elif style == "nsganet":
        found.append(f"final_expand_layer-input:{_square(size, channels)}-output:{_square(size, wide)}")
        found.append(f"feature_mix_layer-input:{_square(1, wide)}-output:{_square(1, mixed)}")
        found.append(f"classifier-input:{mixed}-output:{_CLASSES}")
    else:
        found.append(f"Conv_1-input:{_square(size, channels)}-output:{_square(size, wide)}")
        found.append(f"AvgPool2D-input:{_square(size, wide)}-output:{_square(1, wide)}")
        found.append(f"Conv_2-input:{_square(1, wide)}-output:{_square(1, mixed)}")
        found.append(f"Logits-input:{_square(1, mixed)}-output:{_CLASSES}")
    return found


def _square(size: int, channels: int) -> str:
    return f"{size}x{size}x{channels}"

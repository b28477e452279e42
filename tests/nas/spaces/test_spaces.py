"""Every space passes the conformance suite; sizes and networks against what their papers publish."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from accelerators.documents import DocumentError
from codesign.nas import spaces
from codesign.nas.spaces import (
    SPACES,
    AnalogResNet,
    Darts,
    FbNet,
    Hat,
    NasBench201,
    OfaMobileNetV3,
    OfaProxylessNas,
    OfaResNet50,
    ProxylessNas,
    fbnet,
    hat,
    nas_bench_201,
    ofa_mobilenet_v3,
    staged,
)
from codesign.nas.testing import SpaceConformance
from codesign.networks import NetworkError, load

_PUBLISHED = Path(__file__).parents[3] / "benchmarks" / "nas" / "data" / "ofa_specialized_nets.json.gz"

STAGED = """\
name: small_mobile
resolution: [128, 160, 192]
classes: 10
stem: {channels: 16, stride: 2, activation: hswish}
stages:
  - {block: mbconv, width: 16, expansion: 1}
  - {block: mbconv, width: [24, 32], depth: [1, 2, 3], stride: 2, kernel: [3, 5], expansion: [3, 6]}
  - block: [mbconv, sepconv]
    one_choice: true
    width: [48, 64]
    depth: [0, 1, 2]
    excite: [0, 0.25]
  - {name: last, block: [basic, bottleneck, conv], width: 96, stride: 2, ratio: [0.25, 0.5], shortcut: [identity, none]}
head: {channels: 512}
"""


class TestAnalogResNet(SpaceConformance):
    space = AnalogResNet(depths=(1, 2, 4), branches=(1, 2, 5), resolution=24, input_channels=1, classes=7)

    def test_options_are_those_of_its_networks(self) -> None:
        network = self.space.network(self.sample(1)[0])
        assert network.inputs[0].shape == (1, 24, 24)
        assert network.layer("classifier").operator.words(network.layer("classifier").operator.output) == 7


class TestNasBench201(SpaceConformance):
    space = NasBench201("cifar100")

    def test_it_is_the_benchmark(self) -> None:
        assert self.space.size == 15_625
        codes = nas_bench_201.cells().astype(np.int64)
        space = NasBench201()
        assert (space.index(codes) == np.arange(15_625)).all()
        assert sorted(space.codes()) == sorted(map(tuple, codes.tolist()))

    def test_cells_that_compute_the_same_have_one_representative(self) -> None:
        space = NasBench201()
        codes = nas_bench_201.cells().astype(np.int64)
        found = space.representative(codes)
        assert len(np.unique(found, axis=0)) == 6466
        assert (space.representative(found) == found).all()
        index = space.index(found)
        classes = nas_bench_201.isomorphism_classes()
        assert (classes[index] == classes).all()
        assert (index <= np.arange(15_625)).all()

    def test_paths_see_what_is_computed(self) -> None:
        """A dead convolution does not matter there, nor an identity on a path."""
        space = NasBench201()
        cell = space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|nor_conv_3x3~2|")
        other = space.parse("|skip_connect~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|")
        paths = space.features(np.array([cell, other]))[:, 30:-4]
        assert (paths[0] == paths[1]).all()
        assert paths[0].sum() == 1

    def test_what_is_no_cell(self) -> None:
        with pytest.raises(NetworkError, match="data set must be one of cifar10, cifar100, imagenet16"):
            NasBench201("mnist")
        with pytest.raises(NetworkError, match="a cell must be text"):
            NasBench201().parse([0] * 6)


class TestFbNet(SpaceConformance):
    space = FbNet()

    def test_size(self) -> None:
        assert self.space.size == 9**22
        assert FbNet("imagenet").network([0] * 22).macs == fbnet.network([0] * 22, variant="imagenet").macs


class TestOfaMobileNetV3(SpaceConformance):
    space = OfaMobileNetV3()

    def test_size_is_the_paper_s(self) -> None:
        assert OfaMobileNetV3(sizes=(224,)).size == (9**2 + 9**3 + 9**4) ** 5
        assert OfaMobileNetV3(sizes=(224,)).size == pytest.approx(2e19, rel=0.1)

    def test_published_networks_are_members(self) -> None:
        """Genes are read from published networks (of 34 of this shape, some), and give them back."""
        entries = json.loads(gzip.decompress(_PUBLISHED.read_bytes()))["ofa_specialized"]
        members = 0
        shaped = [entry for entry in entries if entry["net"]["final_expand"] is not None]
        for i, entry in enumerate(shaped):
            if i % 6 and not entry["name"].startswith("flops-"):
                continue
            width = 1.2 if entry["net"]["stem"] == 24 else 1.0
            space = OfaMobileNetV3(width=width, sizes=(entry["image_size"],))
            code = space.parse_published(entry)
            published = ofa_mobilenet_v3.specialized(entry)
            member = space.network(code)
            assert (member.macs, member.parameters) == (published.macs, published.parameters)
            assert space.published(code)["net"]["blocks"][1:] == [
                {**block, "mid": block["cin"] * block["e"]} if block["mid"] is None else block
                for block in entry["net"]["blocks"][1:]
                if block
            ]
            if entry["name"].startswith("flops-"):
                assert member.macs / 1e6 == pytest.approx(float(entry["name"][6:9]), rel=0.01)
            members += 1
        assert (members, len(shaped)) == (8, 34)

    def test_another_width_is_no_member(self) -> None:
        entries = json.loads(gzip.decompress(_PUBLISHED.read_bytes()))["ofa_specialized"]
        entry = next(e for e in entries if e["net"]["final_expand"] and e["net"]["stem"] == 16)
        with pytest.raises(NetworkError, match=r"is no member of width 1\.2"):
            OfaMobileNetV3(width=1.2, sizes=(entry["image_size"],)).parse_published(entry)

    @pytest.mark.parametrize("sizes", [(), (224, 192), (160, 160)])
    def test_sizes_increase(self, sizes: tuple[int, ...]) -> None:
        with pytest.raises(NetworkError, match="sizes must be different, in increasing order"):
            OfaMobileNetV3(sizes=sizes)


class TestOfaResNet50(SpaceConformance):
    space = OfaResNet50()

    def test_resnet50_d_is_a_member(self) -> None:
        """25,576,264 parameters, as timm counts in its resnet50d; 4.35 G multiply-accumulates are quoted there."""
        code = self.space.parse({"d": [2, 1, 2, 2, 1], "e": [0.25] * 18, "w": [2] * 6, "r": 224})
        network = self.space.network(code)
        assert network.parameters == 25_576_264
        assert network.macs / 1e9 == pytest.approx(4.35, rel=0.01)

    def test_ten_to_eighteen_blocks(self) -> None:
        small, large = (self.space.network(code) for code in (np.zeros(30, np.int64), self.space.counts - 1))
        blocks = [sum(layer.name.endswith(".conv2.conv") for layer in network) for network in (small, large)]
        assert blocks == [10, 18]
        # The stem's residual block is kept by 2 only.
        assert "input_stem.1.conv.conv" not in small
        assert "input_stem.1.add" in large

    def test_naas_searches_about_1e13(self) -> None:
        space = OfaResNet50.naas()
        assert space.name == space.network([0] * len(space.genes)).name == "naas_resnet50"
        with pytest.raises(NetworkError, match=r"^naas_resnet50: r must be one of 128, .* \(got 130\)"):
            space.parse({"d": [0] * 5, "e": [0.2] * 18, "w": [0] * 6, "r": 130})
        assert space.size == 9 * self.space.size // 8
        assert 1e13 < space.size < 3e13
        assert 208 in space.genes[-1].options

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"d": [1, 0, 0, 0, 0]}, r"d\[0\] must be one of 0, 2 \(got 1\)"),
            ({"d": [0, 0, 0, 0, 3]}, r"d\[4\] must be one of 0, 1, 2 \(got 3\)"),
            ({"w": [0, 0, 0, 0, 0, 3]}, r"w\[5\] must be one of 0, 1, 2 \(got 3\)"),
            ({"e": [0.3] + [0.2] * 17}, r"e\[0\] must be one of 0\.2, 0\.25, 0\.35 \(got 0\.3\)"),
            ({"e": [0.2] * 17}, r"e must have 18 values \(got 17\)"),
            ({"r": 208}, r"r must be one of 128, .*256 \(got 208\)"),
        ],
    )
    def test_mistakes_are_named(self, change: dict[str, object], message: str) -> None:
        good = {"d": [0] * 5, "e": [0.2] * 18, "w": [0] * 6, "r": 224}
        with pytest.raises(NetworkError, match=f"ofa_resnet50: {message}"):
            self.space.parse({**good, **change})


class TestProxylessNas(SpaceConformance):
    space = ProxylessNas()

    def test_the_mobile_network_has_the_published_size(self) -> None:
        """320 M multiply-accumulates, 4.1 M parameters (the authors' table)."""
        blocks = ["e3_k5", "e3_k3", "zero", "zero", "e3_k7", "e3_k3", "e3_k5", "e3_k5", "e6_k7", "e3_k5", "e3_k5"]
        blocks += ["e3_k5", "e6_k5", "e3_k5", "e3_k5", "e3_k5", "e6_k7", "e6_k7", "e3_k7", "e3_k7", "e6_k7"]
        space = ProxylessNas(channels=(32, 40, 80, 96, 192, 320))
        network = space.network(space.parse({"blocks": blocks}))
        assert network.macs / 1e6 == pytest.approx(320, rel=0.002)
        assert network.parameters / 1e6 == pytest.approx(4.1, abs=0.05)

    def test_size(self) -> None:
        assert self.space.size == 6**6 * 7**15
        with pytest.raises(NetworkError, match=r"channels must have 6 values \(got 1\)"):
            ProxylessNas(channels=(24,))


class TestOfaProxylessNas(SpaceConformance):
    space = OfaProxylessNas()

    def test_size(self) -> None:
        assert self.space.size == 5 * 9 * (9**2 + 9**3 + 9**4) ** 5


class TestHat(SpaceConformance):
    space = Hat("iwslt14deen")
    networks = 1

    def test_a_translation_is_the_sum_of_its_parts(self) -> None:
        code = self.space.sample(np.random.default_rng(5), 1)[0]
        genes, task = Hat("iwslt14deen").translation(code), hat.TASKS["iwslt14deen"]
        encoder = hat.encoder(genes, tokens=task.tokens, vocabulary=task.source_vocabulary)
        steps = hat.decoder_steps(
            genes, batch=hat.BEAM, tokens=task.tokens, vocabulary=task.target_vocabulary, tied=False
        )
        network = self.space.network(code)
        assert network.macs == encoder.macs + sum(step.macs for step in steps)
        assert network.parameters == encoder.parameters + steps[0].parameters
        assert len(network) == len(encoder) + sum(map(len, steps))

    def test_size(self) -> None:
        layers = sum((3 * 2 * 2 * 3) ** n for n in range(1, 7))
        assert self.space.size == 2 * 2 * 3**6 * 2**6 * layers


class TestDarts(SpaceConformance):
    space = Darts()
    networks = 4
    V2 = {  # noqa: RUF012
        "normal": [["sep_conv_3x3", 0], ["sep_conv_3x3", 1], ["sep_conv_3x3", 0], ["sep_conv_3x3", 1],
                   ["sep_conv_3x3", 1], ["skip_connect", 0], ["skip_connect", 0], ["dil_conv_3x3", 2]],
        "reduce": [["max_pool_3x3", 0], ["max_pool_3x3", 1], ["skip_connect", 2], ["max_pool_3x3", 1],
                   ["max_pool_3x3", 0], ["skip_connect", 2], ["skip_connect", 2], ["max_pool_3x3", 1]],
    }  # fmt: skip

    @pytest.mark.parametrize(("variant", "parameters"), [("cifar10", 3_349_342), ("imagenet", 4_718_752)])
    def test_darts_v2_has_the_parameters_that_its_authors_code_prints(self, variant: str, parameters: int) -> None:
        space = Darts(variant)
        assert space.network(space.parse(self.V2)).parameters == parameters

    def test_size_is_the_paper_s(self) -> None:
        assert self.space.size == (1 * 3 * 6 * 10 * 7**8) ** 2

    def test_the_order_of_a_node_s_edges_means_nothing(self) -> None:
        swapped = {cell: [edges[i ^ 1] for i in range(8)] for cell, edges in self.V2.items()}
        assert self.space.parse(swapped) == self.space.parse(self.V2)

    @pytest.mark.parametrize(
        ("edges", "message"),
        [
            (
                [["sep_conv_3x3", 0], ["sep_conv_3x3", 0]],
                r"normal\[0\] and \[1\] must read two different nodes of 0..1",
            ),
            ([["sep_conv_3x3", 0], ["sep_conv_3x3", 2]], r"two different nodes of 0\.\.1 \(got 0 and 2\)"),
            ([["none", 0], ["sep_conv_3x3", 1]], r"normal_ops\[0\] must be one of max_pool_3x3, .* \(got 'none'\)"),
            ([["sep_conv_3x3"], ["sep_conv_3x3", 1]], r"normal\[0\] must be \[operator, node that it reads\]"),
        ],
    )
    def test_mistakes_are_named(self, edges: list[object], message: str) -> None:
        with pytest.raises(NetworkError, match=message):
            self.space.parse({**self.V2, "normal": [*edges, *self.V2["normal"][2:]]})


class TestMnasNet(SpaceConformance):
    space = spaces.mnasnet()

    def test_a_block_has_the_paper_s_432_choices(self) -> None:
        ops = 1 + 1 + 2
        assert self.space.size == (ops * 2 * 2 * 3 * 3) ** 7 * 3**5 * 2**2
        assert ops * 2 * 2 * 3 * 3 * 3 == 432


class TestStaged(SpaceConformance):
    space = staged.from_text(STAGED)

    def test_every_network_is_counted(self) -> None:
        second = 2 * (4 + 4**2 + 4**3)
        third = 1 + 2 * 2 * 2 * 2
        last = 1 * 1 + 1 * 2 + 2
        assert self.space.size == len(set(self.space.codes())) == 3 * second * third * last

    def test_mnasnet_described_in_yaml_is_the_zoo_s(self) -> None:
        stages = [(16, 1, 1, 3, 1, "sepconv"), (24, 3, 2, 3, 3, "mbconv"), (40, 3, 2, 5, 3, "mbconv"),
                  (80, 3, 2, 5, 6, "mbconv"), (96, 2, 1, 3, 6, "mbconv"), (192, 4, 2, 5, 6, "mbconv"),
                  (320, 1, 1, 3, 6, "mbconv")]  # fmt: skip
        lines = [
            f"  - {{block: {b}, width: {w}, depth: {d}, stride: {s}, kernel: {k}"
            + (f", expansion: {e}}}" if b == "mbconv" else "}")
            for w, d, s, k, e, b in stages
        ]
        text = "name: b1\nresolution: [192, 224]\nstem: {channels: 32}\nstages:\n" + "\n".join(lines)
        space = staged.from_text(text + "\nhead: {channels: 1280}\n")
        network, published = space.network(space.parse({"resolution": 224})), load("mnasnet1_0")
        assert (network.macs, network.parameters) == (published.macs, published.parameters)

    def test_resnets_described_in_yaml_are_those_of_the_zoo_behind_the_stem(self) -> None:
        for name, block, widths, depths in (
            ("resnet18", "basic", (64, 128, 256, 512), (2, 2, 2, 2)),
            ("resnet50", "bottleneck", (256, 512, 1024, 2048), (3, 4, 6, 3)),
        ):
            lines = [
                f"  - {{block: {block}, width: {w}, depth: {d}, stride: {1 if i == 0 else 2}}}"
                for i, (w, d) in enumerate(zip(widths, depths, strict=True))
            ]
            text = "name: r\nresolution: [112, 224]\nstem: {channels: 64, kernel: 7, stride: 4}\nstages:\n"
            space = staged.from_text(text + "\n".join(lines) + "\n")
            network, published = space.network(space.parse({"resolution": 224})), load(name)
            # There, a stem of stride 2 comes before the pooling.
            apart = published.layer("conv1").operator.macs * 3 // 4
            assert network.macs == published.macs - apart
            assert network.parameters == published.parameters

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ("channels: 16", "channels: 0", "stem.channels: must be >= 1 (got 0)"),
            ("kernel: [3, 5]", "kernel: [3, 4]", "stages[1].kernel[1]: must be odd, from 1 to 15 (got 4)"),
            ("width: [24, 32]", "width: [24, 24]", "stages[1].width: options must differ (got 24 twice)"),
            ("width: [24, 32]", "width: []", "stages[1].width: must have at least 1 entries (got 0)"),
            ("block: mbconv, width: 16", "block: mbcon, width: 16", "must be one of 'conv', 'sepconv', 'mbconv'"),
            ("expansion: 1", "expansion: 0.5", "stages[0].expansion[0]: must be >= 1 (got 0.5)"),
            ("expansion: 1", "ratio: 0.5", "stages[0].ratio: means nothing to mbconv"),
            ("depth: [1, 2, 3]", "depth: [0, 1]", "stages[1].depth: must be at least 1 in a stage of stride 2"),
            ("depth: [0, 1, 2]", "depth: 0", "stages[2].depth: must leave a block in some network (got 0 only)"),
            ("name: last", "name: stage2", "stages[3].name: must differ from the others (got 'stage2')"),
            ("hswish", "swoosh", "stem.activation: must be one of gelu, hsigmoid, hswish"),
            ("classes: 10", "clases: 10", "unknown key: did you mean classes?"),
            ("head: {channels: 512}", "", "stem"),
        ],
    )
    def test_mistakes_have_a_place_a_rule_and_a_value(self, old: str, new: str, problem: str) -> None:
        assert old in STAGED
        text = STAGED.replace(old, new)
        if problem == "stem":
            # The head may be left out.
            assert staged.from_text(text).size == self.space.size
            return
        with pytest.raises(DocumentError) as caught:
            staged.from_text(text)
        assert problem in str(caught.value)
        assert str(caught.value).startswith("<text>:")

    def test_networks_that_do_not_fit_are_refused(self) -> None:
        space = staged.from_text("name: tiny\nresolution: [1, 2]\nstem: {channels: 8}\nstages:\n"
                                 "  - {block: conv, width: 8, kernel: [1, 3]}\n")  # fmt: skip
        assert space.network([0, 0]).macs > 0


def test_spaces_are_found_by_name(tmp_path: Path) -> None:
    for name in SPACES:
        options = {"space": "ofa_resnet50"} if name == "quantised" else {}
        assert spaces.load(name, **options).size > 1
    assert spaces.load("nas_bench_201", data_set="cifar100").network([0] * 6).layer("classifier").parameters == 6500
    (tmp_path / "mine.yaml").write_text(STAGED)
    assert spaces.load(tmp_path / "mine.yaml").name == "small_mobile"
    with pytest.raises(NetworkError, match=r"unknown space 'ofa_resnet5': did you mean"):
        spaces.load("ofa_resnet5")
    with pytest.raises(NetworkError, match=r"darts: unknown option 'width'"):
        spaces.load("darts", width=2)


def test_the_size_is_exact_beyond_floats() -> None:
    assert math.log10(spaces.load("ofa_proxylessnas").size) > 20
    assert isinstance(spaces.load("ofa_proxylessnas").size, int)

"""Zero-shot scores: closed forms, brute force on tiny networks, repeatability, networks that have none."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402, N812

from codesign.nas.spaces import nas_bench_201  # noqa: E402
from codesign.nas.zero_shot import SCORES, Data, NoScoreError, Zen, random_data, score  # noqa: E402
from codesign.networks import Builder, NetworkError  # noqa: E402
from codesign.networks.torch_module import to_torch, weighted_layers  # noqa: E402

_DEAD = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
_HALF_DEAD = "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"


def _net(bn=True, activation="relu", bias=None):
    b = Builder("tiny")
    x = b.input(2, 6, 6)
    x = b.conv(x, "c1", K=3, kernel=3, padding=1, bn=bn, bias=bias, activation=activation)
    x = b.conv(x, "c2", K=4, kernel=3, stride=2, padding=1, bn=bn, bias=bias, activation=activation)
    b.linear(b.flatten(b.global_pool(x, "pool")), "fc", K=5)
    return b.network


def _case(network=None, batch=6, seed=0):
    network = network or _net()
    module = to_torch(network, seed=seed).train()
    data = random_data(network, batch, torch.Generator().manual_seed(seed + 1), torch.Generator().manual_seed(seed + 2))
    return module, data


def _gradients(module, data, rows=slice(None)):
    loss = F.cross_entropy(module(data.inputs[0][rows]), data.labels[rows])
    weights = [layer.weight for layer in weighted_layers(module)]
    return weights, torch.autograd.grad(loss, weights)


# -- closed forms and brute force -------------------------------------------------------------------------------------


def test_synflow_of_a_chain_without_biases_is_its_layers_times_the_sum_of_outputs():
    b = Builder("chain")
    x = b.conv(b.input(2, 1, 1), "c1", K=3, kernel=1, bias=False, activation="relu")
    x = b.conv(x, "c2", K=4, kernel=1, bias=False)
    b.linear(b.flatten(b.global_pool(x, "pool")), "fc", K=5, bias=False)
    module, data = _case(b.network)
    total = np.ones(2)
    for layer in weighted_layers(module):
        total = np.abs(layer.weight.detach().double().numpy().reshape(len(layer.weight), -1)) @ total
    assert SCORES["synflow"](module, data) == pytest.approx(3 * total.sum(), rel=1e-12)
    assert SCORES["synflow_log"](module, data) == pytest.approx(math.log(3 * total.sum()), rel=1e-12)


def test_synflow_leaves_normalisation_out_or_keeps_it():
    module, data = _case()
    bare = to_torch(_net(bn=False, bias=False), seed=0)
    for ours, theirs in zip(weighted_layers(bare), weighted_layers(module), strict=True):
        ours.load_state_dict(theirs.state_dict())
    assert SCORES["synflow"](module, data) == pytest.approx(SCORES["synflow"](bare, data), rel=1e-12)
    assert SCORES["synflow_bn"](module, data) != pytest.approx(SCORES["synflow"](module, data), rel=0.01)


def test_saliencies_of_a_linear_classifier():
    """Softmax regression: dL/dW = (p - y)^T x / batch, and its Hessian along g in closed form."""
    b = Builder("linear")
    b.linear(b.input(3), "fc", K=4, bias=False)
    module, data = _case(b.network, batch=7)
    w = module.layer("fc").linear.weight.detach().double().numpy()
    x, labels = data.inputs[0].double().numpy(), data.labels.numpy()
    exponentials = np.exp(x @ w.T)
    p = exponentials / exponentials.sum(1, keepdims=True)
    error = p - np.eye(4)[labels]
    g = error.T @ x / 7
    assert SCORES["snip"](module, data) == pytest.approx(np.abs(w * g).sum(), rel=1e-5)
    assert SCORES["plain"](module, data) == pytest.approx((w * g).sum(), rel=1e-4)
    assert SCORES["grad_norm"](module, data) == pytest.approx(np.linalg.norm(g), rel=1e-5)
    moved = x @ g.T
    curved = (p * (moved - (p * moved).sum(1, keepdims=True))).T @ x / 7
    assert SCORES["grasp"](module, data) == pytest.approx(-(w * curved).sum(), rel=1e-4)
    per_image = (x @ w.T) * error / 7
    assert SCORES["fisher"](module, data) == pytest.approx((per_image**2).mean(0).sum() / 2 * 3, rel=1e-4)


def test_fisher_counts_a_channel_once_for_each_weight():
    module, data = _case()
    outputs = []
    layers = weighted_layers(module)
    hooks = [layer.register_forward_hook(lambda part, inputs, output: outputs.append(output)) for layer in layers]
    loss = F.cross_entropy(module(data.inputs[0]), data.labels)
    for hook in hooks:
        hook.remove()
    wanted = 0.0
    for layer, output, gradient in zip(layers, outputs, torch.autograd.grad(loss, outputs), strict=True):
        product = (output * gradient).flatten(2).sum(2) if output.dim() > 2 else output * gradient
        wanted += float((product**2).mean(0).detach().sum() / 2) * layer.weight[0].numel()
    assert SCORES["fisher"](module, data) == pytest.approx(wanted, rel=1e-5)


def test_grad_norm_adds_the_norms_of_layers():
    module, data = _case()
    _, gradients = _gradients(module, data)
    assert SCORES["grad_norm"](module, data) == pytest.approx(sum(float(g.norm()) for g in gradients), rel=1e-5)


def test_gradsign_takes_images_one_by_one():
    module, data = _case()
    signs = [torch.stack([_gradients(module, data, [i])[1][k].sign() for i in range(6)]) for k in range(3)]
    total = sum(float(s.sum(0).abs().sum()) for s in signs)
    count = sum(layer.weight.numel() for layer in weighted_layers(module))
    assert SCORES["gradsign"](module, data) == pytest.approx(total)
    assert SCORES["gradsign_mean"](module, data) == pytest.approx(total / count)


def test_naswot_counts_units_that_two_images_share():
    module, data = _case()
    codes = []
    hooks = [
        module.layer(f"{name}.relu").function.register_forward_hook(
            lambda part, inputs, output: codes.append((inputs[0] > 0).flatten(1).numpy())
        )
        for name in ("c1", "c2")
    ]
    with torch.no_grad():
        module(data.inputs[0])
    for hook in hooks:
        hook.remove()
    units = np.concatenate(codes, 1)
    shared = (units[:, None] == units[None]).sum(-1).astype(float)
    assert SCORES["naswot"](module, data) == pytest.approx(np.linalg.slogdet(shared)[1], rel=1e-12)
    assert SCORES["naswot_every"](module, data) == SCORES["naswot"](module, data)


def test_naswot_skips_relus_that_do_not_reach_the_output():
    network = nas_bench_201.network(_HALF_DEAD, channels=4, cells_per_stage=1, resolution=8)
    module, data = _case(network, batch=4)
    assert SCORES["naswot"](module, data) < SCORES["naswot_every"](module, data)
    alive = nas_bench_201.network("|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|skip_connect~2|", channels=4,
                                  cells_per_stage=1, resolution=8)  # fmt: skip
    other = to_torch(alive, seed=0).train()
    state = module.state_dict()
    other.load_state_dict({key: state[key] for key in other.state_dict()})
    assert SCORES["naswot"](module, data) == pytest.approx(SCORES["naswot_every"](other, data), rel=1e-12)


def test_jacobian_covariance():
    module, data = _case()
    x = data.inputs[0].clone().requires_grad_()
    module(x).sum().backward()
    correlation = np.corrcoef(x.grad.flatten(1).double().numpy())
    eigenvalues = np.linalg.eigvals(correlation).real
    wanted = -np.sum(np.log(eigenvalues + 1e-5) + 1 / (eigenvalues + 1e-5))
    assert SCORES["jacob_cov"](module, data) == pytest.approx(wanted, rel=1e-6)


def test_zen_of_a_linear_network_is_the_size_of_the_moved_noise():
    b = Builder("conv")
    x = b.conv(b.input(2, 5, 5), "c", K=3, kernel=3)
    b.linear(b.flatten(b.global_pool(x, "pool")), "fc", K=2)
    module, data = _case(b.network)
    with torch.no_grad():
        moved = 0.01 * F.conv2d(data.noise[0], module.layer("c").conv.weight)
    l1 = float(moved.abs().flatten(1).sum(1).mean())
    l2 = float(moved.flatten(1).norm(dim=1).mean())
    assert Zen(redraw=False)(module, data) == pytest.approx(math.log(l1), abs=1e-4)
    assert Zen(redraw=False, batch_variance=True)(module, data) == pytest.approx(math.log(l2), abs=1e-4)


def test_zen_reads_moving_averages_that_begin_at_one():
    b = Builder("bn")
    x = b.conv(b.input(2, 5, 5), "c", K=3, kernel=1, bn=True)
    b.linear(b.flatten(b.global_pool(x, "pool")), "fc", K=2)
    module, data = _case(b.network)
    conv = module.layer("c").conv
    images = (data.inputs[0], data.inputs[0] + 0.01 * data.noise[0])
    with torch.no_grad():
        before = [conv(x) for x in images]
        unbiased = [y.var((0, 2, 3)) for y in before]
        features = [module.layer("c").bn(y) for y in before]
    module, data = _case(b.network)  # with fresh statistics
    running = 0.81 + 0.09 * unbiased[0] + 0.1 * unbiased[1]
    distance = (features[0] - features[1]).abs().flatten(1).sum(1).mean()
    wanted = float(distance.log() + running.mean().log() / 2)
    assert Zen(redraw=False)(module, data) == pytest.approx(wanted, abs=1e-5)
    batch = float((before[0].var((0, 2, 3), correction=0)).mean().log() / 2)
    l2 = float((features[0] - features[1]).flatten(1).norm(dim=1).mean().log())
    assert Zen(redraw=False, batch_variance=True)(module, data) == pytest.approx(l2 + batch, abs=1e-5)


def test_zen_with_repeats_lets_the_averages_run_on():
    """1 and 32 repeats are different scores with normalisation, and one without."""
    for bn, same in ((True, False), (False, True)):
        network = _net(bn=bn, bias=False)
        once = np.mean([score(network, ["zen"], seed=seed)["zen"].mean for seed in range(8)])
        module, data = _case(network, batch=16)
        assert (abs(Zen(repeats=32)(module, data) - once) < 0.3) == same


# -- the scores together ----------------------------------------------------------------------------------------------


def test_all_scores_are_finite_repeatable_and_leave_nothing_behind():
    network = _net()
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    all_of_them = score(network, SCORES, batch=4, repeats=2, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, result in all_of_them.items():
        assert result.reason is None and len(result.values) == 2 and math.isfinite(result.mean), name
        alone = score(network, [name], batch=4, repeats=2, seed=3)[name]
        assert alone.values == result.values, name
    assert score(network, ["snip"], batch=4, seed=4)["snip"].values != all_of_them["snip"].values[:1]
    assert all_of_them["params"].values == (network.parameters,) * 2
    assert all_of_them["params"].std == 0
    assert all_of_them["flops"].mean == network.macs


@pytest.mark.parametrize("name", SCORES)
def test_a_module_is_given_back_as_it_was(name):
    module, data = _case()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    SCORES[name](module, data)
    assert module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_a_dead_cell_has_a_reason_and_no_number():
    network = nas_bench_201.network(_DEAD, channels=4, cells_per_stage=1, resolution=8)
    results = score(network, SCORES, batch=4)
    assert results["zen"].reason == "features do not depend on the input" and results["zen"].mean is None
    assert results["jacob_cov"].reason == "the output does not depend on the input"
    assert results["naswot_every"].reason == "two images switch the same units on"
    assert results["synflow"].mean is None
    assert results["snip"].reason is None  # of the classifier's weights
    assert all(math.isfinite(value) for result in results.values() for value in result.values)


def test_zen_of_a_cell_with_dead_operators():
    """Behind zeros a batch has no variance; the running average is that of the beginning."""
    cell = "|none~0|+|none~0|nor_conv_3x3~1|+|nor_conv_1x1~0|skip_connect~1|avg_pool_3x3~2|"
    network = nas_bench_201.network(cell, channels=4, cells_per_stage=1, resolution=8)
    alive = nas_bench_201.network(cell.replace("nor_conv_3x3", "none"), channels=4, cells_per_stage=1, resolution=8)
    module, data = _case(network, batch=4)
    other = to_torch(alive, seed=0).train()
    state = module.state_dict()
    other.load_state_dict({key: state[key] for key in other.state_dict()})
    of_batch = Zen(redraw=False, batch_variance=True)
    assert of_batch(module, data) == pytest.approx(of_batch(other, data), abs=1e-5)
    dead = 3 * math.log(0.9)  # log sqrt(0.81) of a normalisation in each cell
    assert Zen(redraw=False)(module, data) == pytest.approx(Zen(redraw=False)(other, data) + dead, abs=1e-5)


@pytest.mark.parametrize(
    "network, name, reason",
    [
        (_net(activation="hswish"), "naswot", "has no ReLU"),
        (_net(), "gradsign", None),
    ],
)
def test_reasons(network, name, reason):
    assert score(network, [name], batch=2)[name].reason == reason


def test_a_single_pixel_cannot_be_normalised_alone():
    b = Builder("pixel")
    x = b.conv(b.input(2, 3, 3), "c", K=3, kernel=3, bn=True)
    b.linear(b.flatten(x), "fc", K=2)
    result = score(b.network, ["gradsign", "snip"], batch=4)
    assert result["gradsign"].reason == "batch normalisation of a single value: needs more pixels or images"
    assert result["snip"].reason is None


def test_indices_have_gradients_but_no_noise():
    b = Builder("words")
    x = b.embedding("table", tokens=4, rows=11, features=6)
    b.linear(b.flatten(b.linear(x, "l", K=3, activation="relu")), "fc", K=2)
    results = score(b.network, ["snip", "zen", "synflow", "jacob_cov", "naswot"], batch=3)
    assert results["snip"].reason is None and results["naswot"].reason is None
    assert all("the input" in results[name].reason for name in ("zen", "synflow", "jacob_cov"))


def test_overflow_is_a_reason():
    module, data = _case(_net(bn=False, bias=False))
    with torch.no_grad():
        for layer in weighted_layers(module):
            layer.weight.mul_(1e38)
    module.double()
    with torch.no_grad():
        for layer in weighted_layers(module):
            layer.weight.mul_(1e100)
    with pytest.raises(NoScoreError, match="overflows"):
        SCORES["synflow"](module, data)


def test_a_network_of_the_zoo_by_name():
    assert score("ds_cnn", ["params"])["params"].mean == 23_756
    assert score("resnet18", ["zen"], resolution=32, batch=2)["zen"].reason is None


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ((_net(), ["zenn"]), {}, r"no score is called 'zenn': did you mean zen"),
        ((_net(), ["zen"]), {"batch": 0}, r"batch must be an integer >= 1 \(got 0\)"),
        ((_net(), ["zen"]), {"repeats": 1.5}, r"repeats must be an integer >= 1 \(got 1.5\)"),
        ((_net(), ["zen"]), {"seed": -1}, r"seed must be an integer >= 0 \(got -1\)"),
        ((_net(), ["zen"]), {"resolution": 32}, r"resolution belongs to networks of the zoo"),
        (("resnet19", ["zen"]), {}, r"unknown network 'resnet19'"),
    ],
)
def test_bad_requests(arguments, options, message):
    with pytest.raises(NetworkError, match=message):
        score(*arguments, **options)


def test_data_is_noise_of_the_networks_shape():
    data = random_data(_net(), 50, torch.Generator().manual_seed(0), torch.Generator())
    assert isinstance(data, Data)
    assert data.inputs[0].shape == data.noise[0].shape == (50, 2, 6, 6)
    assert set(data.labels.tolist()) == set(range(5))
    assert abs(float(data.inputs[0].std()) - 1) < 0.05


def test_synflow_has_no_answer_where_nothing_flows():
    dead = nas_bench_201.network(_DEAD)
    b = Builder("cut")
    x = b.linear(b.flatten(b.global_pool(b.conv(b.input(2, 6, 6), "c", K=3, kernel=3), "pool")), "fc", K=5)
    b.softmax(x, "softmax")
    for network in (dead, b.network):
        for name, found in score(network, ["synflow", "synflow_log", "synflow_bn", "synflow_bn_log"], batch=2).items():
            assert found.mean is None, name
            assert found.reason in (
                "the sum of outputs depends on no weight: no path from the input, or a softmax",
                "the output depends on no weight",
            )


def test_scores_of_a_single_image_are_numbers_or_have_a_reason():
    found = score(_net(), SCORES, batch=1)
    assert found["jacob_cov"].reason == "correlations need at least two images"
    assert all((each.mean is None) == (each.reason is not None) for each in found.values())

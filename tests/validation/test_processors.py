"""The comparison of measured networks with the models: what is scored, what is listed, what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks._common import BadInputError
from benchmarks.validation import processors
from benchmarks.validation._measured import read
from codesign.evaluation import evaluate
from codesign.nas.spaces import hat, nas_bench_201
from codesign.predictors import mlp

CELLS = nas_bench_201.cells()[::1600]


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, arch=CELLS, **arrays)
    return path


@pytest.fixture(scope="module")
def latencies() -> np.ndarray:
    networks = [nas_bench_201.network(cell.tolist(), classes=100) for cell in CELLS]
    return np.array([evaluate(network, "raspberry_pi_4")["raspberry_pi_4"].latency_s for network in networks]) * 1e3


def test_a_device_that_behaves_like_the_model_is_ranked_perfectly(
    tmp_path: Path, latencies: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.npz", help_raspi4_lat_ms=latencies, help_unknown_lat_ms=latencies)
    assert processors.main(["--space", "nb201", "--measured", str(path), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "raspberry_pi_4        10     1.000" in out
    assert "not in the catalog" in out
    assert "mean Spearman 1.000 of 1 measurements: ok" in out


def test_a_device_that_behaves_otherwise_is_below_target(
    tmp_path: Path, latencies: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.npz", raspi4_lat_ms=1 / latencies)
    assert processors.main(["--space", "nb201", "--measured", str(path), "--workers", "1"]) == 1
    assert "mean -1.000, must be at least 0.92" in capsys.readouterr().out


def test_keys_say_device_batch_and_what(tmp_path: Path, latencies: np.ndarray) -> None:
    names = {
        "help_1080ti_256_lat_ms": ("gtx_1080ti", 256, False, False),
        "help_gold_6240_lat_ms": ("xeon_gold_6240", 1, False, False),
        "hw360_pi5_onnx_ninapro_energy_mj": ("raspberry_pi_5_onnx", 1, True, False),
        "titan_xp_64_lat_ms": ("titan_xp", 64, False, False),
        # Devices of the catalog need no name of their own.
        "v100_32_lat_ms": ("v100", 32, False, False),
        "jetson_tx2_1_lat_ms": ("jetson_tx2", 1, False, False),
        "samsung_note10_lat_ms": ("galaxy_note10", 1, False, False),
        "pi5_onnx_energy_mj": ("raspberry_pi_5_onnx", 1, True, False),
        "toaster_2_lat_ms": (None, 1, False, False),
        "eyeriss_cifar10_lat_ms": ("eyeriss", 1, False, True),
        "fpga_energy_mj_reconstructed": (None, 1, True, True),
    }
    _, found = read(write(tmp_path / "a.npz", **dict.fromkeys(names, latencies)), "nb201", None)
    assert {m.key: (m.hardware, m.batch, m.energy, m.computed) for m in found} == names


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda y: np.where(np.arange(len(y)) == 3, np.nan, y),
            r"raspi4_lat_ms\[3\]: must be a number > 0 \(got nan\)",
        ),
        (lambda y: np.where(np.arange(len(y)) == 2, -1, y), r"raspi4_lat_ms\[2\]: must be a number > 0 \(got -1\)"),
        (lambda y: y[:-1], "must have 10 values, one per network"),
        (lambda y: y.astype(str), "must be a list of numbers"),
        (lambda y: y[:, None], "must be a list of numbers"),
    ],
)
def test_bad_measurements(tmp_path: Path, latencies: np.ndarray, change: Any, expected: str) -> None:
    path = write(tmp_path / "a.npz", raspi4_lat_ms=change(latencies))
    with pytest.raises(BadInputError, match=expected):
        read(path, "nb201", None)


def test_bad_files(tmp_path: Path, latencies: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, arch=CELLS[:4], raspi4_lat_ms=latencies[:4])
    with pytest.raises(BadInputError, match="must have at least 5 networks"):
        read(path, "nb201", None)
    np.savez(path, raspi4_lat_ms=latencies)
    with pytest.raises(BadInputError, match="arch is missing: without it values must be those of all 15625 cells"):
        read(path, "nb201", None)
    np.savez(path, arch=CELLS)
    with pytest.raises(BadInputError, match=r"no measurement \(measurements: none\)"):
        read(path, "nb201", None)
    with pytest.raises(BadInputError, match="no measurement 'raspi'"):
        read(write(path, raspi4_lat_ms=latencies), "nb201", "raspi")
    path.write_bytes(b"not a zip")
    with pytest.raises(BadInputError, match=r"cannot be read as an \.npz file"):
        read(path, "nb201", None)
    with pytest.raises(BadInputError, match="arch is missing"):
        np.savez(path, raspi4_lat_ms=latencies)
        read(path, "fbnet", None)


# --------------------------------------------------------------------------------------------------------------- HAT

_COLUMNS = (*hat.FEATURES, "latency_mean_encoder", "latency_mean_decoder", "latency_std_encoder", "latency_std_decoder")


def translations(count: int) -> np.ndarray:
    """Latencies of random translations, in proportion to their decoders' layers and a bit of everything."""
    random = np.random.default_rng(5)
    rows = []
    for _ in range(count):
        layers = int(random.integers(1, 7))
        draw = {name: tuple(random.choice(choices, n).tolist()) for name, choices, n in (
            ("encoder_ffn", hat.FFNS, 6), ("encoder_heads", hat.HEADS, 6), ("decoder_ffn", hat.FFNS, layers),
            ("decoder_heads", hat.HEADS, layers), ("ende_heads", hat.HEADS, layers), ("attended", hat.ATTENDED, layers),
        )}  # fmt: skip
        embeddings = random.choice(hat.EMBEDDINGS, 2).tolist()
        features = hat.Genes(encoder_embed=embeddings[0], decoder_embed=embeddings[1], **draw).features()
        rows.append([*features, 5 + features[2] / 1000, 20 * layers + features[6] / 500, 0.1, 0.1])
    return np.array(rows, np.float32)


def test_translations_are_learnt_and_compared_with_the_authors_perceptron(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = mlp.train
    monkeypatch.setattr(mlp, "train", lambda *a, **options: train(*a, **(options | {"steps": 20})))
    monkeypatch.setattr(processors, "worker_pool", lambda workers: ThreadPoolExecutor(1))
    monkeypatch.setattr(processors, "kill", lambda pool: pool.shutdown())
    path = tmp_path / "hat.npz"
    np.savez(path, wmt14ende_gpu_titanxp=translations(120), columns=np.array(_COLUMNS))
    arguments = ["--space", "hat", "--measured", str(path)]
    assert processors.main([*arguments, "--samples", "30", "--plot", str(tmp_path / "p.svg")]) == 0
    out = capsys.readouterr().out
    assert "RMSE / MLP's" in out
    # Thirty measurements have no target.
    assert out.endswith("of 1 measurements, 0 of them judged: not judged\n")
    assert "wmt14ende_gpu_titanxp  1.000" in out or "wmt14ende_gpu_titanxp  0.99" in out
    assert (tmp_path / "p.svg").read_text().count("wmt14ende_gpu_titanxp")
    assert processors.main([*arguments, "--networks", "20"]) in (0, 1)
    assert "titan_xp        20" in capsys.readouterr().out


def test_bad_translations(tmp_path: Path) -> None:
    path, good = tmp_path / "hat.npz", translations(6)
    for change, expected in (
        ({"columns": np.array(_COLUMNS[1:])}, "columns must name encoder_embed_dim"),
        ({"wmt14ende_gpu_titanxp": good[:4]}, r"must be numbers of shape \(n, 14\) with n >= 5"),
        ({"wmt14ende_gpu_titanxp": good[:, 1:]}, r"must be numbers of shape"),
        ({"wmt14ende_gpu_titanxp": -good}, r"wmt14ende_gpu_titanxp\[0\]: encoder_embed_dim must be > 0"),
        ({"wmt14ende_gpu_titanxp": np.where(np.arange(14) == 4, 600, good)}, r"\[0\]: hat: decoder_embed_dim must be"),
        ({"de_gpu": good}, "de_gpu: must begin with one of iwslt14deen"),
    ):
        np.savez(path, **({"columns": np.array(_COLUMNS), "wmt14ende_gpu_titanxp": good} | change))
        with pytest.raises(BadInputError, match=expected):
            read(path, "hat", None)
    np.savez(path, columns=np.array(_COLUMNS), wmt14ende_cpu_xeon=good, iwslt14deen_gpu_v100=good)
    _, found = read(path, "hat", None)
    assert [(each.hardware, len(each.rows), each.rows[0]) for each in found] == [
        ("xeon_e5_2640_v4", 6, 0),
        (None, 6, 6),
    ]


def test_what_has_no_rank_is_refused(tmp_path: Path, latencies: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(BadInputError, match=r"raspi4_lat_ms: values must differ \(got 1 for all networks\)"):
        read(write(path, raspi4_lat_ms=np.ones(len(CELLS))), "nb201", None)
    with pytest.raises(BadInputError, match=r"raspi4_lat_ms\[0\]: must be from 1e-09 to 1e\+12"):
        read(write(path, raspi4_lat_ms=latencies * 1e300), "nb201", None)
    for code in (-1, 9):
        np.savez(path, arch=np.where(np.arange(6) == 2, code, CELLS.astype(np.int64)), raspi4_lat_ms=latencies)
        with pytest.raises(BadInputError, match=rf"arch\[0\]\[2\]: must be 0, 1, 2, 3, 4 \(got {code}\)"):
            read(path, "nb201", None)
    genes = {"ks": np.full((9, 20), 3), "e": np.full((9, 20), 4), "d": np.full((9, 5), 2), "r": np.full(9, 160)}
    times = np.arange(1.0, 10)
    np.savez(path, **(genes | {"d": genes["d"][:8]}), titan_rtx_1_lat_ms=times)
    with pytest.raises(BadInputError, match=r"d: must have 9 networks, as ks has \(got 8\)"):
        read(path, "ofa_mbv3", None)
    np.savez(path, **(genes | {"r": genes["r"] * 10}), titan_rtx_1_lat_ms=times)
    with pytest.raises(BadInputError, match=r"r\[0\]: must be from 32 to 512 \(got 1600\)"):
        read(path, "ofa_mbv3", None)
    kernels = np.where(np.arange(20) == 5, 0, genes["ks"])
    np.savez(path, **(genes | {"ks": kernels}), titan_rtx_1_lat_ms=times)
    with pytest.raises(BadInputError, match=r"ks\[0\]\[5\]: must not be 0, as d has a block there"):
        read(path, "ofa_mbv3", None)


def test_networks_that_were_measured_twice_count_once(tmp_path: Path, latencies: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, arch=np.vstack([CELLS, CELLS]), raspi4_lat_ms=np.concatenate([latencies, latencies]))
    assert read(path, "nb201", None)[1][0].rows.tolist() == list(range(len(CELLS)))


def test_devices_that_cannot_run_a_network_have_a_row_that_says_so(
    tmp_path: Path, latencies: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.npz", arduino_uno_lat_ms=latencies)
    arguments = ["--space", "nb201", "--measured", str(path), "--workers", "1"]
    assert processors.main(arguments) == 1
    assert "arduino_uno: cannot run 10 of them, " in capsys.readouterr().out
    both = write(tmp_path / "b.npz", arduino_uno_lat_ms=latencies, raspi4_lat_ms=latencies)
    assert processors.main([*arguments[:2], "--measured", str(both), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "cannot run 10 of them" in out
    assert "mean Spearman 1.000 of 1 measurements: ok" in out
    plot = ["--samples", "5", "--plot"]
    with pytest.raises(BadInputError, match=r"a plot is a \.png, \.svg or \.pdf file"):
        processors.main([*arguments, *plot, str(tmp_path / "a.txt")])
    with pytest.raises(BadInputError, match="cannot be written: there must be a folder"):
        processors.main([*arguments, *plot, str(tmp_path / "none" / "a.png")])

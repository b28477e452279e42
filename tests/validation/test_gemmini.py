"""The Gemmini command: its figures, what it does with wrong rows, and the reader of its files."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from accelerators.costs import InfeasibleError
from benchmarks._common import BadInputError, read_text
from benchmarks.validation import gemmini
from benchmarks.validation._gemmini_ramp import MEASURED
from benchmarks.validation._gemmini_rows import parse_mapping, read_rows
from benchmarks.validation.gemmini import RTL, SCORED, Figures

Lines = list[dict[str, str]]

#: Every eighth of the shipped rows: 500, of which a few slide their inputs differently. From the fourth on, because not
#: every such sample reaches the targets that are set for all rows.
EVERY, START = 8, 3


def _lines(path: Path) -> Lines:
    return list(csv.DictReader(io.StringIO(read_text(path))))


def _write(path: Path, lines: Lines) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    path.write_text(text.getvalue())
    return path


@pytest.fixture(scope="module")
def few() -> Lines:
    return _lines(SCORED)[START::EVERY]


@pytest.fixture
def scored(few, tmp_path) -> Callable[..., Path]:
    """Writes the first n of the few rows, after a change."""

    def write(change: Callable[[Lines], object] = lambda lines: None, n: int | None = None) -> Path:
        lines = [dict(line) for line in few[:n]]
        change(lines)
        return _write(tmp_path / "scored.csv", lines)

    return write


def test_command_reaches_its_targets_on_an_eighth_of_the_rows(scored, capsys):
    assert gemmini.main(["--scored", str(scored())]) == 0
    out = capsys.readouterr().out
    assert "of 500 rows exact" in out.splitlines()[-1]
    assert "explained by the older rule" in out
    assert out.splitlines()[-1].endswith("RTL Spearman 0.9732, ramp 5.89% (3.8-10.6): ok")


@pytest.mark.slow
def test_command_on_the_shipped_files(capsys):
    assert gemmini.main([]) == 0
    out = capsys.readouterr().out
    assert "... and 37 more" in out
    assert out.splitlines()[-1] == (
        "gemmini: cycles 99.175%, energy 98.700% of 4000 rows exact, 99.900%, 99.800% with the older rule; "
        "RTL Spearman 0.9732, ramp 5.89% (3.8-10.6): ok"
    )


@pytest.mark.slow
def test_every_row_that_differs_has_its_reason():
    differing = gemmini.check_scored(SCORED).differing
    reasons = [line.split(": ", 2)[2].split(";")[0] for line in differing]
    assert reasons.count("sliding inputs: explained by the older rule") == 66
    assert reasons.count("sliding inputs: halfway between the two rules") == 11
    assert len(reasons) == 77
    # Only a kernel larger than one lets inputs slide.
    assert all("R" in line.split("L3[")[1] or "S" in line.split("L3[")[1] for line in differing)


def _double(column: str, count: int) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        for line in lines[:count]:
            line[column] = str(2 * float(line[column]))

    return change


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("target.cycle", "cycles -50.00%, both sliding rules give the same"),
        ("target.energy", "energy -50.0"),
    ],
)
def test_wrong_scores_fail_with_their_reason(scored, column, reason, capsys):
    assert gemmini.main(["--scored", str(scored(_double(column, 10), 100))]) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[-1].endswith("BELOW TARGET")
    assert " ".join(out.split()).count(reason) >= 5


def test_one_wrong_cycle_is_one_row_below():
    rows = read_rows(SCORED, ("target.cycle", "target.energy"), energy=True)[:3]
    ours = gemmini.figures(rows[0])
    assert ours.agree(Figures(ours.cycles + 1, ours.energy_pj)) == (True, True)
    assert ours.agree(Figures(ours.cycles + 2, ours.energy_pj)) == (False, True)
    assert ours.agree(Figures(ours.cycles, ours.energy_pj * 1.009)) == (True, True)
    assert ours.agree(Figures(ours.cycles, ours.energy_pj * 1.011)) == (True, False)


def test_one_changed_cycle_is_listed(scored):
    before = gemmini.check_scored(scored(n=100))
    after = gemmini.check_scored(scored(_double("target.cycle", 1), 100))
    (line,) = set(after.differing) - set(before.differing)
    assert line.startswith("scored, line 2: cycles")
    assert after.checks[0].reached != before.checks[0].reached


def test_a_mapping_that_does_not_fit_differs(scored, capsys):
    path = scored(lambda lines: [line.update({"arch.mem2_entries": "1"}) for line in lines[:5]], 50)
    assert gemmini.main(["--scored", str(path)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("refused: capacity: tiles do not fit into L2") == 5
    assert "L3[WIO]" in out


def test_an_rtl_mapping_that_does_not_fit_fails(scored, tmp_path, capsys):
    lines = _lines(RTL)
    lines[0]["arch.meshX"] = "8"
    rtl = _write(tmp_path / "rtl.csv", lines)
    assert gemmini.main(["--scored", str(scored(n=50)), "--rtl", str(rtl)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "RTL, line 2: refused: fanout: axis x of L1 has 8 children (got a factor of 16)" in out
    assert "110 of 111" in out


def test_an_rtl_file_of_which_nothing_fits_fails(tmp_path):
    lines = _lines(RTL)[:20]
    for line in lines:
        line["arch.meshX"] = "1"
    outcome = gemmini.check_rtl(_write(tmp_path / "rtl.csv", lines))
    assert len(outcome.differing) == 20
    assert not any(check.passed for check in outcome.checks)


def test_scrambled_rtl_cycles_fail(tmp_path):
    lines = _lines(RTL)
    cycles = [line[MEASURED] for line in lines]
    for line, value in zip(lines, reversed(cycles), strict=True):
        line[MEASURED] = value
    outcome = gemmini.check_rtl(_write(tmp_path / "rtl.csv", lines))
    assert [check.passed for check in outcome.checks] == [True, False, False]


def test_an_rtl_file_of_one_problem_cannot_be_split(tmp_path):
    path = _write(tmp_path / "rtl.csv", _lines(RTL)[:1])
    with pytest.raises(BadInputError, match="at least 2 problems"):
        gemmini.check_rtl(path)


def test_timeloops_own_cycles_of_the_rtl_mappings_agree():
    rows = read_rows(RTL, ("target.cycle",))
    assert all(abs(gemmini.figures(row).cycles - row.targets["target.cycle"]) <= 1 for row in rows)


def test_older_sliding_by_hand(few, tmp_path):
    """3 x 3 kernel, stride 1: the innermost relevant DRAM loop slides by its tile, unless K is innermost."""
    line = {**few[0], "arch.mem1_entries": "4096", "arch.mem2_entries": "1048576", "arch.meshX": "4"}
    line |= dict(zip((f"prob.{d}" for d in "NKCPQRS"), ("1", "8", "4", "8", "6", "3", "3"), strict=True))
    line |= {f"prob.{axis}stride": "1" for axis in "HW"}
    inner = "L2[WI] N1 K4X - L1[O] R3 S3 C1 P2 C4X - L0[W] Q6"
    words = {}
    for text in ("K2 P4", "P4 K2"):
        line["mapping.mapping"] = f"L3[WIO] {text} - {inner}"
        (row,) = read_rows(_write(tmp_path / "row.csv", [line]), ("target.cycle", "target.energy"))
        words[text] = gemmini.older_sliding(row)
    tile, overlap = 4 * (2 + 2) * (6 + 2), 4 * 2 * (6 + 2)
    assert words == {"K2 P4": 2 * (4 * tile - 3 * overlap), "P4 K2": 4 * tile}


def test_other_bandwidths_and_missing_columns(scored, few, tmp_path):
    """One bandwidth to read and one to write instead of a shared one; no entries: unbounded."""
    columns = {f"arch.mem{memory}_{what}" for memory in (1, 2) for what in ("entries", "shared_bandwidth")}
    lines = [{key: value for key, value in line.items() if key not in columns} for line in few[:20]]
    for line in lines:
        line.update({f"arch.mem{m}_{what}_bandwidth": "1" for m in (1, 2) for what in ("read", "write")})
    rows = read_rows(_write(tmp_path / "other.csv", lines), ("target.cycle",))
    shared = read_rows(scored(n=20), ("target.cycle",))
    for row, reference in zip(rows, shared, strict=True):
        assert row.accelerator.level("L2").capacity_bytes is None
        level = row.analysis.levels[1]
        assert gemmini.figures(row).cycles >= max(
            sum(tensor.reads for tensor in level.tensors),
            sum(tensor.fills + tensor.updates for tensor in level.tensors),
        )
        for ours, theirs in zip(row.analysis.levels, reference.analysis.levels, strict=True):
            assert [tensor.reads for tensor in ours.tensors] == [tensor.reads for tensor in theirs.tensors]
    with pytest.raises(BadInputError, match=r"column arch.mem1_entries is missing"):
        read_rows(tmp_path / "other.csv", ("target.cycle",), energy=True)
    for line in lines:
        del line["arch.mem2_write_bandwidth"]
    with pytest.raises(BadInputError, match=r"column arch.mem2_shared_bandwidth is missing \(or both"):
        read_rows(_write(tmp_path / "other.csv", lines), ("target.cycle",))


def test_parse_mapping():
    mapping = parse_mapping("L3[WIO] K8 - L2[WI] N1 K16X - L1[O] C4 P16 C16X - L0[W] P8")
    assert str(mapping).splitlines() == [
        "L3 [weights inputs outputs] K=8",
        "L2 [weights inputs] x: K=16",
        "L1 [outputs] C=4 P=16 x: C=16",
        "L0 [weights] P=8",
    ]


@pytest.mark.parametrize(
    ("position", "text", "message"),
    [
        (3, "L0[W] P", "factor 'P' must be"),
        (3, "L0[W] P0", "factor 'P0' must be"),
        (3, "L0[W] P8Y", "factor 'P8Y' must be"),
        (3, "L0[W] Z4", "factor 'Z4' must be"),
        (3, "L0[WX] P8", r"level 'L0\[WX\] P8' must read"),
        (3, "L0[W]", "must read"),
        (3, "L1[W] P8", "must read"),
        (3, "L0[W] P8 - L0[W] P8", "must have the levels L3 - L2 - L1 - L0"),
        (2, "L1[WO] C4", "L1 must keep O"),
        (2, "L1[O] C4 C2", "one loop per dimension"),
        (2, "L1[O] K4X", "spatial factors must be K at L2 and C at L1"),
        (0, "", "must read"),
        (0, "L3[WIO] K8X", "spatial factors must be K at L2 and C at L1"),
    ],
)
def test_parse_mapping_refuses(position, text, message):
    parts = ["L3[WIO] K8", "L2[WI] N1 K16X", "L1[O] C4 P16 C16X", "L0[W] P8"]
    parts[position] = text
    with pytest.raises(ValueError, match=message):
        parse_mapping(" - ".join(parts))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (MEASURED, "", f"{MEASURED}: must be a number > 0"),
        (MEASURED, "-1", f"{MEASURED}: must be a number > 0"),
        (MEASURED, "nan", f"{MEASURED}: must be a number > 0"),
        ("arch.meshX", "sixteen", "arch.meshX: must be a number > 0"),
        ("arch.meshX", "1e30", "arch.meshX: must be a whole number up to"),
        ("arch.mem1_shared_bandwidth", "0", "arch.mem1_shared_bandwidth: must be a number > 0"),
        ("prob.K", "2.5", "prob.K: must be a whole number"),
        ("prob.K", "65", "factors of K must multiply to 65"),
        ("mapping.mapping", "", "mapping.mapping: must have the levels"),
        ("mapping.mapping", "L3[WIO] K2 - nonsense", "mapping.mapping: must have the levels"),
    ],
)
def test_bad_values(tmp_path, column, value, message):
    lines = _lines(RTL)
    lines[1][column] = value
    path = _write(tmp_path / "rows.csv", lines)
    with pytest.raises(BadInputError, match=message) as caught:
        gemmini.check_rtl(path)
    assert str(caught.value).startswith(f"{path}:3: ")


@pytest.mark.parametrize("column", [MEASURED, "mapping.mapping", "prob.R", "arch.meshX", "arch.mem2_shared_bandwidth"])
def test_missing_columns(tmp_path, column):
    lines = [{key: value for key, value in line.items() if key != column} for line in _lines(RTL)]
    with pytest.raises(BadInputError, match=f"column {column} is missing"):
        gemmini.check_rtl(_write(tmp_path / "rows.csv", lines))


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: b"", "column arch.mem1_shared_bandwidth is missing"),
        (lambda data: data.splitlines()[0], "has no rows"),
        (_cut, r":\d+: .*must"),
        (lambda data: data.replace(b"\n4096,", b'\n"4096,'), "not valid CSV"),
        (lambda data: data.replace(b"\n4096,", b"\n4096,1,1,"), ":2: has more cells than"),
        (lambda data: _cut(gzip.compress(data, mtime=0)), "cannot be read"),
        (lambda data: gzip.compress(data, mtime=0)[:40] + b"\xff" * 400, "cannot be read"),
        (lambda data: b"\xff\xfe" + data, "cannot be read"),
    ],
)
def test_spoilt_files(tmp_path, spoil, message, capsys):
    path = tmp_path / "rows.csv"
    path.write_bytes(spoil(RTL.read_bytes()))
    with pytest.raises(BadInputError, match=message) as caught:
        gemmini.check_rtl(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("option", ["--scored", "--rtl"])
def test_missing_file_is_one_line_and_exit_2(option, scored, capsys):
    arguments = {"--scored": str(scored(n=5)), option: "nowhere.csv"}
    assert BadInputError.guard(lambda: gemmini.main(list(itertools.chain(*arguments.items())))) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_infeasible_rows_raise_their_reason(scored):
    (row,) = read_rows(scored(lambda lines: lines[0].update({"arch.mem1_entries": "1"}), 1), ())
    with pytest.raises(InfeasibleError, match="capacity"):
        _ = row.analysis

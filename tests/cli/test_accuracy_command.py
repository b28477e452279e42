"""``codesign accuracy``: the table, the JSON, and what is refused."""

from __future__ import annotations

import json

import pytest
from calls import TINY, codesign, refused

from accelerators import catalog

pytest.importorskip("torch")


def test_accuracy_and_costs_stand_side_by_side(tmp_path):
    file = tmp_path / "out.json"
    done = codesign(
        "accuracy", "digits_resnet8", "--on", "pcm_256", "sram_digital", "--after", "1 day", "--programmings", 2,
        "--images", 100, "--json", file,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert "of 597 images digitally; per cent of 100 images" in head
    assert lines[0].split()[:8] == ["crossbar", "cells", "1", "s", "1", "h", "1", "day"]
    assert lines[1].split()[:2] == ["pcm_256", "pcm"]
    assert "pcm_256: cells: pcm; converters of 8 bits truncate in 10 of 10 layers" in done.stdout
    found = json.loads(file.read_text())
    assert [result["hardware"] for result in found["results"]] == ["pcm_256", "sram_digital"]
    pcm, sram = found["results"]
    assert [each["time_s"] for each in pcm["accuracy"]] == [1, 3600, 86400]
    assert all(90 < each["mean"] <= 100 for each in pcm["accuracy"])
    assert pcm["edp_js"] == pytest.approx(pcm["energy_pj"] * 1e-12 * pcm["latency_s"])
    assert sram["device"] == "exact"
    assert {each["std"] for each in sram["accuracy"]} == {0}


def test_a_crossbar_that_cannot_run_the_network_says_why(tmp_path):
    sheet = tmp_path / "bare.yaml"
    text = open_sheet("sram_digital").replace("digital: {lanes: 512, clock: 500 MHz, multiplies: true}\n", "")
    sheet.write_text(text)
    done = codesign("accuracy", "digits_resnet8", "--on", sheet, "--images", 10)
    assert done.returncode == 1
    assert "cannot run" in done.stdout


def open_sheet(name: str) -> str:
    return next(catalog._FOLDER.glob(f"*/{name}.yaml")).read_text()


def test_what_is_wrong_is_refused(tmp_path):
    assert "eyeriss: must be a crossbar (got a spatialaccelerator)" in refused(
        "accuracy", "digits_resnet8", "--on", "eyeriss"
    )
    assert "--after: must be a time since programming in seconds with a unit of" in refused(
        "accuracy", "digits_resnet8", "--on", "pcm_256", "--after", "1 moon"
    )
    assert "unknown trained network 'digits'" in refused("accuracy", "digits", "--on", "pcm_256")
    sheet = tmp_path / "a.yaml"
    sheet.write_text(open_sheet("pcm_256").replace("device: pcm", "device: flash"))
    message = refused("accuracy", "digits_resnet8", "--on", sheet)
    assert (
        "a.yaml:19:11: cell.device: must be one of pcm, hermes, reram, or {gaussian: {programming: .., read: ..}}"
        in (message)
    )
    sheet.write_text(open_sheet("pcm_256").replace("device: pcm", "device: {gaussian: {programing: 0.1}}"))
    assert "cell.device.gaussian.programing: unknown key" in refused("accuracy", "digits_resnet8", "--on", sheet)
    sheet.write_text(open_sheet("pcm_256").replace("device: pcm", "device: {}"))
    assert "cell.device: needs a name or gaussian" in refused("accuracy", "digits_resnet8", "--on", sheet)
    sheet.write_text(open_sheet("sram_analog").replace("kind: charge", "kind: charge\n  device: pcm"))
    assert "cell.device: pcm is a resistive device (got kind charge)" in refused(
        "accuracy", "digits_resnet8", "--on", sheet
    )
    sheet.write_text(TINY)
    assert "must be a crossbar" in refused("accuracy", "digits_resnet8", "--on", sheet)
    sheet.write_text(open_sheet("pcm_256"))
    assert "would be written over what is read" in refused("accuracy", "digits_resnet8", "--on", sheet, "--json", sheet)

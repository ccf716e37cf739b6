"""Several devices: one that fails is stood in for, a dead one is left out, and no figure is invented."""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from hil import targets
from hil.build import Builder
from hil.device import Device
from hil.emulator import start_detached, stop_detached
from hil.measurement import MeasurementError
from hil.pool import MeasurerPool, open_measurer
from hil.recipe import board_named, board_names, load_board
from hil.targets import board_by_name, common_board, open_target, split_name, target_names
from support.bad_line import BadLine
from support.ports import free_port
from tfsparse.errors import UserError


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    """URLs of two detached emulators with the baseline, which take new images as `pio run -t upload` gives them."""
    folder = tmp_path_factory.mktemp("devices")
    board = load_board()
    elf = Builder(board, folder / "objects").build(folder / "firmware.elf", "none")
    ports = [free_port() for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "STATE", folder)
        yield [start_detached(elf, board, port, folder) for port in ports]
        for port in ports:
            stop_detached(port, folder)


def figures(measurement):
    return replace(measurement, target="", seconds={})


def test_a_port_is_given_each_model(devices, measurer, digits_tflite, tmp_path):
    with open_measurer(devices[0], "sparse", tmp_path, upload=True) as there:
        for _ in range(2):
            found = there.measure(digits_tflite)
    assert found.target == devices[0]
    assert figures(found) == figures(measurer.measure(digits_tflite))


def test_without_upload_a_port_must_hold_the_model_already(devices, tmp_path):
    from support.tflite_models import small_digits_like_tflite

    other = tmp_path / "other.tflite"
    other.write_bytes(small_digits_like_tflite(seed=3))
    with open_measurer(devices[0], "sparse", tmp_path) as there, pytest.raises(UserError, match="upload it first"):
        there.measure(other)


def test_one_dies_and_the_rest_goes_on(devices, measurer, digits_tflite, tmp_path, caplog):
    truth = figures(measurer.measure(digits_tflite))
    with (
        BadLine(devices[0]) as line,
        MeasurerPool((line.url, devices[1]), "sparse", tmp_path, upload=False) as pool,
        caplog.at_level(logging.WARNING, "hil"),
    ):
        with open_measurer(devices[0], "sparse", tmp_path / "a", upload=True) as one:
            one.measure(digits_tflite)
        with open_measurer(devices[1], "sparse", tmp_path / "b", upload=True) as one:
            one.measure(digits_tflite)
        first = pool.measure(digits_tflite)
        assert (first.target, figures(first)) == (line.url, truth)
        line.__exit__()  # its cable is pulled
        found = [pool.measure(digits_tflite) for _ in range(3)]
    assert [each.target for each in found] == [devices[1]] * 3
    assert all(figures(each) == truth for each in found)
    # It was asked once more only after all others: never, as they are well.
    assert not caplog.messages


def test_two_at_once_never_meet_on_a_device(devices, measurer, digits_tflite, tmp_path):
    """As the workers of a search do: each has a pool of its own of the same devices, and flashes them."""
    truth = figures(measurer.measure(digits_tflite, name="m-0-0"))

    def measure_thrice(number: int) -> list:
        with MeasurerPool(tuple(devices), "sparse", tmp_path / str(number), upload=True) as pool:
            return [pool.measure(digits_tflite, name=f"m-{number}-{turn}") for turn in range(3)]

    with ThreadPoolExecutor(3) as threads:  # one more than there are devices: somebody must wait
        found = [each for several in threads.map(measure_thrice, range(3)) for each in several]
    assert {each.target for each in found} <= set(devices)
    assert [figures(each) for each in found] == [truth] * 9


def test_a_busy_device_is_passed_over_and_waiting_for_it_has_an_end(devices, digits_tflite, tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "TURN_PATIENCE", 0.2)
    with open_measurer(devices[0], "sparse", tmp_path, upload=True) as one:

        def meanwhile(done: int) -> None:
            assert one.busy
            named = tuple(f"stm32f405_qemu@{device}" for device in devices)
            with MeasurerPool(named, "sparse", tmp_path / "pool", upload=True) as pool:
                assert pool.measure(digits_tflite).target == named[1]
            with (
                open_measurer(f"stm32f405_qemu@{devices[0]}", "sparse", tmp_path / "other") as other,
                pytest.raises(UserError, match=r"another measurement uses .*; wait for its end"),
            ):
                other.measure(digits_tflite)

        one.measure(digits_tflite, progress=lambda done: meanwhile(done) if done == 1 else None)
        assert not one.busy


def test_a_firmware_that_changed_in_the_middle_gives_no_figure(devices, digits_tflite, tmp_path, monkeypatch):
    """A programmer asks no port: somebody has flashed the board while it was measured."""
    with open_measurer(devices[0], "sparse", tmp_path, upload=True) as there:
        there.measure(digits_tflite)
        real, changed = Device.build_id, []
        monkeypatch.setattr(Device, "build_id", lambda device: "0" * 40 if changed else real(device))
        with pytest.raises(MeasurementError, match="runs another firmware"):
            there.measure(digits_tflite, progress=changed.append)


def test_two_strikes_and_it_is_out(devices, digits_tflite, tmp_path, caplog):
    """Both fail once, each is tried again in turn; the one that keeps failing is left out and said to be."""
    nobody = f"socket://127.0.0.1:{free_port()}"
    with MeasurerPool((f"stm32f405_qemu@{nobody}", "emulator"), "sparse", tmp_path) as pool:
        assert pool.measure(digits_tflite).target == "emulator"
        pool._measurers.reverse()  # as after a failure of the emulator
        with caplog.at_level(logging.WARNING, "hil"):
            assert pool.measure(digits_tflite).target == "emulator"
        assert f"{nobody} is left out from now on: nothing answers on" in caplog.messages[0]
        assert len(pool._measurers) == 1


def test_where_all_fail_every_reason_is_said(digits_tflite, tmp_path):
    names = tuple(f"stm32f405_qemu@socket://127.0.0.1:{free_port()}" for _ in range(2))
    with MeasurerPool(names, "sparse", tmp_path) as pool, pytest.raises(MeasurementError) as raised:
        pool.measure(digits_tflite)
    assert "none of 2 devices measured it" in str(raised.value)
    assert all(name in str(raised.value) for name in names)


def test_what_is_the_models_fault_is_not_tried_elsewhere(tmp_path, monkeypatch):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"no model")
    with MeasurerPool(("emulator", "emulator"), "sparse", tmp_path) as pool:
        tried = []
        for measurer in pool._measurers:
            real = measurer.measure
            monkeypatch.setattr(measurer, "measure", lambda *a, real=real, **k: (tried.append(1), real(*a, **k))[1])
        with pytest.raises(UserError):
            pool.measure(path)
    assert tried == [1]


# ---- names ----


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("emulator", (None, "emulator")),
        ("microbit@emulator", ("microbit", "emulator")),
        ("nucleo_f446re@/dev/ttyACM0", ("nucleo_f446re", "/dev/ttyACM0")),
        ("socket://user@host:1", (None, "socket://user@host:1")),
    ],
)
def test_names(name, parts):
    assert split_name(name) == parts
    assert target_names(f"{name}, {name}") == (name, name)


@pytest.mark.parametrize("name", ["", "moon", "emulator,moon", "arduino@emulator"])
def test_names_that_are_none(name):
    with pytest.raises(UserError, match=r"choose one of emulator|firmware/boards/ has"):
        target_names(name)


def test_a_board_says_which_one_it_is(devices):
    assert common_board((devices[0], "emulator")).name == "stm32f405_qemu"
    assert open_target("microbit@emulator").board().name == "microbit"
    assert open_target("microbit@emulator", "microbit").board().name == "microbit"
    with pytest.raises(UserError, match="two boards are named, stm32f405_qemu and that of microbit@emulator"):
        open_target("microbit@emulator", "stm32f405_qemu")
    for name in board_names():
        source = (load_board(name).folder / "board.c").read_text()
        assert board_named(re.search(r'BOARD_NAME "(.*)"', source)[1]) == name
    assert board_named("arduino") is None


def test_figures_of_different_chips_are_not_mixed():
    with pytest.raises(UserError, match=r"of microbit@emulator \(microbit\) cannot be compared"):
        common_board(("emulator", "microbit@emulator"))
    with pytest.raises(UserError, match="cannot be compared"):
        common_board(("emulator", "renode"))
    with pytest.raises(UserError, match="name it: nucleo_f446re@/dev/ttyACM0"):
        board_by_name(("/dev/ttyACM0",))
    assert board_by_name(("nucleo_f446re@/dev/ttyACM0", "nucleo_f446re@/dev/ttyACM1")).name == "nucleo_f446re"


def test_a_socket_elsewhere_cannot_be_given_a_model(uploaded_elsewhere, digits_tflite, tmp_path):
    with (
        open_measurer(uploaded_elsewhere, "sparse", tmp_path, upload=True) as there,
        pytest.raises(UserError, match="can be given a new one from here"),
    ):
        there.measure(digits_tflite)


@pytest.fixture
def uploaded_elsewhere(devices):
    """A line to a device of which nothing is known here but its address."""
    with Device(devices[1]) as device:
        device.settle()
    with BadLine(devices[1]) as line:
        folder = targets.STATE
        # The baseline, not what an earlier test has left there.
        port = int(devices[1].rpartition(":")[2])
        start_detached(folder / "firmware.elf", load_board(), port, folder)
        yield line.url

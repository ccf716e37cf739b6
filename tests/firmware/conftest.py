"""The real firmware with models written by hand, on the real emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hil.build import Builder
from hil.device import Device
from hil.recipe import load_board
from hil.targets import EMULATORS
from support.emulators import emulator_class
from support.handmade import handmade_model


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(load_board(), tmp_path_factory.mktemp("objects"))


@pytest.fixture(scope="module", params=EMULATORS)
def start(
    request: pytest.FixtureRequest, builder: Builder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Device]]:
    """start(**handmade_model's arguments) -> the device; start(baseline=True) without a model."""
    emulate = emulator_class(request.param)
    with ExitStack() as stack:

        def build_and_start(baseline: bool = False, **model: object) -> Device:
            folder: Path = tmp_path_factory.mktemp("image")
            if baseline:
                elf = builder.build(folder / "firmware.elf", "none")
            else:
                elf = builder.build(folder / "firmware.elf", "sparse", handmade_model(folder / "model", **model))
            emulator = stack.enter_context(emulate(elf, builder.board))
            device = stack.enter_context(Device(emulator.url, name="the emulator"))
            device.banner = device.wait_ready()
            return device

        yield build_and_start

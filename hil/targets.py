"""Where a model is measured: an emulator started for each image, or a serial port with whatever is behind it.

A target's name is `emulator` (QEMU), `renode`, or a serial port (/dev/ttyACM0, socket://host:port, any URL of
pyserial). BOARD@ before it names the board: for an emulator one that is not the default, for a port one that is blank.
"""

from __future__ import annotations

import fcntl
import logging
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from hil.device import ATTEMPTS, Device, DeviceError, SilenceError, check_socket
from hil.emulator import HOST, Emulator, running_detached, start_detached
from hil.measurement import MeasurementError
from hil.recipe import DEFAULT_BOARD, Board, board_named, load_board
from hil.renode import Renode
from hil.upload import chosen_tool, upload_to_board
from tfsparse.errors import UserError

if TYPE_CHECKING:
    from hil.images import Image

EMULATORS = {"emulator": Emulator, "renode": Renode}
STATE = Path(__file__).resolve().parents[1] / ".pio"  # where the emulators of `pio run -t upload` are noted
TURN_PATIENCE = 300.0  # seconds until another measurement on the same port has ended
TOLD_AFTER = 3.0  # seconds of waiting for it

log = logging.getLogger("hil")


class Target(Protocol):
    """One place where images run."""

    name: str

    @property
    def busy(self) -> bool:
        """Whether another measurement runs there, for which `holding` would wait."""
        ...

    def board(self) -> Board:
        """What is there."""
        ...

    def holding(self, image: Image, tflite: Path) -> Iterator[Device]:
        """A context manager: the device, at rest, with exactly this image and its model."""
        ...


def split_name(name: str) -> tuple[str | None, str]:
    """(board, port) of [BOARD@]PORT."""
    board, at, port = name.rpartition("@")
    # A URL may hold an @ of its own.
    return (board, port) if at and "/" not in board else (None, name)


def open_target(name: str, board: str | None = None, *, upload: bool = False) -> Target:
    """The target of that name.

    Args:
        board: folder of firmware/boards; it may be named before the @ as well.
        upload: put images on the device behind a serial port; else it must hold them already.

    Raises UserError for a board that there is not, and for two.
    """
    named, port = split_name(name)
    if named and board and named != board:
        raise UserError(f"two boards are named, {board} and that of {name}; name one")
    chosen = load_board(board or named) if board or named else None
    if port in EMULATORS:
        return EmulatorTarget(name, port, chosen or load_board(DEFAULT_BOARD))
    return PortTarget(name, port, chosen, upload)


@dataclass
class EmulatorTarget:
    """An emulator of its own for each image."""

    name: str
    kind: str  # of EMULATORS
    _board: Board
    busy = False

    def board(self) -> Board:
        return self._board

    @contextmanager
    def holding(self, image: Image, tflite: Path) -> Iterator[Device]:
        with EMULATORS[self.kind](image.elf, self._board, image.slot) as emulator:
            try:
                with Device(emulator.url, name=f"the {self.kind}".replace("the renode", "Renode")) as device:
                    if emulator.keeps_banner:
                        device.wait_ready()
                    else:
                        device.settle()
                    _check(device, image, self.name, tflite)
                    yield device
            except DeviceError as error:
                if complaint := emulator.complaint():
                    raise MeasurementError(f"the {self.kind} ended during the measurement: {complaint}") from error
                raise


@dataclass
class PortTarget:
    """A serial port. Its firmware tells which board it is, where nobody else does."""

    name: str
    url: str
    _board: Board | None
    upload: bool

    def board(self) -> Board:
        """Raises DeviceError where the port cannot be opened or no firmware of ours answers."""
        if self._board is None:
            with self.turn(), Device(self.url) as device:
                self._board = load_board(self._ask(device))
        return self._board

    @property
    def busy(self) -> bool:
        with self._lock() as lock:
            return not _take(lock)

    def _lock(self) -> IO[str]:
        """The file whose lock the process holds that has the device, from upload to the last figure."""
        name = f"port-{re.sub(r'[^A-Za-z0-9.-]+', '-', self.url)}.lock"
        with suppress(OSError):
            STATE.mkdir(parents=True, exist_ok=True)
            return _opened(STATE / name)
        return _opened(Path(tempfile.gettempdir(), f"tfsparse-{name}"))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Alone with the device: no other measurement puts its own firmware there in the middle of this one."""
        with self._lock() as lock:
            started, told = time.monotonic(), False
            while not _take(lock):
                waited = time.monotonic() - started
                if waited > TOLD_AFTER and not told:
                    log.warning("waiting for another measurement on %s to end", self.url)
                    told = True
                if waited > TURN_PATIENCE:
                    raise DeviceError(
                        f"another measurement uses {self.url} for more than {TURN_PATIENCE:.0f} s; wait for its end"
                    )
                time.sleep(0.05)
            yield

    def _ask(self, device: Device) -> str:
        """The board's name, asked again where the line has damaged it."""
        try:
            for _ in range(ATTEMPTS):
                device.settle()
                with suppress(DeviceError):
                    if found := board_named(device.board()):
                        return found
        except SilenceError as error:
            raise SilenceError(
                f"no firmware of ours answers on {self.url}; check the cable, or say which board it is, as in "
                f"nucleo_f446re@{self.url}"
            ) from error
        raise MeasurementError(f"{self.url} does not say which board of firmware/boards/ it is; name it: BOARD@PORT")

    @contextmanager
    def holding(self, image: Image, tflite: Path) -> Iterator[Device]:
        with self.turn():
            if self.upload:
                self._put(image)
            with Device(self.url) as device:
                device.settle()
                _check(device, image, self.name, tflite)
                yield device
                # Whatever else can flash a board may have done so in between: a programmer asks no port.
                _check(device, image, self.name, tflite)

    def _put(self, image: Image) -> None:
        """Whatever of the image is not on the device yet."""
        has_elf = False
        with Device(self.url) as device, suppress(DeviceError):  # it may be blank, or hold a firmware that hangs
            has_elf = device.synchronise() == image.footprint.build_id
            if has_elf and (image.slot is None or device.memory().slot_crc == image.slot_crc):
                return
        if port := self._own_emulator():
            start_detached(image.elf, self.board(), port, STATE, image.slot)
        elif "://" in self.url:
            raise MeasurementError(
                f"{self.url} runs another firmware, and only a board on a serial port or an emulator of "
                "`pio run -t upload` can be given a new one from here"
            )
        else:
            elf = None if has_elf else image.elf
            upload_to_board(elf, self.board(), chosen_tool(), image.slot, usb_serial(self.url))

    def _own_emulator(self) -> int | None:
        """The TCP port, where an emulator of `pio run -t upload` is behind it."""
        start, _, port = self.url.rpartition(":")
        if start == f"socket://{HOST}" and port.isdigit() and running_detached(int(port), STATE):
            return int(port)
        return None


def _opened(path: Path) -> IO[str]:
    """For its lock only, which reading is enough for: it may be another user's."""
    with suppress(FileExistsError):
        path.touch(exist_ok=False)
    return path.open()


def _take(lock: IO[str]) -> bool:
    """Take the file's lock, unless another one has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def usb_serial(port: str) -> str | None:
    """Serial number of the USB device behind a port, which for an ST-LINK is that of the programmer."""
    from serial.tools import list_ports

    return next((found.serial_number for found in list_ports.comports() if found.device == port), None)


def _check(device: Device, image: Image, name: str, tflite: Path) -> None:
    check_build(device.build_id(), image.footprint.build_id, name, f"{image.settings}TFSPARSE_MODEL={tflite}")
    image.check_slot(device.memory(), name, tflite)


def check_build(found: str, wanted: str, target: str, settings: str) -> None:
    """The device must run exactly the image whose ELF the sizes are read from; `settings` make PlatformIO build it."""
    if found != wanted:
        raise MeasurementError(
            f"{target} runs another firmware (build {found[:12]}) than the one with this model (build {wanted[:12]}); "
            f"upload it first: {settings} pio run -t upload"
        )


def target_names(text: str) -> tuple[str, ...]:
    """The names in a list such as emulator,emulator. Raises UserError where one is none, or names an unknown board."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names or ("",):
        board, port = split_name(name)
        if port not in EMULATORS and not re.match(r"/|\w+://|COM\d+$", port):
            raise UserError(
                f"'{name}' is no target; choose one of emulator, renode, or a serial port such as /dev/ttyACM0 or "
                "socket://host:port"
            )
        check_socket(port)
        if board is not None:
            load_board(board)
    return names


def common_board(names: tuple[str, ...]) -> Board:
    """The board behind all targets: figures of different chips or emulators cannot be compared.

    Raises UserError where they differ, and DeviceError where a port does not answer.
    """
    return _the_one({name: open_target(name).board() for name in names})


def board_by_name(names: tuple[str, ...]) -> Board:
    """The same where ports cannot be opened, being another machine's: their names must tell."""
    boards = {}
    for name in names:
        board, port = split_name(name)
        if board is None and port not in EMULATORS:
            raise UserError(f"which board is behind {name} cannot be asked from here; name it: nucleo_f446re@{name}")
        boards[name] = load_board(board or DEFAULT_BOARD)
    return _the_one(boards)


def _the_one(boards: dict[str, Board]) -> Board:
    (first, board), *others = boards.items()
    for name, other in others:
        if other.name != board.name or (split_name(name)[1] == "renode") != (split_name(first)[1] == "renode"):
            raise UserError(
                f"figures of {first} ({board.name}) and of {name} ({other.name}) cannot be compared: name targets of "
                "one kind"
            )
    return board

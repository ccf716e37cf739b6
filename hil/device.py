"""The host's side of the serial protocol (MLPerf Tiny's and our additions, see firmware/core/commands.c).

Every wait has a limit; what goes wrong is a `DeviceError`, one sentence with the way out.
"""

from __future__ import annotations

import binascii
import itertools
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import serial
from serial.tools import list_ports
from serial.urlhandler import protocol_socket

from tfsparse.errors import UserError

BAUD = 115200
READY = "m-ready"
BYTES_PER_COMMAND = 31
BLOCK = 1024  # bytes; the firmware's largest
ATTEMPTS = 4
PATIENCE = 10.0  # seconds; a command without inference takes milliseconds, but the machine may be busy
RETRY = 0.2  # seconds before the second attempt to wake a device that may be starting; doubled for each further one


class DeviceError(UserError):
    """The device cannot be reached, does not answer, or answers nonsense."""


class SilenceError(DeviceError):
    """No answer in time."""


class RefusedError(DeviceError):
    """The device answered a command with `e-[reason]`."""

    def __init__(self, command: str, reason: str):
        super().__init__(f"the device refused '{command}': {reason}")
        self.reason = reason


class FaultError(DeviceError):
    """The firmware crashed and restarted while it ran a command."""


@dataclass(frozen=True)
class Memory:
    """The reply to `mem%`. Sizes in bytes; the stack is counted from its top."""

    runtime: str
    input: int
    output: int
    row: int  # of the input, where the model takes it row by row and never holds it all; else 0
    arena: int
    payload: int
    stack_size: int
    stack_peak: int  # high-water mark since reset
    stack_idle: int  # depth where the inference is called
    stack_invoke: int  # high-water mark during the last inference
    ticks: int  # of the last inference, reading the counter included
    ticks_empty: int  # of reading the counter around a call that does nothing
    tick: str  # "instruction" under an emulator, "cycle" on a board
    ticks_per_lap: int  # ticks in a unit of m-lap-us: on a board its clock in MHz
    # Of a runtime that reads its model from a flash slot (tflm):
    arena_head: int | None = None
    arena_tail: int | None = None
    slot_crc: int | None = None
    failure: int = 0  # why the model in the slot cannot run

    @property
    def stack(self) -> int:
        """Bytes that the inference itself needs."""
        return self.stack_invoke - self.stack_idle

    @property
    def ticks_of_inference(self) -> int:
        return self.ticks - self.ticks_empty


class SocketLine(protocol_socket.Serial):
    """pyserial's socket:// without its pause of 0.3 s on closing: our servers take the next client at once."""

    def close(self) -> None:
        if self.is_open:
            self._socket.close()
            self._socket = None
            self.is_open = False


def check_socket(url: str) -> None:
    """DeviceError where a socket's URL lacks its host or port."""
    if not url.startswith("socket://"):
        return
    parts = urlsplit(url)
    try:
        whole = bool(parts.hostname) and bool(parts.port)
    except ValueError:  # a port beyond 65535, or no number
        whole = False
    if not whole:
        raise DeviceError(f"'{url}' is no host and port; give both, such as socket://127.0.0.1:5333")


class Device:
    """A firmware at the other end of a serial port. A context manager.

    Args:
        url: /dev/tty..., or any URL of pyserial such as socket://127.0.0.1:5333.
        name: how messages call the device; the URL by default.
        patience: seconds to wait for the reply to a command that runs no inference.
    """

    def __init__(self, url: str, *, name: str | None = None, patience: float = PATIENCE):
        self.name = name or url
        self.patience = patience
        self._buffer = bytearray()
        check_socket(url)
        try:
            # Two programs on one tty would each read half of the replies; a socket has only one client anyway.
            alone = {} if "://" in url else {"exclusive": True}
            opened = SocketLine if url.startswith("socket://") else serial.serial_for_url
            self._port = opened(url, baudrate=BAUD, timeout=0.1, write_timeout=PATIENCE, **alone)
        except (serial.SerialException, OSError, ValueError) as error:
            raise DeviceError(_no_port(url, error)) from error

    # ---- lines ----

    def _line(self, deadline: float, waiting_for: str) -> str:
        while True:
            end = self._buffer.find(b"\n")
            if end >= 0:
                line = self._buffer[:end].decode("ascii", "replace").strip("\r")
                del self._buffer[: end + 1]
                return line
            if time.monotonic() > deadline:
                raise SilenceError(
                    f"{self.name} does not answer '{waiting_for}'; check that our firmware runs there and that "
                    "no other program uses the port"
                )
            try:
                self._buffer += self._port.read(max(1, self._port.in_waiting))
            except (serial.SerialException, OSError) as error:
                raise DeviceError(f"{self.name} went away while answering '{waiting_for}' ({error})") from error

    def _send(self, text: str) -> None:
        self._write(text.encode("ascii") + b"%", text)

    def _write(self, data: bytes, text: str) -> None:
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise DeviceError(f"{self.name} does not take '{text}' ({error}); is it still connected?") from error

    def wait_ready(self, timeout: float | None = None) -> list[str]:
        """Lines up to the next m-ready, e.g. the boot banner of a device that has just been started."""
        deadline = time.monotonic() + (self.patience if timeout is None else timeout)
        lines = []
        while (line := self._line(deadline, "the start")) != READY:
            lines.append(line)
        return lines

    def synchronise(self, timeout: float | None = None) -> str:
        """Bring a device in unknown state to rest; returns its build id."""
        self.settle(timeout)
        return self.build_id()

    def settle(self, timeout: float | None = None) -> None:
        """Bring a device that is starting, or in the middle of a command or of replies, to rest.

        Repeats itself, because a device that is just starting loses what it is sent.
        """
        end = time.monotonic() + (self.patience if timeout is None else timeout)
        for attempt in itertools.count():
            # An unknown command comes back in the error: a mark that no stale reply carries. What stands before it
            # ends whatever was half sent: always a command, and every other time a binary block, which takes the line
            # ends that commands ignore. Pauses grow, so that a slow device is not buried under attempts.
            mark = f"sync-{attempt}"
            self._send("\n" * (BLOCK if attempt % 2 else 0) + "%" + mark)
            deadline = min(end, time.monotonic() + RETRY * 2**attempt)
            try:
                while self._line(deadline, "the first command") != f"e-[Unknown command: {mark}]":
                    pass
                self.wait_ready(max(0.1, deadline - time.monotonic()))
                return
            except SilenceError:
                if time.monotonic() > end:
                    raise
        raise AssertionError("unreachable")

    def command(self, text: str, timeout: float | None = None) -> list[str]:
        """Send one command and return the lines of its reply without the closing m-ready.

        Raises:
            RefusedError: the reply holds e-[...].
            FaultError: the firmware crashed or restarted instead of answering.
            DeviceError: no answer within `timeout` seconds.
        """
        self._send(text)
        return self._reply_lines(text, self.patience if timeout is None else timeout)

    def _reply_lines(self, text: str, timeout: float) -> list[str]:
        deadline = time.monotonic() + timeout
        lines = []
        while (line := self._line(deadline, text)) != READY:
            lines.append(line)
        errors = [line[3:-1] for line in lines if line.startswith("e-[")]
        if "m-init-done" in lines:
            reason = f": {errors[0]}" if errors else ""
            way_out = "; give the board more stack_size in its board.json" if "Stack overflow" in reason else ""
            raise FaultError(f"the firmware restarted during '{text}'{reason}{way_out}")
        if errors:
            raise RefusedError(text, errors[0])
        return lines

    def _checked(self, text: str) -> list[str]:
        """The reply to one of our own commands, which ends with a checksum; damaged, it is asked again."""
        error: DeviceError | None = None
        for attempt in range(ATTEMPTS):
            try:
                *lines, last = self.command(text) or [""]
            except (SilenceError, RefusedError) as caught:
                error = caught
                self.settle()  # the command or the closing word was damaged
                continue
            crc = binascii.crc_hqx("".join(line + "\r\n" for line in lines).encode("ascii", "replace"), 0xFFFF)
            if last == f"m-crc-{crc}":
                if attempt:
                    self.settle()  # a second reply may be on its way, which would pass for the next command's
                return lines
        if isinstance(error, RefusedError):
            raise error
        raise DeviceError(
            f"{self.name} answers '{text}' with damaged lines, or what runs there is not our protocol; check both"
        )

    def _reply(self, text: str, pattern: str, *, checked: bool = False) -> re.Match[str]:
        lines = self._checked(text) if checked else self.command(text)
        for line in lines:
            if match := re.fullmatch(pattern, line):
                return match
        raise DeviceError(f"{self.name} answered '{text}' with {lines}, which is not our protocol")

    # ---- commands ----

    def board(self) -> str:
        return self._reply("name", r"m-name-dut-\[(.*)\]")[1]

    def build_id(self) -> str:
        return self._reply("id", r"m-id-\[([0-9a-f]{40})\]", checked=True)[1]

    def model(self) -> str:
        return self._reply("profile", r"m-model-\[(.*)\]")[1]

    def memory(self) -> Memory:
        match = self._reply("mem", r"m-mem-\[([^\]]*)\]", checked=True)
        try:
            pairs = dict(pair.split("=") for pair in match[1].split(","))
            numbers = {key: value if key in ("runtime", "tick") else int(value) for key, value in pairs.items()}
            return Memory(**numbers)
        except (TypeError, ValueError) as error:
            raise DeviceError(f"{self.name} answered 'mem' with {match[0]}, which is not this version's") from error

    def load(self, data: bytes) -> None:
        """Fill the input buffer, in binary blocks whose checksum the firmware verifies; damaged ones are repeated."""
        for _ in range(ATTEMPTS):
            try:
                return self._load(data)
            except RefusedError as error:
                if "The buffer holds" in error.reason:
                    raise
            except FaultError:
                raise
            except DeviceError:
                pass
            # Bytes were lost and the firmware still waits for the rest of a block, or a command was damaged.
            self.settle()
        raise DeviceError(f"{self.name} lost bytes of the input {ATTEMPTS} times in a row; check the cable")

    def _load(self, data: bytes) -> None:
        self.command(f"db load {len(data)}")
        lines: list[str] = []
        for start in range(0, len(data), BLOCK):
            block = data[start : start + BLOCK]
            self.command(f"db block {len(block)} {binascii.crc_hqx(block, 0xFFFF)}")
            self._write(block, "an input")
            lines = self._reply_lines("an input", self.patience)
        if "m-load-done" not in lines:
            raise DeviceError(f"{self.name} did not take all {len(data)} bytes of the input; try again")

    def load_hex(self, data: bytes) -> None:
        """The same with MLPerf Tiny's own commands, at most 31 bytes each."""
        lines = self.command(f"db load {len(data)}")
        for start in range(0, len(data), BYTES_PER_COMMAND):
            lines = self.command("db " + data[start : start + BYTES_PER_COMMAND].hex())
        if "m-load-done" not in lines:
            raise DeviceError(f"{self.name} did not take all {len(data)} bytes of the input; try again")

    def buffer(self) -> bytes:
        """What the input buffer holds."""
        lines = self.command("db print")
        return bytes.fromhex("".join(line.removeprefix("m-buffer-").replace("-", "") for line in lines))

    def infer(self, count: int = 1, warmups: int = 0, timeout: float = 60.0) -> int:
        """Run inferences on the loaded input; returns the ticks of all `count`, as `m-lap-us` tells them."""
        lines = self.command(f"infer {count} {warmups}", timeout)
        laps = [int(line.removeprefix("m-lap-us-")) for line in lines if re.fullmatch(r"m-lap-us-\d+", line)]
        if len(laps) != 2 or "m-infer-done" not in lines:
            raise DeviceError(f"{self.name} answered 'infer' with {lines}, which is not our protocol")
        return laps[1] - laps[0]

    def output(self) -> bytes:
        """The last output as the model wrote it."""
        lines = self._checked("output")
        return bytes.fromhex("".join(line.removeprefix("m-output-") for line in lines))

    def close(self) -> None:
        self._port.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _no_port(url: str, error: Exception) -> str:
    if "://" in url:
        return f"nothing answers on {url} ({error}); start the firmware there, e.g. with: pio run -t upload"
    found = ", ".join(port.device for port in list_ports.comports()) or "none"
    if "lock" in str(error):
        return f"another program uses the port {url}; end it first"
    return f"the port {url} cannot be opened ({error}); ports found: {found}"

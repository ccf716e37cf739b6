"""Starts and ends QEMU with a firmware image; its UART is a TCP port on this machine.

Two ways: `Emulator`, owned by this process and gone with it, and `start_detached` / `stop_detached`, which leave it
running on a fixed port for `pio run -t upload` and are remembered in a small file.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hil.recipe import Board
from tfsparse.errors import UserError

QEMU = "qemu-system-arm"
QEMU_HINT = "apt-get install qemu-system-arm"
HOST = "127.0.0.1"
START_PATIENCE = 30.0  # seconds


class EmulatorError(UserError):
    """QEMU could not be started."""


def _listen(port: int) -> socket.socket:
    """A listening socket that QEMU inherits: no other program can take the port in between, and none is guessed."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise EmulatorError(
            f"port {port} is in use by another program ({error.strerror}); end it or choose another port"
        ) from error
    return listener


def _command(elf: Path, board: Board, listener: socket.socket, wait: bool, slot: Path | None = None) -> list[str]:
    if board.qemu_machine is None:
        raise EmulatorError(f"the board {board.name} is not one that QEMU emulates; measure it with --port /dev/tty...")
    if shutil.which(QEMU) is None:
        raise EmulatorError(f"{QEMU} is not on PATH; install it with: {QEMU_HINT}")
    wait_flag = "on" if wait else "off"
    return [
        QEMU,
        "-machine",
        board.qemu_machine,
        "-nodefaults",
        "-display",
        "none",
        # A fixed virtual time an instruction: the tick counter counts instructions, exactly and repeatably.
        "-icount",
        f"shift={board.qemu_icount_shift}",
        "-kernel",
        str(elf),
        # nodelay: replies are many small writes, which Nagle's algorithm would hold back by 40 ms each.
        "-chardev",
        f"socket,id=uart,fd={listener.fileno()},server=on,wait={wait_flag},nodelay=on",
        "-serial",
        "chardev:uart",
        # The content of the board's model slot, put into flash beside the image.
        *(("-device", f"loader,file={slot},addr={board.model_slot:#x},force-raw=on") if slot else ()),
    ]


def dying_with_us(command: list[str]) -> list[str]:
    """The command such that the kernel ends it with the thread that starts it."""
    # setpriv, not a preexec_fn: that would fork a process that may hold all of TensorFlow and its threads.
    return ["setpriv", "--pdeathsig", "KILL", *command] if shutil.which("setpriv") else command


class Emulator:
    """QEMU owned by this process. A context manager; `url` is the serial port for `hil.device`.

    The machine starts when the first client connects, so that its boot banner is never lost. It ends with the `with`
    block, and, through the kernel (PR_SET_PDEATHSIG), with the thread that started it, however that one dies.
    """

    keeps_banner = True

    def __init__(self, elf: Path, board: Board, slot: Path | None = None):
        self._listener = _listen(0)
        try:
            command = _command(elf, board, self._listener, wait=True, slot=slot)
            self._process = subprocess.Popen(
                dying_with_us(command),
                pass_fds=[self._listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            self.url = f"socket://{HOST}:{self._listener.getsockname()[1]}"
        finally:
            self._listener.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def complaint(self) -> str | None:
        """What QEMU said before it ended by itself; None while it runs."""
        try:
            # A process that is just dying closes its connection first.
            self._process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            return None
        lines = self._process.stderr.read().splitlines() if self._process.stderr else []
        errors = [line for line in lines if "info:" not in line]
        return errors[-1] if errors else f"exit code {self._process.returncode}"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(timeout=10)
        if self._process.stderr:
            self._process.stderr.close()

    def __enter__(self) -> Emulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(frozen=True)
class Detached:
    """An emulator that outlives the command that started it."""

    pid: int
    started: int  # start time in clock ticks since boot: tells the process from a later one with the same pid
    elf: str

    @property
    def running(self) -> bool:
        return _start_time(self.pid) == self.started


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (proc(5)); None for a process that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _note(state: Path, port: int) -> Path:
    return state / f"emulator-{port}.json"


def running_detached(port: int, state: Path) -> Detached | None:
    """The emulator that an earlier `start_detached` left on `port`, if it still runs."""
    try:
        detached = Detached(**json.loads(_note(state, port).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return detached if detached.running else None


def stop_detached(port: int, state: Path) -> bool:
    """End the emulator that `start_detached` left on `port`; False where there is none. Touches no other process."""
    detached = running_detached(port, state)
    if detached is not None:
        os.kill(detached.pid, signal.SIGTERM)
        deadline = time.monotonic() + 5.0
        while detached.running:
            if time.monotonic() > deadline:
                os.kill(detached.pid, signal.SIGKILL)
            time.sleep(0.02)
    _note(state, port).unlink(missing_ok=True)
    return detached is not None


def start_detached(elf: Path, board: Board, port: int, state: Path, slot: Path | None = None) -> str:
    """Start QEMU on a fixed port, in place of our own earlier one there, and return its serial URL.

    Args:
        state: folder for the note that remembers the process and for QEMU's log.
        slot: the content of the board's model slot.
    """
    stop_detached(port, state)
    listener = _listen(port)
    try:
        state.mkdir(parents=True, exist_ok=True)
        with (state / f"emulator-{port}.log").open("w") as log:
            command = _command(elf.resolve(), board, listener, wait=False, slot=slot and slot.resolve())
            # A shell starts it and ends: it is nobody's child. Ray's workers end their children when they end.
            shell = subprocess.run(
                ["sh", "-c", '"$@" >&2 & echo $!', "sh", *command],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                timeout=START_PATIENCE,
                check=True,
            )
    finally:
        listener.close()
    pid = int(shell.stdout)
    started = _start_time(pid)
    if started is None:
        raise EmulatorError(f"QEMU ended at once; its log is {state / f'emulator-{port}.log'}")
    _note(state, port).write_text(json.dumps(asdict(Detached(pid, started, str(elf)))))
    return f"socket://{HOST}:{port}"

"""Starts and ends Renode with a firmware image, as `hil.emulator` does with QEMU; its UART is a TCP port.

Written from Renode's documentation and from the platform files that it ships. Renode itself was not at hand: nothing of
this has run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from hil.emulator import HOST, EmulatorError, dying_with_us
from hil.recipe import Board

RENODE = "renode"
RENODE_HINT = "get it from https://renode.io, or measure on the target emulator"
START_SECONDS = 60.0  # .NET takes its time

# After a reset of the machine its memories are empty: the macro of this name fills them again.
SCRIPT = """\
mach create "chip"
machine LoadPlatformDescription @{platform}
macro reset
\"\"\"
    sysbus LoadELF @{elf}
    {slot}
\"\"\"
runMacro $reset
emulation CreateServerSocketTerminal {port} "uart" false
connector Connect sysbus.usart1 uart
start
"""


class Renode:
    """Renode owned by this process. A context manager; `url` is the serial port for `hil.device`.

    Raises EmulatorError where Renode is not on PATH, the board has no renode.repl, or Renode does not start.
    """

    keeps_banner = False  # the machine runs before the first client is there

    def __init__(self, elf: Path, board: Board, slot: Path | None = None):
        if board.renode_platform is None:
            raise EmulatorError(f"the board {board.name} has no renode.repl; measure it on the target emulator")
        if shutil.which(RENODE) is None:
            raise EmulatorError(f"{RENODE} is not on PATH; {RENODE_HINT}")
        # Everything lies in one folder of a plain name: in Renode's scripts a space would end a path.
        self._folder = tempfile.TemporaryDirectory(prefix="renode-")
        folder = Path(self._folder.name)
        self._log = folder / "log"
        try:
            port, monitor = _free_ports(2)
            script = machine_script(folder, elf, board, slot, port)
            command = [RENODE, "--disable-xwt", "--plain", "--port", str(monitor), "-e", f"include @{script}"]
            with self._log.open("w") as log:
                # A group of its own: what is on PATH may be a script that starts Renode.
                self._process = subprocess.Popen(
                    dying_with_us(command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except BaseException:
            self._folder.cleanup()
            raise
        self.url = f"socket://{HOST}:{port}"
        try:
            self._await_port(port)
        except BaseException:
            self.stop()
            raise

    def _await_port(self, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if complaint := self.complaint(0.1):
                raise EmulatorError(f"Renode ended at its start: {complaint}")
            if time.monotonic() > deadline:
                raise EmulatorError(f"Renode opened no serial line within {START_SECONDS:.0f} s; try again")

    @property
    def pid(self) -> int:
        return self._process.pid

    def complaint(self, patience: float = 0.5) -> str | None:
        """What Renode said before it ended by itself; None while it runs."""
        try:
            self._process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            return None
        lines = self._log.read_text(errors="replace").splitlines()
        errors = [line for line in lines if "ERROR" in line or "rror:" in line] or lines
        return errors[-1].strip() if errors else f"exit code {self._process.returncode}"

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=10)
        self._folder.cleanup()

    def __enter__(self) -> Renode:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def machine_script(folder: Path, elf: Path, board: Board, slot: Path | None, port: int) -> Path:
    """Write the Renode script of a machine into `folder`, beside all that it names, and return its path."""
    shutil.copyfile(board.renode_platform, folder / "platform.repl")
    shutil.copyfile(elf, folder / "firmware.elf")
    load_slot = ""
    if slot:
        shutil.copyfile(slot, folder / "slot.bin")
        load_slot = f"sysbus LoadBinary @{folder / 'slot.bin'} {board.model_slot:#x}"
    script = folder / "machine.resc"
    script.write_text(
        SCRIPT.format(platform=folder / "platform.repl", elf=folder / "firmware.elf", slot=load_slot, port=port)
    )
    return script


def _free_ports(count: int) -> list[int]:
    """TCP ports that nobody uses at the moment: Renode cannot be handed a socket. Another program may still be faster;
    the build id tells."""
    probes = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _listens(port: int) -> bool:
    """Whether some socket listens on the port, without taking the one connection that Renode accepts at a time."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        except OSError:
            continue
        if any(row[1].endswith(wanted) and row[3] == "0A" for row in rows):
            return True
    return False

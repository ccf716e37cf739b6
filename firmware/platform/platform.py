"""PlatformIO's view of the firmware: its boards are the folders of firmware/boards, its tools the system's own."""

from __future__ import annotations

import json
from pathlib import Path

from platformio.dependencies import get_core_dependencies
from platformio.platform.base import PlatformBase
from platformio.platform.board import PlatformBoardConfig
from platformio.platform.exception import UnknownBoard

BOARDS = Path(__file__).resolve().parents[1] / "boards"

SCONS_LAUNCHER = '''\
"""Runs the SCons that pip installed (a requirement of the project) in place of PlatformIO's packaged copy."""

import SCons.Script

if __name__ == "__main__":
    SCons.Script.main()
'''


class BoardFolder(PlatformBoardConfig):
    """A board of firmware/boards: the folder's name is the board's, board.json its manifest."""

    def __init__(self, folder: Path):
        super().__init__(str(folder / "board.json"))
        self._id = folder.name


class TfsparsePlatform(PlatformBase):
    """Class name as PlatformIO derives it from the name in platform.json."""

    def get_boards(self, id_=None):
        boards = {path.parent.name: BoardFolder(path.parent) for path in sorted(BOARDS.glob("*/board.json"))}
        for board in boards.values():
            board.manifest["platform"] = self.name
        if id_ is None:
            return boards
        if id_ not in boards:
            raise UnknownBoard(id_)
        return boards[id_]

    def board_config(self, id_):
        # PlatformIO changes the object it gets (board_* options of platformio.ini): hand out the same one each time.
        if not hasattr(self, "_board_configs"):
            self._board_configs = self.get_boards()
        return self._board_configs[id_] if id_ in self._board_configs else self.get_boards(id_)

    def configure_default_packages(self, options, targets):
        super().configure_default_packages(options, targets)
        core = Path(self.config.get("platformio", "core_dir"))
        write_scons_package(Path(self.config.get("platformio", "packages_dir")))
        write_settings(core)


def write_scons_package(packages: Path) -> None:
    """PlatformIO looks for a package `tool-scons` before it builds; give it one that calls the installed SCons.

    It lies in the project's own core_dir, so that no other project meets it.
    """
    # A requirement such as "~4.41101.0" stands for SCons 4.11.1.
    version = get_core_dependencies()["tool-scons"].lstrip("~^=")
    folder = packages / "tool-scons"
    manifest = {"name": "tool-scons", "version": version, "description": "Launcher of the installed SCons"}
    identity = {
        "type": "tool",
        "name": "tool-scons",
        "version": version,
        "spec": {"owner": "platformio", "id": None, "name": "tool-scons", "requirements": None, "uri": None},
    }
    write_if_changed(folder / "package.json", json.dumps(manifest))
    write_if_changed(folder / "scons.py", SCONS_LAUNCHER)
    write_if_changed(folder / ".piopm", json.dumps(identity))


def write_settings(core: Path) -> None:
    """Keep PlatformIO from calling home (telemetry, looking for upgrades) while it works on this project."""
    path = core / "appstate.json"
    try:
        state = json.loads(path.read_text())
    except (OSError, ValueError):
        state = {}
    wanted = {"enable_telemetry": False, "check_platformio_interval": 36500, "check_prune_system_threshold": 0}
    settings = state.get("settings", {})
    if any(settings.get(key) != value for key, value in wanted.items()):
        state["settings"] = {**settings, **wanted}
        core.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(state))


def write_if_changed(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

"""SCons script of `pio run`: builds the image that hil.recipe describes and puts it on the emulator."""

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from SCons.Script import COMMAND_LINE_TARGETS, DefaultEnvironment

env = DefaultEnvironment()
project = Path(env.subst("$PROJECT_DIR"))
sys.path.insert(0, str(project))

from hil import pio  # noqa: E402  (found only through the line above)
from hil.build import link_error  # noqa: E402
from hil.emulator import stop_detached  # noqa: E402
from hil.recipe import TOOLCHAIN, TOOLCHAIN_HINT, load_board  # noqa: E402
from hil.upload import DEFAULT_TOOL, upload_to_board  # noqa: E402
from tfsparse.errors import UserError  # noqa: E402

build_dir = Path(env.subst("$BUILD_DIR"))
state = Path(env.subst("$PROJECT_WORKSPACE_DIR"))  # remembers the emulator across environments and cleans
board = env["BOARD"]


def fail(error):
    sys.stderr.write(f"Error: {error}\n")
    env.Exit(1)


def port():
    text = os.environ.get("TFSPARSE_PORT") or env.GetProjectOption("custom_port", "5333")
    if not text.isdigit() or not 0 < int(text) < 65536:
        fail(f"'{text}' is no TCP port; set custom_port in platformio.ini or TFSPARSE_PORT to one, e.g. 5333")
    return int(text)


def upload(target, source, env):
    hardware, elf = load_board(board), Path(str(source[0]))
    try:
        if hardware.qemu_machine is None:
            tool = os.environ.get("TFSPARSE_UPLOAD") or env.GetProjectOption("custom_upload", DEFAULT_TOOL)
            upload_to_board(elf, hardware, tool, pio.slot_beside(elf))
            print("The firmware runs on the board; measure it with: python -m hil.measure --port /dev/ttyACM0")
        else:
            url = pio.upload_to_emulator(elf, board, port(), state)
            print(f"The firmware runs on {url}; talk to it with: pio device monitor; end it with: pio run -t stop")
    except UserError as error:
        fail(error)


def link(target, source, env):
    """SCons' own link command; where it fails, one sentence instead of the linker's many lines."""
    command = env.subst("$LINK -o $TARGET $LINKFLAGS $SOURCES $_LIBDIRFLAGS $_LIBFLAGS", target=target, source=source)
    result = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False, env=env["ENV"])
    if result.returncode:
        sys.stderr.write(f"Error: {link_error(result.stderr, load_board(board))}\n")
    return result.returncode


def stop(target, source, env):
    print("Emulator ended" if stop_detached(port(), state) else "No emulator of ours runs on this port")


# PlatformIO remembers the platform's place as an absolute path: a copied project would build with the original's.
platform_dir = Path(env.PioPlatform().get_dir()).resolve()
if platform_dir != (project / "firmware" / "platform").resolve():
    for link in Path(env.subst("$PROJECT_CORE_DIR"), "platforms").glob("*.pio-link"):
        link.unlink()
    fail(f"this project was copied and still used the platform in {platform_dir}; mended: run the command again")

if not env.WhereIs(TOOLCHAIN + "gcc"):
    fail(f"{TOOLCHAIN}gcc is not on PATH; install it with: {TOOLCHAIN_HINT}")

try:
    request = pio.Request.of(env.GetProjectOption)
    if set(COMMAND_LINE_TARGETS) == {"stop"}:
        request = replace(request, model="")  # ending the emulator needs no model
    recipe = pio.image_recipe(board, request, project, build_dir)
except UserError as error:
    fail(error)

env.Replace(
    CC=TOOLCHAIN + "gcc",
    CXX=TOOLCHAIN + "g++",
    LINK=TOOLCHAIN + "gcc",
    AR=TOOLCHAIN + "ar",
    AS=TOOLCHAIN + "as",
    SIZETOOL=TOOLCHAIN + "size",
    PROGNAME="firmware",
    PROGSUFFIX=".elf",
    LINKCOM=env.Action(link, "Linking $TARGET"),
    SIZEPRINTCMD="$SIZETOOL -B -d $SOURCES",
    SIZECHECKCMD="$SIZETOOL -A -d $SOURCES",
    SIZEPROGREGEXP=r"^(?:\.isr_vector|\.text|\.rodata|\.data)\s+([0-9]+).*",
    SIZEDATAREGEXP=r"^(?:\.data|\.bss|\.stack)\s+([0-9]+).*",
)
pio.add_image(env, recipe, build_dir)

program = env.BuildProgram()
env.Default(program)
env.AddPlatformTarget("upload", program, env.VerboseAction(upload, "Uploading $SOURCE"), "Upload")
env.AddPlatformTarget("size", program, env.VerboseAction("$SIZEPRINTCMD", "Sizes of $SOURCE"), "Program size")
env.AddPlatformTarget("stop", None, env.VerboseAction(stop, "Ending the emulator"), "Stop the emulator")

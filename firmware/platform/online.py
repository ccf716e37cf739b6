"""SCons script before PlatformIO's own platform `ststm32`: its tools and its upload, our sources, flags and layout.

The board must have a folder of the same name in firmware/boards.
"""

import sys
from pathlib import Path

Import("env")  # noqa: F821  (SCons puts it there)

project = Path(env.subst("$PROJECT_DIR"))  # noqa: F821
sys.path.insert(0, str(project))

from hil import pio  # noqa: E402  (found only through the line above)
from tfsparse.errors import UserError  # noqa: E402

build_dir = Path(env.subst("$BUILD_DIR"))  # noqa: F821
try:
    recipe = pio.image_recipe(env["BOARD"], pio.Request.of(env.GetProjectOption), project, build_dir)  # noqa: F821
except UserError as error:
    sys.stderr.write(f"Error: {error}\n")
    env.Exit(1)  # noqa: F821
pio.add_image(env, recipe, build_dir)  # noqa: F821

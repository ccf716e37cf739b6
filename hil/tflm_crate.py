"""TFLite Micro's sources of July 2020, brought by cargo inside a Rust crate into the project's ignored cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tfsparse.errors import UserError

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "tflm"
CRATE, CRATE_VERSION = "tfmicro", "0.1.0"
CHECKOUT = "name a checkout of TFLite Micro in TFLM_DIR"  # the other way to its sources
FETCH_PATIENCE = 300.0  # seconds
DEPENDENCIES = {  # of that crate: version, features that it asks for
    "bindgen": ("0.53.2", ()),
    "cc": ("1.0.52", ("parallel",)),
    "cpp": ("0.5.5", ()),
    "cpp_build": ("0.5.4", ()),
    "cty": ("0.2.1", ()),
    "error-chain": ("0.12.2", ()),
    "fs_extra": ("1.1.0", ()),
    "glob": ("0.3.0", ()),
    "log": ("0.4.8", ()),
    "managed": ("0.7.0", ("alloc", "std")),
    "ordered-float": ("1.0.0", ()),
}


def folder() -> Path:
    """Where the crate is, or will be."""
    return CACHE / f"{CRATE}-{CRATE_VERSION}"


def fetch() -> Path:
    """Bring the crate with cargo, the ordinary client of its registry, into the cache. Does nothing where it is."""
    target = folder()
    if target.is_dir():
        return target
    if shutil.which("cargo") is None:
        raise UserError(f"cargo is not on PATH; install it with: apt-get install cargo; or {CHECKOUT}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=CACHE) as name:
        package = Path(name)
        _write_package(package)
        command = ["cargo", "vendor", "--quiet", "--versioned-dirs", "vendor"]
        try:
            result = subprocess.run(
                command,
                cwd=package,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=FETCH_PATIENCE,
                env={**os.environ, **_cargo_settings()},
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(
                f"cargo brought nothing in {FETCH_PATIENCE:.0f} s; check the connection, try again"
            ) from error
        found = package / "vendor" / target.name
        if not found.is_dir():
            reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(
                f"cargo could not bring {CRATE} {CRATE_VERSION} ({reason}); check the connection, try again"
            )
        try:
            found.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
    return target


def _write_package(package: Path) -> None:
    """A package that depends on the crate, whose own dependencies are empty ones beside it.

    They are not needed, and today's versions of some cannot be read by the cargo of Debian 12.
    """
    replaced = "".join(f'{name} = {{ path = "{name}" }}\n' for name in DEPENDENCIES)
    manifest = (
        f'[dependencies]\n{CRATE} = {{ version = "={CRATE_VERSION}", default-features = false }}\n'
        f"[workspace]\n[patch.crates-io]\n{replaced}"
    )
    _write_crate(package, "fetch", "0.0.0", manifest)
    for name, (version, features) in DEPENDENCIES.items():
        declared = "".join(f"{feature} = []\n" for feature in features)
        _write_crate(package / name, name, version, f"[features]\n{declared}")


def _write_crate(place: Path, name: str, version: str, rest: str) -> None:
    (place / "src").mkdir(parents=True)
    (place / "src" / "lib.rs").touch()
    head = f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2018"\n'
    (place / "Cargo.toml").write_text(head + rest)


def _cargo_settings() -> dict[str, str]:
    """Environment in which cargo asks the registry for one crate, and does not fetch the index of all of them.

    From 1.68 on that is what it does; before, as in Debian 12, it is a feature that has to be unlocked.
    """
    said = subprocess.run(["cargo", "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    version = re.search(r"(\d+)\.(\d+)", said)
    old = version is not None and (int(version[1]), int(version[2])) < (1, 68)
    return {"RUSTC_BOOTSTRAP": "1", "CARGO_UNSTABLE_SPARSE_REGISTRY": "true"} if old else {}

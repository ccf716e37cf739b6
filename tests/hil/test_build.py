"""Building images: what is compiled anew, what a failure says, what the ELF tells."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from hil.build import Builder, BuildError, ModelSource
from hil.footprint import read_footprint
from hil.recipe import BOARDS, TOOLCHAIN, board_names, load_board
from support.handmade import handmade_model
from tfsparse.errors import UserError


@pytest.fixture
def builder(tmp_path) -> Builder:
    return Builder(load_board(), tmp_path / "objects")


def objects(builder: Builder) -> dict[str, float]:
    return {path.name: path.stat().st_mtime_ns for path in builder.cache.glob("*.o")}


def test_only_the_model_is_compiled_for_another_model(builder, tmp_path):
    builder.build(tmp_path / "a" / "firmware.elf", "sparse", handmade_model(tmp_path / "a"))
    before = objects(builder)
    builder.build(tmp_path / "b" / "firmware.elf", "sparse", handmade_model(tmp_path / "b", inputs=17))
    assert objects(builder) == before  # names and times: nothing was compiled again, nothing piles up
    assert sorted(path.name.split("-")[0] for path in (tmp_path / "b").glob("*.o")) == ["model", "runtime"]
    assert not list(tmp_path.rglob("*.part"))


def test_the_same_model_gives_the_same_image(builder, tmp_path):
    """Wherever its C lies: the build id identifies the content, not the place."""
    one = read_footprint(builder.build(tmp_path / "a.elf", "sparse", handmade_model(tmp_path / "a")))
    other = Builder(builder.board, tmp_path / "other")
    two = read_footprint(other.build(tmp_path / "b.elf", "sparse", handmade_model(tmp_path / "deep" / "b")))
    three = read_footprint(
        builder.build(tmp_path / "c.elf", "sparse", handmade_model(tmp_path / "c", "result[0] = 1;"))
    )
    assert one.build_id == two.build_id != three.build_id
    assert len(one.build_id) == 40


def test_a_changed_header_is_noticed(builder, tmp_path):
    source = handmade_model(tmp_path / "m")
    before = read_footprint(builder.build(tmp_path / "a.elf", "sparse", source))
    handmade_model(tmp_path / "m", outputs=64)
    assert read_footprint(builder.build(tmp_path / "a.elf", "sparse", source)).statics > before.statics


def test_footprint(builder, tmp_path):
    image = read_footprint(
        builder.build(tmp_path / "a.elf", "sparse", handmade_model(tmp_path / "m", inputs=100, outputs=20))
    )
    assert image.size_of("arena") == 120
    assert image.size_of("db_buffer") == 100
    assert image.flash_total == sum(image.sections[name] for name in (".isr_vector", ".text", ".rodata", ".data"))
    assert image.sections[".stack"] == load_board().stack_size


def test_data_counts_in_flash_and_in_ram(builder, tmp_path):
    def image(name: str, declaration: str):
        model = handmade_model(tmp_path / name, body="result[0] = table[in[0] & 3];", helpers=declaration)
        return read_footprint(builder.build(tmp_path / name / "a.elf", "sparse", model))

    initialised = image("data", "static volatile int8_t table[400] = {1};")
    zeroed = image("bss", "static volatile int8_t table[400];")
    constant = image("rodata", "static const int8_t table[400] = {1};")
    assert initialised.flash_total - zeroed.flash_total == 400
    assert initialised.statics == zeroed.statics
    assert initialised.statics - constant.statics == 400
    assert initialised.flash_total == constant.flash_total


@pytest.mark.parametrize("name", board_names())
def test_flash_is_what_a_programmer_writes(name, tmp_path):
    """By another tool: the image as bytes, first to last, but for the gaps of alignment."""
    elf = Builder(load_board(name), tmp_path / "o").build(tmp_path / "a.elf", "sparse", handmade_model(tmp_path / "m"))
    subprocess.run([TOOLCHAIN + "objcopy", "-O", "binary", str(elf), str(tmp_path / "a.bin")], check=True)
    assert 0 <= (tmp_path / "a.bin").stat().st_size - read_footprint(elf).flash_total < 16


def test_the_firmware_itself_is_small(builder, tmp_path):
    baseline = read_footprint(builder.build(tmp_path / "a.elf", "none"))
    assert baseline.flash_total < 8 * 1024
    assert baseline.statics < 512


def test_c_that_does_not_compile(builder, tmp_path):
    with pytest.raises(BuildError, match=r"model\.c does not compile: .*error:.*nonsense"):
        builder.build(tmp_path / "a.elf", "sparse", handmade_model(tmp_path / "m", body="nonsense;"))


def test_c_that_does_not_link(builder, tmp_path):
    with pytest.raises(BuildError, match=r"does not link: .*undefined reference to `nowhere'"):
        model = handmade_model(tmp_path / "m", body="result[0] = nowhere();", helpers="extern int nowhere(void);")
        builder.build(tmp_path / "a.elf", "sparse", model)


def test_tools_that_do_not_end_or_meet_a_full_disk(builder, tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "arm-none-eabi-gcc"
    tool.parent.mkdir()
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    # In the words of GCC and its assembler.
    tool.write_text(
        "#!/bin/sh\n[ $1 = -dumpfullversion ] && exit\n"
        "echo \"/tmp/x.s: Fatal error: can't write 2 bytes to section .text: 'No space left on device'\" >&2\nexit 1\n"
    )
    tool.chmod(0o755)
    with pytest.raises(BuildError, match="no space is left on the disk; make room there"):
        builder.build(tmp_path / "a.elf", "none")
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr("hil.build.TOOL_PATIENCE", 0.2)
    with pytest.raises(BuildError, match=r"arm-none-eabi-gcc did not end within 0 s; try again"):
        Builder(load_board(), tmp_path / "other").build(tmp_path / "a.elf", "none")


def test_missing_compiler(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi"):
        builder.build(tmp_path / "a.elf", "none")


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(UserError, match=r"holds no model\.h"):
        ModelSource.in_folder(tmp_path)


def test_a_name_that_would_end_replies(tmp_path):
    source = handmade_model(tmp_path)
    header = source.directory / "model.h"
    header.write_text(header.read_text().replace('"handmade"', '"not-m-ready"'))
    with pytest.raises(UserError, match=r"'not-m-ready' in .* is no name for a model"):
        ModelSource.in_folder(tmp_path)


def test_an_elf_that_is_none(tmp_path):
    path = tmp_path / "x.elf"
    path.write_bytes(b"no")
    with pytest.raises(UserError, match="not a firmware image"):
        read_footprint(path)


def test_boards():
    assert "stm32f405_qemu" in board_names()
    for name in board_names():
        board = load_board(name)
        assert board.sources, name
        assert json.loads((BOARDS / name / "board.json").read_text())["url"]
    with pytest.raises(UserError, match=r"there is no board 'arduino'; firmware/boards/ has: .*stm32f405_qemu"):
        load_board("arduino")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [('"flash_origin"', '"flash"', "it lacks 'flash_origin'"), ("{", "", "Extra data"), ('"0x08000000"', '"x"', "'x'")],
)
def test_a_board_that_is_none(old, new, reason, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "board.json").write_text((load_board().folder / "board.json").read_text().replace(old, new, 1))
    monkeypatch.setattr("hil.recipe.BOARDS", tmp_path)
    with pytest.raises(UserError, match=rf"mine/board\.json does not describe a board: .*{reason}"):
        load_board("mine")


def test_firmware_holds_no_absolute_paths(builder, tmp_path):
    elf = builder.build(tmp_path / "a.elf", "none")
    assert str(Path.cwd()).encode() not in elf.read_bytes()

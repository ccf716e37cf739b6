"""MLPerf Tiny's serial protocol and our additions, spoken with the real firmware in QEMU."""

from __future__ import annotations

import random
import re

import pytest

from hil.device import READY, RefusedError
from hil.footprint import read_footprint
from support.handmade import handmade_model


@pytest.fixture(scope="module")
def device(start):
    """Copies its first four inputs to its four outputs; output scale 0.5, zero point 1."""
    return start(inputs=20, zero=1)


def test_banner(device):
    assert device.banner[0] == "m-timestamp-mode-performance"
    assert re.fullmatch(r"m-lap-us-\d+", device.banner[1])
    assert device.banner[2:] == ["m-init-done"]


def test_name(device):
    assert device.command("name") == ["m-name-dut-[stm32f405-qemu]"]


def test_profile(device):
    assert device.command("profile") == ["m-profile-[ULPMark for tinyML Firmware V0.0.1]", "m-model-[handmade]"]


def test_timestamp_grows(device):
    first, second = (device.command("timestamp") for _ in range(2))
    assert len(first) == 1
    assert int(second[0].removeprefix("m-lap-us-")) > int(first[0].removeprefix("m-lap-us-"))


def test_help_names_every_command(device):
    text = "\n".join(device.command("help"))
    for command in ("name", "id", "profile", "timestamp", "mem", "db", "infer", "results", "output", "help"):
        assert re.search(rf"^{command}\b", text, re.MULTILINE)
    assert READY not in text


def test_id_is_the_linkers_build_id(device, builder, tmp_path):
    elf = builder.build(tmp_path / "firmware.elf", "sparse", handmade_model(tmp_path / "model", inputs=20, zero=1))
    assert device.build_id() == read_footprint(elf).build_id


def test_mem(device):
    memory = device.memory()
    assert (memory.runtime, memory.input, memory.output, memory.arena) == ("sparse", 20, 4, 24)
    assert memory.tick == "instruction"
    assert memory.stack_size == 4096
    assert 64 < memory.stack_peak < 1024


def test_db_as_mlperf_writes_it(device):
    assert device.command("db load 20") == ["m-[Expecting 20 bytes]"]
    assert device.command("db 000102030405060708090a0b0c0d0e0f") == []
    assert device.command("db 101112FF") == ["m-load-done"]
    assert device.command("db print") == [
        "m-buffer-00-01-02-03-04-05-06-07",
        "m-buffer-08-09-0a-0b-0c-0d-0e-0f",
        "m-buffer-10-11-12-ff",
    ]


def test_db_takes_31_bytes_in_one_command(device):
    device.command("db load 20")
    with pytest.raises(RefusedError, match="More bytes"):
        device.command("db " + "ab" * 31)  # 65 characters are within the line, 31 bytes beyond what was announced
    assert device.command("db " + "ab" * 20) == ["m-load-done"]


def test_binary_block_carries_every_byte_value(start):
    device = start(inputs=256)
    data = bytes(range(256))  # '%', '\r', '\n' and zero among them
    device.load(data)
    assert device.buffer() == data


def test_block_with_a_wrong_checksum_is_refused_and_may_be_repeated(device):
    device.command("db load 20")
    device.command("db block 20 12345")
    device._write(bytes(20), "block")
    with pytest.raises(RefusedError, match="checksum"):
        device._reply_lines("block", 5.0)
    device.load(bytes(range(20)))
    assert device.buffer() == bytes(range(20))


def test_lost_bytes_of_a_block_are_recovered(device):
    device.command("db load 20")
    device.command("db block 20 0")
    device._write(b"only some", "block")
    device.synchronise()
    device.load(bytes(20))
    assert device.buffer() == bytes(20)


def test_infer_says_what_mlperf_expects(device):
    device.load(bytes([1, 3, 0, 255]) + bytes(16))
    lines = device.command("infer 3 2")
    assert [re.sub(r"\d+$", "T", line) if "lap" in line else line for line in lines] == [
        "m-warmup-start-2",
        "m-warmup-done",
        "m-infer-start-3",
        "m-lap-us-T",
        "m-lap-us-T",
        "m-infer-done",
        "m-results-[0.000,1.000,-0.500,-1.000]",  # 0.5 * (q - 1)
    ]
    assert device.command("results") == [lines[-1]]
    assert device.output() == bytes([1, 3, 0, 255])


def test_infer_defaults_are_one_and_ten(device):
    device.load(bytes(20))
    lines = device.command("infer")
    assert "m-warmup-start-10" in lines
    assert "m-infer-start-1" in lines


def test_input_is_loaded_anew_for_each_inference(start):
    device = start(body="result[0] = in[0]; arena[0] = 77;")  # spoils its input, as arenas do
    device.load(bytes([5]) + bytes(15))
    device.infer(3, 2)
    assert device.output()[0] == 5


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("foo", "e-[Unknown command: foo]"),
        ("foo bar", "e-[Unknown command: foo]"),
        ("names", "e-[Unknown command: names]"),
        ("NAME", "e-[Unknown command: NAME]"),
        ("db", "e-[Command 'db' requires a subcommand]"),
        ("db load", "e-[Command 'db load' requires the number of bytes]"),
        ("db load x", "e-[Command 'db load' requires the number of bytes]"),
        ("db load 0", "e-[Command 'db load' requires the number of bytes]"),
        ("db load -1", "e-[Command 'db load' requires the number of bytes]"),
        ("db load 21", "e-[The buffer holds 20 bytes]"),
        ("db load 99999999999999", "e-[Command 'db load' requires the number of bytes]"),
        ("db 0", "e-[Insufficient number of hex digits]"),
        ("db 0g", "e-[Invalid hex digits: 0g]"),
        ("db block 20", "e-[Command 'db block' requires the number of bytes and their CRC-16, both decimal]"),
        ("db block 2000 1", "e-[A block holds 1 to 1024 bytes]"),
        ("infer 0", "e-[Command 'infer' takes the number of inferences, at least 1, and of warm-ups]"),
        ("infer x", "e-[Command 'infer' takes the number of inferences, at least 1, and of warm-ups]"),
        ("infer 1 -1", "e-[Command 'infer' takes the number of inferences, at least 1, and of warm-ups]"),
        ("x" * 81, "e-[Command longer than 80 characters]"),
    ],
)
def test_errors(device, command, reply):
    with pytest.raises(RefusedError) as refused:
        device.command(command)
    assert f"e-[{refused.value.reason}]" == reply


def test_the_closing_word_is_never_echoed(device):
    with pytest.raises(RefusedError) as refused:
        device.command("m-ready")
    assert READY not in refused.value.reason


def test_a_line_of_80_characters_is_taken(device):
    with pytest.raises(RefusedError, match="Unknown command: " + "y" * 80):
        device.command("y" * 80)


def test_empty_commands_are_answered(device):
    assert device.command("") == []
    assert device.command("  \r\n ") == []


def test_infer_without_input_is_refused(start):
    device = start()
    with pytest.raises(RefusedError, match="needs an input of 16 bytes"):
        device.infer()
    for command in ("results", "output"):
        with pytest.raises(RefusedError, match="no results"):
            device.command(command)


def test_a_models_own_error_is_reported(start):
    device = start(body="return 7;")
    device.load(bytes(16))
    with pytest.raises(RefusedError, match="failed with code 7"):
        device.infer()
    with pytest.raises(RefusedError, match="no results"):
        device.output()


def test_baseline_answers_all_but_inference(start):
    device = start(baseline=True)
    assert device.model() == "none"
    assert device.memory().runtime == "none"
    device.load(bytes(range(64)))
    assert device.buffer() == bytes(range(64))
    with pytest.raises(RefusedError, match="holds no model"):
        device.infer()


def test_random_input_does_not_disturb_the_firmware(device):
    """A seeded storm of bytes, commands cut and glued among them; then it answers as ever."""
    random_bytes = random.Random(5)
    words = [b"db load 20", b"db block 9 1", b"infer", b"mem", b"db ", b"ff" * 60, b"%", b"\r\n", b" ", b"print"]
    for _ in range(40):
        noise = b"".join(
            random_bytes.choice(words)
            if random_bytes.random() < 0.5
            else random_bytes.randbytes(random_bytes.randrange(9))
            for _ in range(30)
        )
        device._write(noise, "noise")
    device.synchronise(timeout=60.0)
    assert device.command("name") == ["m-name-dut-[stm32f405-qemu]"]
    device.load(bytes(20))
    device.infer()
    assert device.output() == bytes(4)

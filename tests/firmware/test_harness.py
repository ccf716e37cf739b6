"""What the firmware measures of itself: instructions and stack, and its guards."""

from __future__ import annotations

import pytest

from hil.device import FaultError, RefusedError, SilenceError

# `count` times one subtraction and one branch back, which the compiler cannot change.
LOOP = '{{ uint32_t n = {count}; __asm volatile("1: subs %0, #1\\n bne 1b" : "+r"(n)); }}'


def instructions_of(start, body: str, **model: object) -> int:
    device = start(body=body, **model)
    device.load(bytes(16))
    return device.infer()


def test_instructions_are_exact(start):
    """10,000 rounds of a two-instruction loop more cost 20,000 instructions more, to the last one."""
    few = instructions_of(start, LOOP.format(count=20000))
    many = instructions_of(start, LOOP.format(count=30000))
    assert many - few == 2 * 10000


def test_an_empty_inference_costs_next_to_nothing(start):
    """The cost of reading the counter is taken off: what is left is the glue's call and the return."""
    assert 0 <= instructions_of(start, "") <= 12


def test_instructions_are_repeatable(start):
    device = start(body=LOOP.format(count=1000))
    device.load(bytes(16))
    assert len({device.infer(1, warmups) for warmups in (0, 0, 1, 5)}) == 1
    assert device.infer(7, 0) == 7 * device.infer(1, 0)
    memory = device.memory()
    assert memory.ticks_of_inference == device.infer(1, 0)


FRAME = "volatile char room[{size}]; for (int i = 0; i < {size}; i++) room[i] = (char)i;"


def test_stack_of_an_inference_is_measured(start):
    """A local array of 1,000 bytes more shows as 1,000 bytes more."""

    def stack(size: int) -> int:
        device = start(body=FRAME.format(size=size))
        device.load(bytes(16))
        device.infer()
        return device.memory().stack

    small = stack(200)
    assert 200 <= small < 300
    assert stack(1200) - small == 1000


def test_the_stack_mark_is_that_of_the_inference_only(start):
    """A deep inference is not counted again for the shallow one after it."""
    device = start(body="if (in[0]) {" + FRAME.format(size=800) + "}")
    device.load(bytes([1]) + bytes(15))
    device.infer()
    deep = device.memory().stack
    device.load(bytes(16))
    device.infer()
    assert device.memory().stack < 100 < 800 < deep
    assert device.memory().stack_peak > 800


def test_stack_overflow_is_reported_and_the_firmware_comes_back(start):
    helpers = (
        "__attribute__((noinline)) static int dive(int depth) {"
        " volatile char room[64]; room[0] = (char)depth; return dive(depth + 1) + room[0]; }"
    )
    device = start(body="result[0] = (int8_t)dive(0);", helpers=helpers)
    device.load(bytes(16))
    with pytest.raises(FaultError, match=r"Stack overflow: sp=0x.*; give the board more stack_size"):
        device.infer()
    assert device.model() == "handmade"


def test_a_stack_used_to_its_last_word_gives_no_figure(start):
    """Whether it held that far or overflowed, nobody can tell."""
    device = start(body="extern uint32_t _stack_limit[]; *(volatile uint32_t *)_stack_limit = 0;")
    device.load(bytes(16))
    with pytest.raises(RefusedError, match="Stack overflow: every byte of the stack was used"):
        device.infer()
    with pytest.raises(RefusedError, match="no results"):
        device.output()


def test_a_hard_fault_is_reported_with_registers(start):
    device = start(body="*(volatile int *)0xF0000000u = 1; result[0] = *(volatile int8_t *)0xC0000000u;")
    device.load(bytes(16))
    with pytest.raises(FaultError, match=r"Hard fault: sp=0x2000\w{4} pc=0x0800\w{4} lr=0x\w{8}.* cfsr=0x\w{8}"):
        device.infer()
    assert device.model() == "handmade"


def test_a_device_that_stops_answering_is_an_error_in_time(start):
    device = start(body="for (;;) {}")
    device.load(bytes(16))
    with pytest.raises(SilenceError, match="does not answer 'infer 1 0'"):
        device.infer(timeout=0.5)

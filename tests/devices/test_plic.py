"""PLIC 1.0.0: claim and complete, priorities, thresholds, gateways."""

from __future__ import annotations

import random

import pytest

from jitemu.devices.plic import Plic
from tests.devices.mocks import Wire

ENABLE, CONTEXT, CLAIM = 0x2000, 0x200000, 0x200004
M, S = 0, 1


class Rig:
    def __init__(self) -> None:
        self.wires = [Wire(), Wire()]
        self.plic = Plic(96, self.wires)
        self.sources = {n: self.plic.source(n) for n in range(1, 97)}

    def priority(self, number: int, value: int) -> None:
        self.plic.write(number * 4, 4, value)

    def enable(self, context: int, *numbers: int) -> None:
        for word in range(4):
            bits = sum(1 << n % 32 for n in numbers if n // 32 == word)
            self.plic.write(ENABLE + context * 0x80 + word * 4, 4, bits)

    def threshold(self, context: int, value: int) -> None:
        self.plic.write(CONTEXT + context * 0x1000, 4, value)

    def claim(self, context: int) -> int:
        return self.plic.read(CLAIM + context * 0x1000, 4)

    def complete(self, context: int, number: int) -> None:
        self.plic.write(CLAIM + context * 0x1000, 4, number)

    def pending(self) -> int:
        return sum(self.plic.read(0x1000 + i * 4, 4) << i * 32 for i in range(4))


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_claim_then_complete(rig: Rig) -> None:
    rig.priority(10, 1)
    rig.enable(S, 10)
    rig.sources[10].set(True)
    assert (rig.wires[M].level, rig.wires[S].level) == (False, True)
    assert rig.pending() == 1 << 10
    assert rig.claim(S) == 10
    assert not rig.wires[S].level
    assert rig.pending() == 0
    assert rig.claim(S) == 0
    rig.sources[10].set(False)
    rig.complete(S, 10)
    assert not rig.wires[S].level


def test_a_level_still_high_asks_again_on_completion(rig: Rig) -> None:
    rig.priority(10, 1)
    rig.enable(S, 10)
    rig.sources[10].set(True)
    assert rig.claim(S) == 10
    rig.complete(S, 10)
    assert rig.wires[S].level
    assert rig.claim(S) == 10


def test_no_new_request_while_in_service(rig: Rig) -> None:
    rig.priority(3, 1)
    rig.enable(S, 3)
    rig.sources[3].set(True)
    assert rig.claim(S) == 3
    rig.sources[3].set(False)
    rig.sources[3].set(True)
    assert not rig.wires[S].level
    rig.complete(S, 3)
    assert rig.wires[S].level


def test_a_forwarded_request_survives_its_level(rig: Rig) -> None:
    rig.priority(3, 1)
    rig.enable(S, 3)
    rig.sources[3].set(True)
    rig.sources[3].set(False)
    assert rig.claim(S) == 3
    rig.complete(S, 3)
    assert not rig.wires[S].level


def test_order_is_priority_then_number(rig: Rig) -> None:
    for number, priority in ((5, 2), (7, 6), (70, 6), (90, 7)):
        rig.priority(number, priority)
        rig.sources[number].set(True)
    rig.enable(M, 5, 7, 70, 90)
    assert [rig.claim(M) for _ in range(5)] == [90, 7, 70, 5, 0]


def test_threshold_masks_its_own_priority_and_below(rig: Rig) -> None:
    rig.priority(5, 3)
    rig.enable(S, 5)
    rig.sources[5].set(True)
    rig.threshold(S, 3)
    assert not rig.wires[S].level
    assert rig.claim(S) == 0
    rig.threshold(S, 2)
    assert rig.wires[S].level


def test_completion_for_a_context_that_is_not_enabled_is_ignored(rig: Rig) -> None:
    rig.priority(5, 1)
    rig.enable(S, 5)
    rig.sources[5].set(True)
    assert rig.claim(S) == 5
    rig.complete(M, 5)
    assert not rig.wires[S].level
    rig.complete(S, 5)
    assert rig.wires[S].level


def test_priority_zero_never_interrupts(rig: Rig) -> None:
    rig.enable(S, 8)
    rig.sources[8].set(True)
    assert rig.claim(S) == 0
    rig.priority(8, 1)
    assert rig.wires[S].level


def test_registers_hold_what_exists(rig: Rig) -> None:
    rig.priority(0, 7)
    assert rig.plic.read(0, 4) == 0
    rig.priority(96, 0xFF)
    assert rig.plic.read(96 * 4, 4) == 7
    rig.plic.write(ENABLE, 4, 0xFFFF_FFFF)
    rig.plic.write(ENABLE + 12, 4, 0xFFFF_FFFF)
    assert rig.plic.read(ENABLE, 4) == 0xFFFF_FFFE
    assert rig.plic.read(ENABLE + 12, 4) == 1


def test_contexts_are_independent(rig: Rig) -> None:
    for number in (1, 2):
        rig.priority(number, 1)
        rig.sources[number].set(True)
    rig.enable(M, 1)
    rig.enable(S, 2)
    assert (rig.claim(M), rig.claim(S)) == (1, 2)


def test_reset_keeps_the_wires(rig: Rig) -> None:
    rig.priority(4, 1)
    rig.enable(S, 4)
    rig.sources[4].set(True)
    rig.plic.reset()
    assert rig.pending() == 1 << 4
    assert rig.claim(S) == 0
    assert rig.plic.read(4 * 4, 4) == 0


def test_random_accesses_do_no_harm(rig: Rig) -> None:
    random.seed(1)
    for _ in range(3000):
        offset = random.choice((0, 0x1000, ENABLE, CONTEXT)) + random.randrange(0, 0x2000, 4)
        if random.random() < 0.3:
            rig.sources[random.randint(1, 96)].set(random.random() < 0.5)
        elif random.random() < 0.5:
            assert 0 <= rig.plic.read(offset, 4) < 1 << 32
        else:
            rig.plic.write(offset, 4, random.getrandbits(32))

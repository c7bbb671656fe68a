"""-cpu texts: what a model has, and one line for what cannot be."""

from __future__ import annotations

import pytest

from jitemu.frontends.riscv.cpu import EXTENSIONS, isa_string, parse_cpu
from jitemu.frontends.riscv.extensions import decoder_for
from jitemu.frontends.riscv.state import isa
from jitemu.messages import UserError

ALL_Z = "zicbom_zicboz_zicond_zicsr_zifencei_zihintpause_zba_zbb_zbc_zbs_sstc_svinval"


@pytest.mark.parametrize("model", ["rv64", "any", "max"])
def test_everything_is_on(model: str) -> None:
    cpu = parse_cpu(model)
    assert isa_string(cpu) == "rv64imafdc_" + ALL_Z
    assert cpu.flags == {"sv39", "sv48", "sv57", "pmp"}
    assert cpu.mmu_type == "riscv,sv57"


def test_features_are_turned_off() -> None:
    cpu = parse_cpu("rv64,zbb=off,sstc=false,-zbc,Zifencei=no,c=on,+a,m")
    assert not cpu.extensions & {"zbb", "sstc", "zbc", "zifencei"}
    assert {"c", "a", "m"} <= cpu.extensions


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("rv64,f=off", {"f", "d"}),
        ("rv64,sv48=off", {"sv48", "sv57"}),
        ("rv64,sv39=off", {"sv39", "sv48", "sv57", "svinval"}),
        ("max,d=off", {"d"}),
    ],
)
def test_what_requires_it_goes_too(text: str, gone: set[str]) -> None:
    cpu = parse_cpu(text)
    assert set(EXTENSIONS) - cpu.extensions - cpu.flags == gone


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rv32", "unable to find CPU model 'rv32'"),
        ("", "unable to find CPU model ''"),
        ("rv64,zzz=on", "property 'rv64-riscv-cpu.zzz' not found"),
        ("rv64,", "property 'rv64-riscv-cpu.' not found"),
        ("rv64,zbb=maybe", "'zbb' expects 'on' or 'off', not 'maybe'"),
        ("rv64,f=off,d=on", "'d' requires 'f'"),
        ("rv64,i=off", "cannot be turned off"),
    ],
)
def test_errors_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_cpu(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_mmu() -> None:
    assert parse_cpu("rv64,sv39=off").mmu_type is None
    assert parse_cpu("rv64,sv57=off").mmu_type == "riscv,sv48"


@pytest.mark.parametrize("name", ["m", "a", "c", "zba", "zbb", "zbc", "zbs", "zicond", "zicboz"])
def test_decoder_knows_only_what_the_model_has(name: str) -> None:
    without = decoder_for(parse_cpu(f"rv64,{name}=off"))
    for insn in isa.instructions.values():
        if insn.when == name:
            assert without.decode(insn.encode()) is None, insn.name


def test_pause_is_a_fence_without_its_extension() -> None:
    pause = isa.instructions["pause"].encode()
    names = [decoder_for(parse_cpu(text)).decode(pause) for text in ("rv64", "rv64,-zihintpause")]
    assert [n.insn.name for n in names if n] == ["pause", "fence"]


def test_compressed_doubles_need_d() -> None:
    """c.fld (0x2000) is illegal where fld is."""
    assert decoder_for(parse_cpu("rv64,d=off")).decode(0x2000) is None

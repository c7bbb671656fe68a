"""From options to what the engine is told."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jitemu.cli import common_options as common
from jitemu.cli import system, system_options, user, user_options
from jitemu.cli.options import parse
from jitemu.messages import UserError


def test_guest_environment_takes_changes_in_order() -> None:
    parsed = parse(user_options.OPTIONS, "-E a=1 -U a,HOME -E b=2 -U c -E c=3".split(), {})
    environment = user.guest_environment({"HOME": "/", "c": "0"}, parsed[user_options.SET_ENV])
    assert environment == {"b": "2", "c": "3"}


@pytest.mark.skipif(
    shutil.which("qemu-riscv64") is None or shutil.which("riscv64-linux-gnu-gcc") is None,
    reason="needs qemu-user and gcc",
)
def test_guest_environment_is_that_of_qemu(tmp_path: Path) -> None:
    (tmp_path / "env.c").write_text(
        "#include <stdio.h>\nextern char **environ;\n"
        "int main(void) { for (char **e = environ; *e; e++) puts(*e); return 0; }\n"
    )
    gcc = ["riscv64-linux-gnu-gcc", "-static", "-o", "env", "env.c"]
    subprocess.run(gcc, cwd=tmp_path, check=True)
    words = "-E a=1,b=x -U a,HOME -E b=2=3 -U c -E c=".split()
    start = {"HOME": "/", "c": "0", "PATH": "/usr/bin:/bin", "QEMU_SET_ENV": "d=4"}
    qemu = subprocess.run(
        ["qemu-riscv64", *words, "./env"], cwd=tmp_path, env=start, capture_output=True, text=True
    )
    parsed = parse(user_options.OPTIONS, words, start)
    ours = user.guest_environment(start, parsed[user_options.SET_ENV])
    assert sorted(f"{name}={content}" for name, content in ours.items()) == sorted(
        qemu.stdout.splitlines()
    )


@pytest.mark.parametrize(
    ("words", "serial", "monitors"),
    [
        ("", ("mon:stdio",), ()),
        ("-nographic", ("mon:stdio",), ()),
        ("-display none", ("null",), ()),
        ("-display none -monitor stdio", ("null",), ("stdio",)),
        ("-display none -nographic", ("mon:stdio",), ()),
        ("-nographic -serial file:x -serial null", ("file:x", "null"), ("stdio",)),
        ("-nographic -serial mon:pty", ("mon:pty",), ()),
        ("-nographic -serial stdio", ("stdio",), ()),
        ("-nographic -monitor none", ("stdio",), ()),
        ("-monitor unix:m,server -mon c", ("stdio",), ("unix:m,server", "chardev:c")),
        ("-chardev stdio,id=c,mux=on -serial chardev:c", ("chardev:c",), ()),
    ],
)
def test_consoles(words: str, serial: tuple[str, ...], monitors: tuple[str, ...]) -> None:
    parsed = parse(system_options.OPTIONS, words.split(), {})
    assert system.consoles(parsed) == (serial, monitors)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("disk.img -S", "-S: options go before the disk image disk.img"),
        ("-append x", "-append only allowed with -kernel option"),
        ("-initrd x", "-initrd only allowed with -kernel option"),
    ],
)
def test_options_that_do_not_go_together(words: str, error: str) -> None:
    with pytest.raises(UserError, match=error):
        system.check(parse(system_options.OPTIONS, words.split(), {}))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("foo", "-cpu: unable to find CPU model 'foo'"),
        ("rv64,zfoo=on", "property 'rv64-riscv-cpu.zfoo' not found"),
        ("rv64,zbb=maybe", "parameter 'zbb' expects 'on' or 'off'"),
    ],
)
def test_cpu_errors(text: str, error: str) -> None:
    with pytest.raises(UserError, match=error):
        common.cpu_model(parse(user_options.OPTIONS, ["-cpu", text], {})[common.CPU])


def test_cpu_model() -> None:
    parsed = parse(user_options.OPTIONS, [], {"QEMU_CPU": "rv64,zbb=off"})
    model = common.cpu_model(parsed[common.CPU])
    assert model.name == "rv64"
    assert "zba" in model.extensions
    assert "zbb" not in model.extensions


def test_log_is_what_the_options_say(tmp_path: Path) -> None:
    words = ["-d", "exec,int", "-D", str(tmp_path / "log"), "-dfilter", "0x10+4"]
    log = common.make_log(parse(user_options.OPTIONS, words, {}), "strace")
    assert (log.exec, log.int, log.strace, log.in_asm) == (True, True, True, False)
    assert (log.wants(0x13), log.wants(0x14)) == (True, False)
    assert (tmp_path / "log").exists()


def test_a_pidfile_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot create PID file: No such file or directory"):
        system.main(["-pidfile", str(tmp_path / "none" / "pid")])


def test_the_device_tree_is_that_of_the_options(tmp_path: Path) -> None:
    from fdt import parse_dtb

    path = tmp_path / "virt.dtb"
    words = f"-M virt,dumpdtb={path},aclint=on -m 256M -cpu rv64,zbb=off,sv48=off"
    assert system.main(words.split()) == 0
    tree = parse_dtb(path.read_bytes())

    def value(path: str, name: str) -> Any:
        found: Any = tree.get_property(name, path)
        return found.data

    assert value("/cpus/cpu@0", "mmu-type") == ["riscv,sv39"]
    (isa,) = value("/cpus/cpu@0", "riscv,isa")
    assert ("_zba" in isa, "_zbb" in isa) == (True, False)
    assert value("/memory@80000000", "reg")[-2:] == [0, 256 << 20]

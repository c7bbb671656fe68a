"""Option rows: parsing, environment, errors, and the help made from them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from jitemu.cli import common_options as common
from jitemu.cli import system_options, user_options
from jitemu.cli.options import Shown, integer, parse, size
from jitemu.keyval import on_off
from jitemu.messages import UserError

USER = user_options.OPTIONS
SYSTEM = system_options.OPTIONS
MiB = 1 << 20


def test_options_end_at_the_program() -> None:
    parsed = parse(USER, ["-L", "/sys", "-strace", "prog", "-L", "x"], {})
    assert parsed[user_options.SYSROOT] == "/sys"
    assert parsed[user_options.STRACE]
    assert parsed.rest == ["prog", "-L", "x"]


def test_options_can_be_said_again() -> None:
    words = ["-L", "/sys", "-E", "a=1", "--singlestep", "-0", "x", "prog"]
    parsed = parse(USER, words, {"QEMU_STRACE": "1", "JITEMU_CPU": "max"})
    again = parsed.words(user_options.SET_ENV, user_options.UNSET_ENV, user_options.ARGV0)
    assert again == ["-cpu", "max", "-strace", "-L", "/sys", "-one-insn-per-tb"]


def test_two_dashes_alias_and_end_of_options() -> None:
    parsed = parse(USER, ["--singlestep", "--", "-prog"], {})
    assert parsed[user_options.ONE_INSN]
    assert parsed.rest == ["-prog"]


def test_environment_is_under_the_command_line() -> None:
    environ = {"QEMU_STACK_SIZE": "1M", "QEMU_CPU": "any", "JITEMU_CPU": "max", "QEMU_STRACE": ""}
    parsed = parse(USER, ["-s", "2M"], environ)
    assert parsed[user_options.STACK_SIZE] == 2 * MiB
    assert parsed[common.CPU] == "max"
    assert parsed[user_options.STRACE]


def test_variables_keep_their_order() -> None:
    parsed = parse(USER, ["-E", "a=1,b=2=3", "-U", "a", "-E", "c="], {"QEMU_SET_ENV": "z=0"})
    expected = (("z", "0"), ("a", "1"), ("b", "2=3"), ("a", None), ("c", ""))
    assert parsed[user_options.SET_ENV] == expected
    assert parsed[user_options.UNSET_ENV] == expected


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["-foo"], "-foo: invalid option"),
        (["--foo"], "--foo: invalid option"),
        (["-L"], "-L: requires an argument"),
        (["-s", "big"], "-s big: expected a non-negative number"),
        (["-E", "name"], "-E name: expected var=value"),
        (["-U", "a=b"], "-U a=b: expected the name of a variable"),
        (["-d", "in_asm,foo"], "-d in_asm,foo: unknown log item 'foo'"),
        (["-dfilter", "0x1000"], "-dfilter 0x1000: Bad range specifier"),
        (["-seed", "x"], "-seed x: expected a number from 0"),
        (["-hot-threshold", "-1"], "-hot-threshold -1: expected a number from 0"),
    ],
)
def test_user_errors_are_one_line(words: list[str], error: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(USER, words, {})
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.status == 1


def test_a_bad_environment_variable_is_an_error() -> None:
    with pytest.raises(UserError, match="-d foo: unknown log item"):
        parse(USER, ["prog"], {"QEMU_LOG": "foo"})


def test_system_options() -> None:
    words = "-M virt,aclint=on,dumpdtb=x -m 1G -smp cpus=1 -serial file:a -serial null -S".split()
    parsed = parse(SYSTEM, [*words, "-monitor", "none", "-display", "none", "-name", "a,b"], {})
    machine = parsed[system_options.MACHINE]
    assert (machine.name, machine.aclint, machine.dumpdtb) == ("virt", True, "x")
    assert parsed[system_options.MEMORY] == 1 << 30
    assert parsed[system_options.SERIAL] == ("file:a", "null")
    assert parsed[system_options.STOPPED]
    assert parsed[system_options.NAME] == "a"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["-M", "foo"], "unsupported machine type"),
        (["-machine", "virt,foo=1"], "Property 'virt-machine.foo' not found"),
        (["-M", "virt,aclint=2"], "expects 'on' or 'off'"),
        (["-m", "foo"], "-m foo: expected a non-negative number below 2^64"),
        (["-smp", "4"], "-smp 4: the max CPUs supported by machine 'virt' is 1"),
        (["-display", "gtk"], "-display gtk: expected none"),
        (["-drives", "x"], "-drives: invalid option"),
    ],
)
def test_system_errors_are_one_line(words: list[str], error: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(SYSTEM, words, {})
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("16k", 1 << 14), ("1.5G", 3 << 29), ("0x10", 16), ("0x1b", 27), ("7T", 7 << 40)],
)
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value
    assert size("128", "m") == 128 * MiB


@pytest.mark.parametrize("text", ["", "k", "-1", "1.xG", "16E", "1kk", "0x", "9" * 5000])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="non-negative number below"):
        size(text)


def test_numbers_and_switches() -> None:
    assert [integer(0, 99)(text) for text in ("10", "0x10", "010")] == [10, 16, 8]
    assert [on_off(text) for text in ("on", "off", "y", "no")] == [True, False, True, False]
    with pytest.raises(ValueError, match="from 0 to 9"):
        integer(0, 9)("10")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-d", "help"], "Log items (comma separated):"),
        (["-version"], "jitemu version"),
    ],
)
def test_help_of_values(words: list[str], text: str) -> None:
    for options in (USER, SYSTEM):
        with pytest.raises(Shown) as shown:
            parse(options, words, {})
        assert text in str(shown.value)


def test_machine_help() -> None:
    with pytest.raises(Shown, match="Supported machines are:\nvirt "):
        parse(SYSTEM, ["-M", "help"], {})


def test_every_row_is_in_help_once_and_names_are_unique() -> None:
    for options, text in ((USER, user_options.help_text()), (SYSTEM, system_options.help_text())):
        names = [name for option in options for name in (option.name, *option.aliases)]
        assert len(names) == len(set(names))
        for option in options:
            assert len(re.findall(rf"(?m)(?:^| or )-{re.escape(option.name)}(?![\w-])", text)) == 1


@pytest.mark.skipif(shutil.which("qemu-riscv64") is None, reason="needs qemu-user")
def test_user_help_has_the_shape_of_qemu() -> None:
    """The same rows (argument, variable, description) wherever both have the option."""
    qemu = subprocess.run(["qemu-riscv64", "-h"], capture_output=True, text=True).stdout
    row = re.compile(r"(?m)^(-[\w-]+)(?: (\S+))? +(?:(?:QEMU|JITEMU)_(\w+))? +(\S.*)$")
    theirs = {match[1]: match.groups()[1:] for match in row.finditer(qemu)}
    ours = {match[1]: match.groups()[1:] for match in row.finditer(user_options.help_text())}
    for name in ("-L", "-s", "-cpu", "-E", "-U", "-0", "-B", "-d", "-dfilter", "-D", "-strace"):
        assert ours[name] == theirs[name]
    heading = r"\nArgument +Env-variable +Description\n-h +print this help\n-help +\n"
    assert re.search(heading, qemu)
    assert re.search(heading.replace(r"-help +", "-help *"), user_options.help_text())

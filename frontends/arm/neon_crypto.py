"""ARMv8's cryptographic instructions: AES, SHA-1, SHA-256."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm.fp import fill
from jitemu.frontends.arm.neon import define
from jitemu.frontends.arm.neon_two import pattern_of
from jitemu.frontends.arm.state import S, Word

BYTES, WORDS = "i8x16", "i32x4"


def _aes(name: str, code: str, row: str, keyed: bool) -> None:
    def body(s: S, rd: Any, rm: Any) -> None:
        block = s.view("q", rm, BYTES)
        block = block ^ s.view("q", rd, BYTES) if keyed else block
        s.set_view("q", rd, s.emit(row, BYTES, (block,)))

    define(name, 1, pattern_of("00", f"00 {code}", "qq"), "rd rm", body)


_aes("aese", "01100", "aesround", True)
_aes("aesd", "01101", "aesback", True)
_aes("aesmc", "01110", "aesmix", False)
_aes("aesimc", "01111", "aesunmix", False)


def _lanes(s: S, register: Any) -> list[Word]:
    value = s.view("q", register, WORDS)
    return [value.lane(n) for n in range(4)]


def _set(s: S, register: Any, lanes: list[Word]) -> None:
    value = lanes[0].splat(WORDS)
    for number, lane in enumerate(lanes[1:], 1):
        value = s.emit("setlane", WORDS, (value, lane), (number,))
    s.set_view("q", register, value)


def _turn(word: Word, right: int) -> Word:
    return word.rotl(32 - right)


def _choose(x: Word, y: Word, z: Word) -> Word:
    return ((y ^ z) & x) ^ z


def _majority(x: Word, y: Word, z: Word) -> Word:
    return (x & y) | ((x | y) & z)


def _sha1(name: str, size: str, f: Callable[[Word, Word, Word], Word]) -> None:
    """Four rounds."""

    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        a, b, c, d = _lanes(s, rd)
        e, w = s.view("q", rn, WORDS).lane(0), _lanes(s, rm)
        for n in range(4):
            total = e + a.rotl(5) + f(b, c, d) + w[n]
            a, b, c, d, e = total, a, b.rotl(30), c, d
        _set(s, rd, [a, b, c, d])

    define(name, 0, fill(f"0 D {size} Vn Vd 1100 N 1 M 0 Vm", "qqq"), "rd rn rm", body)


_sha1("sha1c", "00", _choose)
_sha1("sha1p", "01", lambda x, y, z: x ^ y ^ z)
_sha1("sha1m", "10", _majority)


def sha1su0(s: S, rd: Any, rn: Any, rm: Any) -> None:
    """The first part of four words of the schedule."""
    d, n, m = (s.view("q", r, WORDS) for r in (rd, rn, rm))
    s.set_view("q", rd, d.shuffle((2, 3, 4, 5), n) ^ d ^ m)


def sha1su1(s: S, rd: Any, rm: Any) -> None:
    """The second part."""
    d, m = _lanes(s, rd), _lanes(s, rm)
    t = [d[0] ^ m[1], d[1] ^ m[2], d[2] ^ m[3], d[3]]
    t = [x.rotl(1) for x in t]
    t[3] = t[3] ^ t[0].rotl(1)
    _set(s, rd, t)


def sha1h(s: S, rd: Any, rm: Any) -> None:
    """A word turned by 30."""
    word = s.view("q", rm, WORDS).lane(0).rotl(30)
    _set(s, rd, [word, *[s.const(0, "i32")] * 3])


define("sha1su0", 0, fill("0 D 11 Vn Vd 1100 N 1 M 0 Vm", "qqq"), "rd rn rm", sha1su0)
define("sha1su1", 1, pattern_of("10", "10 01110", "qq"), "rd rm", sha1su1)
define("sha1h", 1, pattern_of("10", "01 01011", "qq"), "rd rm", sha1h)


def _sha256(name: str, size: str, second: bool) -> None:
    """Four rounds; the other half of the hash comes out."""

    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        x, y, w = _lanes(s, rd), _lanes(s, rn), _lanes(s, rm)
        if second:
            x, y = y, x
        for n in range(4):
            e, a = y[0], x[0]
            total = y[3] + (_turn(e, 6) ^ _turn(e, 11) ^ _turn(e, 25))
            total = total + _choose(e, y[1], y[2]) + w[n]
            other = total + (_turn(a, 2) ^ _turn(a, 13) ^ _turn(a, 22))
            other = other + _majority(a, x[1], x[2])
            x, y = [other, *x[:3]], [total + x[3], *y[:3]]
        _set(s, rd, y if second else x)

    define(name, 1, fill(f"0 D {size} Vn Vd 1100 N 1 M 0 Vm", "qqq"), "rd rn rm", body)


_sha256("sha256h", "00", False)
_sha256("sha256h2", "01", True)


def sha256su0(s: S, rd: Any, rm: Any) -> None:
    """The first part of four words of the schedule."""
    d = s.view("q", rd, WORDS)
    t = d.shuffle((1, 2, 3, 4), s.view("q", rm, WORDS))
    lanes = [t.lane(n) for n in range(4)]
    mixed = [_turn(x, 7) ^ _turn(x, 18) ^ (x >> 3) for x in lanes]
    _set(s, rd, [mixed[n] + d.lane(n) for n in range(4)])


def sha256su1(s: S, rd: Any, rn: Any, rm: Any) -> None:
    """The second part."""
    d, n, m = (_lanes(s, r) for r in (rd, rn, rm))
    last = [*n[1:], m[0]]
    source = [m[2], m[3]]
    result: list[Word] = []
    for k in range(4):
        x = source[k] if k < 2 else result[k - 2]
        result.append((_turn(x, 17) ^ _turn(x, 19) ^ (x >> 10)) + d[k] + last[k])
    _set(s, rd, result)


define("sha256su0", 1, pattern_of("10", "10 01111", "qq"), "rd rm", sha256su0)
define("sha256su1", 1, fill("0 D 10 Vn Vd 1100 N 1 M 0 Vm", "qqq"), "rd rn rm", sha256su1)

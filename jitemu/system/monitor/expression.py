"""Arithmetic of the monitor: 64-bit numbers as C has them, ``$register``.

sum   = logic (("+" | "-") logic)*
logic = product (("&" | "|" | "^") product)*
product = unary (("*" | "/" | "%") unary)*
unary = ("+" | "-" | "~") unary | "(" sum ")" | number | 'c' | $name
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MASK64 = (1 << 64) - 1
DEEPEST = 100
NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
REGISTER = re.compile(r"\$([A-Za-z0-9_.]+)")


class ExpressionError(Exception):
    """The text is no expression."""


class Expression:
    """Evaluates text from a position on; ``at`` is behind what was taken afterwards."""

    def __init__(self, text: str, at: int, register: Callable[[str], int | None]) -> None:
        self.text = text
        self.at = at
        self._register = register
        self._depth = 0

    def evaluate(self) -> int:
        """The value; ExpressionError if there is none."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise ExpressionError("expression is nested too deeply")
        value = self._chain(self._logic, "+-")
        self._depth -= 1
        return value

    def _logic(self) -> int:
        return self._chain(self._product, "&|^")

    def _product(self) -> int:
        return self._chain(self._unary, "*/%")

    def _chain(self, part: Callable[[], int], operators: str) -> int:
        value = part()
        while (operator := self._peek()) and operator in operators:
            self.at += 1
            value = _apply(operator, value, part())
        return value

    def _peek(self) -> str:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def _unary(self) -> int:
        signs = ""
        while (character := self._peek()) and character in "+-~":
            signs = character + signs
            self.at += 1
        value = self._primary()
        for sign in signs:  # the innermost first
            value = {"+": value, "-": -value & MASK64, "~": ~value & MASK64}[sign]
        return value

    def _primary(self) -> int:
        character = self._peek()
        if not character:
            raise ExpressionError("unexpected end of expression")
        if character == "(":
            self.at += 1
            value = self.evaluate()
            if self._peek() != ")":
                raise ExpressionError("')' expected")
            self.at += 1
            return value
        if character == "'":
            literal = self.text[self.at : self.at + 3]
            if len(literal) < 3 or literal[2] != "'":
                raise ExpressionError("missing terminating ' character")
            self.at += 3
            return ord(literal[1]) & 0xFF
        if character == "$":
            return self._named()
        return self._number()

    def _named(self) -> int:
        found = REGISTER.match(self.text, self.at)
        value = self._register(found[1]) if found else None
        if found is None or value is None:
            raise ExpressionError("unknown register")
        self.at = found.end()
        return value

    def _number(self) -> int:
        found = NUMBER.match(self.text, self.at)
        if found is None:
            raise ExpressionError(f"invalid char '{self.text[self.at]}' in expression")
        digits = found[0]
        octal = len(digits) > 1 and digits.isdigit() and digits[0] == "0"
        try:
            value = int(digits, 8 if octal else 0)
        except ValueError:
            raise ExpressionError("invalid char in expression") from None
        if value > MASK64:
            raise ExpressionError("number too large")
        self.at = found.end()
        return value


def _apply(operator: str, left: int, right: int) -> int:
    if operator in "/%" and right == 0:
        raise ExpressionError("division by zero")
    if operator in "/%":
        left, right = signed(left), signed(right)
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return (quotient if operator == "/" else left - quotient * right) & MASK64
    values = {
        "+": left + right,
        "-": left - right,
        "&": left & right,
        "|": left | right,
        "^": left ^ right,
        "*": left * right,
    }
    return values[operator] & MASK64


def signed(value: int) -> int:
    """A 64-bit number as a signed one."""
    return value - (1 << 64) if value >> 63 else value

"""Compare an image's refcounts with what its tables refer to, and repair them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jitemu.devices.block.qcow2 import header as h
from jitemu.devices.block.qcow2.references import Collector, References, Usage
from jitemu.devices.block.qcow2.tables import COMPRESSED, COPIED, OFFSET, L2Table

if TYPE_CHECKING:
    from jitemu.devices.block.qcow2.image import Qcow2Image


@dataclass(slots=True)
class Result:
    """What a check found, and what was repaired."""

    check_errors: int = 0
    corruptions: int = 0
    leaks: int = 0
    corruptions_fixed: int = 0
    leaks_fixed: int = 0
    image_end: int = 0
    total_clusters: int = 0
    usage: Usage | None = None


class Checker:
    """One check.  ``repair`` is nothing, ``leaks`` or ``all``; ``say`` gets a line per error."""

    def __init__(self, image: Qcow2Image, repair: str, say: Callable[[str], None]) -> None:
        self.image = image
        self.repair = repair
        self.say = say
        self.result = Result(total_clusters=-(-image.size >> image.cluster_bits))
        self._rebuild = False

    def run(self) -> Result:
        """Check all; with ``repair`` the file is mended when this returns."""
        image, result = self.image, self.result
        if self.repair == "all":
            self._drop_misplaced()
        collector = Collector(image, self.say)
        expected = collector.collect()
        result.corruptions += collector.errors
        result.usage = collector.usage
        if collector.errors and self.repair == "all":
            self._rebuild = True
        self._compare(expected)
        if self._rebuild and self.repair == "all":
            self._rebuild_counts(expected)
        self._check_flags()
        if self.repair:
            image.flush()
            image.tables.write_counts()
            self._clear_marks()
            image.file.flush()
        return result

    def _compare(self, expected: References) -> None:
        image, counts = self.image, self.image.refcounts
        highest = expected.highest
        end = max(highest + 1, -(-image.file.size >> image.cluster_bits))
        per_block = counts.per_block
        for index in range(-(-end // per_block)):
            if counts.missing_block(index * per_block) and index * per_block > highest:
                continue
            try:
                values = counts.block_values(index)[: end - index * per_block]
            except OSError:
                continue  # not aligned: an error that was counted with the table
            wanted = expected.slice(index * per_block, len(values))
            highest = max(highest, index * per_block + self._last_used(values))
            if values == wanted:
                continue
            for at, (count, reference) in enumerate(zip(values, wanted, strict=True)):
                if count != reference:
                    self._different(index * per_block + at, count, reference)
        self.result.image_end = highest + 1 << image.cluster_bits

    @staticmethod
    def _last_used(values: list[int]) -> int:
        return next((at for at in range(len(values) - 1, -1, -1) if values[at]), 0)

    def _different(self, cluster: int, count: int, reference: int) -> None:
        result, counts = self.result, self.image.refcounts
        leak = count > reference
        fixable = self.repair == "all" or (leak and self.repair == "leaks")
        if fixable and counts.missing_block(cluster):
            self._rebuild = True
        if reference > counts.maximum:
            fixable = False
        kind = "Repairing" if fixable else "Leaked" if leak else "ERROR"
        self.say(f"{kind} cluster {cluster} refcount={count} reference={reference}")
        if fixable:
            if not self._rebuild:
                counts.set(cluster, reference)
            if leak:
                result.leaks_fixed += 1
            else:
                result.corruptions_fixed += 1
        elif leak:
            result.leaks += 1
        else:
            result.corruptions += 1

    def _rebuild_counts(self, expected: References) -> None:
        image = self.image
        self.say("Rebuilding refcount structure")
        # the old table and blocks are not referred to any more
        found = Collector(image, lambda _line: None).collect(with_refcounts=False)
        end = max(expected.highest + 1, -(-image.file.size >> image.cluster_bits))
        image.refcounts.rebuild(found.nonzero(), end)
        self.result.corruptions_fixed += self.result.corruptions
        self.result.corruptions = 0

    def _drop_misplaced(self) -> None:
        """Let entries that cannot lead anywhere lead nowhere."""
        image = self.image
        step = image.map.words_per_entry
        inside = image.header.cluster_size - 1
        for index, l1_entry in enumerate(image.tables.l1):
            if l1_entry & OFFSET & inside:
                self.say(f"Repairing L1 entry {index}: not cluster aligned")
                image.tables.drop(index)
                self.result.corruptions_fixed += 1
            table = image.tables.at(index)
            for at in range(0, len(table.entries) if table else 0, step):
                assert table
                entry = table.entries[at]
                if entry & COMPRESSED or not entry & OFFSET & inside:
                    continue
                self.say(f"Repairing offset={entry & OFFSET:x}: not cluster aligned")
                empty = table.entries[at : at + step]
                empty[0] = 1 if image.has_zero_flag and step == 1 else 0
                image.tables.set(table, at, empty)
                self.result.corruptions_fixed += 1

    def _check_flags(self) -> None:
        """COPIED says that a cluster of the active tables has one reference."""
        image = self.image
        bits = image.cluster_bits
        for index, entry in enumerate(image.tables.l1):
            place = entry & OFFSET
            if not place or place & image.header.cluster_size - 1:
                continue
            count = image.refcounts.get(place >> bits)
            if (count == 1) != bool(entry & COPIED):
                where = f"l1_index={index} l1_entry={entry:x} refcount={count}"
                if self._mend(f"OFLAG_COPIED L2 cluster: {where}"):
                    image.tables.set_l1_flag(index, count == 1)
            table = image.tables.at(index)
            assert table
            if not image.external:
                self._check_l2_flags(table)

    def _check_l2_flags(self, table: L2Table) -> None:
        image = self.image
        for at in range(0, len(table.entries), image.map.words_per_entry):
            entry = table.entries[at]
            if not entry & OFFSET or entry & COMPRESSED:
                continue
            place = entry & OFFSET
            if place & image.header.cluster_size - 1:
                continue
            count = image.refcounts.get(place >> image.cluster_bits)
            if (count == 1) == bool(entry & COPIED):
                continue
            text = f"OFLAG_COPIED data cluster: l2_entry={entry:x} refcount={count}"
            if self._mend(text):
                mended = table.entries[at : at + 1]
                mended[0] = entry ^ COPIED
                image.tables.set(table, at, mended)

    def _mend(self, text: str) -> bool:
        if self.repair == "all":
            self.say(f"Repairing {text}")
            self.result.corruptions_fixed += 1
            return True
        self.say(f"ERROR {text}")
        self.result.corruptions += 1
        return False

    def _clear_marks(self) -> None:
        """Nothing is wrong any more: say so in the header."""
        header, result = self.image.header, self.result
        clean = not (result.corruptions or result.check_errors)
        marks = header.incompatible & (h.DIRTY | h.CORRUPT)
        if clean and marks and (self.repair == "all" or not marks & h.CORRUPT):
            header.incompatible &= ~(h.DIRTY | h.CORRUPT)
            self.image.save_header()


def check(image: Qcow2Image, repair: str, say: Callable[[str], None]) -> Result:
    """Check an image that was opened for it."""
    try:
        return Checker(image, repair, say).run()
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EINVAL):
            raise
        say(f"ERROR {error.strerror}")
        return Result(check_errors=1)


def repair_counts(image: Qcow2Image) -> None:
    """Mend an image that was not closed: its refcounts may be out of date."""
    result = check(image, "all", lambda _line: None)
    if result.corruptions or result.check_errors:
        raise OSError(errno.EIO, f"{image.name}: the dirty image cannot be repaired")

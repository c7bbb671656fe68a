"""The long form of the hostile queues.

    python -m tests.devices.virtio.long [ATTACKS [FIRST SEED]]

An attack is up to 90 queue contents on each device model.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.devices.virtio.hostile import MODELS, Attack


def main() -> None:
    words = [int(word) for word in sys.argv[1:]]
    attacks, first = [*words, *(2000, 1000)[len(words) :]][:2]
    for seed in range(first, first + attacks):
        for model in MODELS:
            with tempfile.TemporaryDirectory() as folder:
                Attack(model, seed, Path(folder)).run()
    print(f"{attacks} attacks on each of {len(MODELS)} models: all answered or in need of a reset")


if __name__ == "__main__":
    main()

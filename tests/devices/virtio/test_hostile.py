"""Random and hostile virtqueues: a device answers, or needs a reset; nothing else happens.

Every buffer that a device may write is inside one part of RAM, unless the descriptors say so;
the rest must stay as it was.  ``python -m tests.devices.virtio.long`` goes on for longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.devices.virtio.hostile import MODELS, Attack


@pytest.mark.parametrize("model", MODELS)
def test_hostile_queues(model: str, tmp_path: Path) -> None:
    for seed in range(150):
        Attack(model, seed, tmp_path).run()

"""Thirty modules imported, and part of the library compiled."""

import glob
import importlib
import os
import sys

NAMES = """argparse ast asyncio base64 bisect calendar configparser csv datetime decimal difflib
email fractions gzip hashlib heapq html http.client inspect json logging pickle random re shlex
statistics string tempfile textwrap xml.dom""".split()

for name in NAMES:
    importlib.import_module(name)
size = 0
for path in sorted(glob.glob(os.path.dirname(os.__file__) + "/*.py"))[: int(sys.argv[1])]:
    with open(path, encoding="utf-8") as file:
        size += len(compile(file.read(), path, "exec").co_consts)
print(len(NAMES), size)

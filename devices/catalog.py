"""The device models there are: every class with a ``model`` in a module of a package of models.
A new model is a new file.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
import types

from jitemu.devices.device import Device
from jitemu.messages import fail

MODEL_PACKAGES = ("jitemu.devices.virtio",)
USER_MODULE = "device file "  # and its path: a name that no import statement can have


def models() -> list[type[Device]]:
    """All of them, by category and name."""
    for package in MODEL_PACKAGES:
        for module in pkgutil.iter_modules(
            importlib.import_module(package).__path__, package + "."
        ):
            importlib.import_module(module.name)
    return sorted(declared(Device), key=lambda m: (m.category, m.model))


def declared(base: type[Device]) -> list[type[Device]]:
    """``base``'s descendants that have a model name."""
    found: list[type[Device]] = []
    for cls in base.__subclasses__():
        if "model" in vars(cls):
            found.append(cls)
        found += declared(cls)
    return list(dict.fromkeys(found))


def find(name: str) -> type[Device]:
    """The model of this name or alias; ValueError if there is none."""
    known = {each: model for model in models() for each in (model.model, *model.aliases)}
    if name in known:
        return known[name]
    here = name.removesuffix("-pci") + "-device"
    hint = f" (there is no PCI; take {here})" if name.endswith("-pci") and here in known else ""
    raise ValueError(f"'{name}' is not a valid device model name{hint}")


def listing() -> str:
    """What ``-device help`` prints."""
    lines: list[str] = []
    category = ""
    for model in models():
        if model.category != category:
            lines += ["", f"{model.category} devices:"] if lines else [f"{model.category} devices:"]
            category = model.category
        alias = "".join(f', alias "{name}"' for name in model.aliases)
        about = f', desc "{model.about}"' if model.about else ""
        lines.append(f'name "{model.model}", bus {model.bus}{alias}{about}')
    return "\n".join(lines)


def load(path: str) -> type[Device]:
    """The device class that a user's Python file holds; UserError if it does not."""
    where = f"-device-file {path}"
    module = types.ModuleType(f"{USER_MODULE}{os.path.abspath(path)}")
    module.__file__ = path
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
    except OSError as error:
        fail(f"{where}: {error.strerror}")
    except (SyntaxError, ValueError) as error:
        fail(f"{where}: {error}")
    sys.modules[module.__name__] = module
    try:
        exec(code, vars(module))
    except Exception as error:
        fail(f"{where}: {blame(error)}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Device) and vars(value).get("model")
        if value.__module__ == module.__name__
    ]
    if len(found) != 1:
        fail(f"{where}: has {len(found)} classes of devices with a 'model'; it must have one")
    return found[0]


def blame(error: BaseException) -> str:
    """The line of a user's device file that an error came through, or nothing."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").startswith(USER_MODULE):
            place = f"{frame.f_code.co_filename}, line {line}"
            found = f"{type(error).__name__}: {error} ({place})"
    return found

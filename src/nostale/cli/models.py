"""Find the model that a user named: one of the systems' own, or a class in a file of his."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

from nostale.cli.nearest import nearest
from nostale.contract import BadInput, NostaleError
from nostale.prove import Model
from nostale.systems.names import named_models

EVERY_VARIANT = "all"


def find_model(target: str) -> tuple[type[Model], str]:
    """Return the class and the variant ("" for none, `all` for every one) that `NAME[:VARIANT]` or
    `FILE.py[:CLASS[:VARIANT]]` names.

    Raises:
        BadInput: no such model, file, class or variant.
    """
    name, *rest = target.split(":")
    if name.endswith(".py"):
        found, rest = _from_file(Path(name), rest)
    else:
        models = named_models()
        if name not in models:
            raise BadInput(target, f"no model {name!r}", remedy=nearest(name, list(models)))
        found = models[name]
    variant = rest[0] if rest else ""
    if len(rest) > 1 or (variant not in ("", EVERY_VARIANT) and variant not in found.variants()):
        known = list(found.variants())
        raise BadInput(target, f"no variant {':'.join(rest)!r}", remedy=nearest(variant, known))
    return found, variant


def is_litmus(target: str) -> bool:
    """Whether a target names a litmus test, which is no model: it has no variants and no parameters."""
    return target.endswith(".litmus")


def read_litmus(target: str) -> str:
    """Return the text of a litmus test.

    Raises:
        BadInput: there is no such file, or it is not text.
    """
    try:
        return Path(target).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(target, "no such file", cause="a mistyped name") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(target, f"cannot be read: {error}", remedy="name a litmus test as herd7 writes them") from None


def _from_file(path: Path, rest: list[str]) -> tuple[type[Model], list[str]]:
    if not path.is_file():
        raise BadInput(str(path), "no such file", cause="a mistyped name")
    spec = importlib.util.spec_from_file_location(f"nostale_model_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except NostaleError:
        raise
    except Exception as error:
        raise BadInput(
            f"{path}{_line_in(path, error)}",
            f"does not run: {type(error).__name__}: {error}",
            remedy=f"a model file is Python; try python {path}",
        ) from error
    classes = {
        name: one
        for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, Model) and one.__module__ == spec.name
    }
    if rest and rest[0] in classes:
        return classes[rest[0]], rest[1:]
    if len(classes) == 1:
        return next(iter(classes.values())), rest
    if not classes:
        raise BadInput(str(path), "defines no model", remedy="derive a class from nostale.prove.Model")
    raise BadInput(str(path), f"defines {len(classes)} models", remedy=f"name one: {path}:{next(iter(classes))}")


def _line_in(path: Path, error: Exception) -> str:
    """Return `:LINE` of the model file in which it failed, or ""."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f":{frames[-1].lineno}" if frames else ""

"""Lays overlays onto Envoy's configuration: `python deploy/merge.py envoy.yaml deploy/tls.yaml`.

`--to FILE`, in front, writes it there, where no shell is that could.
Envoy's own `--config-yaml` cannot: it appends to lists, so that a listener would be there twice.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml


def merged(base: Any, overlay: Any) -> Any:
    """Returns `base` with what `overlay` says.

    Mappings merge by key and lists by the `name` of their items, or by position where the items
    have none; anything else is replaced.
    """
    if isinstance(base, dict) and isinstance(overlay, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in overlay.items()}}
    if not (isinstance(base, list) and isinstance(overlay, list)):
        return overlay
    result = list(base)
    for position, item in enumerate(overlay):
        place = _place(result, item, position)
        if place is None:
            result.append(item)
        else:
            result[place] = merged(result[place], item)
    return result


def _place(items: list[Any], item: Any, position: int) -> int | None:
    name = item.get("name") if isinstance(item, dict) else None
    if name is None:
        return position if position < len(items) else None
    named = [place for place, one in enumerate(items) if one.get("name") == name]
    return named[0] if named else None


def main(paths: list[str]) -> None:
    """Prints the first file with the others laid onto it, in their order."""
    to = None
    if paths[:1] == ["--to"]:
        to, *paths = paths[1:]
    tree: Any = {}
    for path in paths:
        tree = merged(tree, yaml.safe_load(Path(path).read_text("utf-8")))
    text = yaml.safe_dump(tree, sort_keys=False)
    if to is None:
        sys.stdout.write(text)
    else:
        Path(to).write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

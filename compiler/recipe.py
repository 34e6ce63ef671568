"""The recipe folder of an environment, as far as it can be judged without building it, and where its image will be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Final

from compiler.blueprint import Environment
from compiler.source import FieldPath

LOCK_FILE: Final = "requirements.lock"
IMAGE_ROOT: Final = "/opt/iae"
"""Where an instance finds what was built from the recipe."""
LEFT_BY_TOOLS: Final = frozenset(
    {"__pycache__", ".ipynb_checkpoints", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv"}
    | {".DS_Store", "Thumbs.db", ".idea", ".vscode"}
)
"""Files and folders that editors, desktops and Python make beside a recipe, and that nobody commits."""
_RECIPE: Final = ("environment", "recipe")

Problem = tuple[FieldPath, str, str]
"""Path of the field in the blueprint, what is wrong, the way out."""


def check_recipe(folder: Path, environment: Environment, more: Mapping[FieldPath, str]) -> Iterator[Problem]:
    """Yield what is wrong with the recipe below a blueprint's folder.

    `more` are further entry points by the fields that name them.
    Links are refused everywhere in it: what they point at is not part of what was reviewed.
    """
    recipe = folder / environment.recipe
    if link := _link_on_the_way(folder, recipe):
        yield _RECIPE, f"{link.relative_to(folder)} is a symbolic link.", "Put the folder itself here."
        return
    if not recipe.is_dir():
        yield (
            _RECIPE,
            f"there is no folder {environment.recipe!r} beside the blueprint.",
            "Create it, or mend the path.",
        )
        return
    for path in sorted(recipe.rglob("*")):
        if path.is_symlink():
            yield _RECIPE, f"{path.relative_to(folder)} is a symbolic link.", "Put the file itself here."
    if not (recipe / LOCK_FILE).is_file():
        way_out = "Write one with `uv pip compile --generate-hashes`."
        yield _RECIPE, f"{environment.recipe}/{LOCK_FILE} is missing.", way_out
    for field, entry_point in {("environment", "entry_point"): environment.entry_point, **more}.items():
        if not (recipe / entry_point).is_file():
            message = f"there is no file {entry_point!r} in {environment.recipe!r}."
            yield field, message, "Create it, or mend the path."


def _link_on_the_way(folder: Path, path: Path) -> Path | None:
    """Return the first symbolic link between a folder and a path below it."""
    way = [path, *path.parents]
    return next((step for step in reversed(way[: way.index(folder)]) if step.is_symlink()), None)


def recipe_files(folder: Path, environment: Environment) -> list[Path]:
    """Return the files of a recipe, sorted, without what tools left behind."""
    recipe = folder / environment.recipe
    return sorted(p for p in recipe.rglob("*") if p.is_file() and not is_left_by_tools(p.relative_to(recipe)))


def is_left_by_tools(path: PurePath) -> bool:
    """Tell whether a path inside a recipe is no part of it: it is on one machine and not on the next."""
    return not LEFT_BY_TOOLS.isdisjoint(path.parts)

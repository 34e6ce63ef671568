"""The datasets of a submission, looked up: each exists, is not empty, and is of an accepted kind and size."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from compiler.blueprint import GB, MB, Inputs
from compiler.protocols.per_dataset import Found
from compiler.shape import suggest
from runner.cloud import Cloud
from runner.intake import show
from state.errors import SubmissionError

_THREADS = 8
_MOST_PROBLEMS = 10
_NEIGHBOURS = 1000


def find_datasets(cloud: Cloud, bucket: str, keys: Sequence[str], inputs: Inputs) -> dict[str, Found]:
    """Return each dataset as it was found, by key, in the order given.

    Raises:
        SubmissionError: with what is wrong with each dataset that cannot be used.
        CloudError: the cloud did not answer.
    """

    def look(key: str) -> Found | str:
        problem = check_kind(key, inputs)
        if problem:
            return problem
        found = _look_at_folder(cloud, bucket, key) if key.endswith("/") else _look(cloud, bucket, key)
        return found if isinstance(found, str) else check_size(key, found.size, inputs) or found

    if len(keys) == 1:
        looked = [look(keys[0])]
    else:
        with ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="datasets") as pool:
            looked = list(pool.map(look, keys))
    refuse([one for one in looked if isinstance(one, str)])
    return {key: one for key, one in zip(keys, looked, strict=True) if isinstance(one, Found)}


def refuse(problems: Sequence[str]) -> None:
    """Raise one error that tells all problems, if there are any.

    Raises:
        SubmissionError: there are.
    """
    if problems:
        more = [f"And {len(problems) - _MOST_PROBLEMS} more."] if len(problems) > _MOST_PROBLEMS else []
        raise SubmissionError(" ".join([*problems[:_MOST_PROBLEMS], *more]))


def check_kind(name: str, inputs: Inputs) -> str:
    """Return what is wrong with the kind of a dataset, judged by its name; empty when nothing is."""
    if name.endswith("/"):
        return "" if inputs.folders else f"{show(name)} is a folder, but this analysis takes only files."
    if not inputs.suffixes or name.lower().endswith(tuple(suffix.lower() for suffix in inputs.suffixes)):
        return ""
    return f"{show(name)} is not a file this analysis reads: its name must end in {' or '.join(inputs.suffixes)}."


def check_size(name: str, size: int, inputs: Inputs) -> str:
    """Return what is wrong with the size of a dataset; empty when nothing is."""
    if size == 0:
        return f"{show(name)} is empty (0 bytes)."
    if size < inputs.min_bytes:
        return f"{show(name)} has {size / MB:g} MB, but at least {inputs.min_bytes / MB:g} MB are needed."
    if size > inputs.max_bytes:
        return f"{show(name)} has {size / GB:.2f} GB, but at most {inputs.max_bytes / GB:g} GB are accepted."
    return ""


def _look(cloud: Cloud, bucket: str, key: str) -> Found | str:
    found = cloud.head(bucket, key)
    if found is not None:
        return Found(size=found.size, version=found.etag)
    if next(iter(cloud.list(bucket, f"{key}/")), None) is not None:
        return f'{show(key)} is a folder: write it with a slash at the end, "{key}/".'
    folder, slash, name = key.rpartition("/")
    near = [one.key.removeprefix(folder + slash) for one in islice(cloud.list(bucket, folder + slash), _NEIGHBOURS)]
    return f"{show(key)} does not exist. {suggest(name, near, say_all=False) or 'Upload it before the submit file.'}"


def _look_at_folder(cloud: Cloud, bucket: str, key: str) -> Found | str:
    """Take a folder's size from its listing; the empty object some tools put in its place is not a file of it."""
    sizes = [one.size for one in cloud.list(bucket, key) if not one.key.endswith("/")]
    if not sizes:
        return f"The folder {show(key)} does not exist or is empty."
    return Found(size=sum(sizes))

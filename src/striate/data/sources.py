"""`load`: a name, a folder, a file or arrays to a `Dataset`. Nothing is ever downloaded."""

from __future__ import annotations

import inspect
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from striate._registry import Registry, suggestion
from striate.data.arrays import from_arrays
from striate.data.dataset import Dataset
from striate.data.decoding import Progress
from striate.data.folder import load_folder
from striate.data.huggingface import PREFIX, from_huggingface, is_huggingface, is_saved, open_downloaded, open_saved
from striate.data.idx import read_idx
from striate.data.lists import is_list, list_in, lists_in, load_list
from striate.data.shapes import portraits
from striate.data.tar import is_tar, load_tars, tars_in
from striate.errors import ArgumentError, DataError, UnknownNameError
from striate.shapes import spread, times

EMBEDDED = Registry[Dataset]("data set")

_IDX_NAME = re.compile(r"(?:(?P<part>.+)-)?(?P<kind>images|labels)[-.]idx\d-ubyte(?:\.gz)?")
_NPZ_KEYS = (("x", "y"), ("x_train", "y_train"), ("images", "labels"))


@EMBEDDED.register("digits")
def digits() -> Dataset:
    """1,797 handwritten digits of 8 × 8 grey values, from scikit-learn."""
    from sklearn.datasets import load_digits  # a second of start-up that other data does not need

    bunch = load_digits()
    return from_arrays("digits", np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target)


@EMBEDDED.register("shapes")
def shapes() -> Dataset:
    """3,000 drawn colour images of 32 × 32, each of one of six shapes, and 1,000 to test on.

    Colour, pattern, size, turn, place, light and background are random, so that the shape alone tells the classes.
    Scenes of several objects, with boxes, masks and captions, come from `striate.data.shapes`.
    """
    return replace(portraits(3000), test=replace(portraits(1000, seed=1), name="shapes (test)"))


def embedded() -> dict[str, str]:
    """The names that `load` knows without any file, each with one line about it.

    >>> embedded()["digits"]
    '1,797 handwritten digits of 8 × 8 grey values, from scikit-learn.'
    """
    return {name: (inspect.getdoc(EMBEDDED.factory(name)) or "").split("\n")[0] for name in EMBEDDED}


def load(
    source: str | Path | tuple[Any, Any] | Any,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read a data set from wherever it is.

    Args:
        source: one of

            - a name of `embedded()`, such as "digits";
            - a folder with one sub-folder of images per class (see `striate.data.folder.load_folder`);
            - a list of image files and labels, `.csv` or `.jsonl`, or a folder with one, or with one for each part,
              such as `train.csv` and `test.csv` (see `striate.data.lists`);
            - a tar file as WebDataset writes them, or a folder of these (see `striate.data.tar`);
            - a `datasets.Dataset` or `DatasetDict` of Hugging Face, with a column of images and one of labels; a folder
              that its `save_to_disk` wrote; or `hf:user/name`, one of the Hub that was downloaded before;
            - a folder with IDX files named as those of MNIST: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and,
              as the official test part, `t10k-...`; each may end in `.gz`;
            - one IDX file of images, with its labels' file beside it;
            - an `.npz` file with the arrays x and y, or images and labels, or x_train and y_train, where x_test and
              y_test are the official test part; `class_names` may be among them;
            - a pair of arrays `(x, y)` (see `striate.data.arrays.from_arrays`).
        image_size: the height and width of the images, or one number for both. A folder's images are fitted to it;
            other images must have it.
        channels: 1 for grey or 3 for colour, likewise.
        columns: the names of a list's columns by what they hold (see `striate.data.load_list`).
        progress: called with how many files are done, and of how many, while a folder is read.

    Raises:
        UnknownNameError: a name that is neither embedded nor a file or folder.
        DataError: nothing at that path, or what is there cannot be used.
        ArgumentError: `columns` for what has none.

    Example:
        >>> load("digits").describe()
        '1,797 images of 8 × 8 × 1, 10 classes, 174 to 183 per class'
    """
    asked: dict[str, Any] = {"image_size": image_size, "channels": channels, "progress": progress}
    try:
        return _load(source, columns, asked)
    except OSError as error:
        raise DataError(f"{error.filename or source} cannot be read: {error.strerror or error}") from error


def _load(source: Any, columns: Mapping[str, str] | None, asked: dict[str, Any]) -> Dataset:
    if is_huggingface(source):
        return from_huggingface(source, columns=columns, **asked)
    if isinstance(source, str) and source.startswith(PREFIX):
        name = source.removeprefix(PREFIX)
        return from_huggingface(open_downloaded(name), columns=columns, name=name.replace("/", "-"), **asked)
    path = _path(source)
    if path and path.is_dir() and is_saved(path):
        return from_huggingface(open_saved(path), columns=columns, name=path.resolve().name, **asked)
    tars = [] if path is None else tars_in(path) if path.is_dir() else [path] if is_tar(path) else []
    if tars:
        return load_tars(tars, columns=columns, **asked)
    lists = _lists(path) if path else None
    if lists:
        return load_list(lists, columns=columns, **asked)
    if columns:
        raise ArgumentError(f"columns are for lists, tar files and data sets of Hugging Face; {source} has none.")
    if path and path.is_dir() and not _idx_files(path):
        return load_folder(path, **asked)
    data = _load_arrays(path) if path else _given(source)
    _check_images(data, asked["image_size"], asked["channels"])
    return data


def _given(source: Any) -> Dataset:
    """Arrays, or what is embedded."""
    if isinstance(source, tuple | list):
        if len(source) != 2:
            raise DataError(f"A {type(source).__name__} of {len(source)} is no data set; expected the pair (x, y).")
        return from_arrays("arrays", *source)
    return EMBEDDED.get(source)


def _lists(path: Path) -> Path | dict[str, Path] | None:
    """The list that a path is or holds, or several by their parts."""
    if path.is_dir():
        return list_in(path) or lists_in(path)
    return path if is_list(path) else None


def _path(source: Any) -> Path | None:
    """The file or folder that is meant, if it is one."""
    if isinstance(source, tuple | list) or source in EMBEDDED:
        return None
    path = Path(source).expanduser()
    if path.exists():
        return path
    near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    if path.parent == Path() and not path.suffix:
        raise UnknownNameError(
            f"Unknown data set {str(source)!r}.{suggestion(path.name, [*EMBEDDED, *near])} "
            f"Known: {', '.join(EMBEDDED)}. Nor is there a file or folder of that name in {Path.cwd()}."
        )
    raise DataError(f"There is no file or folder {str(source)!r}.{suggestion(path.name, near)}")


def _load_arrays(path: Path) -> Dataset:
    if path.is_dir():
        return _load_idx_folder(path)
    if path.suffix == ".npz":
        return _load_npz(path)
    match = _IDX_NAME.fullmatch(path.name)
    if match and match["kind"] == "images":
        part = match["part"]
        return from_arrays(path.name, read_idx(path), read_idx(_idx_file(path.parent, part, "labels")))
    raise DataError(
        f"{path} is no data set: expected a folder, an .npz file, a list as .csv or .jsonl, or an IDX file of "
        f"images such as train-images-idx3-ubyte.gz with its labels beside it."
    )


def _load_idx_folder(folder: Path) -> Dataset:
    files = _idx_files(folder)
    arrays = [read_idx(_idx_file(folder, "train", kind)) for kind in ("images", "labels")]
    test_part = next((part for part in ("t10k", "test") if any(found == part for found, _ in files)), None)
    if test_part:
        arrays += [read_idx(_idx_file(folder, test_part, kind)) for kind in ("images", "labels")]
    return from_arrays(folder.resolve().name, *arrays)


def _idx_files(folder: Path) -> dict[tuple[str | None, str], Path]:
    """The IDX files of a folder by part ("train", "t10k") and kind ("images", "labels")."""
    matches = ((path, _IDX_NAME.fullmatch(path.name)) for path in sorted(folder.iterdir()))
    return {(match["part"], match["kind"]): path for path, match in matches if match}


def _idx_file(folder: Path, part: str | None, kind: str) -> Path:
    files = _idx_files(folder)
    if (part, kind) not in files:
        raise DataError(
            f"{folder} has no file {f'{part}-' if part else ''}{kind}-idx{3 if kind == 'images' else 1}-ubyte[.gz]; "
            f"it holds {', '.join(path.name for path in files.values())}."
        )
    return files[part, kind]


def _load_npz(path: Path) -> Dataset:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is no .npz file, or its end is missing; write it with numpy.savez.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is no .npz file of plain arrays: {error}") from error
    keys = next((pair for pair in _NPZ_KEYS if arrays.keys() >= set(pair)), None)
    if keys is None:
        wanted = ", or ".join(" and ".join(pair) for pair in _NPZ_KEYS)
        raise DataError(f"{path} holds the arrays {', '.join(arrays) or '(none)'}; expected {wanted}.")
    test = [arrays[name] for name in ("x_test", "y_test") if name in arrays]
    if len(test) == 1:
        raise DataError(f"{path} has only one of x_test and y_test; expected both or neither.")
    return from_arrays(path.stem, *(arrays[key] for key in keys), *test, class_names=arrays.get("class_names"))


def _check_images(data: Dataset, image_size: int | tuple[int, int] | None, channels: int | None) -> None:
    size = data.x.shape[1:3] if image_size is None else spread(image_size, 2, "image_size")
    wanted = (*size, *(data.x.shape[3:] if channels is None else (channels,)))
    if data.x.shape[1:] != wanted:
        raise DataError(
            f"{data.name} has samples of {times(data.x.shape[1:])}, but {times(wanted)} are asked for. "
            "Only a folder of image files is fitted to another size."
        )

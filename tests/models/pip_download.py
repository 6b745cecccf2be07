#!/usr/bin/env python3
"""pip_download.py DEST ARGS...: `pip download -d DEST ARGS...` that never runs code of the package it downloads.

For a source archive `pip download` starts the package's own build in a child interpreter, to learn its metadata. By
then the archive has been downloaded and its `--hash` checked, so an audit hook answers that first child process by
copying the archive to DEST and ending pip. A wheel needs no build and arrives by pip's ordinary path.

The caller points TMPDIR at an empty directory of its own: there pip keeps the archive, and there the hook finds it.
"""

import os
import pathlib
import runpy
import shutil
import sys

ARCHIVES = (".tar.gz", ".zip")


def stop_before_builds(dest: pathlib.Path, scratch: pathlib.Path) -> None:
    """Install the hook. Children that are not this interpreter (pip asks `rustc` for its version) are let through."""

    def on_event(event: str, args: tuple) -> None:
        if event != "subprocess.Popen" or os.fspath(args[0]) != sys.executable:
            return
        found = [path for path in scratch.rglob("*") if path.name.endswith(ARCHIVES) and path.is_file()]
        # The archive lies outermost; others may lie within its unpacked tree.
        found.sort(key=lambda path: len(path.parts))
        if found:
            shutil.copy(found[0], dest / found[0].name)
        sys.stderr.flush()
        os._exit(0 if found else 1)

    sys.addaudithook(on_event)


def main() -> None:
    dest = pathlib.Path(sys.argv[1])
    stop_before_builds(dest, pathlib.Path(os.environ["TMPDIR"]))
    sys.argv = ["pip", "download", "-d", os.fspath(dest), *sys.argv[2:]]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""The folders that files are in, made where they are missing."""

from __future__ import annotations

import errno
import os


def make_folder_for(path: str | os.PathLike[str]) -> None:
    """Make the missing folders that a file is in.

    None of them is called ``~``: who writes that means the home, which Python does not take it for either.

    Raises
    ------
    OSError
        If they cannot be made; a FileNotFoundError where the path begins with a ``~`` that is no folder.
    """
    folder = os.path.dirname(os.fsdecode(path))
    if not folder or os.path.isdir(folder):
        return
    if os.path.expanduser(folder) != folder:
        raise FileNotFoundError(
            errno.ENOENT,
            "'~' does not stand for your home here: write that out, or use os.path.expanduser",
            os.fspath(path),
        )
    os.makedirs(folder, exist_ok=True)

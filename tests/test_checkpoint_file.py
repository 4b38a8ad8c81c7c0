"""The file of a checkpoint: what was written is there, whatever was cut short; other files are left alone."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from processes.checkpoints.file import MAGIC, CheckpointFile, Head


def append(file: CheckpointFile, name: str, *pieces: bytes) -> None:
    file.append(Head(name, b"key", b"id", 0.5, 1, {}), (pieces[:1], pieces[1:]))


def write(path: Path, values: dict[str, tuple[bytes, ...]]) -> list[int]:
    """Write a record each; return the file's size after each."""
    file = CheckpointFile(path)
    sizes = []
    for name, pieces in values.items():
        append(file, name, *pieces)
        sizes.append(path.stat().st_size)
    file.close(values)
    return sizes


def values_in(path: Path) -> dict[str, tuple[bytes, ...]]:
    file = CheckpointFile(path)
    try:
        return {name: tuple(map(bytes, file.read(record))) for name, record in file.records.items()}
    finally:
        file.close(file.records)


THREE = {"a": (b"one",), "b": (b"two", b"", b"\0" * 100_000), "c": (b"the last", b"of three")}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit for the size of files")
def test_what_the_system_refuses_when_a_file_is_begun_names_the_file(tmp_path):
    import resource

    path = tmp_path / "checkpoint"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(MAGIC) - 1, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            CheckpointFile(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == os.path.realpath(path)


def test_what_was_written_is_read_again_and_the_latest_counts(tmp_path):
    path = tmp_path / "folder" / "run.ckpt"
    write(path, THREE)
    assert values_in(path) == THREE
    write(path, {"a": (b"another",)})
    assert values_in(path) == THREE | {"a": (b"another",)}


def test_a_record_is_dropped_wherever_it_was_cut_short_and_the_next_one_takes_its_place(tmp_path):
    path, copy = tmp_path / "run.ckpt", tmp_path / "copy.ckpt"
    *_, begin, end = write(path, THREE)
    before = {name: THREE[name] for name in ("a", "b")}
    for size in range(begin, end):
        shutil.copy(path, copy)
        os.truncate(copy, size)
        assert values_in(copy) == before
        write(copy, {"d": (b"next",)})
        assert values_in(copy) == before | {"d": (b"next",)}
    os.truncate(path, begin)
    os.truncate(path, end)  # a power cut may leave zeros
    assert values_in(path) == before


def test_a_record_is_dropped_whichever_byte_of_it_is_another(tmp_path):
    path, copy = tmp_path / "run.ckpt", tmp_path / "copy.ckpt"
    *_, begin, end = write(path, THREE)
    for place in range(begin, end):
        data = bytearray(path.read_bytes())
        data[place] ^= 0xFF
        copy.write_bytes(data)
        file = CheckpointFile(copy)
        try:
            assert bytes(file.read(file.records["b"])[0]) == b"two"
            if (record := file.records.get("c")) is not None:
                with pytest.raises(OSError, match="not what was written"):
                    file.read(record)
        finally:
            file.close(THREE)


def test_a_file_is_left_as_it_is_until_there_is_something_to_write(tmp_path):
    path = tmp_path / "checkpoint"
    first, *_ = write(path, THREE)
    damaged = path.read_bytes()[: first + 20] + b"!" + path.read_bytes()[first + 21 :]
    path.write_bytes(damaged)
    assert values_in(path) == {"a": THREE["a"]}
    assert path.read_bytes() == damaged
    write(path, {"d": (b"new",)})
    assert values_in(path) == {"a": THREE["a"], "d": (b"new",)}


@pytest.mark.parametrize("size", range(len(MAGIC) + 1))
def test_a_file_that_was_cut_short_when_it_was_made_is_a_new_one(size, tmp_path):
    path = tmp_path / "run.ckpt"
    path.write_bytes(MAGIC[:size])
    write(path, THREE)
    assert values_in(path) == THREE


@pytest.mark.parametrize("content", [b"\n", b"name,price\n", MAGIC[1:], bytes(100)])
def test_a_file_of_another_kind_is_refused_and_left_as_it_is(content, tmp_path):
    path = tmp_path / "prices.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="prices.csv['\"] is a file of another kind, which is left as it is"):
        CheckpointFile(path)
    assert path.read_bytes() == content


def test_a_file_of_another_version_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "run.ckpt"
    path.write_bytes(content := MAGIC.replace(b"\n", b"7\n") + b"?")
    with pytest.raises(ValueError, match="another version of processes"):
        CheckpointFile(path)
    assert path.read_bytes() == content


def test_a_file_that_is_open_is_refused_until_it_is_closed(tmp_path):
    path, link = tmp_path / "run.ckpt", tmp_path / "link.ckpt"
    file = CheckpointFile(path)
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(BlockingIOError, match="another run has this checkpoint.*run.ckpt"):
            CheckpointFile(name)
    file.close(())
    assert values_in(link) == {}


def test_a_link_to_a_folder_that_is_not_there_yet_has_it_made(tmp_path):
    link = tmp_path / "link.ckpt"
    link.symlink_to(tmp_path / "made" / "run.ckpt")
    CheckpointFile(link).close(())
    assert os.listdir(tmp_path / "made") == ["run.ckpt"]


def test_what_is_no_file_is_the_systems_own_error(tmp_path):
    with pytest.raises(IsADirectoryError):
        CheckpointFile(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        CheckpointFile(tmp_path / "file" / "run.ckpt")


def test_a_file_that_is_mostly_out_of_date_is_written_anew_with_what_still_counts(tmp_path):
    path, link = tmp_path / "run.ckpt", tmp_path / "link.ckpt"
    link.symlink_to(path)
    write(link, {"gone": (b"g" * 600_000,), "stays": (b"s" * 1000,), "changes": (b"1" * 600_000,)})
    path.chmod(0o640)
    size = path.stat().st_size
    file = CheckpointFile(link)
    append(file, "changes", b"2")
    file.close({"stays", "changes", "not yet run"})
    assert path.stat().st_size < 2000 < size
    assert values_in(link) == {"stays": (b"s" * 1000,), "changes": (b"2",)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link.ckpt", "run.ckpt"]
    assert link.is_symlink()


def test_a_file_that_cannot_be_written_anew_stays_as_it_is(tmp_path):
    path = tmp_path / "run.ckpt"
    write(path, {"gone": (b"g" * 2_000_000,), "stays": (b"s",)})
    (tmp_path / "run.ckpt.tmp").mkdir()
    file = CheckpointFile(path)
    file.close({"stays"})
    assert values_in(path).keys() == {"gone", "stays"}


def test_a_file_that_becomes_shorter_while_it_is_open_is_read_and_copied_no_further(tmp_path):
    path = tmp_path / "run.ckpt"
    *_, end = write(path, {"gone": (b"g" * 2_000_000,), "cut": (b"c" * 1000,)})
    file = CheckpointFile(path)
    try:
        os.truncate(path, end - 1)
        with pytest.raises(OSError, match="the file is shorter than it was") as caught:
            file.read(file.records["cut"])
        assert caught.value.filename == os.path.realpath(path)
    finally:
        file.close({"cut"})  # it would be written anew
    assert os.listdir(tmp_path) == ["run.ckpt"]
    assert path.stat().st_size == end - 1
    assert values_in(path).keys() == {"gone"}


def test_the_file_does_not_grow_without_bound(tmp_path):
    path = tmp_path / "run.ckpt"
    for number in range(50):
        write(path, {"a": (b"%d" % number * 100_000,)})
    assert path.stat().st_size < 2_000_000
    assert values_in(path) == {"a": (b"49" * 100_000,)}

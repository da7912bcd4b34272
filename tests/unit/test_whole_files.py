"""Whole files: links lead on, pipes and devices stay what they are, a file loses nothing but its old content."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from glotune.errors import UserError
from glotune.run.directory import write_atomically
from glotune.whole_files import output_file, output_folder, own_descriptor, whole_folder, write_output, written_aside

Write = Callable[[Path, str], None]
WRITERS = pytest.mark.parametrize("write", [write_output, write_atomically])
"""For outputs that a user names, and for a run's own files."""


@WRITERS
def test_a_link_leads_on_and_its_target_gets_the_content(write: Write, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old.csv").write_text("old")
    (tmp_path / "relative").symlink_to("disk/old.csv")
    (tmp_path / "link").symlink_to("relative")
    write(tmp_path / "link", "new")
    assert (tmp_path / "disk" / "old.csv").read_text() == "new"
    (tmp_path / "dangling").symlink_to("disk/none.csv")
    write(tmp_path / "dangling", "made")
    assert (tmp_path / "disk" / "none.csv").read_text() == "made"
    assert all((tmp_path / name).is_symlink() for name in ("relative", "link", "dangling"))
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["none.csv", "old.csv"]


@WRITERS
def test_a_pipe_is_written_straight_into_and_stays_a_pipe(write: Write, tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write(pipe, "content")
    reader.join(timeout=10)
    assert read == ["content"]
    assert pipe.is_fifo()


@WRITERS
def test_a_device_is_written_straight_into_and_stays_a_device(write: Write, tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        null.write_text("")
    except PermissionError:
        pytest.skip("making a device needs root, and a file system that allows it")
    write(null, "content")
    assert null.is_char_device()
    assert null.read_text() == ""


@WRITERS
def test_the_permissions_and_the_owner_of_an_existing_file_are_kept(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "shared.csv"
    path.write_text("old")
    path.chmod(0o664)
    owner = (12345, 23456) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(path, *owner)
    write(path, "new")
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, path.read_text()) == (0o664, *owner, "new")


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_output(tmp_path / "new", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_files_of_a_new_folder_have_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_folder(tmp_path / "new") as folder:
            (folder / "inside").mkdir()
            for place in (folder / "weights", folder / "inside" / "weights"):
                save_file({"a": np.zeros(2)}, place)  # 0600, whatever the umask says
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "new", *tmp_path.rglob("*/*")]}
    assert modes == {"new": 0o750, "inside": 0o750, "weights": 0o640}


def test_the_other_names_of_an_output_show_the_new_content(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("old")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    write_output(tmp_path / "one", "new")
    assert (tmp_path / "two").read_text() == "new"
    with pytest.raises(ZeroDivisionError), output_file(tmp_path / "one") as file:
        file.write(b"half" * (1 // 0))
    assert (tmp_path / "one").read_text() == "new"


def test_a_copy_of_a_run_by_hard_links_keeps_the_older_state(tmp_path: Path) -> None:
    write_atomically(tmp_path / "manifest.json", "old")
    (tmp_path / "backup").hardlink_to(tmp_path / "manifest.json")
    write_atomically(tmp_path / "manifest.json", "new")
    assert (tmp_path / "backup").read_text() == "old"


def test_standard_output_by_its_name_keeps_what_stands_in_its_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from glotune.whole_files import write_output\n"
        "print('before', flush=True); write_output(Path('/dev/stdout'), 'content\\n')\n"
        "write_output(Path(sys.argv[1]), 'by a link\\n'); print('after')"
    )
    (tmp_path / "link").symlink_to("/dev/fd/1")
    with (tmp_path / "out").open("wb") as file:
        subprocess.run([sys.executable, "-c", code, tmp_path / "link"], stdout=file, check=True)
    assert (tmp_path / "out").read_text().split("\n") == ["before", "content", "by a link", "after", ""]
    piped = subprocess.run([sys.executable, "-c", code, tmp_path / "link"], stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b"before\ncontent\nby a link\nafter\n"


def test_links_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert own_descriptor(tmp_path / "a") is None


def test_a_long_name_has_room_for_its_aside(tmp_path: Path) -> None:
    path = tmp_path / ("ভালো" * 20 + ".jsonl")
    write_output(path, "content")
    assert [found.read_text() for found in tmp_path.iterdir()] == ["content"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_what_is_protected_stays_and_what_is_not_is_written(tmp_path: Path) -> None:
    (tmp_path / "protected").write_text("old")
    (tmp_path / "protected").chmod(0o444)
    with pytest.raises(UserError, match=r"protected can't be written \(Permission denied\)"):
        write_output(tmp_path / "protected", "new")
    (tmp_path / "given").write_text("old")
    tmp_path.chmod(0o555)
    write_output(tmp_path / "given", "new")
    tmp_path.chmod(0o755)
    assert (tmp_path / "given").read_text() == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, UnicodeEncodeError("ascii", "x", 0, 1, "why"), OSError])
def test_nothing_set_aside_is_left_whatever_the_error(tmp_path: Path, error: type[BaseException]) -> None:
    for made in (written_aside(tmp_path / "file"), whole_folder(tmp_path / "folder")):
        with pytest.raises(error if isinstance(error, type) else type(error)), made:
            raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file/x", "file/deep/x", "file", "/proc/nowhere/x"])
def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("of the user")
    with pytest.raises(UserError, match=r"(can't be written|exists).*another one with --out"):
        output_folder(tmp_path / place).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_failed_leaves_no_folder_above_it_and_one_that_came_all(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "there" / "new" / "deep" / "x") as folder:
        (folder / "half").write_text("" * (1 // 0))
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]
    with output_folder(tmp_path / "there" / "new" / "x"):
        pass
    assert (tmp_path / "there" / "new" / "x").is_dir()


def test_a_folder_behind_a_link_is_replaced_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "disk" / "model").mkdir(parents=True)
    (tmp_path / "disk" / "model" / "old").write_text("")
    (tmp_path / "model").symlink_to("disk/model")
    with whole_folder(tmp_path / "model") as folder:
        (folder / "new").write_text("")
    assert (tmp_path / "model").is_symlink()
    assert [path.name for path in (tmp_path / "disk" / "model").iterdir()] == ["new"]

"""Whole files: one of two writers gets a name, and links and permissions of a replaced file stay."""

import errno
import os
import stat
import sys
from multiprocessing.dummy import Pool
from threading import Barrier

import pytest

from saltzoo import _files
from saltzoo._files import give_name, remove_parts, whole_file, whole_folder

of_posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links are those of POSIX")


def write(path, content, **options):
    with whole_file(path, **options) as file:
        file.write(content)


def no_links(_part, _path):
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "a"

    def write_beside_another():
        with whole_file(path, overwrite=False) as file:
            file.write(b"mine")
            path.write_bytes(b"theirs")

    with pytest.raises(FileExistsError, match="is there already: move it"):
        write_beside_another()
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"a": b"theirs"}
    path.unlink()
    write(path, b"mine", overwrite=False)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"a": b"mine"}


def test_one_of_many_writers_gets_a_name(tmp_path, monkeypatch):
    ready = Barrier(8)
    monkeypatch.setattr(_files, "check_absent", lambda path: None)  # all have found the name free
    for number in range(8):
        (tmp_path / f"{number}.part").write_text(str(number))

    def try_it(number):
        ready.wait()
        try:
            give_name(tmp_path / f"{number}.part", tmp_path / "a", overwrite=False)
        except FileExistsError:
            return None
        return number

    with Pool(8) as pool:
        winners = [found for found in pool.map(try_it, range(8), chunksize=1) if found is not None]
    assert [(tmp_path / "a").read_text()] == [str(number) for number in winners]
    assert len(list(tmp_path.glob("*.part"))) == 7


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_a_folder_takes_a_name_that_is_free_or_to_be_replaced(tmp_path, there):
    part, path = tmp_path / "part", tmp_path / "a"
    part.mkdir()
    (part / "new").touch()
    if there == "folder":
        path.mkdir()
        (path / "old").touch()
    elif there == "file":
        path.touch()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="is there already"):
        give_name(part, path, overwrite=False)
    assert (part / "new").exists()
    give_name(part, path, overwrite=True)
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(path) == ["new"]


@of_posix
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_a_replaced_file_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "folder" / "a"
    write(path, b"1", overwrite=False)
    plain = stat.S_IMODE(path.stat().st_mode)
    (tmp_path / "other").touch()
    assert plain == stat.S_IMODE((tmp_path / "other").stat().st_mode)
    path.chmod(mode)
    write(path, b"2", overwrite=True)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"2", mode)
    with whole_folder(path.parent, ["a"]) as folder:
        (folder / "a").write_bytes(b"3")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"3", mode)


@of_posix
def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    real, link = tmp_path / "disk" / "a", tmp_path / "work" / "b"
    link.parent.mkdir()
    link.symlink_to("../disk/a")
    with pytest.raises(FileExistsError):
        write(link, b"0", overwrite=False)
    write(link, b"1", overwrite=True)  # of a link that leads nowhere, too
    write(link, b"2", overwrite=True)
    (real.parent / ".a.left.part").touch()
    remove_parts(link)
    assert link.is_symlink()
    assert {one: one.read_bytes() for one in tmp_path.rglob("?") if one.is_file()} == {real: b"2", link: b"2"}
    assert os.listdir(real.parent) == ["a"]


@of_posix
def test_content_is_never_open_to_others_than_those_who_could_read_the_replaced_file(tmp_path):
    path = tmp_path / "a"
    path.touch(mode=0o600)
    with whole_file(path, overwrite=True) as file:
        file.write(b"secret")
        (part,) = tmp_path.glob(".a.*.part")
        assert stat.S_IMODE(part.stat().st_mode) == 0o600


def test_a_missing_folder_is_created_only_if_wanted(tmp_path):
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "gone" / "a", b"1", overwrite=True, parents=False)
    assert not list(tmp_path.iterdir())
    write(tmp_path / "new" / "a", b"1", overwrite=True)
    assert (tmp_path / "new" / "a").read_bytes() == b"1"


@pytest.mark.parametrize("there", ["folder", "file"])
def test_what_a_folder_would_replace_stays_if_it_cannot_be_renamed(tmp_path, monkeypatch, there):
    part, path = tmp_path / "part", tmp_path / "a"
    part.mkdir()
    if there == "folder":
        path.mkdir()
        (path / "old").write_text("kept")
    else:
        path.write_text("kept")
    rename = os.rename

    def refuse_new(source, target):
        if source == part:
            raise OSError(errno.EBUSY, "Device or resource busy")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_new)
    with pytest.raises(OSError, match="busy"):
        give_name(part, path, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["a", "part"]
    assert (path / "old" if there == "folder" else path).read_text() == "kept"

"""A bundle takes the place of an old one as a whole; what cannot be replaced is refused at the beginning."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.errors import ExportError
from export.replacement import replace, replacing
from handler.engine.bundle import MANIFEST


def bundle(folder: Path, content: str = "the old one") -> Path:
    folder.mkdir()
    (folder / MANIFEST).write_text(content)
    return folder


def put(out: Path, content: str = "the new one") -> None:
    with replacing(out) as folder:
        (folder / MANIFEST).write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failure_leaves_the_old_bundle(tmp_path: Path) -> None:
    """An export that fails at its last step does not touch the bundle that was there."""
    out = bundle(tmp_path / "bundle")

    def interrupted() -> None:
        with replacing(out) as folder:
            (folder / "model.onnx").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == ["bundle"]
    assert (out / MANIFEST).read_text() == "the old one"


def test_the_old_bundle_comes_back_when_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    """Between the two renames there is neither; the second one fails here, for there is nothing to rename."""
    out = bundle(tmp_path / "bundle")
    with pytest.raises(FileNotFoundError):
        replace(out, tmp_path / ".bundle.12345678.partial")
    assert names(tmp_path) == ["bundle"]
    assert (out / MANIFEST).read_text() == "the old one"


def test_a_link_goes_on_naming_what_is_replaced(tmp_path: Path) -> None:
    """`current -> v1`: v1 is the new bundle, and nothing else is left."""
    old = bundle(tmp_path / "v1")
    (tmp_path / "current").symlink_to("v1")
    put(tmp_path / "current")
    assert names(tmp_path) == ["current", "v1"]
    assert (tmp_path / "current").readlink() == Path("v1")
    assert (old / MANIFEST).read_text() == "the new one"


def test_a_link_to_nothing_yet_names_the_bundle(tmp_path: Path) -> None:
    """Its target is made."""
    (tmp_path / "current").symlink_to("v2")
    put(tmp_path / "current")
    assert names(tmp_path) == ["current", "v2"]
    assert (tmp_path / "current" / MANIFEST).read_text() == "the new one"


@pytest.mark.parametrize("out", [".", "", "below/..", ".."])
def test_the_folder_one_is_in_is_refused_at_once(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could be renamed by no one, or from under the one who asked, an old bundle or empty."""
    bundle(tmp_path / "old")
    (tmp_path / "old" / "report").mkdir()
    monkeypatch.chdir(tmp_path / "old" / "report" if out == ".." else tmp_path / "old")
    with pytest.raises(ExportError, match="holds the current folder and cannot be replaced"):
        put(Path(out))
    assert names(tmp_path) == ["old"]


def test_a_mount_point_is_refused_at_once() -> None:
    """As a container's volume: what is put in its place would have to be on another file system."""
    with pytest.raises(
        ExportError, match="--out: /proc is a mount point and cannot be replaced; name a folder in it"
    ):
        put(Path("/proc"))


def test_a_name_without_room_for_another_leaves_nothing(tmp_path: Path) -> None:
    """The folder beside it has a longer name, which the file system may not take."""
    with pytest.raises(OSError, match="too long"):
        put(tmp_path / ("x" * 240))
    assert not list(tmp_path.iterdir())


def test_what_killed_exports_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """Whoever still writes holds a lock; other names are other people's."""
    others = [tmp_path / ".bundle.mine.partial", tmp_path / ".other.12345678.partial"]
    left = tmp_path / ".bundle.12345678.partial"
    for folder in (left, *others):
        folder.mkdir()
    out = tmp_path / "bundle"
    with replacing(out) as one:
        assert not left.exists()
        put(out, "another's")
        assert one.is_dir()
        (one / MANIFEST).write_text("the last one")
    assert names(tmp_path) == sorted(["bundle", *(path.name for path in others)])
    assert (out / MANIFEST).read_text() == "the last one"

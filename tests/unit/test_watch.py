"""Following folders and logs: local events, file systems that hide them, limits, logs that are cut and replaced."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from core.watch import folders as folders_module
from core.watch.folders import FolderWatch, Mode
from core.watch.mounts import Mount, hides_events, kind_of, read_mounts


def follow(body: Callable[[FolderWatch], Awaitable[None]], mode: Mode = "auto", poll_seconds: float = 0.1) -> list[str]:
    """Run a coroutine with a watch; gives the notices."""
    notices: list[str] = []

    async def run() -> None:
        watch = FolderWatch(mode, poll_seconds, notices.append)
        try:
            await body(watch)
        finally:
            watch.close()

    asyncio.run(run())
    return notices


async def collect(watch: FolderWatch, wanted: set[Path], seconds: float = 3.0) -> set[Path]:
    """Changes until all that are wanted are among them."""
    seen: set[Path] = set()
    end = time.monotonic() + seconds
    while not wanted <= seen and time.monotonic() < end:
        seen |= await watch.changed(0.1)
    return seen


@pytest.fixture
def local(tmp_path: Path) -> Path:
    if hides_events(kind_of(tmp_path, read_mounts())):
        pytest.skip("the temporary folder is on a file system that hides events")
    return tmp_path


def test_local_changes_arrive_soon(local: Path) -> None:
    delays: list[float] = []

    async def body(watch: FolderWatch) -> None:
        watch.set_folders([local])
        assert await collect(watch, {local}) == {local}
        for number in range(15):
            hidden = local / ".x.tmp"
            hidden.write_text("x")
            await asyncio.sleep(0.13)
            await watch.changed(0)
            start = time.perf_counter()
            os.rename(hidden, local / f"{number}.state")
            changes: set[Path] = set()
            while local / f"{number}.state" not in changes:
                changes = await watch.changed(2.0)
                assert changes
            delays.append(time.perf_counter() - start)
            await asyncio.sleep(0.03)
            await watch.changed(0)

    assert follow(body, poll_seconds=30.0) == []
    assert statistics.median(delays) < 0.1


def test_not_recursive_and_exchangeable(local: Path) -> None:
    one, two = local / "one", local / "two"
    (one / "deep").mkdir(parents=True)
    two.mkdir()

    async def body(watch: FolderWatch) -> None:
        watch.set_folders([one])
        await collect(watch, {one})
        (one / "deep" / "file").write_text("x")
        (two / "file").write_text("x")
        changes = await watch.changed(0.2)
        assert one / "deep" / "file" not in changes
        assert two / "file" not in changes
        watch.set_folders([one, two])
        assert two in await collect(watch, {two})
        (two / "new").write_text("x")
        (one / "new").write_text("x")
        assert await collect(watch, {one / "new", two / "new"}) >= {one / "new", two / "new"}
        watch.set_folders([two])
        await watch.changed(0.2)
        (one / "later").write_text("x")
        assert await watch.changed(0.2) == set()

    follow(body, poll_seconds=30.0)


@pytest.mark.parametrize("mode", ["auto", "events", "poll"])
def test_a_folder_may_come_go_and_come_again(local: Path, mode: Mode) -> None:
    folder = local / "job001"

    async def body(watch: FolderWatch) -> None:
        watch.set_folders([folder])
        await watch.changed(0.3)
        for name in ("a", "b"):
            folder.mkdir()
            assert folder in await collect(watch, {folder})
            await asyncio.sleep(0.3)
            (folder / name).write_text("x")
            assert folder / name in await collect(watch, {folder / name})
            shutil.rmtree(folder)
            assert folder in await collect(watch, {folder})
            await asyncio.sleep(0.3)

    follow(body, mode)


def test_nothing_changes_gives_an_empty_set(tmp_path: Path) -> None:
    async def body(watch: FolderWatch) -> None:
        watch.set_folders([tmp_path])
        await collect(watch, {tmp_path})
        start = time.monotonic()
        assert await watch.changed(0.2) == set()
        assert 0.15 < time.monotonic() - start < 1.0

    follow(body)
    follow(body, "poll")


def test_polling_sees_size_time_and_removal(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("a")
    second.write_text("b")

    async def body(watch: FolderWatch) -> None:
        watch.set_folders([tmp_path])
        await collect(watch, {tmp_path})
        first.write_text("longer")
        second.unlink()
        assert await collect(watch, {first, second}) == {first, second}

    assert follow(body, "poll") == []


class NoWatcher:
    """inotify's limit reached."""

    def __init__(self, *_: object) -> None:
        raise OSError(24, "Too many open files")


class DyingWatcher:
    def __init__(self, *_: object) -> None:
        pass

    def watch(self, *_: object) -> set[tuple[int, str]]:
        raise RuntimeError("the watcher died")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("watcher", [NoWatcher, DyingWatcher])
def test_without_a_watcher_it_looks_and_says_so_once(
    local: Path, monkeypatch: pytest.MonkeyPatch, watcher: type
) -> None:
    monkeypatch.setattr(folders_module, "RustNotify", watcher)
    other = local / "other"
    other.mkdir()

    async def body(watch: FolderWatch) -> None:
        watch.set_folders([local])
        await collect(watch, {local})
        await asyncio.sleep(0.2)
        (local / "a").write_text("x")
        assert local / "a" in await collect(watch, {local / "a"})
        watch.set_folders([local, other])
        await collect(watch, {other})
        (other / "b").write_text("x")
        assert other / "b" in await collect(watch, {other / "b"})

    notices = follow(body)
    assert len(notices) == 1
    assert "cannot be followed by events" in notices[0]


def run_quietly(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode == 0


@pytest.fixture(params=["overlay", "bindfs"])
def hidden_mount(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """(folder where another machine would write, folder that we see), as a network file system behaves."""
    written, upper, work, seen = (tmp_path / name for name in ("written", "upper", "work", "seen"))
    for folder in (written, upper, work, seen):
        folder.mkdir()
    if request.param == "overlay":
        options = f"lowerdir={written},upperdir={upper},workdir={work}"
        mounted = os.geteuid() == 0 and run_quietly("mount", "-t", "overlay", "overlay", "-o", options, str(seen))
    else:
        mounted = bool(shutil.which("bindfs")) and run_quietly("bindfs", str(written), str(seen))
    if not mounted:
        pytest.skip(f"{request.param} cannot be mounted here")
    try:
        yield written, seen
    finally:
        run_quietly("umount", "-l", str(seen)) or run_quietly("fusermount", "-uz", str(seen))


def test_hidden_changes_are_seen_by_looking(hidden_mount: tuple[Path, Path]) -> None:
    written, seen = hidden_mount
    kind = kind_of(seen, read_mounts())
    assert kind in ("overlay", "fuse.bindfs", "fuse")

    async def listens_in_vain(watch: FolderWatch) -> None:
        watch.set_folders([seen])
        await collect(watch, {seen})
        (written / "done.state").write_text("x")
        assert await watch.changed(0.5) == set()
        assert (seen / "done.state").exists()

    assert follow(listens_in_vain, "events") == []

    async def looks(watch: FolderWatch) -> None:
        watch.set_folders([seen])
        await collect(watch, {seen})
        (written / "second.state").write_text("x")
        assert seen / "second.state" in await collect(watch, {seen / "second.state"})

    notices = follow(looks, "auto")
    assert len(notices) == 1
    assert kind in notices[0]


def test_the_mount_table(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/groups /groups nfs4 rw 0 0\n"
        "x /groups/my\\040lab lustre rw 0 0\nproc /proc proc rw 0 0\n"
        "y /scratch nfs rw 0 0\n/dev/sdb /scratch xfs rw 0 0\n"
    )
    mounts = read_mounts(table)
    assert mounts[2] == Mount("/groups/my lab", "lustre")
    assert kind_of(Path("/groups/a/b"), mounts) == "nfs4"
    assert kind_of(Path("/groups2/a"), mounts) == "ext4"
    assert kind_of(Path("/groups/my lab/x"), mounts) == "lustre"
    assert kind_of(Path("/scratch/x"), mounts) == "xfs"
    assert kind_of(Path("/x"), ()) == ""
    assert read_mounts(tmp_path / "none") == ()
    link = tmp_path / "link"
    link.symlink_to("/groups/a")
    assert kind_of(link / "b", mounts) == "nfs4"


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "lustre", "beegfs", "beegfs_nodev", "gpfs", "ceph", "fuse.sshfs", "overlay", "cifs", "9p", ""],
)
def test_kinds_that_hide(kind: str) -> None:
    assert hides_events(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "zfs", "f2fs"])
def test_kinds_that_do_not(kind: str) -> None:
    assert not hides_events(kind)

"""The movies on disk: one listing per folder, then every look-up by name in memory."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from core.dataset.naming import owner
from core.errors import InputError
from core.files import read_error

MOVIE_EXTENSIONS = (".eer", ".tif", ".tiff", ".mrc", ".mrcs")
GAIN_EXTENSIONS = (".gain", ".mrc", ".tif", ".tiff", ".dm4", ".dm3")


class Movie:
    """A file in a listed folder. Its size is asked for once, when it is needed."""

    __slots__ = ("_status", "folder", "name")

    def __init__(self, folder: str, name: str) -> None:
        self.folder = folder
        self.name = name
        self._status: tuple[int, float] | None = None

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"

    @property
    def stem(self) -> str:
        return os.path.splitext(self.name)[0]

    @property
    def size_bytes(self) -> int:
        """0 where the file is empty, unreadable or a dangling link."""
        return (self._status or self._stat())[0]

    @property
    def modified(self) -> float:
        return (self._status or self._stat())[1]

    def _stat(self) -> tuple[int, float]:
        try:
            status = os.stat(self.path)
            self._status = (status.st_size, status.st_mtime)
        except OSError:
            self._status = (0, 0.0)
        return self._status


class Folders:
    """Lists each folder once."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, None]] = {}

    def names(self, folder: str) -> dict[str, None]:
        """The names of the files in a folder, sorted. Raises InputError where it cannot be read."""
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = dict.fromkeys(sorted(entry.name for entry in entries if not entry.is_dir()))
            except OSError as error:
                raise read_error(Path(folder), error) from error
        return self._names[folder]

    def find(self, patterns: Sequence[str], extensions: Sequence[str]) -> list[Movie]:
        """Files by glob patterns, folders or file names; a folder stands for its files with these extensions.

        Paths in the result are absolute, in the order of the patterns, each once. Raises InputError where a pattern
        leads nowhere.
        """
        found: dict[str, Movie] = {}
        for pattern in patterns:
            for folder, wanted in self._places(os.path.abspath(os.path.expanduser(pattern))):
                for name in self._matching(folder, wanted, extensions):
                    movie = Movie(folder, name)
                    found.setdefault(movie.path, movie)
        return list(found.values())

    def _matching(self, folder: str, wanted: str, extensions: Sequence[str]) -> list[str]:
        names = self.names(folder)
        if wanted in names:
            return [wanted]
        if wanted == "":
            return [name for name in names if name.lower().endswith(tuple(extensions)) and name[0] != "."]
        return fnmatch.filter(names, wanted)

    def _places(self, pattern: str) -> list[tuple[str, str]]:
        """(folder, name pattern) of each folder that a pattern means; name pattern "" for a folder itself."""
        if os.path.isdir(pattern):
            return [(pattern, "")]
        parent, name = os.path.split(pattern)
        if glob.has_magic(parent) and not os.path.isdir(parent):
            parents = sorted(path for path in glob.glob(parent, recursive=True) if os.path.isdir(path))
            parents = list(dict.fromkeys(path.rstrip("/") or "/" for path in parents))
        else:
            parents = [parent] if os.path.isdir(parent) else []
        if not parents:
            raise InputError("the folder does not exist; check the path or the pattern.", pattern)
        if not glob.has_magic(name) and not any(name in self.names(folder) for folder in parents):
            raise InputError("does not exist; check the path or the pattern.", pattern)
        return [(folder, name) for folder in parents]


class MovieIndex:
    """Movies by base name, and by what a name leaves open: its case, its extension, its folder."""

    def __init__(self, movies: Sequence[Movie]) -> None:
        self.movies = movies
        self._by_name: dict[str, list[Movie]] = {}
        for movie in movies:
            self._by_name.setdefault(movie.name, []).append(movie)
        self._by_stem: dict[str, list[Movie]] | None = None

    def find(self, named: str, base: str, beside: str) -> tuple[Movie | None, str]:
        """The movie that an mdoc names ``named`` (with ``base`` as its base name), and a remark: how it was found
        (where by another name than its own) or why it was not. ``beside`` is the mdoc's folder: it decides between
        movies of one name in several folders, unless the folders in the mdoc's path do."""
        candidates = self._by_name.get(base)
        if candidates is None:
            stem = os.path.splitext(base)[0]
            candidates = self._stems().get(stem.casefold(), [])
            if not candidates:
                return None, ""
            if len(candidates) > 1:
                return None, f"{base} is not there, and several movies are called {stem}"
            extension = os.path.splitext(candidates[0].name)[1]
            if os.path.splitext(base)[1].casefold() == extension.casefold():
                return candidates[0], "names of movies differ from the mdoc's in capital letters"
            named_extension = os.path.splitext(base)[1] or "other"
            return candidates[0], f"the mdoc names {named_extension} movies, the folder has {extension}"
        if len(candidates) == 1:
            return candidates[0], ""
        parts = named.replace("\\", "/").split("/")[:-1]
        ranked = sorted(candidates, key=lambda movie: (_common_end(movie.folder, parts), movie.folder == beside))
        best, second = ranked[-1], ranked[-2]
        rank_best = (_common_end(best.folder, parts), best.folder == beside)
        if rank_best == (_common_end(second.folder, parts), second.folder == beside):
            return None, f"two movies are called {base}, in {best.folder} and {second.folder}: give a narrower pattern"
        return best, ""

    def of_series(self, names: set[str]) -> dict[str, list[Movie]]:
        """Movies by the series whose name their own begins with."""
        result: dict[str, list[Movie]] = {}
        for movie in self.movies:
            name = owner(movie.stem, names)
            if name is not None:
                result.setdefault(name, []).append(movie)
        return result

    def _stems(self) -> dict[str, list[Movie]]:
        if self._by_stem is None:
            self._by_stem = {}
            for movie in self.movies:
                self._by_stem.setdefault(movie.stem.casefold(), []).append(movie)
        return self._by_stem


def _common_end(folder: str, parts: Sequence[str]) -> int:
    count = 0
    for own, named in zip(reversed(folder.split("/")), reversed(parts), strict=False):
        if own != named:
            break
        count += 1
    return count

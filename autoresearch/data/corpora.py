"""What a corpus is: documents in a fixed order, each marked train, val or "by hash", under an identity made of its content.

`NAMED` lists the corpora that have a name; anything else is a path. Documents are streamed: none of this holds a corpus in
memory. The split itself is split.py's.
"""

import hashlib
import os
import re
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from autoresearch import paths
from autoresearch.data import download, readers, sight
from autoresearch.data.prepared import checksum_of
from autoresearch.data.progress import OnProgress
from autoresearch.data.split import BY_HASH, CORPUS_BYTES_MIN, TRAIN, VAL
from autoresearch.errors import UsageError, nearest

HUB = "hf://"
HUB_BYTES = 2 << 30  # of a dataset of the hub; chosen: three times what an H100 reads in five minutes, and a download of minutes
_SHOWN_KINDS = 6
_SKIPPED_FOLDERS = {"__pycache__", "site-packages", "dist-packages"}


class Document(NamedTuple):
    text: bytes  # valid UTF-8, not empty
    mark: int  # split.TRAIN, VAL or BY_HASH
    repaired: bool  # bytes that are not UTF-8 were replaced by U+FFFD


class Part(NamedTuple):
    file: str  # relative to the corpus's folder
    mark: int
    rows: tuple[int, int | None] = (0, None)  # from, up to but not including; None: to the end


@dataclass(frozen=True)
class LocalCorpus:
    """Files on this machine."""

    name: str
    folder: Path
    parts: tuple[Part, ...]
    left_out: dict[str, int] = field(default_factory=dict)  # files that are not read, by kind
    text_field: str | None = None  # of a row, that holds its text; None: "text", or the only one there is

    @property
    def summary(self) -> str:
        """What is read of it, and what is not, in one line."""
        kinds = Counter(readers.kind(Path(part.file)) for part in self.parts)
        words = [f"read: {_counted(kinds)}"]
        if _is_one_text(self.folder, self.parts):
            words.append(f"one text, so it is cut into pieces of {readers.PIECE_BYTES:,} bytes, {readers.GAP_BYTES} apart")
        if self.left_out:
            words.append(f"left out: {_counted(self.left_out)}")
        return "; ".join(words)

    def identity(self, on_progress: OnProgress) -> str:
        """A hash over the files' names and bytes."""
        total_bytes = sum((self.folder / part.file).stat().st_size for part in self.parts)
        done_bytes, lines = 0, []
        for part in self.parts:
            running = hashlib.blake2b(digest_size=16)
            for block in readers.blocks(self.folder / part.file):
                running.update(block)
                done_bytes += len(block)
                on_progress("reading the corpus", done_bytes, total_bytes)
            lines.append([*part, running.hexdigest()])
        return checksum_of(lines if self.text_field is None else [*lines, self.text_field])

    def fetch(self, on_progress: OnProgress) -> None:
        pass

    def documents(self) -> Iterator[Document]:
        return _documents(self.folder, self.parts, self.text_field)


@dataclass(frozen=True)
class HubCorpus:
    """Parquet files of a public dataset; kept in the cache once downloaded."""

    name: str
    repo: str
    parts: tuple[Part, ...]
    text_field: str | None = None  # as a LocalCorpus's

    @property
    def folder(self) -> Path:
        return _downloads(self.repo)

    @property
    def files(self) -> list[download.HubFile]:
        return [download.HubFile(self.repo, name) for name in dict.fromkeys(part.file for part in self.parts)]

    def known_identity(self) -> str | None:
        """A hash over the files' published hashes, when all of them were downloaded here before; else None."""
        hashes = {file.name: download.known_hash(file, self.folder) for file in self.files}
        if None in hashes.values():
            return None
        lines = [[*part, hashes[part.file]] for part in self.parts]
        return checksum_of(lines if self.text_field is None else [*lines, self.text_field])

    def identity(self, on_progress: OnProgress) -> str:
        identity = self.known_identity()
        if identity is None:
            self.fetch(on_progress)
            identity = self.known_identity()
        assert identity is not None
        return identity

    def fetch(self, on_progress: OnProgress) -> None:
        for file in self.files:
            download.fetch(file, self.folder, on_progress)

    def documents(self) -> Iterator[Document]:
        return _documents(self.folder, self.parts, self.text_field)

    def is_downloaded(self) -> bool:
        return all(download.is_here(file, self.folder) for file in self.files)


Corpus = LocalCorpus | HubCorpus

# 400 billion tokens in 6543 shuffled shards of about 100 MB and 250 million characters. The last is upstream's validation
# shard; the first 8 hold some 450M tokens, about what an H100 trains on in five minutes (953 x 524288, devices.csv).
CLIMBMIX = HubCorpus(
    "climbmix",
    "karpathy/climbmix-400b-shuffle",
    (Part("shard_06542.parquet", VAL), *(Part(f"shard_{i:05d}.parquet", TRAIN) for i in range(8))),
)
# 2.7M stories by GPT-4 in one file of 640 MB. The first 10,000 rows are left for a second held-out text; a million rows are
# some 200M tokens, ten times what the machines that this corpus is for (T4, laptops) read in five minutes.
TINYSTORIES = HubCorpus(
    "tinystories",
    "karpathy/tinystories-gpt4-clean",
    (
        Part("tinystories_gpt4_clean.parquet", VAL, (10_000, 20_000)),
        Part("tinystories_gpt4_clean.parquet", TRAIN, (20_000, 1_020_000)),
    ),
)


def _stdlib() -> LocalCorpus:
    """The .py files of the running Python's own standard library, without what was installed beside it."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = _files(folder, {".py"}) if folder.is_dir() else []
    if sum((folder / file).stat().st_size for file in files) < CORPUS_BYTES_MIN:
        raise UsageError(
            f"this Python has no source of its standard library at {folder} (frozen or zipped?); give text by --corpus PATH"
        )
    return LocalCorpus("stdlib", folder, tuple(Part(file, BY_HASH) for file in files))


NAMED: dict[str, Callable[[], Corpus]] = {"climbmix": lambda: CLIMBMIX, "tinystories": lambda: TINYSTORIES, "stdlib": _stdlib}


def is_published(name: str) -> bool:
    """Whether a corpus can be fetched again; any other is of this computer, and may have changed."""
    return name in (CLIMBMIX.name, TINYSTORIES.name) or name.startswith(HUB)


def find(requested: str) -> Corpus:
    """The corpus of that name, or at that path. UsageError when there is none. A folder `stdlib` here is `./stdlib`."""
    if requested in NAMED:
        return NAMED[requested]()
    if requested.startswith(HUB):
        return _of_hub(requested)
    name, text_field = sight.split(str(paths.expanded(requested)))
    if not requested or not os.path.exists(name):  # unlike Path.exists it raises nothing, however odd the name
        raise UsageError(
            f"no corpus {requested!r}{nearest(requested, NAMED)} (named: {', '.join(NAMED)}; or a file or folder that exists)",
            "name one",
        )
    return _at(Path(name).resolve(), text_field)


def _of_hub(requested: str) -> HubCorpus:
    """hf://OWNER/NAME, with a folder or a file of it where that is given: its parquet files, else what else is read; of files that
    are named after a split those of the training one. In order, up to HUB_BYTES.
    """
    path, _, text_field = requested.removeprefix(HUB).partition("#")
    owner, _, rest = path.strip("/").partition("/")
    name, _, within = rest.partition("/")
    repo = f"{owner}/{name}"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise UsageError(f"{requested!r} names no dataset of the hub: that is {HUB}OWNER/NAME, or with /FOLDER, /FILE and #FIELD")
    wanted = [file for file in download.listed(repo, _downloads(repo)) if f"{file[0]}/".startswith(f"{within}/" if within else "")]
    readable = [file for file in wanted if readers.kind(Path(file[0])) in readers.READERS and file[0].lower() != "readme.md"]
    for keep in (lambda file: file.endswith(".parquet"), lambda file: "train" in file.lower()):
        readable = [file for file in readable if keep(file[0])] or readable
    parts: list[Part] = []
    left = HUB_BYTES
    for file, size in readable:
        left -= size
        if parts and left < 0:
            break
        parts.append(Part(file, BY_HASH))
    if not parts:
        kinds = " ".join(readers.READERS)
        raise UsageError(f"{requested}: none of its {len(wanted)} files is of a kind that is read ({kinds}); name another folder")
    return HubCorpus(requested, repo, tuple(parts), text_field or None)


def _downloads(repo: str) -> Path:
    return paths.cache_dir() / "downloads" / repo.replace("/", "--")


def resolved(requested: str) -> str:
    """As a study names it: a path is absolute, without links. What is no path stays as it is."""
    name, text_field = sight.split(str(paths.expanded(requested)))
    if requested in NAMED or not requested or not os.path.exists(name):
        return requested
    return _named(Path(name).resolve(), text_field)


def _named(path: Path, text_field: str | None) -> str:
    return str(path) if text_field is None else f"{path}#{text_field}"


def choose(requested: str, profile_corpus: str) -> tuple[str, str]:
    """(corpus, why): what was asked for; for "auto" the profile's, or stdlib when that can't be had without a network.

    UsageError when what was asked for is not there.
    """
    if requested != "auto":
        chosen = find(requested)
        summary = f"; {chosen.summary}" if isinstance(chosen, LocalCorpus) and requested not in NAMED else ""
        return requested, f"asked for{summary}"
    named = NAMED.get(profile_corpus)
    corpus = named() if named else None
    if not isinstance(corpus, HubCorpus):
        return profile_corpus, "the profile's corpus"
    if corpus.is_downloaded():
        return profile_corpus, "the profile's corpus, already downloaded"
    if (identity := corpus.known_identity()) and any(prepared_folders(corpus.name, identity)):
        return profile_corpus, "the profile's corpus, already prepared"
    why_not = download.unreachable(corpus.files[0])
    if why_not is None:
        return profile_corpus, "the profile's corpus, and its server answers"
    return "stdlib", f"the profile's corpus {profile_corpus} is not on this machine, and {why_not.partition(';')[0]}"


def prepared_folders(name: str, identity: str) -> Iterator[Path]:
    """The prepared folders of a corpus, of any vocabulary."""
    return (paths.cache_dir() / "data").glob(f"{key_prefix(name, identity)}*")


def key_prefix(name: str, identity: str) -> str:
    """How the names of a corpus's prepared folders begin. A path gives its last part, in characters that any system takes."""
    label = "".join(c if c.isascii() and (c.isalnum() or c in "._") else "-" for c in Path(name).name)
    return f"{label[:40]}-{identity[:16]}-"


def _at(path: Path, text_field: str | None) -> LocalCorpus:
    suffixes, left_out = set(readers.READERS), Counter[str]()
    kinds = " ".join(readers.READERS)
    if path.is_file():
        if text_field and readers.kind(path) in readers.TEXT_SUFFIXES:
            raise UsageError(f"{path} is a text and has no fields; leave out #{text_field[:100]}")
        if readers.kind(path) not in suffixes:
            raise UsageError(f"corpus {path} is not of a kind that is read ({kinds}); rename or convert it")
        return LocalCorpus(_named(path, text_field), path.parent, (Part(path.name, BY_HASH),), text_field=text_field)
    if (path / "train").is_dir() and (path / "val").is_dir():
        parts = [
            Part(f"{folder}/{file}", mark)
            for folder, mark in (("val", VAL), ("train", TRAIN))
            for file in _files(path / folder, suffixes, left_out, text_field)
        ]
        for folder, mark in (("val", VAL), ("train", TRAIN)):
            if not any(part.mark == mark for part in parts):
                raise UsageError(f"corpus folder {path / folder} holds no file that is read ({kinds}); put some text there")
    else:
        parts = [Part(file, BY_HASH) for file in _files(path, suffixes, left_out, text_field)]
        if not parts:
            raise UsageError(f"corpus folder {path} holds no file that is read ({kinds}); put some text there")
    return LocalCorpus(_named(path, text_field), path, tuple(parts), dict(left_out), text_field)


def _files(folder: Path, suffixes: set[str], left_out: Counter[str] | None = None, text_field: str | None = None) -> list[str]:
    """The files below folder with these suffixes, relative to it, in the same order everywhere; a folder that is a link is entered
    once. left_out: counts what is not read, by kind; hidden files and folders of programs are not counted.
    """
    readable, left_out = [], Counter() if left_out is None else left_out
    entered = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True):
        wanted = [name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS]
        folders.clear()
        for name in sorted(wanted, key=lambda name: (os.path.islink(os.path.join(parent, name)), name)):
            real_path = os.path.realpath(os.path.join(parent, name))
            if real_path not in entered:
                entered.add(real_path)
                folders.append(name)
        for name in names:
            path = Path(parent) / name
            suffix = readers.kind(path)
            if name.startswith("."):
                continue
            if not path.is_file():
                left_out["links to nothing" if path.is_symlink() else "no plain files"] += 1
            elif suffix not in suffixes:
                left_out[suffix or "without a suffix"] += 1
            elif suffix != path.suffix.lower() and path.with_suffix("").name in names:
                left_out["beside what they hold"] += 1  # a.txt.gz beside a.txt
            elif not readers.has_text(path, text_field):
                left_out[f"{suffix} without a column {text_field or 'text'}"] += 1
            else:
                readable.append(path.relative_to(folder).as_posix())
    return sorted(readable)


def _counted(kinds: Mapping[str, int]) -> str:
    """The most first: `120 .txt, 3 .md`."""
    order = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    rest = f" and {len(order) - _SHOWN_KINDS} kinds more" if len(order) > _SHOWN_KINDS else ""
    return ", ".join(f"{count:,} {kind}" for kind, count in order[:_SHOWN_KINDS]) + rest


def _documents(folder: Path, parts: tuple[Part, ...], text_field: str | None = None) -> Iterator[Document]:
    is_cut = _is_one_text(folder, parts)
    for part in parts:
        for raw in islice(readers.read(folder / part.file, text_field), *part.rows):
            if raw:
                text, repaired = readers.to_utf8(raw)
                for piece in readers.pieces(text) if is_cut else (text,):
                    yield Document(piece, part.mark, repaired)


def _is_one_text(folder: Path, parts: tuple[Part, ...]) -> bool:
    """Whether all the text is one file that is one document: it is cut into pieces, or nothing could be held out."""
    return len(parts) == 1 and readers.kind(Path(parts[0].file)) in readers.TEXT_SUFFIXES

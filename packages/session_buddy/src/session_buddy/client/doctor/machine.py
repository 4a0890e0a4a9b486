"""Checks of this machine: what is installed and set, its folders, disk, locks and outbox."""

import os
import re
import resource
import shutil
import stat
import sys
from contextlib import suppress
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from shlex import quote
from typing import Final

from oneiric import outbox as journals
from oneiric.config import PREFIX as EMITTERS
from oneiric.config import VARIABLES, named_endpoint, off_reason
from oneiric.transport import TransportError
from session_buddy.client.doctor import logged
from session_buddy.client.doctor.finding import Case, Finding, nearest
from session_buddy.errors import ConfigurationError, SessionBuddyError
from session_buddy.host.explained import DEFAULT, in_force
from session_buddy.host.histories import own
from session_buddy.host.holders import lock_holder, program_of
from session_buddy.host.layers import environment, file_layers, settings_of, user_file
from session_buddy.host.places import APP, working_folder
from session_buddy.host.process import lock_file
from session_buddy.host.settings import Settings
from session_buddy.host.turn import LONGEST_SECONDS
from session_buddy.host.variables import PREFIX, require_known
from session_buddy.keep.backups import Backups

_NEEDED: Final = ("session-buddy", "oneiric")
_MB: Final = 1_000_000
_LITTLE: Final = 256 * _MB
_NONE_LEFT: Final = 16 * _MB
# A journal that ended is delivered at once where a server is up.
_LATE_SECONDS: Final = 60.0
_GUESS: Final = re.compile(
    rf"({PREFIX}\w+): unknown setting(?: \(did you mean ({PREFIX}\w+)\?\))?", re.IGNORECASE
)
_BAD_VALUE: Final = re.compile(r", line \d+: ([a-z_]+): .* is not valid")


def packages(_case: Case) -> Finding:
    """What is installed, and whether the versions go together."""
    found = {}
    for name in (*_NEEDED, "mahavishnu"):
        with suppress(PackageNotFoundError):
            found[name] = distribution(name)
    python = f"Python {sys.version.split()[0]}"
    for name in _NEEDED:
        if name not in found:
            return Finding("broken", f"{name} is not installed for {sys.executable}", f"pip install {name}")
    wanted = {name: one.version for name, one in found.items()}
    for name, one in found.items():
        for line in one.requires or ():
            exact = re.match(r"oneiric(?:\[[^\]]*\])?==([^\s;]+)", line)
            if exact and exact[1] != wanted["oneiric"]:
                why = f"{name} {one.version} wants oneiric {exact[1]}; {wanted['oneiric']} is installed"
                return Finding("broken", why, f"pip install {quote(f'oneiric=={exact[1]}')}")
    said = ", ".join(f"{name} {version}" for name, version in wanted.items())
    where = found["session-buddy"].locate_file("")
    return Finding("ok", f"{said}; {python}; in {where}")


def emitter(case: Case) -> Finding:
    """Whether shells report at all, and variables that are named like ours and are none."""
    try:
        require_known(os.environ)
    except ConfigurationError as error:
        wrong, meant = _GUESS.match(str(error)).groups()  # type: ignore[union-attr]  # it names the variable
        name = next(one for one in os.environ if one.upper() == wrong.upper())
        # Where the right one is set, too, it stays as it is.
        keep = f'export {meant}="${name}"; ' if meant and meant not in os.environ else ""
        return Finding("broken", str(error).partition("; allowed")[0], f"{keep}unset {name}")
    unknown = next(
        (name for name in os.environ if name.upper().startswith(EMITTERS) and name not in VARIABLES), ""
    )
    if unknown:
        meant = next(iter(get_close_matches(unknown.upper(), VARIABLES, n=1, cutoff=0.8)), "")
        keep = f'export {meant}="${unknown}"; ' if meant and meant not in os.environ else ""
        said = f"{unknown}: no shell reads it{f' (did you mean {meant}?)' if meant else ''}"
        return Finding("warning", f"{said}; known: {', '.join(sorted(VARIABLES))}", f"{keep}unset {unknown}")
    reason = off_reason(os.environ, case.paths)
    if reason is None:
        return Finding("ok", "shells report their sessions; no variable is mistyped")
    file = reason.removesuffix(" exists")
    fix = f"rm {quote(file)}" if file != reason else "unset ONEIRIC_TRACKING"
    return Finding("warning", f"no shell reports: {reason}", fix)


def settings(case: Case) -> Finding:
    """Each layer readable and valid, and where what is set comes from."""
    mistyped = "emitter" in case.broken
    with suppress(ConfigurationError):
        case.url = own(case.paths)
    try:
        layers = file_layers(working_folder())
        if not mistyped:
            layers.append(environment())
        found = settings_of(layers)
        case.url = found.database_url(case.paths)
    except ConfigurationError as error:
        return Finding("broken", str(error), _mend(str(error)))
    if mistyped:
        return Finding("skipped", "the files are valid; what variables say is not read, see emitter")
    case.settings = found
    case.sources = {one.key: one.source for one in in_force() if one.source != DEFAULT}
    said = ", ".join(
        f"{key} ({source.rpartition(': ')[0] or source})" for key, source in case.sources.items()
    )
    return Finding("ok", f"valid; set: {said or 'none'}")


def _mend(said: str) -> str:
    """How to correct what a complaint about the settings says."""
    if said.startswith(PREFIX):
        return f"unset {re.match(r'[A-Za-z_0-9]+', said)[0]}"  # type: ignore[index]  # the prefix is one
    folder = working_folder() / "settings"
    files = (user_file(), folder / f"{APP}.yaml", folder / "local.yaml")
    file = next((one for one in files if said.startswith(str(one))), None)
    if file is None:
        place = said.partition(" cannot be read")[0]
        return f"chmod u+rw {quote(place)}" if place != said else "session-buddy config validate"
    bad = _BAD_VALUE.match(said.removeprefix(str(file)))
    default = Settings.model_fields[bad[1]].default if bad and bad[1] in Settings.model_fields else None
    if file == user_file() and bad and isinstance(default, int | float | str):
        return f"session-buddy config set {bad[1]} {default}"
    for folder in reversed(file.parents):
        if folder.is_dir() and not os.access(folder, os.X_OK):
            return f"chmod u+rwx {quote(str(folder))}"
    if not os.access(file, os.R_OK):
        return f"chmod u+r {quote(str(file))}"
    return f"${{EDITOR:-vi}} {quote(str(file))}"


def folders(case: Case) -> Finding:
    """Data, state and outbox, and the folder of the database: there, writable, private."""
    ours = [case.paths.data / APP, case.paths.state / APP, case.paths.outbox]
    others = [case.file.parent] if case.file and case.file.parent not in ours else []
    for folder in (*ours, *others):
        there = nearest(folder)
        if not there.is_dir():
            return Finding(
                "broken",
                f"{there} is no folder",
                f"mv {quote(str(there))} {quote(f'{there}.{case.now:%Y%m%d-%H%M%S}')}",
            )
        if not os.access(there, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            mine = there.stat().st_uid == os.geteuid()
            how = "chmod u+rwx" if mine else f"sudo chown {os.geteuid()}"
            return Finding(
                "broken", f"{there} cannot be written by uid {os.geteuid()}", f"{how} {quote(str(there))}"
            )
    for folder in ours:
        if folder.is_dir() and folder.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return Finding("warning", f"others may enter {folder}", f"chmod 700 {quote(str(folder))}")
    missing = [str(folder) for folder in (*ours, *others) if not folder.exists()]
    later = f"; made when first needed: {', '.join(missing)}" if missing else ""
    return Finding("ok", f"data, state and outbox can be written{later}")


def disk(case: Case) -> Finding:
    """What is free where the database and the outbox lie, and how long a file may be."""
    places = {nearest(case.paths.outbox), nearest((case.file or case.paths.data / APP).parent)}
    free, where = min((shutil.disk_usage(place).free, str(place)) for place in places)
    limits: list[tuple[int | None, int]] = [(None, resource.getrlimit(resource.RLIMIT_FSIZE)[0])]
    if case.server and sys.platform == "linux":
        with suppress(OSError):
            limits.append((case.server.pid, resource.prlimit(case.server.pid, resource.RLIMIT_FSIZE)[0]))
    for pid, most in limits:
        if most != resource.RLIM_INFINITY and most < _LITTLE:
            who, fix = (
                (f"the server (pid {pid})", f"prlimit --pid {pid} --fsize=unlimited:")
                if pid
                else ("this shell", "ulimit -S -f unlimited")
            )
            return Finding("broken", f"{who} may write no file beyond {most:,} bytes", fix)
    said = f"{free // _MB:,} MB free at {where}"
    if free >= _LITTLE:
        return Finding("ok", said)
    what, fix = _room(case, where)
    return Finding("broken" if free < _NONE_LEFT else "warning", f"{said}; {what}", fix)


def _room(case: Case, where: str) -> tuple[str, str]:
    """What of ours takes room on a disk that is full, and what to type to have more of it.

    Older backups can go at once. What ``prune`` deletes makes room for new sessions within the database, and
    its file stays as long as it is.
    """
    disk = Path(where).stat().st_dev
    older = []
    with suppress(SessionBuddyError, OSError):
        older = (
            [one for one in Backups(case.file).listed()[1:] if one.path.stat().st_dev == disk]
            if case.file
            else []
        )
    size = 0
    with suppress(OSError):
        size = case.file.stat().st_size if case.file and case.file.stat().st_dev == disk else 0
    held = f"the database there has {size // _MB:,} MB"
    if sum(one.size for one in older) >= _MB:
        said = f"{len(older)} older backups have {sum(one.size for one in older) // _MB:,} MB, {held}"
        return said, f"rm {' '.join(quote(str(one.path)) for one in older)}"
    if size >= _LITTLE:
        keep = "first, to have them elsewhere: session-buddy export /ELSEWHERE/all.parquet"
        return (
            f"{held}: deleting old sessions makes room in it",
            f"session-buddy prune --older-than 365d  # {keep}",
        )
    look = f"du -xh {quote(where)} | sort -h | tail  # and remove what is not needed"
    return "nothing of Session-Buddy there is large: space must be made", look


def locks(case: Case) -> Finding:
    """Which processes hold locks, and whether one keeps others waiting too long."""
    held = []
    files = {
        "a command's turn": case.paths.server_file.with_name("turn.lock"),
        "the server's lock": lock_file(case.paths),
    }
    for name, file in files.items():
        pid = lock_holder(file, "FLOCK")
        if pid is None:
            continue
        since = case.now.timestamp() - file.stat().st_mtime
        if file.name == "turn.lock" and since > LONGEST_SECONDS:
            said = f"{name} is held by pid {pid} ({program_of(pid)}) for {since:.0f} s; commands wait for it"
            return Finding("warning", said, f"kill {pid}")
        held.append(f"{name}: pid {pid}")
    return Finding("ok", "; ".join(held) or "none is held")


def outbox(case: Case) -> Finding:
    """Journals that wait, and those that were refused or cannot be read."""
    folder, destination = case.paths.outbox, ""
    with suppress(TransportError):
        named = named_endpoint(os.environ)
        destination = named.destination if named else ""
    live = _locked_inodes()
    waiting, ours = [], []
    for path in journals.journals(folder):
        with suppress(OSError):
            found = path.stat()
            if found.st_ino not in live:
                waiting.append(path)
                if journals.parts_of(path)[1] in ("", destination):
                    ours.append(case.now.timestamp() - found.st_mtime)
    counts = journals.counts(folder)
    said = f"{len(waiting)} wait" + (f", the oldest for {max(ours):.0f} s" if ours else "")
    if case.health is not None and ours and max(ours) > _LATE_SECONDS:
        return Finding("broken", f"{said}, though a server is up", "session-buddy list-sessions --limit 1")
    for kind in ("rejected", "corrupt"):
        if counts[kind]:
            place = folder / kind
            aside = quote(f"{folder.parent.parent / f'{kind}.{case.now:%Y%m%d-%H%M%S}'}")
            why = "a server refused" if kind == "rejected" else "nobody can read"
            latest = max(journals.journals(place), key=lambda path: path.stat().st_mtime)
            reason = logged.refused(Path(case.server.log), latest.name) if case.server else ""
            told = f"{counts[kind]} that {why}, in {place}{f'; the latest: {reason}' if reason else ''}"
            return Finding("warning", told, f"mv {quote(str(place))} {aside}")
    if not waiting:
        return Finding("ok", "no journal waits")
    return Finding("ok", f"{said}; the next command or server takes them in")


def _locked_inodes() -> set[int]:
    """What is locked on this machine: a shell that is open holds its journal."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/locks").read_text().splitlines()
        return {int(line.split()[5].rpartition(":")[2]) for line in lines if " FLOCK " in line}
    return set()

"""From the environment to settings, with every problem at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import quote, urlsplit

from worker.config.parsers import Patterns, Sources, is_loopback
from worker.config.settings import Secret, Settings
from worker.config.table import NEEDS, PREFIXES, SETTINGS, Group, Setting
from worker.core.errors import WorkerError

NOTHING: Mapping[str, object] = {
    "WORKER_SOURCES": Sources(),
    "WORKER_PROJECTS": Patterns(),
    "WORKER_CREATE_ONLY_FIELDS": frozenset(),
}
"""What a setting without a default is when it is left out (others: None)."""

# Kubernetes sets such variables in every pod for a service that happens to be called worker, ledger, ...
SERVICE_LINK = re.compile(r".*_(SERVICE_(HOST|PORT(_.+)?)|PORT(_\d+_(TCP|UDP)(_.+)?)?)")


class SettingsError(WorkerError):
    """Settings are missing or wrong. `problems` has a line for each, which says what is wrong and what to do."""

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Effective:
    """A setting as it is in force, fit to be shown: its name, masked text, and where it came from.

    `origin` is `default`, `environment`, the path of a file, or `missing`.
    """

    name: str
    shown: str | None
    origin: str


@dataclass(frozen=True)
class Examination:
    """What an environment says: values by attribute, the problems and warnings, and what is in force."""

    values: Mapping[str, object]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    effective: tuple[Effective, ...]


@dataclass(frozen=True)
class _Given:
    text: str | None
    origin: str
    file: Path | None = None


def read(environ: Mapping[str, str], *, needs: Collection[Group] = NEEDS["run"]) -> Settings:
    """The settings of the groups that a command needs (`NEEDS` has them by command).

    Raises SettingsError with all problems. An empty variable counts as left out.
    """
    examination = examine(environ, needs=needs)
    if examination.problems:
        raise SettingsError(examination.problems)
    return Settings.of({**examination.values, "warnings": examination.warnings})


def examine(environ: Mapping[str, str], *, needs: Collection[Group] = NEEDS["run"]) -> Examination:
    """The same without raising: for showing what is in force beside what is wrong."""
    values: dict[str, object] = {}
    problems: list[str] = []
    effective: list[Effective] = []
    for setting in SETTINGS:
        if setting.group not in needs:
            continue
        try:
            given = _given(setting, environ)
            effective.append(_effective(setting, given))
            values[setting.attribute] = _value(setting, given)
        except ValueError as error:
            problems.append(f"{setting.name}: {error}")
    problems += _contradictions(values)
    warnings = [*_slips(environ), *_oddities(values)] if needs else []
    return Examination(values, tuple(problems), tuple(warnings), tuple(effective))


def _given(setting: Setting, environ: Mapping[str, str]) -> _Given:
    """The text of a setting and its origin. Raises ValueError when it cannot be had."""
    spellings = (setting.name,) if setting.name.startswith(PREFIXES) else (setting.name, setting.name.lower())
    text = next((environ[name] for name in spellings if environ.get(name)), None)
    path = environ.get(f"{setting.name}_FILE") if setting.secret else None
    if text and path:
        raise ValueError(f"{setting.name}_FILE is given too; leave out one of them")
    if path:
        return _Given(_content(path), path, Path(path))
    origin = "environment" if text else "missing" if setting.required else "default"
    text = text or setting.default
    if setting.name == "LEDGER_URL" and text == setting.default:
        text = _default_ledger(environ)
    return _Given(text, origin)


def _value(setting: Setting, given: _Given) -> object:
    if given.text is None:
        if setting.required:
            raise ValueError(_remedy(setting))
        return NOTHING.get(setting.name)
    value = setting.parse(given.text)
    if value == "":
        raise ValueError(_remedy(setting))
    if not setting.secret:
        return value
    path = given.file
    return Secret(value, setting.hidden(given.text), (lambda: _again(setting, path)) if path else None)


def _again(setting: Setting, path: Path) -> tuple[object, tuple[str, ...]]:
    text = _content(str(path))
    return setting.parse(text), setting.hidden(text)


def _content(path: str) -> str:
    """A secret from a file, without the line's end. Raises ValueError."""
    try:
        text = Path(path).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {(error.strerror or 'not possible').lower()}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not text:
        raise ValueError(f"{path} is empty")
    return text


def _remedy(setting: Setting) -> str:
    example = f", for example {setting.example}" if setting.example else ""
    beside = f", or {setting.name}_FILE to the path of a file that holds it" if setting.secret else ""
    return f"is required; set it{example}{beside}"


def _effective(setting: Setting, given: _Given) -> Effective:
    shown = setting.shown(given.text) if given.text is not None else None
    return Effective(setting.name, shown, given.origin)


def _default_ledger(environ: Mapping[str, str]) -> str:
    data, home = environ.get("XDG_DATA_HOME"), environ.get("HOME") or environ.get("USERPROFILE")
    if not data and not home:
        raise ValueError("no home folder is known; set it, for example sqlite:////var/lib/ditio-worker/ledger.db")
    folder = Path(data) if data else Path(str(home)) / ".local" / "share"
    return f"sqlite:///{quote(str(folder / 'ditio-worker' / 'ledger.db').lstrip('/'))}"


def _contradictions(values: Mapping[str, object]) -> Iterator[str]:
    """What is wrong with settings only together."""
    for name in ("ditio_api_base", "ditio_identity_base"):
        split = urlsplit(str(values.get(name) or ""))
        if split.scheme == "http" and not is_loopback(split.hostname or "") and not values.get("ditio_allow_http"):
            danger = f"plain http would send secrets readable to {split.hostname}"
            yield f"{name.upper()}: {danger}; use https, or set DITIO_ALLOW_HTTP=true"
    if bool(values.get("amqp_cert_file")) != bool(values.get("amqp_key_file")):
        yield "AMQP_CERT_FILE: is of use only together with AMQP_KEY_FILE; set both or none"


def _slips(environ: Mapping[str, str]) -> Iterator[str]:
    """Variables that look like settings and are none."""
    known = {name for setting in SETTINGS for name in (setting.name, f"{setting.name}_FILE")[: 1 + setting.secret]}
    for name in sorted(environ):
        if name in known or not name.startswith(PREFIXES) or SERVICE_LINK.fullmatch(name):
            continue
        likely = get_close_matches(name, known, 1)
        yield f"{name} is not a setting and has no effect" + (f"; did you mean {likely[0]}?" if likely else "")


def _oddities(values: Mapping[str, object]) -> Iterator[str]:
    """What is allowed, and most likely meant otherwise."""
    api, identity = (urlsplit(str(values.get(name) or "")) for name in ("ditio_api_base", "ditio_identity_base"))
    if (api.hostname or "").startswith("core-api.ditio.") and api.path != "/core":
        yield f"DITIO_API_BASE has the path {api.path or '/'}; Ditio's API at {api.hostname} is under /core"
    hosts = [split.hostname or "" for split in (api, identity)]
    if len({host.endswith(".ditio.dev") for host in hosts if ".ditio." in host}) > 1:
        yield "DITIO_API_BASE and DITIO_IDENTITY_BASE are of different environments (ditio.dev is the test environment)"
    urls = values.get("amqp_url")
    encrypted = isinstance(urls, Secret) and any(url.startswith("amqps://") for url in urls())
    if urls and not encrypted and (values.get("amqp_ca_file") or values.get("amqp_cert_file")):
        yield "AMQP_CA_FILE and AMQP_CERT_FILE have no effect: no address in AMQP_URL begins with amqps://"

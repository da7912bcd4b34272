"""The task for SkyPilot: where it runs, what is installed, which files go along, where results are kept."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import secrets
import shlex
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

import yaml

from glotune.data.back_translations import KEY as BACK_TRANSLATIONS
from glotune.data.dictionaries import DICTIONARIES, dictionary_files
from glotune.data.sources import find_sources
from glotune.data.streams import refuse_stream_names
from glotune.data.unlabelled import unlabelled_sources
from glotune.errors import UserError, did_you_mean
from glotune.recipe import Recipe
from glotune.recipe.data_keys import Sources
from glotune.recipe.paths import place_of

PLACE = "~/glotune-job"
"""On the other machine: recipe, data and run, on its own disk."""
BUCKET = "/glotune-bucket"
ENVIRONMENT = "~/glotune-environment"
STORES = {"s3": "s3", "gs": "gcs", "r2": "r2"}
"""Scheme of a bucket's address -> SkyPilot's store."""
CLOUD_STORES = {"aws": "s3", "gcp": "gcs"}
"""Infrastructure -> the store where a bucket is made if none is named."""
INFRASTRUCTURE = ("aws", "gcp", "k8s", "ssh")
SPLITS = ("train", "validation", "test")
GPUS = "NAME or NAME:COUNT, e.g. H100:1"
NAMES = "small letters, digits and dashes, at most 52, beginning with a letter"
_DELIMITER = "GLOTUNE_RECIPE"
_GPUS = re.compile(r"[A-Za-z][\w.+-]*(:[1-9]\d*)?")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?")


@dataclass(frozen=True)
class Wanted:
    """What the user asks for."""

    name: str
    """Of the job, and of the run's folder here and in the bucket."""
    infra: str
    """aws, gcp, k8s or ssh, with a region, context or pool after a slash."""
    bucket: str
    """``s3://NAME``, ``gs://NAME``, ``r2://NAME``, or a name: then it is made where the task runs."""
    gpus: str | None = None
    cpus: str | None = None
    memory: str | None = None
    disk_gib: int = 100
    spot: bool = False
    max_hourly_cost: float | None = None
    """Dollars."""
    autostop_minutes: int = 10
    package: str | None = None
    """What pip installs; this version of glotune where it is None, or a wheel on this machine."""

    @property
    def cloud(self) -> str:
        """``aws`` of ``aws/us-east-1``."""
        return self.infra.partition("/")[0].lower()

    @property
    def processes(self) -> int:
        """One for each GPU."""
        return int(self.gpus.partition(":")[2] or 1) if self.gpus else 1


def check(wanted: Wanted) -> None:
    """Refuses what no machine could be found for, before anything is asked of a cloud.

    Raises:
        UserError: the first thing that is wrong.
    """
    for where, problem in (
        ("--infra", _infra_problem(wanted)),
        ("--name", None if _NAME.fullmatch(wanted.name) else _expect(wanted.name, NAMES)),
        ("--gpus", _expect(wanted.gpus, GPUS) if wanted.gpus and not _GPUS.fullmatch(wanted.gpus) else None),
        ("--spot", _expect("spot machines on your own", "no --spot with ssh") if _owned_spot(wanted) else None),
        ("--max-hourly-cost", _cost_problem(wanted)),
        ("--bucket", _bucket_problem(wanted)),
    ):
        if problem is not None:
            found, expected = problem
            raise UserError(found, expected=expected, where=where)


Problem = tuple[str, str]


def _expect(found: str, expected: str) -> Problem:
    return f"found '{found}'", expected


def _infra_problem(wanted: Wanted) -> Problem | None:
    if wanted.cloud in INFRASTRUCTURE:
        return None
    names = ", ".join(INFRASTRUCTURE)
    hint = did_you_mean(wanted.cloud, INFRASTRUCTURE)
    expected = f"one of {names}, with a region, context or pool after a slash, e.g. aws/us-east-1"
    return _expect(wanted.infra, f"{expected}. {hint}" if hint else expected)


def _owned_spot(wanted: Wanted) -> bool:
    return wanted.spot and wanted.cloud == "ssh"


def _cost_problem(wanted: Wanted) -> Problem | None:
    cost = wanted.max_hourly_cost
    return None if cost is None or cost > 0 else _expect(f"{cost:g}", "a sum in dollars above 0")


def _bucket_problem(wanted: Wanted) -> Problem | None:
    scheme, is_address, _ = wanted.bucket.partition("://")
    if is_address:
        return None if scheme in STORES else _expect(wanted.bucket, " or ".join(f"{name}://NAME" for name in STORES))
    if wanted.cloud in CLOUD_STORES:
        return None
    return _expect(wanted.bucket, f"an address, e.g. s3://my-bucket: {wanted.cloud} has no buckets of its own")


def make_task(recipe: Recipe, wanted: Wanted) -> dict[str, Any]:
    """The task, as SkyPilot's YAML holds it.

    Raises:
        UserError: something asked for can't be, or a file that the recipe names is not here.
    """
    check(wanted)
    remote, mounts = pack(recipe)
    package, package_mount = _package(wanted.package, recipe)
    resources: dict[str, Any] = {
        "infra": wanted.infra,
        "accelerators": wanted.gpus,
        "cpus": wanted.cpus or (None if wanted.gpus else "4+"),
        "memory": wanted.memory,
        "disk_size": wanted.disk_gib,
        "use_spot": True if wanted.spot else None,
        "max_hourly_cost": wanted.max_hourly_cost,
        "autostop": {"idle_minutes": wanted.autostop_minutes, "down": True},
    }
    return {
        "name": wanted.name,
        "resources": {key: value for key, value in resources.items() if value is not None},
        "file_mounts": {**mounts, **package_mount, BUCKET: _storage(wanted)},
        "setup": _setup(remote, package),
        "run": _run(wanted),
    }


def as_yaml(task: dict[str, Any]) -> str:
    """The task for people and for SkyPilot: scripts as blocks."""
    return yaml.dump(task, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def pack(recipe: Recipe) -> tuple[Recipe, dict[str, str]]:
    """The recipe as the other machine reads it, and what must be brought there: {place there: path here}.

    Its paths are relative to the recipe's own folder. Files keep their names, which may say their language, and Hub
    names stay.
    """
    mounts: dict[str, str] = {}

    def moved(named: Sources | None, key: str) -> Any:
        refuse_stream_names(named, key, "another machine")
        if named:
            find_sources(named, key, recipe.data.split_names)  # refuses what is neither here nor on the Hub
        return renamed(named)

    def moved_unlabelled(named: Sources | None, key: str) -> Any:
        if named:
            unlabelled_sources(named, recipe.data, key)
        return renamed(named)

    def renamed(named: Sources | None) -> Any:
        if isinstance(named, dict):
            return {language: renamed(each) for language, each in named.items()}
        return [move(name) for name in named] if isinstance(named, list) else named and move(named)

    def move(name: str) -> str:
        path = place_of(name).absolute()
        if not path.exists():
            return name
        known = {here: there for there, here in mounts.items()}
        there = known.get(str(path), f"{PLACE}/files/{len(mounts)}/{path.name}")
        mounts[there] = str(path)
        return there.removeprefix(f"{PLACE}/")

    content = recipe.model_dump(mode="json", by_alias=True)
    content["model"]["name"] = move(recipe.model.name) if place_of(recipe.model.name).is_dir() else recipe.model.name
    content["data"].update({split: moved(getattr(recipe.data, split), f"data.{split}") for split in SPLITS})
    content["data"]["translations"] = moved(dict(recipe.data.translations), "data.translations")
    content["data"]["unlabelled"] = moved_unlabelled(dict(recipe.data.unlabelled), "data.unlabelled")
    augment = recipe.data.augment
    if augment is not None:
        content["data"]["augment"]["back_translations"] = moved(augment.back_translations, BACK_TRANSLATIONS)
    if augment is not None and augment.code_switch is not None:
        switch = content["data"]["augment"]["code_switch"]
        dictionary_files(augment.code_switch)  # refuses what is not here
        switch.update({kind: renamed(switch[kind]) for kind in DICTIONARIES})
    if recipe.is_soup:
        raise UserError(
            "average.runs is the mean over runs of this machine",
            where="average.runs",
            remedy="Make it here with: glotune average RUN RUN",
        )
    if recipe.distill is not None:
        absent = next((name for name in recipe.distill.teacher if not place_of(name).is_dir()), None)
        if absent is not None:
            raise UserError(
                f"there is no folder {absent}", where="distill.teacher", expected="a run, or a model's folder"
            )
        content["distill"]["teacher"] = [move(name) for name in recipe.distill.teacher]
        content["distill"]["texts"] = moved_unlabelled(recipe.distill.texts, "distill.texts")
    return Recipe.model_validate(content), mounts


def _package(package: str | None, recipe: Recipe) -> tuple[str, dict[str, str]]:
    """What pip is told to install, with the trackers that the recipe names, and the wheel that it is in, if any."""
    extras = f"[{','.join(sorted(set(recipe.track)))}]" if recipe.track else ""
    if package is None:
        return f"glotune{extras}=={version('glotune')}", {}
    wheel = place_of(package)
    if package.endswith(".whl"):
        if not wheel.is_file():
            raise UserError(f"there is no wheel {package}", expected="a file", where="--package")
        there = f"{PLACE}/wheel/{wheel.name}"
        return f"{there}{extras}", {there: str(wheel.resolve())}
    return package, {}


def _storage(wanted: Wanted) -> dict[str, Any]:
    if "://" in wanted.bucket:
        return {"source": wanted.bucket, "mode": "MOUNT"}
    return {"name": wanted.bucket, "store": CLOUD_STORES[wanted.cloud], "mode": "MOUNT", "persistent": True}


def _setup(remote: Recipe, package: str) -> str:
    """Installs into an environment of its own, and writes the recipe down."""
    from glotune.recipe import recipe_yaml

    text = recipe_yaml(remote)
    if _DELIMITER in text:
        raise UserError(f"the recipe contains the word {_DELIMITER}", remedy="Rename what holds it")
    install = package if package.startswith(PLACE) else shlex.quote(package)
    return (
        "set -e\n"
        "python3 -m pip install --quiet uv\n"
        f"[ -d {ENVIRONMENT} ] || python3 -m uv venv --quiet --python 3.11 {ENVIRONMENT}\n"
        f"python3 -m uv pip install --quiet --python {ENVIRONMENT}/bin/python {install}\n"
        f"mkdir -p {PLACE}\n"
        f"cat > {PLACE}/recipe.yaml <<'{_DELIMITER}'\n{text.rstrip()}\n{_DELIMITER}\n"
    )


def _run(wanted: Wanted) -> str:
    """``exec`` lets the request to stop reach the job."""
    return (
        f"cd {PLACE}\n"
        f"exec {ENVIRONMENT}/bin/python -m glotune.launch.job --recipe recipe.yaml --run runs/{wanted.name} "
        f"--bucket {BUCKET}/{wanted.name} --processes {wanted.processes}\n"
    )


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)


def default_name(recipe: str) -> str:
    """The recipe's name, the time and a mark, in the letters that every cloud allows.

    Two jobs of one name would share their place in the bucket, and the second go on with the first one's run.
    """
    words = re.sub(r"[^a-z0-9]+", "-", recipe.lower()).strip("-")
    start = words if words[:1].isalpha() else f"run-{words}"
    return f"{start[:31].rstrip('-')}-{datetime.now().strftime('%Y%m%d-%H%M')}-{secrets.token_hex(2)}"


def default_bucket() -> str:
    """One bucket for a user of a machine. Bucket names are the whole world's, so a hash keeps them apart."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry in the password file, as in a container
        user = str(os.getuid())
    mark = hashlib.sha256(f"{user}@{os.uname().nodename}".encode()).hexdigest()[:10]
    return f"glotune-{re.sub(r'[^a-z0-9]+', '-', user.lower()).strip('-')[:20]}-{mark}"

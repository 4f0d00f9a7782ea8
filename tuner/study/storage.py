"""The record of a study: one Optuna study, whose storage holds everything that is shown later.

Each Optuna trial carries its whole TrialRecord as one JSON user attribute; the files in
``studies/NAME/trials`` are evidence beside it.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, cast

import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from tuner.errors import UsageError
from tuner.measure.record import SCHEMA, TrialRecord
from tuner.study.codec import decode, encode
from tuner.study.spec import StudyHeader, StudyRecord, StudySpec

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER = "header"
_RECORD = "record"
_WALL_CLOCK = "wall_clock_s"
_SEARCH_ENDED = "search_ended"


def now_utc() -> str:
    """ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class StudyStore:
    """A study's record, open for reading and writing."""

    def __init__(self, study: optuna.Study, header: StudyHeader) -> None:
        self.study = study
        self.header = header

    @classmethod
    def create(cls, url: str, spec: StudySpec, environment: Mapping[str, str]) -> StudyStore:
        """Begin a study.

        Args:
            url: of an Optuna storage, such as ``sqlite:///studies/NAME/study.db``.
            spec: what is asked for.
            environment: what its numbers will depend on.
        """
        header = StudyHeader(
            schema=SCHEMA, spec=spec, environment=dict(environment), created_at_utc=now_utc()
        )
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # we tell what happens, once
        study = optuna.create_study(
            study_name=spec.name, storage=url, direction="maximize", sampler=_sampler()
        )
        study.set_user_attr(_HEADER, encode(header))
        return cls(study, header)

    @classmethod
    def load(cls, url: str, name: str) -> StudyStore | None:
        """Open a study; None where there is none of that name.

        Raises:
            UsageError: what lies there is not a study of this version.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # we tell what happens, once
        try:
            study = optuna.load_study(study_name=name, storage=url, sampler=_sampler())
        except KeyError:
            return None
        except (SQLAlchemyError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"{url} cannot be read as a study ({str(error).splitlines()[0]}); "
                f"`tune MODEL --study {name} --fresh` sets it aside and starts over."
            ) from error
        stored = study.user_attrs.get(_HEADER)
        if stored is None:
            return None  # killed between its creation and its first line
        try:
            return cls(study, decode(StudyHeader, stored))
        except ValueError as error:
            raise UsageError(
                f"study {name} was written by another version of tuner ({error}); "
                f"`tune MODEL --study {name} --fresh` sets it aside and starts over."
            ) from error

    def records(self) -> tuple[TrialRecord, ...]:
        """Every trial that ended, by number."""
        attrs = (trial.user_attrs for trial in self.study.get_trials(deepcopy=False))
        return tuple(decode(TrialRecord, a[_RECORD]) for a in attrs if _RECORD in a)

    def record(self) -> StudyRecord:
        """The study as reports see it."""
        return StudyRecord(
            header=self.header,
            trials=self.records(),
            wall_clock_s=self.wall_clock_s,
            search_ended=cast("str", self.study.user_attrs.get(_SEARCH_ENDED, "")),
        )

    @property
    def wall_clock_s(self) -> float:
        """Time that `tune` worked on the study in the sessions that have ended."""
        return cast("float", self.study.user_attrs.get(_WALL_CLOCK, 0.0))

    def keep(self, trial: optuna.Trial, record: TrialRecord) -> None:
        """Put a trial on disk."""
        trial.set_user_attr(_RECORD, encode(record))

    def add_wall_clock(self, seconds: float) -> None:
        """Count time that `tune` worked on the study."""
        self.study.set_user_attr(_WALL_CLOCK, round(self.wall_clock_s + seconds, 3))

    def end_search(self, reason: str) -> None:
        """Keep why the search ended; empty while it goes on."""
        self.study.set_user_attr(_SEARCH_ENDED, reason)

    def give_up_unfinished(self) -> int:
        """Close the trials of a killed run as failed, so that they are tried again."""
        unfinished = self.study.get_trials(
            deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)
        )
        for trial in unfinished:
            self.study.tell(trial.number, state=TrialState.FAIL)
        return len(unfinished)

    def differences(self, spec: StudySpec, environment: Mapping[str, str]) -> list[str]:
        """What is asked for or measured on differently now, each as ``name: then → now``."""
        then = {**_told(self.header.spec), **self.header.environment}
        now = {**_told(spec), **environment}
        keys = [key for key in {**then, **now} if then.get(key) != now.get(key)]
        told = {key: [kept.get(key, "not recorded") for kept in (then, now)] for key in keys}
        return [f"{key}: {' → '.join(values)}" for key, values in told.items()]


def _told(spec: StudySpec) -> dict[str, str]:
    """A spec as name → short text."""
    told = {key: json.dumps(value) for key, value in encode(spec).items()}
    told["config_pbtxt"] = hashlib.sha256(spec.config_pbtxt.encode()).hexdigest()[:12]
    return told


def _sampler() -> optuna.samplers.BaseSampler:
    """Every trial is enqueued with its values by a proposer; Optuna's sampler never decides."""
    return optuna.samplers.RandomSampler()

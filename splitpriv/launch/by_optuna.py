"""A search by Optuna's own interface: points that it proposes, run by any launcher; its study survives a kill."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval

from splitpriv import overrides
from splitpriv.launch import folder as place
from splitpriv.launch import hydra, points, sweeping, trials
from splitpriv.launch.task import Task, code
from splitpriv.run import aims
from splitpriv.store import Store, say, write_atomic
from splitpriv.store.locks import Lock, Timeout
from splitpriv.types import Count, UserError, Whole

if TYPE_CHECKING:
    import optuna

    from splitpriv.run.plan import Planned

INSTALL = "hydra/sweeper=optuna: is not installed; pip install 'splitpriv[optuna]'"


class Optuna:
    """The settings of conf/hydra/sweeper/optuna.yaml, and the search."""

    def __init__(
        self, *, n_trials: Count, n_jobs: Count, direction: str | list[str] | None,
        sampler: Literal["tpe", "random", "nsga2"], startup: Count, seed: Whole, storage: str | None,
        study_name: str | None, prune: bool, prune_after: Annotated[float, Interval(ge=0, le=1)],
    ) -> None:  # fmt: skip
        self.n_trials, self.n_jobs, self.direction, self.sampler = n_trials, n_jobs, direction, sampler
        self.startup, self.seed, self.storage, self.study_name = startup, seed, storage, study_name
        self.prune, self.prune_after = prune, prune_after

    def search(self, words: Sequence[str], first: Planned, known: set[str], folder: Path) -> list[str]:
        """Search in `folder` what `words` leave open; `first`: a point, checked; `known`: all parts that points have.

        Return the problems of trials that failed; the others go on.
        """
        columns = aims.names(first.cfg["objective"])
        ways = self._ways(columns)
        watched = trials.counterparts(first.cfg, columns, ways) if self.prune else {}
        space, fixed = space_of(points.read(words))
        told = [word for word in words if overrides.is_hydra(word)]
        task = Task(folder, Path.cwd(), code())
        jobs: dict[int, list[str]] = {}
        listed: list[dict[str, Any]] = []
        command = shlex.join(["splitpriv", "run", "-m", *words])
        wanted = dict(zip(columns, ways, strict=True))
        about: dict[str, Any] = {"command": command, "launcher": told, "here": str(task.here), "objective": wanted}
        name = self.study_name or _name([*fixed, *map(str, sorted(space.items()))], columns, ways, first.plan.row)
        store = Store(first.cfg["paths"]["outputs"])
        with (
            self._studied(name, ways, store.root) as study,
            hydra.launcher(told, folder, task, jobs) as run,
            place.planned(folder, [], **about),
        ):
            done = _revive(study)
            if done >= self.n_trials:
                say(f"the study has its {done} trials; hydra.sweeper.n_trials={2 * done} asks for more")
            while done < self.n_trials and not place.cancelled(folder):
                batch = {}
                for _ in range(min(self.n_jobs, self.n_trials - done)):
                    study.sampler = self._sampler(done)  # each trial by its own seed: a study that goes on is the same
                    trial = study.ask(space)
                    number, done = len(listed), done + 1
                    job = points.fit([*fixed, *(f"{k}={shown(v)}" for k, v in trial.params.items())], known)
                    batch[number], jobs[number] = trial, job
                    listed.append({"overrides": job, "trial": trial.number})
                    cfg = points.prepare([job])[0].prepared.cfg
                    write_atomic(folder / place.CONFIGS / f"{number}.json", json.dumps(cfg))
                write_atomic(folder / place.POINTS, json.dumps({**about, "points": listed}))
                if watched:
                    rivals = _rows(store, study)
                    trials.leave(folder, first.cfg, watched, rivals, self.startup, self.prune_after)
                sweeping.complete(folder, run, list(batch))
                for number, trial in batch.items():
                    _tell(study, trial, folder, number, store, columns)
                write_atomic(folder / place.FRONT, json.dumps(_front(study, columns)))
        _print(folder, study, columns)
        return sweeping.problems(folder, {i: " ".join(_swept(job, fixed)) for i, job in jobs.items()})

    def _ways(self, columns: Sequence[str]) -> list[str]:
        if self.direction is None:
            ways = aims.directions(columns)
            told = ", ".join(f"{way} {name}" for way, name in zip(ways, columns, strict=True))
            say(f"objective: {told}; hydra.sweeper.direction says otherwise")
            return ways
        ways = [self.direction] if isinstance(self.direction, str) else self.direction
        if len(ways) != len(columns) or not {*ways} <= {"minimize", "maximize"}:
            raise UserError(f"hydra.sweeper.direction: is {self.direction!r}; write minimize or maximize for each of "
                            f"{', '.join(columns)}")  # fmt: skip
        return ways

    def _sampler(self, order: int) -> optuna.samplers.BaseSampler:
        from optuna import samplers

        seed = int.from_bytes(hashlib.sha256(f"{self.seed}/{order}".encode()).digest()[:4], "big")
        if self.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if self.sampler == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=max(self.startup, 2))
        return samplers.TPESampler(seed=seed, n_startup_trials=self.startup)

    @contextmanager
    def _studied(self, name: str, ways: Sequence[str], root: Path) -> Iterator[optuna.Study]:
        """The study of this name, begun or found, which one command at a time continues."""
        try:
            import optuna
        except ImportError as error:
            raise UserError(INSTALL) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        home = root / "optuna"
        home.mkdir(parents=True, exist_ok=True)
        lock = Lock(home / f"{hashlib.sha256(name.encode()).hexdigest()[:12]}.lock", timeout=0)
        try:
            lock.__enter__()
        except Timeout:
            raise UserError(f"hydra.sweeper.study_name: another process continues the study {name}; wait for it, or "
                            "name another") from None  # fmt: skip
        with lock.entered():
            try:
                study = optuna.create_study(
                    study_name=name, storage=_storage(self.storage, home / f"{name}.log"), directions=list(ways),  # type: ignore[arg-type]
                    load_if_exists=True,
                )  # fmt: skip
                before = [way.name.lower() for way in study.directions]
            except UserError:
                raise
            except Exception as error:  # of Optuna, of a database, of the module that speaks with it, of the file
                first = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise UserError(f"hydra.sweeper.storage: {first}; give a file, or a database that can be reached"
                                ) from error  # fmt: skip
            if before != list(ways):
                raise UserError(f"hydra.sweeper.study_name: {name} is to {' and '.join(before)} its objectives, and "
                                f"this is to {' and '.join(ways)}; name another study")  # fmt: skip
            yield study


def _storage(told: str | None, own: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if told is not None and "://" in told:
        return told
    path = Path(told).absolute() if told else own
    if not path.parent.is_dir():
        raise UserError(f"hydra.sweeper.storage: there is no folder {path.parent}; make it, or name another")
    return JournalStorage(JournalFileBackend(str(path)))


def space_of(read: Sequence[Any]) -> tuple[dict[str, Any], list[str]]:
    """What Optuna is to choose, by key, of overrides that Hydra read; and the others, as they are."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    space: dict[str, Any] = {}
    fixed = []
    for o in read:
        key = o.get_key_element()
        if o.is_discrete_sweep():
            space[key] = CategoricalDistribution(list(o.sweep_string_iterator()))
        elif o.is_sweep_override():
            told = o.value()
            kind = IntDistribution if isinstance(told.start, int) and isinstance(told.end, int) else FloatDistribution
            try:
                space[key] = kind(told.start, told.end, log="log" in told.tags)
            except ValueError as error:
                raise UserError(f"{key}: {overrides.value_of(o.input_line)} cannot be searched: {error}") from error
        else:
            fixed.append(str(o.input_line))
    if not space:
        raise UserError("hydra/sweeper=optuna: there is nothing to search; give a key an interval, as in "
                        "'defense.noise.sigma=interval(0.01,0.5)', or values, as in seed=0,1")  # fmt: skip
    return space, fixed


def shown(value: Any) -> str:
    """A proposed value as an override says it: four digits of a number are enough."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _name(searched: Sequence[str], columns: Sequence[str], ways: Sequence[str], row: str) -> str:
    """A study's name follows from all that its trials have in common, the versions of what they run included."""
    text = "\n".join([*sorted(word for word in searched if not word.startswith("paths.")), *columns, *ways, row])
    return f"study_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _revive(study: optuna.Study) -> int:
    """Propose again what a kill cut short; how many trials of the study have ended otherwise."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
    again = {t.user_attrs["again"] for t in study.get_trials(deepcopy=False) if "again" in t.user_attrs}
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return sum(trial.number not in again for trial in ended)


def _tell(study: optuna.Study, trial: Any, folder: Path, number: int, store: Store, columns: Sequence[str]) -> None:
    """What became of a trial; one that was cancelled is proposed again by the next call."""
    from optuna.trial import TrialState

    if trials.was_pruned(folder, number):
        study.tell(trial, state=TrialState.PRUNED)
    elif key := place.key_of(folder, number):
        values = aims.values(list(columns), store.row(key) or {})
        trial.set_user_attr("row", key)
        study.tell(trial, values)
    elif place.failure(folder, number):
        study.tell(trial, state=TrialState.FAIL)


def _rows(store: Store, study: optuna.Study) -> list[Mapping[str, Any]]:
    keys = [trial.user_attrs["row"] for trial in study.get_trials(deepcopy=False) if "row" in trial.user_attrs]
    return [row for key in keys if (row := store.row(key))]


def _front(study: optuna.Study, columns: Sequence[str]) -> list[dict[str, Any]]:
    best = {trial.number: trial for trial in study.best_trials} if any(t.values for t in study.get_trials()) else {}
    return [{"trial": t.number, "key": t.user_attrs.get("row"), "params": {k: shown(v) for k, v in t.params.items()},
             **dict(zip(columns, t.values, strict=True))} for t in best.values()]  # fmt: skip


def _print(folder: Path, study: optuna.Study, columns: Sequence[str]) -> None:
    front = sorted(_front(study, columns), key=lambda point: -point[columns[0]])
    print(f"{'best' if len(columns) == 1 else 'front'} of {len(study.get_trials(deepcopy=False))} trials; "
          f"splitpriv curve --sweep {folder.name} draws it")  # fmt: skip
    for point in front:
        told = ", ".join(f"{key}={value}" for key, value in point["params"].items())
        print(f"  {', '.join(f'{name} {point[name]:.4g}' for name in columns)}  {told}")


def _swept(job: Sequence[str], fixed: Sequence[str]) -> list[str]:
    return [word for word in job if word not in fixed]

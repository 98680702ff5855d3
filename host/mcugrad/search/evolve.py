"""Evolutionary search (NSGA-II) over schemes: most gain, least memory, fewest instructions, within budgets.

Workers share one optuna study through its storage; each evaluates a scheme in milliseconds.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from mcugrad import boards
from mcugrad.errors import UserError
from mcugrad.frontend import models
from mcugrad.passes.schemes import Scheme, analytic_memory, parse_scheme
from mcugrad.search.costs import Cost, Costs
from mcugrad.search.gains import CLASSES, SHARES, Gains
from mcugrad.search.start import generation

STUDY, SETTINGS = "mcugrad search", "settings"
SCHEME, FITS, WORKER = "scheme", "fits", "worker"
DIRECTIONS: Sequence[Literal["maximize", "minimize"]] = (
    "maximize",
    "minimize",
    "minimize",
)  # gain, memory, instructions
POPULATION = 50
TOGETHER = 10  # trials between two looks at what other workers found
WAIT = 30.0  # seconds for the settings that the worker that made the study is about to write
CHOICES = ["0", *map(str, SHARES)]


@dataclass(frozen=True)
class Search:
    """All that decides a search, but for its random numbers.

    memory: bytes by `measure` ("analytic": the paper's extra memory, "ram": the board's whole RAM);
    instructions: of a step, 0 for any number; gains: digest of the contribution analysis.
    """

    model: str
    board: str
    memory: int
    measure: str
    instructions: int
    by: str
    gains: str


@dataclass(frozen=True)
class Found:
    """A scheme, the sum of its gains, and its cost."""

    scheme: Scheme
    gain: float
    cost: Cost


class Evolution:
    """One worker's view of a search; the first worker of an empty storage decides what is searched.

    A worker evolves a study of its own in memory and shares each trial through the storage as one row with
    its scheme's text: as thirty parameters it would be thirty transactions.
    """

    def __init__(self, search: Search, gains: Gains, storage: str, seed: int = 0) -> None:
        self.search, self.gains = search, gains
        self.costs = Costs(models.load(search.model, CLASSES), boards.load(search.board))
        self._worker, self._seen = uuid.uuid4().hex, 0
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.shared, first = self._opened(storage)
        # The first worker's random numbers, a second time, would give its trials again.
        self._own = self._study(seed if first else None)

    def run(self, trials: int, told: Callable[[int], None] = lambda done: None) -> None:
        """Evaluate until all workers together have that many trials; told: how many they have.

        UserError if not even the head alone fits the budgets.
        """
        if max(self._excess(self.costs.of(Scheme(0))).values()) > 0:
            raise self._nothing()
        while (done := self._pull()) < trials:
            told(done)
            self._own.optimize(self._evaluate, n_trials=min(TOGETHER, trials - done), callbacks=[self._push])

    def front(self) -> list[Found]:
        """What fits and is beaten by no other trial in everything; the largest gain first. Else UserError."""
        fitting = {t.user_attrs[SCHEME]: t.values for t in self._trials() if t.user_attrs[FITS]}
        if not fitting:
            raise self._nothing()
        return [self._found(parse_scheme(text)) for text in _undominated(fitting)]

    def workers(self) -> dict[str, int]:
        """Trials by worker."""
        return dict(Counter(t.user_attrs[WORKER] for t in self._trials()))

    def done(self) -> int:
        return len(self._trials())

    def _trials(self) -> list[FrozenTrial]:
        return self.shared.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _evaluate(self, trial: Trial) -> tuple[float, int, int]:
        params: dict[str, Any] = {"biases": trial.suggest_int("biases", 0, self.gains.most_biases)}
        params |= {str(i): trial.suggest_categorical(str(i), CHOICES) for i in sorted(self.gains.weights)}
        shares = {i: Fraction(params[str(i)]) for i in sorted(self.gains.weights)}
        found = self._found(Scheme(params["biases"], {i: share for i, share in shares.items() if share}))
        over = self._excess(found.cost)
        for name, excess in over.items():
            trial.set_constraint(name, excess)
        trial.set_user_attr(SCHEME, str(found.scheme))
        trial.set_user_attr(FITS, max(over.values()) <= 0)
        return found.gain, found.cost.memory(self.search.measure), found.cost.instructions

    def _push(self, _: optuna.Study, trial: FrozenTrial) -> None:
        about = trial.user_attrs | {WORKER: self._worker}
        attrs = dict(trial.system_attrs)
        self.shared.add_trial(create_trial(values=trial.values, user_attrs=about, system_attrs=attrs))

    def _pull(self) -> int:
        """Take over what other workers, and earlier runs, found; how many trials there are."""
        trials = self._trials()
        for trial in trials[self._seen :]:
            if trial.user_attrs[WORKER] != self._worker:
                self._own.add_trial(self._with_params(trial))
        self._seen = len(trials)
        return len(trials)

    def _params(self, scheme: Scheme) -> dict[str, Any]:
        shares = {str(i): str(scheme.weights.get(i, 0)) for i in sorted(self.gains.weights)}
        return {"biases": scheme.biases, **shares}

    def _with_params(self, trial: FrozenTrial) -> FrozenTrial:
        params = self._params(parse_scheme(trial.user_attrs[SCHEME]))
        kinds: dict[str, BaseDistribution] = {name: CategoricalDistribution(CHOICES) for name in params}
        kinds["biases"] = IntDistribution(0, self.gains.most_biases)
        attrs = dict(trial.system_attrs)
        return create_trial(values=trial.values, params=params, distributions=kinds, system_attrs=attrs)

    def _found(self, scheme: Scheme) -> Found:
        gain = self.gains.of(scheme)
        assert gain is not None
        return Found(scheme, gain, self.costs.of(scheme))

    def _excess(self, cost: Cost) -> dict[str, float]:
        """By what share a cost is over the budgets; at most 0 where it is not."""
        over = {"memory": cost.memory(self.search.measure) / self.search.memory - 1}
        if self.search.measure == "ram":
            over["board"] = 0.0 if cost.fits else 1.0
        if self.search.instructions:
            over["instructions"] = cost.instructions / self.search.instructions - 1
        return over

    def _nothing(self) -> UserError:
        least = self.costs.of(Scheme(0))
        memory = least.memory(self.search.measure)
        what = f"no scheme fits; the head alone takes {memory:,} bytes, {least.instructions:,} instructions"
        return UserError(what, "--budget, --instructions", "give larger budgets, or more --trials")

    def _opened(self, url: str) -> tuple[optuna.Study, bool]:
        """The shared study, and whether this worker made it."""
        try:
            backend = _backend(url)
            study = optuna.create_study(study_name=STUDY, storage=backend, directions=DIRECTIONS)
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=STUDY, storage=backend)
            self._check(study, url)
            return study, False
        except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
            what = f"cannot open the storage ({str(error).splitlines()[0]})"
            raise UserError(what, f"--storage {url}", "write sqlite:///search.db, mysql://...") from None
        study.set_user_attr(SETTINGS, asdict(self.search))
        return study, True

    def _check(self, study: optuna.Study, storage: str) -> None:
        deadline = time.monotonic() + WAIT
        while SETTINGS not in study.user_attrs and time.monotonic() < deadline:
            time.sleep(0.1)
        found = study.user_attrs.get(SETTINGS, {})
        for name, wanted in asdict(self.search).items():
            if found.get(name) != wanted:
                what = f"the storage holds another search ({name} = {found.get(name)}, not {wanted})"
                fix = "give another --storage, or the settings it was begun with"
                raise UserError(what, f"--storage {storage}", fix)

    def _study(self, seed: int | None) -> optuna.Study:
        sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
        study = optuna.create_study(sampler=sampler, directions=DIRECTIONS)
        missing = POPULATION if self.done() < POPULATION else 0
        for scheme in generation(self.gains, self.costs.forward, self._most(), missing, seed):
            study.enqueue_trial(self._params(scheme))
        return study

    def _most(self) -> int:
        """The largest analytic memory of interest."""
        if self.search.measure == "analytic":
            return self.search.memory
        every = Scheme(self.gains.most_biases, dict.fromkeys(self.gains.weights, Fraction(1)))
        return min(self.search.memory, analytic_memory(self.costs.forward, every))


def _backend(url: str) -> RDBStorage:
    if not url.startswith("sqlite"):
        return RDBStorage(url)
    backend = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})

    # Waiting for the disk at each trial would take longer than the trial; only a power cut loses any.
    def no_waiting(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(backend.engine, "connect", no_waiting)
    backend.engine.dispose()
    return backend


def _undominated(found: Mapping[str, Sequence[float]]) -> list[str]:
    """Those that no other one equals or beats in gain, memory and instructions; the largest gain first."""
    kept: list[tuple[str, Sequence[float]]] = []
    for text, (_, *costs) in sorted(found.items(), key=lambda pair: (-pair[1][0], *pair[1][1:])):
        if not any(all(a <= b for a, b in zip(k, costs, strict=True)) for _, k in kept):
            kept.append((text, costs))
    return [text for text, _ in kept]

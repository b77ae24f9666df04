"""Which trial comes next: one that a user asked for, or the sampler's next proposal; and under which seed."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError, TrialError
from reports.records import TrialState
from search_spaces.space import Value
from study.active import ActiveTrial
from study.control import Enqueue, consume, reject
from study.plan import StudyPlan
from study.sampler_config import DesignConfig
from study.trial_store import TrialStore
from study.trials import TrialSummary, Wish
from study.workspace import StudyFolder, write_json

MOST_AHEAD = 32


class AskAhead:
    """Asks beside the event loop, where a sampler that looks at thousands of trials takes long.

    One trial is kept ahead, and more where more slots are free at once: those are started without delay, so that what
    they were proposed from is as new as it could be.

    Args:
        ask: makes a trial.
        more: whether another one is wanted.
    """

    def __init__(self, ask: Callable[[], ActiveTrial], *, more: Callable[[], bool]) -> None:
        self._ask = ask
        self._more = more
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ask")
        self._asked: deque[ActiveTrial] = deque()
        self._asking: Future[None] | None = None
        self._wanted = 1

    @property
    def is_under_way(self) -> bool:
        """Whether a trial was asked for that nobody has taken yet, or asking failed and nobody knows yet."""
        is_over = self._asking is None or (self._asking.done() and self._asking.exception() is None)
        return not is_over or bool(self._asked)

    def take(self, *, num_free: int = 1) -> ActiveTrial | None:
        """The next trial if it is there; those after it are asked for at once.

        Args:
            num_free: slots that wait for a trial.
        """
        self._wanted = min(max(1, num_free), MOST_AHEAD)
        if self._asking is not None and self._asking.done():
            asking, self._asking = self._asking, None
            asking.result()
        trial = self._asked.popleft() if self._asked else None
        if self._asking is None and len(self._asked) < self._wanted and self._more():
            self._asking = self._pool.submit(self._ask_some)
        return trial

    def close(self) -> list[ActiveTrial]:
        """The trials that nobody has taken: they are on record, and must not be lost."""
        self._pool.shutdown(wait=True)
        if self._asking is not None:
            self._asking.result()
            self._asking = None
        return list(self._asked)

    def stop(self) -> None:
        """Asks no more; trials that nobody has taken are left to the next coordinator."""
        self._wanted = 0
        self._pool.shutdown(wait=True)

    def _ask_some(self) -> None:
        """One by one, since only a trial that exists counts against the budget."""
        while len(self._asked) < self._wanted and self._more():
            self._asked.append(self._ask())


class Asking:
    """Makes trials within a study's budget; those that a user asked for come first and do not count against it."""

    def __init__(self, plan: StudyPlan, *, folder: StudyFolder, store: TrialStore) -> None:
        self._plan = plan
        self._folder = folder
        self._store = store
        self._commands: deque[tuple[str, Enqueue]] = deque()
        self._taken: set[str] = set()  # names of commands that are queued here, or whose trial exists
        self._retried: set[int] = set()  # failed trials whose retry is queued here, or exists
        self._replicates: Counter[str] = Counter()  # configuration hash -> how often it was started
        self._num_own = 0
        self.num_asked = 0  # trials that exist, whoever asked for them

    def has_more(self) -> bool:
        """Whether there is anything left to ask for."""
        return bool(self._commands) or (self._num_own < self._plan.config.trials and not self._store.is_exhausted)

    def know_all(
        self, known: Iterable[tuple[TrialSummary, TrialConfig]], *, unstarted: Iterable[TrialSummary] = ()
    ) -> None:
        """Counts trials that exist already; those that were not started yet are counted when they are."""
        for summary, config in known:
            self._count(config, is_own=not summary.command, is_retry=summary.retry_of is not None)
            self._strike_off(summary)
        for summary in unstarted:
            self._strike_off(summary)

    def _strike_off(self, asked: TrialSummary) -> None:
        """The command that a trial carries out is not carried out again; its coordinator may have died before that."""
        if asked.retry_of is not None:
            self._retried.add(asked.retry_of)
        if asked.command:
            self._taken.add(asked.command)
            consume(self._folder, asked.command)

    def queue(self, name: str, command: Enqueue) -> str:
        """Takes note of what a user asked for; the same command twice is taken once.

        Returns:
            "", or why it cannot be carried out, since the search space has changed or somebody else asked for the same
            retry. It is set aside then.
        """
        if name in self._taken:
            return ""
        self._taken.add(name)
        try:
            params = self._checked(command)
        except ConfigError as error:
            return f"{reject(self._folder, name)} is set aside: {error}"
        if command.retry_of is not None:
            self._retried.add(command.retry_of)
        self._commands.append((name, command.model_copy(update={"params": params})))
        return ""

    def _checked(self, command: Enqueue) -> dict[str, Value]:
        """The values to try, as the present space has them."""
        space, base = self._plan.space, self._plan.config.trial.model_dump(mode="json")
        if command.retry_of is None:
            space.check_values(command.params)
            space.apply(base, command.params)
            return command.params
        if command.retry_of in self._retried:
            raise ConfigError(f"trial {command.retry_of} is tried again already.")
        first = next((each for each in self._store.trials() if each.number == command.retry_of), None)
        if first is None or not first.fits:
            raise ConfigError(
                f"trial {command.retry_of} does not fit search space {space.name} and is not tried again."
            )
        return first.params

    def next(self) -> ActiveTrial:
        """A new trial, on record in Optuna and in its own folder."""
        name, command = self._commands[0] if self._commands else ("", Enqueue(params={}))
        wish = Wish(name=name, **command.model_dump(exclude={"kind"})) if name else self._designed()
        asked = self._store.ask(wish)
        trial = self.start(asked)
        if name and asked.command == name:  # not so where a proposal had to wait for its database meanwhile
            self._commands.popleft()
            consume(self._folder, name)
        return trial

    def _designed(self) -> Wish | None:
        """The next arm of a design, under the seed that all arms share in this round; None for other samplers."""
        sampler = self._plan.config.sampler
        if not isinstance(sampler, DesignConfig):
            return None
        replicate, place = divmod(self._num_own, len(sampler.arms))
        return Wish(name="", params=sampler.arms[place].params, seed=self._plan.config.seed + replicate)

    def start(self, asked: TrialSummary) -> ActiveTrial:
        """Freezes the configuration of a trial that Optuna knows.

        Raises:
            TrialError: the space has proposed what is no configuration; the trial has failed.
        """
        base = self._plan.config.trial.model_dump(mode="json")
        try:
            config = self._plan.space.apply(base, asked.params)
        except ConfigError as error:  # the space's corners were sound: more than two values do not go together
            self._store.tell(asked.number, TrialState.FAILED, value=None)  # or every sweep would end here
            raise TrialError(
                f"trial {asked.number} cannot be: {error} Give one of these a when in space {self._plan.space.name}, "
                "or run the same command again: it goes on with other proposals."
            ) from None
        config = config.model_copy(update={"seed": self._seed(config, asked)})
        trial = ActiveTrial(number=asked.number, config=config, folder=self._folder.trial(asked.number))
        write_json(trial.folder.config, config.model_dump(mode="json"), sync=True)
        self._count(config, is_own=not asked.command, is_retry=asked.retry_of is not None)
        return trial

    def _seed(self, config: TrialConfig, asked: TrialSummary) -> int:
        """A configuration that comes again is a replicate under the next seed, unless a user chose one."""
        if asked.seed is not None:
            return asked.seed
        return self._plan.config.seed + self._replicates[config.configuration_hash()]

    def _count(self, config: TrialConfig, *, is_own: bool, is_retry: bool) -> None:
        self._replicates[config.configuration_hash()] += 0 if is_retry else 1
        self._num_own += is_own
        self.num_asked += 1

"""What the client offers beside tasks: datasets, metadata, events, logs, plugins, files.

Here are the methods; what they do lives with the other halves in :mod:`distributed.coordination`, loaded at first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distributed.client.options import worker_names
from distributed.core.extensions import Extensions

if TYPE_CHECKING:
    from distributed.client.session import Session

#: Stands for "raise KeyError".
NO_DEFAULT = "__no_default__"


class ServicesMixin:
    """The part of ``Client`` that is about the network's own services."""

    id: str
    _session: Session
    sync: Callable[..., Any]
    order: Callable[..., Any]
    extensions: Extensions
    #: Topics whose events the scheduler sends to this client, told to it at every registration.
    topics: dict[str, None]
    #: Calls that a scheduler is told again when this client registers anew, by what they are about: leases it holds.
    held: dict[str, tuple[str, dict[str, Any]]]
    #: Plugins that this client has registered, by kind and name, as another scheduler at the address is told of them.
    plugins_told: dict[tuple[str, str], dict[str, Any]]
    #: Address of the worker whose tasks this client serves, or "".
    worker_address: str = ""

    @classmethod
    def for_worker(cls, worker_address: str, *args: Any, **kwargs: Any) -> Any:
        """A client that a worker makes for its tasks; arguments as usual."""
        client = cls.__new__(cls)
        client.worker_address = worker_address
        client.__init__(*args, **kwargs)  # type: ignore[misc]
        return client

    def _on_event(self, topic: str, data: Any) -> None:
        """An event of the scheduler's, on the loop."""
        if topic == "event":
            self.extensions["topics"].on_event(data)

    # ------------------------------------------------------------ datasets

    def publish_dataset(self, *args: Any, name: Any = None, override: bool = False, **kwargs: Any) -> Any:
        """Give data a name under which every client finds it, also after this one is gone.

        Parameters
        ----------
        *args : object or dict
            The data, with ``name``; or a dictionary of several by their names.
        name : str, optional
        override : bool, default False
            Replace what has this name already.
        **kwargs : object
            Data by name.

        Raises
        ------
        KeyError
            There is one of this name.

        Examples
        --------
        >>> client.publish_dataset(df, name="accounts")  # doctest: +SKIP
        >>> client.publish_dataset(accounts=df)  # doctest: +SKIP
        """
        return self.order(self.extensions["publish"].publish, args, name, override, kwargs)

    def unpublish_dataset(self, name: Any, **kwargs: Any) -> Any:
        """Forget a published dataset."""
        return self.order(self.extensions["publish"].unpublish, name, **kwargs)

    def list_datasets(self, **kwargs: Any) -> Any:
        """Names of the published datasets."""
        return self.sync(self.extensions["publish"].names, **kwargs)

    def get_dataset(self, name: Any, default: Any = NO_DEFAULT, **kwargs: Any) -> Any:
        """The published dataset of this name; ``default`` or a KeyError if there is none."""
        return self.sync(self.extensions["publish"].get, name, default, **kwargs)

    @property
    def datasets(self) -> Any:
        """The published datasets as a dictionary."""
        from importlib import import_module

        return import_module("distributed.coordination.datasets").Datasets(self)

    # ------------------------------------------------------------ metadata

    def get_metadata(self, keys: Any, default: Any = NO_DEFAULT) -> Any:
        """An entry of the scheduler's dictionary of metadata.

        Parameters
        ----------
        keys : str or list of str
            A key, or a path of keys into nested dictionaries.
        default : optional
            Default: a KeyError.
        """
        given = {} if isinstance(default, str) and default == NO_DEFAULT else {"default": default}
        return self.sync(self._session.call, "get_metadata", keys=_path(keys), **given)

    def set_metadata(self, key: Any, value: Any) -> Any:
        """Set an entry of the scheduler's dictionary of metadata; ``key`` is a key or a path of keys."""
        return self.order(self._session.call, "set_metadata", keys=_path(key), value=value)

    # ------------------------------------------------------------ events and logs

    def log_event(self, topic: Any, msg: Any) -> Any:
        """Log an event under a topic, or under several. ``msg`` is made of plain Python values."""
        names = topic if isinstance(topic, str) else list(topic)
        return self.order(self._session.call, "log_event", topic=names, msg=msg)

    def get_events(self, topic: str | None = None) -> Any:
        """The logged events of a topic, pairs of time and message; a dictionary by topic if none is named."""
        return self.sync(self._get_events, topic)

    async def _get_events(self, topic: str | None) -> Any:
        events = await self._session.call("events", topic=topic)
        if topic is not None:
            return tuple(tuple(event) for event in events)
        return {name: tuple(tuple(event) for event in entries) for name, entries in events.items()}

    def subscribe_topic(self, topic: str, handler: Callable[[Any], Any]) -> Any:
        """Call ``handler((time, msg))``, a function or coroutine function, for every new event of a topic.

        Examples
        --------
        >>> client.subscribe_topic("progress", print)  # doctest: +SKIP
        """
        return self.order(self.extensions["topics"].subscribe, topic, handler)

    def unsubscribe_topic(self, topic: str) -> Any:
        """Undo :meth:`subscribe_topic`. Raises ValueError where there was none."""
        return self.order(self.extensions["topics"].unsubscribe, topic)

    def forward_logging(self, logger_name: str | None = None, level: int | str = 0) -> Any:
        """Hand what this logger of the workers says (default: all) to the same logger here."""
        return self.order(self.extensions["logs"].forward, logger_name, level)

    def unforward_logging(self, logger_name: str | None = None) -> Any:
        """Undo :meth:`forward_logging`."""
        return self.order(self.extensions["logs"].unforward, logger_name)

    def get_scheduler_logs(self, n: int | None = None) -> Any:
        """The last ``n`` (level, line) of the scheduler's log, newest first."""
        return self.sync(self.extensions["logs"].of_scheduler, n)

    def get_worker_logs(self, n: int | None = None, workers: Any = None, nanny: bool = False) -> Any:
        """The last ``n`` (level, line) of each worker's (or nanny's) log, newest first, by address."""
        return self.sync(self.extensions["logs"].of_workers, n, _names(workers), nanny)

    def get_task_stream(
        self,
        start: Any = None,
        stop: Any = None,
        count: int | None = None,
        plot: Any = False,
        filename: str = "task-stream.html",
        bokeh_resources: Any = None,
    ) -> Any:
        """Which tasks ran when and where. The scheduler remembers them from the first call of this on, for this client.

        Parameters
        ----------
        start, stop : float or str, optional
            Ended between these times: seconds since the epoch, or a text such as "5s" for so long ago.
        count : int, optional
            At most so many.
        plot : "save", optional
            Write a page that shows them. A figure of Bokeh (True) is not available: NotImplementedError.
        filename : str
            Where.
        bokeh_resources
            Accepted, without a meaning: the page needs nothing else.

        Returns
        -------
        list of dict
            One a task: ``key worker thread status startstops nbytes type``.
        """
        if plot and plot != "save":
            raise NotImplementedError(
                "get_task_stream cannot draw figures of Bokeh; plot='save' writes a page, and the data is returned"
            )
        return self.sync(self._get_task_stream, filename if plot else None, start, stop, count)

    async def _get_task_stream(self, filename: str | None, start: Any, stop: Any, count: int | None) -> Any:
        records = await self._session.call(
            "get_task_stream", start=start, stop=stop, count=count, client=self.id
        )
        if filename is not None:
            await self.extensions["pages"].write_stream(filename, records)
        return records

    def profile(
        self,
        key: str | None = None,
        start: float | None = None,
        stop: float | None = None,
        workers: Any = None,
        merge_workers: bool = True,
        plot: Any = False,
        filename: str | None = None,
        server: bool = False,
        scheduler: bool = False,
    ) -> Any:
        """Where tasks spend their time: a tree of counts, by looking at the workers' threads many times a second.

        Workers look from the first call of this on; the first call takes as long as one cycle (one second).

        Parameters
        ----------
        key : str, optional
            Only tasks of functions of this name.
        start, stop : float, optional
            Seconds since the epoch.
        workers : iterable of str, optional
        merge_workers : bool, default True
            One tree of all workers, else a dictionary by address.
        filename : str, optional
            Write a page that shows it, too.
        plot : "save", optional
            The same, to ``filename`` or else ``dask-profile.html``. A figure of Bokeh (True) is not available.
        server, scheduler
            Known to users of the field. Profiles of event loops are not available here (``performance_report`` has that
            of the scheduler): NotImplementedError.

        Returns
        -------
        dict
            ``count identifier description children``; see :mod:`distributed.diagnostics.profile`.
        """
        if server or scheduler or (plot and plot != "save"):
            raise NotImplementedError(
                "profile counts tasks; plot=True, server= and scheduler= are not available, filename= writes a page"
            )
        if (plot or filename) and not merge_workers:
            raise ValueError("a page shows one profile: filename= needs merge_workers=True")
        return self.sync(
            self._profile,
            filename or ("dask-profile.html" if plot else None),
            key=key,
            start=start,
            stop=stop,
            workers=_names(workers),
            merge_workers=merge_workers,
        )

    async def _profile(self, filename: str | None, **kwargs: Any) -> Any:
        profile = await self._session.call("profile", **kwargs)
        if filename is not None:
            await self.extensions["pages"].write_profile(filename, profile)
        return profile

    # ------------------------------------------------------------ plugins and files

    def register_plugin(self, plugin: Any, name: str | None = None, idempotent: bool | None = None) -> Any:
        """Install a plugin in the scheduler, in all workers or in all nannies, also in those that come later.

        Parameters
        ----------
        plugin : SchedulerPlugin, WorkerPlugin or NannyPlugin
        name : str, optional
            Default: the plugin's own ``name``, else one made from its class. One of the same name is replaced.
        idempotent : bool, optional
            Do nothing where there is one of this name. Default: what the plugin says.
        """
        return self.order(self.extensions["plugins"].register, plugin, name, idempotent)

    def register_worker_plugin(self, plugin: Any, name: str | None = None, nanny: bool | None = None) -> Any:
        """The older name of :meth:`register_plugin` for plugins of workers and nannies."""
        return self.register_plugin(plugin, name)

    def register_scheduler_plugin(
        self, plugin: Any, name: str | None = None, idempotent: bool | None = None
    ) -> Any:
        """The older name of :meth:`register_plugin` for plugins of the scheduler."""
        return self.register_plugin(plugin, name, idempotent)

    def unregister_worker_plugin(self, name: str, nanny: bool | None = None) -> Any:
        """Remove a plugin from all workers (or nannies). Raises ValueError when there is none of this name."""
        return self.order(self.extensions["plugins"].unregister, "nanny" if nanny else "worker", name)

    def unregister_scheduler_plugin(self, name: str) -> Any:
        """Remove a plugin from the scheduler. Raises ValueError when there is none of this name."""
        return self.order(self.extensions["plugins"].unregister, "scheduler", name)

    def register_worker_callbacks(self, setup: Callable[..., Any] | None = None) -> Any:
        """Call ``setup`` in every worker, now or when it joins; a parameter ``dask_worker`` gets the worker."""
        return self.order(self.extensions["plugins"].register_setup, setup)

    def upload_file(self, filename: str, load: bool = True) -> Any:
        """Copy a .py, .zip or .egg file to all workers, also those that come later, and import it there.

        Parameters
        ----------
        filename : str
        load : bool, default True
            Import it now.

        Returns
        -------
        dict
            By worker's address: ``{"status": "OK"}``.
        """
        return self.order(self.extensions["plugins"].upload_file, filename, load)


def _path(keys: Any) -> list[Any]:
    return list(keys) if isinstance(keys, list | tuple) else [keys]


def _names(workers: Any) -> list[str] | None:
    return None if workers is None else list(worker_names(workers))

"""The graph and the programs of one network, kept in a cache."""

import json
import logging
from collections.abc import Callable, Mapping
from hashlib import sha256

from distilpose.model.files.cache import FileCache, forget_pages
from distilpose.model.runtime.openvino import graphs

logger = logging.getLogger(__name__)


class Kept:
    """A network in a cache, told from all others by its `identity`.

    Its graph serves every CPU; a program only the kind of CPU that compiled it.
    """

    def __init__(self, cache: FileCache, identity: Mapping[str, object]) -> None:
        self._cache = cache
        self._identity = {**identity, "openvino": graphs.version()}
        self._views: list[memoryview] = []

    def has_graph(self, what: Mapping[str, object]) -> bool:
        """Return True if a graph is there for `what`, so that the network once was converted."""
        return all(self._cache.has(key) for key in self._graph_keys(what))

    def graph(
        self, what: Mapping[str, object], convert: Callable[[], graphs.Graph]
    ) -> graphs.Graph:
        """The graph that is kept for `what`, or else the converted one, kept from now on."""
        keys = self._graph_keys(what)
        views = [view for key in keys if (view := self._cache.get(key))]
        if len(views) == len(keys):
            try:
                return graphs.from_bytes(*map(bytes, views))
            except RuntimeError as err:  # OpenVINO's failures have no base of their own
                _complain(err)
        graph = convert()
        for key, data in zip(keys, graphs.to_bytes(graph), strict=True):
            self._cache.put(key, data)
        return graph

    def program(
        self, what: Mapping[str, object], options: Mapping[str, object]
    ) -> graphs.Program | None:
        """The program that is kept for `what`, if there is one; several threads may ask at once."""
        if not (view := self._cache.get(self._program_key(what))):
            return None
        try:
            program = graphs.restored(view, options)
        except RuntimeError as err:
            _complain(err)
            return None
        self._views.append(view)  # from which the program reads
        forget_pages(view)  # most of it is elsewhere now, in the order that the CPU likes
        return program

    def keep(self, what: Mapping[str, object], program: graphs.Program) -> None:
        """Keep the program for `what` from now on."""
        self._cache.put(self._program_key(what), graphs.stored(program))

    def _graph_keys(self, what: Mapping[str, object]) -> tuple[str, ...]:
        return tuple(self._key({"graph": what, "part": part}) for part in ("graph", "weights"))

    def _program_key(self, what: Mapping[str, object]) -> str:
        return self._key({"program": what, **graphs.cpu()})

    def _key(self, what: Mapping[str, object]) -> str:
        return key_of({**self._identity, **what})


def _complain(err: RuntimeError) -> None:
    reason = " ".join(str(err).split())
    logger.warning("a network in the cache is of no use, and is made again: %s", reason)


def key_of(identity: Mapping[str, object]) -> str:
    """The key of what `identity` tells from all else."""
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

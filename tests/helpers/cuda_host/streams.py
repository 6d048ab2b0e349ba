"""Streams, events, graphs and memory pools of the stand-in."""

import contextlib
import weakref
from typing import ClassVar


class Stream:
    """As `cupy.cuda.Stream`, with work that runs as soon as it is issued.

    While a graph is captured nothing runs, and a graph runs when its stream is waited for. Work in
    another stream than the default one fails unless that stream has waited for what the default one
    was given before.
    """

    capturing: ClassVar = None
    entered: ClassVar = []
    waiting: ClassVar = []  # streams with graphs that have not run
    issued: ClassVar = 0  # how much the default stream has been given

    def __init__(self, non_blocking=False):
        self.seen, self.graphs = 0, []

    @staticmethod
    def current():
        return Stream.entered[-1] if Stream.entered else Stream.default

    @staticmethod
    def finish_all():
        for stream in list(Stream.waiting):
            stream.synchronize()

    def __enter__(self):
        Stream.entered.append(self)
        return self

    def __exit__(self, *error):
        Stream.entered.pop()

    def issue(self):
        """Work that starts now."""
        self.run_graphs()
        if self is Stream.default:
            Stream.issued += 1
        else:
            assert self.has_seen(Stream.issued), "the default stream may still be at work"

    def has_seen(self, issued):
        """Whether the default stream's first `issued` pieces of work are over for this stream."""
        return max(self.seen, Stream.default.seen) >= issued

    def run_graphs(self):
        """Run the graphs that were launched: the stream has reached them."""
        graphs, self.graphs = self.graphs, []
        for graph in graphs:
            for operation in graph.operations:
                operation()
        if self in Stream.waiting:
            Stream.waiting.remove(self)

    def synchronize(self):
        assert Stream.capturing is None
        self.run_graphs()
        if self is Stream.default:
            Stream.default.seen = Stream.issued

    def begin_capture(self):
        Stream.capturing = []

    def end_capture(self):
        graph, Stream.capturing = Graph(Stream.capturing), None
        return graph

    def record(self):
        event = Event()
        event.record(self)
        return event

    def wait_event(self, event):
        self.seen = max(self.seen, event.issued)


Stream.default = Stream()


class Event:
    """As `cupy.cuda.Event`."""

    issued = 0

    def record(self, stream):
        self.issued = Stream.issued if stream is Stream.default else stream.seen

    def synchronize(self):
        pass


class Graph:
    """As `cupy.cuda.Graph`."""

    def __init__(self, operations):
        self.operations = operations

    def launch(self, stream):
        assert stream.has_seen(Stream.issued), "the default stream may still be at work"
        stream.graphs.append(self)
        if stream not in Stream.waiting:
            Stream.waiting.append(stream)


class MemoryPool:
    """As `cupy.cuda.MemoryPool`, but `free_all_blocks` frees what is in use too: nothing should be.

    Memory that was freed, or whose pool is gone, has no guards any more.
    """

    current: ClassVar = None

    def __init__(self):
        self.blocks = []  # (weak reference to the memory of an array, bytes)
        weakref.finalize(self, MemoryPool._end, self.blocks)

    def malloc(self, size):
        raise NotImplementedError

    def total_bytes(self):
        return sum(size for _, size in self.blocks)

    def free_all_blocks(self):
        MemoryPool._end(self.blocks)

    @staticmethod
    def _end(blocks):
        for block, _ in blocks:
            if block() is not None:
                block()[:] = 0
        blocks.clear()


@contextlib.contextmanager
def using_allocator(allocator):
    """As `cupy.cuda.using_allocator`, for the `malloc` of a `MemoryPool`."""
    MemoryPool.current = allocator.__self__
    try:
        yield
    finally:
        MemoryPool.current = None

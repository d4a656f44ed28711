"""An event loop in a thread of its own, for callers without async: each call waits until its work has ended.

Nobody waits for a loop that has ended. Where a handler ends the plugin, by `sys.exit()`, whoever waits hears that, and
in any case the main thread, for that is the one which ends a program.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from .errors import CloudlinkError
from .handlers import Leaving

_log = logging.getLogger("cloudlink")

T = TypeVar("T")

#: How long work that is cancelled may take to end, in seconds.
_TIDYING = 5.0
_SIGNALS_WAIT = 0.5


class LoopThread:
    def __init__(self) -> None:
        #: How a handler ended the plugin.
        self.end: SystemExit | KeyboardInterrupt | None = None
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._is_over = False
        #: Who waits, and in which thread.
        self._waiting: dict[threading.Event, int | None] = {}
        self._main_knows = False
        self._thread = threading.Thread(target=self._serve, name="cloudlink", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for the work. Whoever is interrupted meanwhile, as by Ctrl+C, leaves it cancelled, and ended."""
        if threading.current_thread() is self._thread:
            work.close()
            raise CloudlinkError("an async handler can't wait for a blocking link: make it a plain function")
        ended = threading.Event()
        with self._lock:
            is_over = self._is_over
            if not is_over:
                self._waiting[ended] = threading.get_ident()
        if is_over:
            work.close()
            raise self._refusal()
        tasks: list[asyncio.Task[T]] = []

        def settle(task: asyncio.Task[T]) -> None:
            if not task.cancelled():
                # Not every outcome is waited for: an exit or an interrupt goes before it.
                task.exception()
            ended.set()

        def begin() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(settle)

        def cancel() -> None:
            if tasks:
                tasks[0].cancel()
            else:
                # The interrupt came before `begin` was handed over.
                ended.set()

        try:
            # Where the loop has closed just now, it does not wait either.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(begin)
            while not ended.wait(_SIGNALS_WAIT):
                # A signal that came just before the wait is looked at between two.
                pass
        except BaseException:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(cancel)
                ended.wait(_TIDYING)
            if not tasks:
                work.close()
            raise
        finally:
            with self._lock:
                del self._waiting[ended]
                has_end = self.end is not None
        if has_end or not tasks or not tasks[0].done() or tasks[0].cancelled():
            work.close()
            raise self._refusal()
        try:
            return tasks[0].result()
        except Leaving as leaving:
            raise leaving.end from None

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Does the last work, and ends."""
        self._note_main_thread()
        try:
            self.run(last)
        except (CloudlinkError, SystemExit, KeyboardInterrupt):
            if not self._is_over:
                raise
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIDYING)

    def _refusal(self) -> BaseException:
        self._note_main_thread()
        return CloudlinkError("this link is closed") if self.end is None else type(self.end)(*self.end.args)

    def _note_main_thread(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._main_knows = True

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
            self._is_now_over(None)
        except (SystemExit, KeyboardInterrupt) as end:
            self._is_now_over(end)
        self._tidy()
        with self._lock:
            for ended in self._waiting:
                ended.set()
        if self.end is not None and not self._main_knows:
            _interrupt_main_thread()

    def _is_now_over(self, end: SystemExit | KeyboardInterrupt | None) -> None:
        with self._lock:
            self.end, self._is_over = end, True
            # Whoever waits hears of it at the end of the wait.
            self._main_knows = self._main_knows or threading.main_thread().ident in self._waiting.values()

    def _tidy(self) -> None:
        """Cancels what is left, lets it end, and closes the loop."""
        # What was to begin just now begins, and is cancelled with the rest.
        self._until(asyncio.sleep(0))
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._until(asyncio.wait(tasks, timeout=_TIDYING))
        self._until(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _until(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            self._loop.run_until_complete(work)
        except (SystemExit, KeyboardInterrupt):
            # Another one that ends what has ended.
            work.close()
        except Exception:
            _log.exception("the link did not close in order")


def _interrupt_main_thread() -> None:
    """As Ctrl+C does, for a thread that waits for anything else can be reached by a signal only."""
    if not hasattr(signal, "pthread_kill"):
        _thread.interrupt_main()
        return
    # A shell that starts something in the background has it ignore Ctrl+C.
    usable = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) is not signal.SIG_IGN]
    main = threading.main_thread().ident
    if usable and main is not None:
        signal.pthread_kill(main, usable[0])

"""Blocking work beside the event loop, each piece in a thread of its own.

Not in a pool: handlers that wait for calls to the server could take all of its threads, and none would be left for the
calls. And the threads are daemons, so that a program that ends need not wait for a handler that does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from typing import Any, Callable, TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        elif isinstance(error, StopIteration):
            # A future takes none.
            done.set_exception(RuntimeError("the function raised StopIteration"))
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = context.run(function, *args)
        except BaseException as raised:
            error = raised
        # Nobody waits any more where the loop has ended.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True, name=getattr(function, "__name__", "cloudlink")).start()
    return await done

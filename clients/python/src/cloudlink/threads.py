"""Where blocking work is done. Calls to the server have threads of their own, so that handlers that wait for such calls
can't take all of them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Callable, TypeVar

T = TypeVar("T")

_CALLS = ThreadPoolExecutor(8, "cloudlink-call")
#: A few links at once, each with its events and its requests.
_HANDLERS = ThreadPoolExecutor(64, "cloudlink-handler")


async def call_server(function: Callable[..., T], *args: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_CALLS, partial(function, *args))


async def call_handler(function: Callable[..., T], *args: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_HANDLERS, partial(function, *args))

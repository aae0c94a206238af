"""Jobs of one connection, which end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def until_one_ends(*jobs: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Let jobs go on side by side until one of them has ended; the others are cancelled, and have ended too.

    Returns
    -------
    asyncio.Task
        The one that ended by itself; the first of them in the order given.
    """
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return next(task for task in tasks if task in done)

"""Opening the artefact store: connecting to a remote one may take long, or wait for one that is away."""

import asyncio
from functools import partial

from detector.model.artefact import ArtefactStore
from detector.model.store_errors import StoreError
from streamer.masking import masked
from streamer.patience import patiently
from streamer.settings import CommonSettings


def store_name(uri: str) -> str:
    """The store as logs and errors name it."""
    return masked(f"artefact store {uri}")


async def open_store(settings: CommonSettings) -> ArtefactStore:
    """The configured store, however long it is away. Raises ConfigError when its address cannot be one."""
    uri = settings.store_uri()
    opening = partial(asyncio.to_thread, ArtefactStore, uri, settings.state_dir / "cache")
    return await patiently(store_name(uri), opening, (StoreError,))

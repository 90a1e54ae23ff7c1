"""Differences between versions of the client, which use requests below 1.0 and httpx or httpx2 since."""

import huggingface_hub
from huggingface_hub import utils

MAJOR = int(huggingface_hub.__version__.split(".")[0])
close_session = utils.reset_sessions if MAJOR < 1 else utils.close_session
KEEPS_PARTS = MAJOR < 2
"""Whether what was had of a download stays in the cache, to go on from."""
PATIENCE = 45 if MAJOR < 2 else 15
"""Seconds within which a loader must fail; older clients wait half a minute after "too many requests"."""

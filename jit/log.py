"""The one logger, `wavejit`. A server's own configuration decides where its lines go."""

from __future__ import annotations

import logging

from wavejit.jit import env
from wavejit.jit.errors import WavejitError

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def logger() -> logging.Logger:
    """The logger; WAVEJIT_LOG sets its level and, where nobody listens, sends it to stderr."""
    log = logging.getLogger("wavejit")
    wanted = env.text("WAVEJIT_LOG").upper()
    if wanted:
        if wanted not in _LEVELS:
            raise WavejitError(f"WAVEJIT_LOG={wanted}: expected debug, info, warning or error")
        log.setLevel(wanted)
        if not log.hasHandlers():
            log.addHandler(logging.StreamHandler())
    return log

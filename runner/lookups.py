"""What many submissions ask alike, looked up once: EC2 answers 20 questions a second, and bursts bring thousands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from compiler.model import Platform
from compiler.version import analysis_version
from runner.cloud_values import Cloud

FRESH = timedelta(minutes=1)
"""How long an image that was found is taken for being there."""


class Lookups:
    """Facts about analyses, remembered for as long as the platform's files do not change."""

    def __init__(
        self,
        cloud: Cloud,
        digest: Callable[[Platform, str], str],
        *,
        clock: Callable[[], datetime],
        version: Callable[[Platform, str], str] = analysis_version,
    ) -> None:
        """Look images up in `cloud`; `digest` and `version` say what an analysis's files make of it now."""
        self._cloud, self._clock, self._digest, self._version = cloud, clock, digest, version
        self._lock = threading.Lock()
        self._platform: Platform | None = None
        self._digests: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        self._images: dict[str, tuple[str, datetime]] = {}

    def digest(self, platform: Platform, analysis: str) -> str:
        """Return the digest of an analysis's environment."""
        with self._lock:
            self._turn_to(platform)
            if analysis not in self._digests:
                self._digests[analysis] = self._digest(platform, analysis)
            return self._digests[analysis]

    def version(self, platform: Platform, analysis: str) -> str:
        """Return the version of an analysis."""
        with self._lock:
            self._turn_to(platform)
            if analysis not in self._versions:
                self._versions[analysis] = self._version(platform, analysis)
            return self._versions[analysis]

    def image(self, digest: str) -> str | None:
        """Return the image of an environment; one that is missing is looked for again each time."""
        with self._lock:
            known = self._images.get(digest)
            if known is not None and self._clock() - known[1] < FRESH:
                return known[0]
            found = self._cloud.find_image(digest)
            if found is not None:
                self._images[digest] = (found, self._clock())
            return found

    def _turn_to(self, platform: Platform) -> None:
        """Forget what was known of the files as they were before; reading them anew makes another value."""
        if platform is not self._platform:
            self._platform, self._digests, self._versions = platform, {}, {}

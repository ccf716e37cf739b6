"""What the choice of formats goes by: code sizes that are measured here, and less flash or fewer instructions."""

from __future__ import annotations

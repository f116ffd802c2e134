"""The generated corpus `studio`: drawn faces, source-filter voices, written sentences."""

from subtext.corpora.studio.corpus import Studio
from subtext.corpora.studio.plan import Nuisance

__all__ = ["Nuisance", "Studio"]

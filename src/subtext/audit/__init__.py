"""The audit: what would let a model look better than it is, found before anything is trained."""

from subtext.audit.findings import Audit, Finding
from subtext.audit.run import audit_corpus, audit_training, tell_alarms

__all__ = ["Audit", "Finding", "audit_corpus", "audit_training", "tell_alarms"]

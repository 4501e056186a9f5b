"""Every suite under its name in the recipe, in the order in which they are measured and shown."""

from __future__ import annotations

from collections.abc import Mapping

from surgery.verify.choice import CHOICE
from surgery.verify.drift import DRIFT
from surgery.verify.perplexity import PERPLEXITY
from surgery.verify.preference import PREFERENCE
from surgery.verify.refusal import OVERREFUSAL, REFUSAL
from surgery.verify.suite import Suite

SUITES: Mapping[str, Suite] = {
    "refusal": REFUSAL,
    "overrefusal": OVERREFUSAL,
    "choice": CHOICE,
    "drift": DRIFT,
    "perplexity": PERPLEXITY,
    "preference": PREFERENCE,
}

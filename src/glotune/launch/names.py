"""Names for jobs and buckets where the user gives none."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
from datetime import datetime


def default_name(recipe: str) -> str:
    """The recipe's name and the time, in the letters that every cloud allows."""
    words = re.sub(r"[^a-z0-9]+", "-", recipe.lower()).strip("-")
    start = words if words[:1].isalpha() else f"run-{words}"
    return f"{start[:36].rstrip('-')}-{datetime.now().strftime('%Y%m%d-%H%M')}"


def default_bucket() -> str:
    """One bucket for a user of a machine. Bucket names are the whole world's, so a hash keeps them apart."""
    user = getpass.getuser()
    mark = hashlib.sha256(f"{user}@{os.uname().nodename}".encode()).hexdigest()[:10]
    return f"glotune-{re.sub(r'[^a-z0-9]+', '-', user.lower()).strip('-')[:20]}-{mark}"

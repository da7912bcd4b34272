"""Names for jobs and buckets where the user gives none."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import secrets
from datetime import datetime


def default_name(recipe: str) -> str:
    """The recipe's name, the time and a mark, in the letters that every cloud allows.

    Two jobs of one name would share their place in the bucket, and the second go on with the first one's run.
    """
    words = re.sub(r"[^a-z0-9]+", "-", recipe.lower()).strip("-")
    start = words if words[:1].isalpha() else f"run-{words}"
    return f"{start[:31].rstrip('-')}-{datetime.now().strftime('%Y%m%d-%H%M')}-{secrets.token_hex(2)}"


def default_bucket() -> str:
    """One bucket for a user of a machine. Bucket names are the whole world's, so a hash keeps them apart."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry in the password file, as in a container
        user = str(os.getuid())
    mark = hashlib.sha256(f"{user}@{os.uname().nodename}".encode()).hexdigest()[:10]
    return f"glotune-{re.sub(r'[^a-z0-9]+', '-', user.lower()).strip('-')[:20]}-{mark}"

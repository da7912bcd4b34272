"""One commit to the Hub, with the Hub's own client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import get_token, validate_repo_id

from glotune.errors import RunError, UserError
from glotune.hub.files import Upload


@dataclass(frozen=True)
class Published:
    """What stands on the Hub now."""

    url: str
    commit: str
    is_private: bool


def check_repository(repository: str) -> None:
    """Refuses what is no ``USER/NAME``.

    Raises:
        UserError: with what the Hub accepts.
    """
    try:
        validate_repo_id(repository)
        if repository.count("/") != 1:
            raise HFValidationError("the user's name is missing")
    except HFValidationError as error:
        raise UserError(
            f"'{repository}' is no repository name ({str(error).splitlines()[0].rstrip('.')})",
            expected="USER/NAME, e.g. ada/humor-bangla, in letters, digits, '-', '_' and '.'",
        ) from error


def check_credentials() -> None:
    """Refuses to begin without a token; the Hub itself says whether it is a good one.

    Raises:
        UserError: none is set.
    """
    if not get_token():
        raise UserError(
            "there are no Hub credentials on this machine",
            expected="a token with write access",
            remedy="Log in with: hf auth login (or set HF_TOKEN)",
        )


def publish(
    repository: str, files: Sequence[Upload], *, public: bool, message: str, log: Callable[[str], None]
) -> Published:
    """Makes the repository where there is none and commits all files at once: it never stands there half.

    A repository that exists keeps its visibility.

    Raises:
        UserError: no credentials, or they don't allow it.
        RunError: the Hub can't be reached, or refused for another reason.
    """
    check_repository(repository)
    check_credentials()
    api = HfApi()
    try:
        made = api.create_repo(repository, private=not public, exist_ok=True)
        is_private = bool(api.model_info(repository).private)
        if is_private == public:
            kept = "private" if is_private else "public"
            log(f"{repository} exists already and is {kept}: it stays so. Change that in its settings on the Hub")
        operations = [CommitOperationAdd(file.name, _content(file)) for file in files]
        commit = api.create_commit(repository, operations, commit_message=message)
    except HfHubHTTPError as error:
        raise _refused(repository, error) from error
    except ValueError as error:  # the Hub looks at the card's metadata before the commit
        if "metadata" not in str(error):
            raise
        raise RunError(f"the Hub refused the card ({' '.join(str(error).split())}). Nothing was published") from error
    except Exception as error:
        if not _is_outage(error):
            raise
        raise RunError(
            f"the Hub at {api.endpoint} can't be reached ({_first_line(error)}). Nothing was published"
        ) from error
    return Published(str(made), commit.oid, is_private)


def _is_outage(error: Exception) -> bool:
    """The client's HTTP library raises its own kinds, and which library that is changes between its versions."""
    client = type(error).__module__.partition(".")[0]
    return isinstance(error, OfflineModeIsEnabled | OSError) or client.startswith(("httpx", "httpcore", "requests"))


def _content(file: Upload) -> str | bytes:
    return file.content if isinstance(file.content, bytes) else str(file.content)


def _refused(repository: str, error: HfHubHTTPError) -> UserError | RunError:
    status = error.response.status_code if error.response is not None else 0
    reason = _first_line(error)
    if status in (401, 403):
        return UserError(
            f"the Hub does not let these credentials write to {repository} ({reason})",
            expected="a token with write access to that user or organisation",
            remedy="Log in with: hf auth login",
        )
    return RunError(f"the Hub refused ({reason}). Nothing was published")


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__

"""Sends an exported model's folder to the Hugging Face Hub: private unless asked otherwise, the token from the environment.

What could refuse (no network wanted, no token, a name that is none) is known before a model is loaded: `Target.of`
looks, `push` sends.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import ModelError, UserError

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
NAME = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A repository of the Hub, and the right to write to it."""

    name: str
    public: bool
    token: str = field(repr=False)

    @classmethod
    def of(cls, name: str, *, public: bool = False) -> Target:
        """Raises UserError for a name that is none, where the Hub is switched off, and where there is no token."""
        from huggingface_hub import constants

        if not NAME.match(name):
            raise UserError(f"'--push' must be a Hub name, 'owner/name' or 'name' (got {name!r}).")
        if constants.HF_HUB_OFFLINE:
            raise UserError("'--push' needs the Hub, which HF_HUB_OFFLINE switches off. Unset it, or leave --push out.")
        token = next((value for value in map(os.environ.get, TOKENS) if value), None)
        if token is None:
            raise UserError("'--push' must have a token of the Hub in HF_TOKEN (got none). Make one that may write.")
        return cls(name=name, public=public, token=token)


def push(folder: Path, target: Target, *, message: str) -> str:
    """Uploads a folder as one commit, and returns the repository's address.

    Raises UserError for a repository that is public already where it was not asked to be, ModelError where the Hub
    refuses or is not reached: the folder stays as it is.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=target.token)
    try:
        made = api.create_repo(target.name, repo_type="model", private=not target.public, exist_ok=True)
        is_public = not api.repo_info(made.repo_id, repo_type="model").private
        if is_public and not target.public:
            raise UserError(f"'--push' must name a private repository (got {made.repo_id!r}, public). Add --public.")
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, repo_type="model", commit_message=message)
    except UserError:
        raise
    except Exception as error:  # the client raises its own, httpx's and OS errors
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"the Hub did not take {target.name!r} ({lines[0][:200].rstrip('.')}). The export is complete in {folder}; "
            f"send it with: hf upload {target.name} {folder}"
        ) from None
    return str(made)

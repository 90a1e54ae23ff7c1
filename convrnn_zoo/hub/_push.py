"""Models to the Hub, in one commit or not at all."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import HfHubHTTPError
from torch import nn

from .._version import __version__
from ..models import HubAccessError, Weights, WeightsError
from ..pretrained.config import CARD, CONFIG, WEIGHTS_FILE, read_config
from ..pretrained.download import fetch, retry
from ..pretrained.hub_errors import TRANSPORT, Where, explained
from ._cards import check_card, model_card
from ._files import save_pretrained
from ._records import card_of

logger = logging.getLogger("convrnn_zoo")


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    card: ModelCard | str | Mapping[str, Any] | None = None,
) -> CommitInfo:
    """Pushes a model: weights as safetensors, config and card in one commit; unchanged files make none.

    Everything is checked before anything is sent, and a repository that was made for a push that then failed is
    removed again. What was pushed loads by :func:`from_pretrained` and by timm's ``"hf-hub:owner/name"``.

    Args:
        model: a model that :func:`~convrnn_zoo.create_model` or timm made by a name of the zoo.
        repo_id: ``"owner/name"``, or ``"name"`` for one's own; made if it is not there.
        private: whether it is private when made; an existing repository must be so already.
        token: by default that of ``hf auth login`` or HF_TOKEN.
        revision: the branch; ``main`` by default. It is made if it is not there.
        create_pr: whether to open a pull request instead, also on others' repositories.
        card: the card as text or ModelCard, or a mapping with the arguments of
            :func:`~convrnn_zoo.hub.model_card`. By default the repository's own card is kept, and of one made by this
            package the facts are updated; where there is none, one is made of the model's record or of the model.

    Returns:
        The commit.

    Raises:
        WeightsError: a model that cannot be saved, or a card that the Hub would refuse.
        HubAccessError: the Hub, the network or the account's rights do not allow it.

    Example:
        >>> push_to_hub(model, "me/radar-convlstm", card={"license": "mit", "task": "video-to-video"})  # doctest: +SKIP
    """
    with TemporaryDirectory() as directory:
        folder = save_pretrained(model, directory)
        record = read_config(folder / CONFIG, repo_id).record
        files: dict[str, Path | bytes] = {name: folder / name for name in (WEIGHTS_FILE, CONFIG)}
        api = api_of(token)
        with explained(Where(repo_id, revision)):
            repo_id = repo_id if "/" in repo_id else f"{api.whoami()['name']}/{repo_id}"
            has_card = retry(Where(repo_id), lambda: api.file_exists(repo_id, CARD, revision=revision))
        if card is None and has_card:
            there = fetch(Where(repo_id, revision, CARD), token=api.token).read_text(encoding="utf-8")
            card = card_of(model, record, there, repo_id, repo_id)
        if card is not None or not has_card:
            files[CARD] = str(_card_of(model, repo_id, card, record)).encode()
        architecture = model.pretrained_cfg["architecture"]  # type: ignore[index]
        return upload(
            api, repo_id, files, message=f"{architecture} by convrnn_zoo {__version__}",
            private=private, revision=revision, create_pr=create_pr,
        )  # fmt: skip


def _card_of(
    model: nn.Module, repo_id: str, card: ModelCard | str | Mapping[str, Any] | None, record: Weights | None
) -> ModelCard:
    if isinstance(card, ModelCard):
        return check_card(card)
    if isinstance(card, str) or (card is None and record is not None):
        text = card_of(model, record, card, repo_id, repo_id)
        return check_card(ModelCard(text or str(card)))
    try:
        return model_card(model, repo_id, **(card or {}))
    except TypeError as e:
        raise WeightsError(f"the card's words: {e}; see convrnn_zoo.hub.model_card for what they may be") from e


def api_of(token: str | None) -> HfApi:
    """The Hub's API for who may write to it."""
    if not token and not get_token():
        raise HubAccessError(f"pushing to {constants.ENDPOINT} needs a token; `hf auth login`, or pass token=")
    return HfApi(token=token, library_name="convrnn_zoo", library_version=__version__)


def upload(
    api: HfApi,
    repo_id: str,
    files: Mapping[str, Path | bytes],
    *,
    message: str,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> CommitInfo:
    """One commit of files by their path in the repository, which is made first if it is not there."""
    where = Where(repo_id, revision)
    with explained(where):
        made = _make(api, repo_id, private)
        try:
            if revision and not create_pr:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            # A second try is the same commit: files that arrived the first time are not sent again.
            return retry(where, lambda: _commit(api, where, files, commit_message=message, create_pr=create_pr))
        except BaseException:
            if made:
                _unmake(api, repo_id)
            raise


def _commit(api: HfApi, where: Where, files: Mapping[str, Path | bytes], **kwargs: Any) -> CommitInfo:
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    with warnings.catch_warnings():
        # The client has the Hub check the card before anything is sent. What the Hub only warns of, it ignores later.
        warnings.filterwarnings("error", "Warnings while validating metadata")
        try:
            return api.create_commit(where.repo_id, operations, revision=where.revision, **kwargs)
        except (UserWarning, ValueError) as e:
            if "metadata in README.md" not in str(e):
                raise
            raise WeightsError(f"{where}: the card has faults: {e}; correct it") from e


def _make(api: HfApi, repo_id: str, private: bool | None) -> bool:
    """Whether the repository was made here."""
    if not api.repo_exists(repo_id):
        try:
            api.create_repo(repo_id, private=private)
            return True
        except HfHubHTTPError as e:
            if e.response.status_code != 409:  # made by another in between
                raise
    if private is not None and bool(api.model_info(repo_id).private) != private:
        raise HubAccessError(
            f"{repo_id} exists and is {'public' if private else 'private'}, but private={private} was asked for; "
            f"change it at {constants.ENDPOINT}/{repo_id}/settings, or leave private= out"
        )
    return False


def _unmake(api: HfApi, repo_id: str) -> None:
    """Removes a repository that was made a moment ago and holds nothing but what the Hub put there."""
    try:
        if set(api.list_repo_files(repo_id)) <= {".gitattributes"}:
            api.delete_repo(repo_id)
    except (OSError, TRANSPORT):
        logger.warning("%s was made and is left empty; the next push fills it, or delete it on the Hub", repo_id)

"""Pushing models to the Hub."""

import dataclasses
import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo, HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import BadRequestError, HFValidationError
from huggingface_hub.utils import get_session, hf_raise_for_status, validate_repo_id
from torch import nn

from .._hints import suggest
from .._version import __version__
from ..pretrained.config import CARD, CONFIG, MAX_TEXT, read_config, read_text
from ..pretrained.download import HubFile, download, hub_errors, retry
from ..pretrained.errors import HubAccessError, WeightsError
from ..pretrained.metadata import WeightsMetadata
from .cards import check_card, describes_other_weights, model_card, weights_card
from .save import save_pretrained

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
    """Pushes a model (weights as safetensors, config and card) in one commit and returns the commit.

    If no file has changed, no commit is made. The model and its card are checked before a repository is created. A push
    that then fails leaves the repository as it was, or empty if it is new. The pushed model loads with
    :func:`from_pretrained` and with timm's ``"hf-hub:owner/name"``.

    Args:
        model: a model that :func:`~convrnn_zoo.create_model` or timm built by a name of the zoo.
        repo_id: ``"owner/name"``, or ``"name"`` for the owner of the token; created if it does not exist.
        private: visibility of a new repository; an existing repository must already have this visibility.
        token: token of the Hub; by default that of ``hf auth login`` or HF_TOKEN.
        revision: the branch, created if it does not exist; ``main`` by default.
        create_pr: whether to open a pull request, which is also possible on repositories of others.
        card: the card as text or ModelCard, or a mapping with the arguments of
            :func:`~convrnn_zoo.hub.model_card`. By default the card of the repository is kept. A repository
            without a card gets one from the metadata of the weights or from the model.

    Raises:
        WeightsError: `repo_id` is not the name of a repository, the model cannot be saved, or the Hub rejects the card.
        HubAccessError: the Hub, the network or missing permissions prevent the push.

    Example:
        >>> push_to_hub(model, "me/radar-convlstm", card={"license": "mit", "task": "video-to-video"})  # doctest: +SKIP
    """
    repo_id = repo_id.removeprefix("hf-hub:")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as e:
        hint = f"write owner/name, or call save_pretrained(model, {repo_id!r}) for a directory"
        raise WeightsError(f"{repo_id} is not the name of a repository: {e}; {hint}") from e
    with TemporaryDirectory() as directory:
        folder = save_pretrained(model, directory)
        config = read_config(folder / CONFIG, repo_id)
        (folder / CARD).unlink(missing_ok=True)
        api = hub_api(token)
        with hub_errors(HubFile(repo_id, revision=revision)):
            repo_id = repo_id if "/" in repo_id else f"{api.whoami()['name']}/{repo_id}"
            # A branch that does not exist yet will start from main, with its card.
            has_branch = revision is not None and api.revision_exists(repo_id, revision)
            branch = revision if has_branch else None
            has_card = retry(lambda: api.file_exists(repo_id, CARD, revision=branch))
        if card is None and has_card:
            file = HubFile(repo_id, CARD, branch, token=api.token)
            text = read_text(download(file, max_bytes=MAX_TEXT), str(file))
        else:
            metadata: WeightsMetadata | None = getattr(model, "metadata", None)
            # Other arguments may change the scores.
            is_generated = config.metadata is not None and not card
            is_stated = metadata is not None and metadata.sha256 == config.sha256
            if not isinstance(card, ModelCard | str) and not is_generated and is_stated:
                card = {"license": metadata.license, **(card or {})}  # type: ignore[union-attr]
            text = str(_make_card(model, repo_id, card, config.metadata))
            (folder / CARD).write_text(text, encoding="utf-8")
        if describes_other_weights(text, str(config.sha256)):
            logger.warning("%s: the card describes other weights; pass card= to replace it", repo_id)
        message = f"{model.pretrained_cfg['architecture']} by convrnn_zoo {__version__}"  # type: ignore[index]
        return upload(api, repo_id, folder, message, private=private, revision=revision, create_pr=create_pr)


def _make_card(
    model: nn.Module, repo_id: str, card: ModelCard | str | Mapping[str, Any] | None, metadata: WeightsMetadata | None
) -> ModelCard:
    if isinstance(card, ModelCard | str):
        return check_card(ModelCard(str(card)))
    if not card and metadata is not None:
        metadata = dataclasses.replace(metadata, hub_id=repo_id)
        return ModelCard(weights_card(metadata, repo_id))
    accepted = inspect.signature(model_card).parameters
    if unknown := [key for key in card or {} if key not in accepted]:
        raise WeightsError(f"{repo_id}: the card has no {unknown[0]!r}; {suggest(unknown[0], list(accepted)[2:])}")
    return model_card(model, repo_id, **(card or {}))


def hub_api(token: str | None) -> HfApi:
    """Returns a client of the Hub's API with a token, or raises HubAccessError if there is none."""
    if not token and not get_token():
        raise HubAccessError(f"pushing to {constants.ENDPOINT} needs a token; run `hf auth login`, or set HF_TOKEN")
    return HfApi(token=token, library_name="convrnn_zoo", library_version=__version__)


def upload(
    api: HfApi,
    repo_id: str,
    folder: Path,
    message: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> CommitInfo:
    """Uploads the files of a folder in one commit to a repository, which is created if it does not exist.

    A repository is never deleted, not even a new one whose upload fails: others may have pushed to it.
    """
    with hub_errors(HubFile(repo_id, revision=revision)):
        if (folder / CARD).is_file():
            _validate_card(api, repo_id, (folder / CARD).read_text(encoding="utf-8"))
        api.create_repo(repo_id, private=private, exist_ok=True)
        if private is not None and bool(api.model_info(repo_id).private) != private:
            hint = f"change it at {constants.ENDPOINT}/{repo_id}/settings, or leave out {private=}"
            raise HubAccessError(f"{repo_id} exists and is {'public' if private else 'private'}; {hint}")
        if revision and not create_pr:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        # Another attempt repeats the same commit: files that have arrived are not sent again.
        commit: Any = {"commit_message": message, "revision": revision, "create_pr": create_pr}
        return retry(lambda: api.upload_folder(repo_id=repo_id, folder_path=folder, **commit))


def _validate_card(api: HfApi, repo_id: str, text: str) -> None:
    """Lets the Hub of `api` check a card. (Older versions of `ModelCard.validate` always ask the public Hub.)"""
    content, headers = {"repoType": "model", "content": text}, {"Accept": "text/plain"}
    response = get_session().post(f"{api.endpoint}/api/validate-yaml", json=content, headers=headers)
    try:
        hf_raise_for_status(response)
    except BadRequestError as e:
        raise WeightsError(f"{repo_id}: the Hub rejects the card: {response.text}; correct it") from e

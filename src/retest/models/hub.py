"""Weights on the Hugging Face hub: whether they can be had at all, before its client tries for most of a minute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retest.models.libraries import first_line, require

_NAMES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def check_reachable(config: Mapping[str, Any]) -> None:
    """See that the weights which a timm configuration (``pretrained_cfg`` as a mapping) names are on this machine or can be fetched.

    The hub's client repeats a failing request for about 25 s per file name, and timm tries several names. One request to the hub
    shows the same at once. It is made only where the weights are not kept here, by the client's own session (its proxies,
    certificates and offline mode) and with its own time limit (``HF_HUB_ETAG_TIMEOUT``); any answer at all counts as reachable.

    Raises:
        ConnectionError: they are not here, and the hub does not answer.
    """
    if not config.get("hf_hub_id") or _is_kept(config):
        return
    constants, utils = require("huggingface_hub.constants"), require("huggingface_hub.utils")
    try:
        utils.get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # the client's HTTP library, and with it what is raised, differs between its versions
        raise ConnectionError(f"{constants.ENDPOINT} does not answer: {first_line(error)}") from error


def _is_kept(config: Mapping[str, Any]) -> bool:
    repository, _, revision = str(config["hf_hub_id"]).partition("@")
    find = require("huggingface_hub").try_to_load_from_cache
    names = [name for name in (config.get("hf_hub_filename"), *_NAMES) if name]
    if any(isinstance(find(repository, name, revision=revision or None), str) for name in names):
        return True
    url, file = config.get("url"), config.get("file")  # timm can be told to use what its older versions have kept
    kept = Path(require("torch.hub").get_dir()) / "checkpoints" / Path(url).name if url else None
    return bool(file or config.get("state_dict") or (kept and kept.is_file()))

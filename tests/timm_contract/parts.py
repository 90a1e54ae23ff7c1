"""Checks of timm for models that its tests do not cover: models without image input, and tests that name timm's models.

Only ``run.py`` collects this file, together with timm's ``test_models.py``, whose functions it calls.
"""

import pytest
import test_models
import timm
from names import MODELS, has_levels, is_dense, is_forecaster, is_volume, sample

import convrnn_zoo

POOLED = [n for n in sample() if not (is_volume(MODELS[n]) or is_forecaster(MODELS[n]) or is_dense(MODELS[n]))]
# Levels are parallel branches; timm's test leaves the branches unused that are not requested.
CHAINS = [n for n in POOLED if not has_levels(MODELS[n])]
# The core family's maps are as large as the image; at 128×128 they take minutes, and
# test_prune_intermediate_layers_contract checks the same at 32×32.
ENCODED = [n for n in POOLED if isinstance(MODELS[n], convrnn_zoo.VideoModel)]


@pytest.mark.parametrize("model_name", MODELS)
def test_every_name_keeps_the_contract_that_needs_no_input(model_name):
    model = timm.create_model(model_name, device="meta").eval()
    test_models._assert_model_api_contract(model, model_name, "meta")
    test_models._assert_factory_device(model_name, "meta")
    pools = not (is_dense(model) or is_forecaster(model))
    test_models._assert_frozen_survives_reset_and_resize(model_name, "meta", reset_pool=pools)
    if not is_forecaster(model):  # forecasters reject classes
        test_models._assert_reset_classifier_preserves_parent_device_dtype(model)


@pytest.mark.parametrize("model_name", POOLED)
def test_reset_classifier_keeps_pool(model_name):
    test_models.test_reset_classifier_keeps_pool(model_name)


@pytest.mark.parametrize("model_name", CHAINS)
def test_prune_intermediate_layers_params_used(model_name):
    test_models.test_prune_intermediate_layers_params_used(model_name)


@pytest.mark.parametrize("model_name", ENCODED)
def test_forward_after_prune_intermediate_layers(model_name):
    test_models.test_forward_after_prune_intermediate_layers(model_name)

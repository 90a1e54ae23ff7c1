"""The ConvLSTM of OpenSTL's benchmark: ``convlstm_openstl_s`` and ``convlstm_openstl_l``."""

from functools import partial
from typing import Any

from ..layers.variants import Conv2dMapNormLSTMCell
from .base import FRAME_CFG, StackedCells, build_model, register_model


class OpenSTLConvLSTM(StackedCells):
    """A stack of ConvLSTM cells without biases: OpenSTL's ConvLSTM, without its unused parameters."""

    cell = Conv2dMapNormLSTMCell


@register_model(cfg=FRAME_CFG, small={"hidden_channels": 4, "num_layers": 2})
def convlstm_openstl_s(pretrained: bool = False, **kwargs: Any) -> OpenSTLConvLSTM:
    """OpenSTL's ConvLSTM-S: four ConvLSTM layers with 128 channels on 4×4 patches, 11,675,648 parameters.

    Inputs, outputs and arguments are those of :func:`~convrnn_zoo.models.predrnn.predrnn`. Published on Moving MNIST
    after 200 epochs, 10 input and 10 forecast frames: MSE 29.80, SSIM .9288. Tan et al. 2023,
    https://arxiv.org/abs/2306.11249. OpenSTL's code builds 15,083,520 parameters (published as 15.0 million); 3,407,872
    of them are never used and are left out here.
    """
    return build_model(OpenSTLConvLSTM, "convlstm_openstl_s", pretrained, **kwargs)


@register_model(cfg=FRAME_CFG, small={"hidden_channels": 4, "num_layers": 2})
def convlstm_openstl_l(pretrained: bool = False, **kwargs: Any) -> OpenSTLConvLSTM:
    """OpenSTL's ConvLSTM-L: :func:`convlstm_openstl_s` with 192 channels per layer, 26,115,072 parameters.

    Published on Moving MNIST after 200 epochs, 10 input and 10 forecast frames: MSE 27.78, SSIM .9343. Tan et al. 2023,
    https://arxiv.org/abs/2306.11249. OpenSTL's code builds 33,782,784 parameters (published as 33.8 million);
    7,667,712 of them are never used and are left out here.
    """
    return build_model(partial(OpenSTLConvLSTM, hidden_channels=192), "convlstm_openstl_l", pretrained, **kwargs)

"""The card of a converted model: what it is, and where it came from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..models._safetensors import sha256_of
from ._source import Source

_TEXT = """---
library_name: timm
tags:
- convrnn-zoo
- convolutional-rnn
---
# {name}

`{architecture}`, converted from a checkpoint of {title}{origin}. Its outputs are those of the original.{options}

```python
import timm
import convrnn_zoo

model = timm.create_model("local-dir:DIRECTORY", pretrained=True)  # "hf-hub:OWNER/NAME" once it is pushed
```

The licence, the training data and the figures are those of the original; add them here before you publish it.
"""


def card(name: str, architecture: str, source: Source, origin: Path | None, options: Mapping[str, Any]) -> str:
    """The Markdown of a card."""
    told = "".join(f" `{key}={json.dumps(value, default=str)}`" for key, value in options.items())
    return _TEXT.format(
        name=name,
        architecture=architecture,
        title=source.title,
        origin=f" (`{origin.name}`, sha256 `{sha256_of(origin)}`)" if origin else "",
        options=f" What its weights do not tell was given as{told}." if told else "",
    )

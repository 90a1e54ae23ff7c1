"""What differs between the clients that the package runs with: below 1.0 on requests, httpx since."""

import huggingface_hub
from huggingface_hub import utils

BELOW_1 = int(huggingface_hub.__version__.split(".")[0]) < 1
close_session = utils.reset_sessions if BELOW_1 else utils.close_session

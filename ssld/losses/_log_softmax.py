"""Log-probabilities in at least float32, right for saturated logits. (The underscore: this file is not a loss.)"""

import paddle
from paddle import Tensor


def log_softmax(logits: Tensor) -> Tensor:
    """Logarithm of the softmax over the last axis; [b, classes] -> [b, classes], float32 (float64 stays float64).

    Paddle's own `log_softmax` is not used: on a CPU it cuts shifted logits off at -64, so that logits of 1e4 give a
    wrong value and no gradient that matches it. 16-bit logits are cast first: a probability of 1e-8 is 0 in fp16.
    """
    if logits.dtype in (paddle.float16, paddle.bfloat16):
        logits = logits.astype("float32")
    shifted = logits - logits.detach().max(axis=-1, keepdim=True)
    return shifted - shifted.exp().sum(axis=-1, keepdim=True).log()

"""Made the .onnx and .npz files of this folder; `tests/unit/test_foreign.py` reads them. It is not run by the tests.

python -m venv V; V/bin/pip install torch==2.13.0 torchvision==0.28.0 onnx==1.23.2 onnxscript==0.7.2 skl2onnx==1.20.0
V/bin/python tests/unit/data/make_foreign.py
"""

from pathlib import Path

import numpy as np
import torch
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn
from torchvision.models import ShuffleNetV2

FOLDER = Path(__file__).parent
SIZE = 16
TRAINED = 1000  # of 1,797 digits; the others are left for the test
MEAN, STD = 0.3, 0.4

pixels, labels = load_digits(return_X_y=True)

# scikit-learn: probabilities of 64 values from 0 to 16
classifier = LogisticRegression(max_iter=300).fit(pixels[:TRAINED], labels[:TRAINED])
exported = to_onnx(classifier, pixels[:1].astype("float32"), options={"zipmap": False}, target_opset=17)
(FOLDER / "sklearn_digits.onnx").write_bytes(exported.SerializeToString())
np.savez(FOLDER / "sklearn_digits.npz", probabilities=classifier.predict_proba(pixels[:64]).astype("float32"))

# torchvision: logits of a small network of its zoo, trained for seconds
torch.manual_seed(0)
images = torch.tensor(pixels / 16, dtype=torch.float32).reshape(-1, 1, 8, 8).repeat(1, 3, 1, 1)
images = (nn.functional.interpolate(images, size=SIZE, mode="nearest") - MEAN) / STD
network = ShuffleNetV2([1, 1, 1], [8, 16, 24, 32, 48], num_classes=10)
network.conv1[0].stride = (1, 1)
optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
target = torch.tensor(labels)
for step in range(300):
    chosen = torch.randint(TRAINED, (100,))
    for group in optimizer.param_groups:
        group["lr"] = 0.01 * (1 - step / 300)
    loss = nn.functional.cross_entropy(network(images[chosen]), target[chosen])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
network.eval()
with torch.no_grad():
    logits = network(images)
right = (logits.argmax(1) == target)[TRAINED:].float().mean()
print(f"top-1 of the images that were left: {100 * right:.1f}")  # noqa: T201
batch = {0: torch.export.Dim("batch")}
program = torch.onnx.export(network, (images[:2],), dynamo=True, dynamic_shapes=(batch,), input_names=["pixels"])
for node in program.model.graph:
    node.metadata_props.clear()  # stack traces, most of the file
    node.doc_string = None
program.save(FOLDER / "torchvision_digits.onnx")
np.savez(FOLDER / "torchvision_digits.npz", images=images[:8].numpy(), logits=logits[:8].numpy())

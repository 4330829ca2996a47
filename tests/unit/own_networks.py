"""Networks as a user writes them: they know nothing of ssld."""

import paddle
import paddle.nn.functional as F
from paddle import nn


class Cnn(nn.Layer):
    """Three blocks; the last layer is called `fc`."""

    def __init__(self, num_classes, width=8, depth=3):
        super().__init__()
        self.stem = nn.Conv2D(3, width, 3, stride=2, padding=1)
        self.body = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2D(width, width, 3, padding=1), nn.BatchNorm2D(width), nn.ReLU())
                for _ in range(depth)
            )
        )
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.pool(self.body(F.relu(self.stem(x))))
        return self.fc(x.flatten(1))


class Vit(nn.Layer):
    """Patches, a class token, attention, `heads` as a number, and a table of positions that is no float."""

    def __init__(self, num_classes, in_size, width=16, heads=2, depth=2, patch=4):
        super().__init__()
        self.heads, tokens = heads, (in_size // patch) ** 2 + 1
        self.patches = nn.Conv2D(3, width, patch, patch)
        self.token = self.create_parameter([1, 1, width])
        self.table = self.create_parameter([tokens, width], default_initializer=nn.initializer.Normal(0, 0.02))
        self.register_buffer("places", paddle.arange(tokens))
        self.blocks = nn.LayerList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose([0, 2, 1])
        token = self.token.expand([x.shape[0], -1, -1])
        x = paddle.concat([token, x], axis=1) + self.table[self.places]
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.norm(x)[:, 0])


class Block(nn.Layer):
    def __init__(self, width, heads):
        super().__init__()
        self.before, self.attention = nn.LayerNorm(width), nn.MultiHeadAttention(width, heads)
        self.after = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        x = x + self.attention(self.before(x))
        return x + self.mlp(self.after(x))


def sequence(num_classes, width=6):
    """A function that returns a Sequential."""
    return nn.Sequential(
        ("conv", nn.Conv2D(3, width, 3, padding=1)),
        ("act", nn.ReLU()),
        ("pool", nn.AdaptiveAvgPool2D(1)),
        ("flat", nn.Flatten()),
        ("head", nn.Linear(width, num_classes)),
    )


class Speaking(Cnn):
    """A network that gives its taps itself."""

    taps = ("stage1", "embedding")

    def outputs(self, images, taps):
        map_ = self.body(F.relu(self.stem(images)))
        embedding = self.pool(map_).flatten(1)
        return {"stage1": map_, "embedding": embedding, "logits": self.fc(embedding)}

"""Networks of a user's own, of some hundred parameters."""

from paddle import nn


class Tiny(nn.Layer):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2D(3, width, 3, stride=2), nn.BatchNorm2D(width), nn.ReLU())
        self.drop = nn.Dropout(0.1)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.classifier(self.drop(self.body(x).mean([2, 3])))


class Large(Tiny):
    def __init__(self, num_classes):
        super().__init__(num_classes, width=16)


class Plain(nn.Layer):
    """Nothing in it depends on the other images of a batch."""

    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2D(3, 8, 3, stride=2), nn.ReLU())
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.classifier(self.body(x).mean([2, 3]))

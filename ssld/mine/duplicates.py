"""This module decides whether two pictures are near-duplicates, as published: SIFT features are matched, then RANSAC.

Besides, the pictures must agree where they overlap. SIFT: doi:10.1023/B:VISI.0000029664.99615.94; RANSAC:
doi:10.1145/358669.358692. OpenCV has both.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

POINTS = 500  # the number of strongest key points of a picture
CONTRAST = 0.002  # the smallest contrast of a key point, as OpenCV counts it: soft pictures have points too
SMOOTH = 0.8  # pixels (sigma) of the blur before SIFT: the blocks of a JPEG make key points of their own
RATIO = 0.87  # the largest distance of a match over that of the next best (Lowe 2004: 0.8, without AGREE)
INLIERS = 14  # so many matches on one affine map are enough
FEW = 8  # so many are enough where the details agree too: soft pictures have few key points
REACH = 4.0  # such a match may lie so many pixels apart
OVERLAP = 0.3  # the smallest share of either picture that lies on the other one
AGREE = 0.75  # the smallest correlation of the brightness there
DETAIL = 0.9  # the smallest correlation of the details there, which are the difference of two blurs
BLURS = (2.0, 8.0)  # pixels (sigma) of the two blurs; brightness is compared after the first
STRETCH = 4.0  # the largest scale of such a map; its inverse is the smallest


@dataclass(frozen=True)
class Features:
    """Key points of a picture, float32 [n, 2] (x, y) in pixels, and their descriptors.

    Descriptors are uint8 [n, 128]; SIFT's are integers.
    """

    points: np.ndarray
    descriptors: np.ndarray

    @property
    def nbytes(self) -> int:
        """The bytes that the features take in memory."""
        return self.points.nbytes + self.descriptors.nbytes


@dataclass(frozen=True)
class Match:
    """The evidence that two pictures are one: matches on one affine map, and correlation where they overlap."""

    inliers: int
    correlation: float


def features(grey: np.ndarray) -> Features:
    """Return the SIFT features of a grey picture uint8 [h, w]."""
    grey = cv2.GaussianBlur(grey, (0, 0), SMOOTH)
    points, descriptors = cv2.SIFT_create(nfeatures=POINTS, contrastThreshold=CONTRAST).detectAndCompute(grey, None)
    if descriptors is None:
        return Features(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    return Features(np.array([point.pt for point in points], dtype=np.float32), descriptors.astype(np.uint8))


def same(grey: np.ndarray, own: Features, other: np.ndarray, its: Features) -> Match | None:
    """Return the evidence that one picture uint8 [h, w] is a copy or cut-out of the other; None when it is not."""
    if min(len(own.points), len(its.points)) < FEW:
        return None
    descriptors = (own.descriptors.astype(np.float32), its.descriptors.astype(np.float32))  # OpenCV is slow on uint8
    pairs = [
        pair[0]
        for pair in cv2.BFMatcher(cv2.NORM_L2).knnMatch(*descriptors, k=2)
        if pair[0].distance < RATIO * pair[1].distance
    ]
    if len(pairs) < FEW:
        return None
    source = own.points[[pair.queryIdx for pair in pairs]]
    target = its.points[[pair.trainIdx for pair in pairs]]
    affine, inside = cv2.estimateAffine2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=REACH, maxIters=5000)
    if affine is None or not _plausible(affine):
        return None
    inlier_rows = inside.ravel().astype(bool)
    inliers = min(len(np.unique(points[inlier_rows].round(), axis=0)) for points in (source, target))
    if inliers < FEW:
        return None
    correlation, detail = agreement(grey, other, affine)
    agrees = correlation >= AGREE and (inliers >= INLIERS or detail >= DETAIL)
    return Match(inliers, correlation) if agrees else None


def _plausible(affine: np.ndarray) -> bool:
    """Whether a map [2, 3] neither mirrors nor stretches beyond STRETCH, in any direction."""
    scales = np.linalg.svd(affine[:, :2], compute_uv=False)
    upright = np.linalg.det(affine[:, :2]) > 0
    return bool(upright and scales[1] >= 1 / STRETCH and scales[0] <= STRETCH and scales[0] <= 2 * scales[1])


def agreement(grey: np.ndarray, other: np.ndarray, affine: np.ndarray) -> tuple[float, float]:
    """Return the correlation of the brightness, and of the details, of `grey` moved by `affine` and `other`.

    Both are 0 where the pictures overlap too little.
    """
    size = (other.shape[1], other.shape[0])
    inside = cv2.warpAffine(np.ones_like(grey), affine, size, flags=cv2.INTER_NEAREST)
    own_share = inside.sum() / (grey.size * abs(np.linalg.det(affine[:, :2])))
    if min(inside.mean(), own_share) < OVERLAP:
        return 0.0, 0.0
    core = cv2.erode(inside, np.ones((9, 9), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    (fine, coarse), (its_fine, its_coarse) = (
        [cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma) for sigma in BLURS] for picture in (grey, other)
    )
    pairs = ((fine, its_fine), (fine - coarse, its_fine - its_coarse))
    brightness, detail = (_correlation(cv2.warpAffine(own, affine, size)[core], its[core]) for own, its in pairs)
    return brightness, detail


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation of values [n]; 0 where one of them is the same everywhere."""
    if not len(one):
        return 0.0
    one, other = one - one.mean(), other - other.mean()
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length > 0 else 0.0

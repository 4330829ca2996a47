"""This module decides whether two pictures are near-duplicates, as published: SIFT features are matched, then RANSAC.

Drawings are another matter than photographs: two playing cards, or two icons of a theme, share most of their key points
and nearly all of their brightness, so their details must agree closely; and a flag has hardly a key point, so pictures
that are equal as they lie, but for what a compression changes, need none.

SIFT: doi:10.1023/B:VISI.0000029664.99615.94; RANSAC: doi:10.1145/358669.358692. OpenCV has both.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

POINTS = 500  # strongest key points of a picture
CONTRAST = 0.002  # smallest contrast of a key point, as OpenCV counts it: soft pictures have points too
SMOOTH = 0.8  # pixels (sigma) of blur before: the blocks of a JPEG make key points of their own
RATIO = 0.87  # largest distance of a match, over that of the next best (Lowe 2004 has 0.8, without the test of AGREE)
INLIERS = 14  # matches on one affine map that are enough
FEW = 8  # matches that are enough where the details agree too: soft pictures have few key points
REACH = 4.0  # pixels that such a match may lie apart
OVERLAP = 0.3  # smallest share of either picture that lies on the other one
AGREE = 0.75  # smallest correlation of the brightness there
DETAIL = 0.9  # smallest correlation of the details there: of what is left between two blurs
BLURS = (2.0, 8.0)  # pixels (sigma); brightness is compared after the first
DRAWN = 4.2  # bits: largest entropy of the grey levels of a drawing, in steps of 4
DRAWN_FLAT = 0.45  # smallest share of its pixels that hardly differ from their neighbours: by at most DRAWN_STEP levels
DRAWN_STEP = 2
DRAWN_EDGE = 30  # grey levels: the sharpest 2 % of its steps from a pixel to the next are at least so high
DRAWN_DETAIL = 0.97  # smallest correlation of the details of two drawings
EQUAL = 16.0  # grey levels that pictures which lie alike may be apart, after the first blur ...
EQUAL_SHARE = 0.998  # ... in this share of the pixels
EQUAL_FORM = 0.97  # smallest correlation of their brightness
SKEW = 3  # pixels of a side that such pictures may differ by
STRETCH = 4.0  # largest scale, and its inverse the smallest, of such a map


@dataclass(frozen=True)
class Features:
    """Hold the key points of a picture, float32 [n, 2] (x, y) in pixels, and their descriptors.

    Descriptors are uint8 [n, 128]; SIFT's are integers.
    """

    points: np.ndarray
    descriptors: np.ndarray

    @property
    def nbytes(self) -> int:
        """Return the bytes that the features take in memory."""
        return self.points.nbytes + self.descriptors.nbytes


@dataclass(frozen=True)
class Match:
    """Say why two pictures are one: matches on one affine map, and correlation where they overlap.

    Pictures that are equal as they lie have no match to show: `inliers` is 0 then.
    """

    inliers: int
    correlation: float


def features(grey: np.ndarray) -> Features:
    """Return the SIFT features of a grey picture uint8 [h, w]."""
    grey = cv2.GaussianBlur(grey, (0, 0), SMOOTH)
    points, descriptors = cv2.SIFT_create(nfeatures=POINTS, contrastThreshold=CONTRAST).detectAndCompute(grey, None)
    if descriptors is None:
        return Features(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    return Features(np.array([point.pt for point in points], dtype=np.float32), descriptors.astype(np.uint8))


def same(grey: np.ndarray, own: Features, other: np.ndarray, its: Features, cut_out: bool = False) -> Match | None:
    """Return the evidence that one picture uint8 [h, w] is a copy or cut-out of the other, or None when it is not.

    cut_out: whether one of them has transparent pixels, as icons and clip art have.
    """
    return mapped(grey, own, other, its, cut_out) or equal(grey, other)


def mapped(grey: np.ndarray, own: Features, other: np.ndarray, its: Features, cut_out: bool = False) -> Match | None:
    """Return the evidence of matched features on one map. Cut-out pictures are compared as drawings are."""
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
    drawings = cut_out or (drawn(grey) and drawn(other))
    enough = detail >= DRAWN_DETAIL if drawings else inliers >= INLIERS or detail >= DETAIL
    return Match(inliers, correlation) if correlation >= AGREE and enough else None


def equal(grey: np.ndarray, other: np.ndarray) -> Match | None:
    """Return the evidence of two pictures that lie alike: nearly no pixel is another one."""
    if max(abs(own - its) for own, its in zip(grey.shape, other.shape, strict=True)) > SKEW:
        return None
    size = (grey.shape[1], grey.shape[0])
    its = cv2.resize(other, size, interpolation=cv2.INTER_AREA)
    rough = [cv2.resize(picture, (16, 16), interpolation=cv2.INTER_AREA).astype(int) for picture in (grey, its)]
    if np.abs(rough[0] - rough[1]).max() > 2 * EQUAL:  # most pairs end here
        return None
    one, two = (cv2.GaussianBlur(picture.astype(np.float32), (0, 0), BLURS[0]) for picture in (grey, its))
    correlation = _correlation(one.ravel(), two.ravel())
    alike = (np.abs(one - two) <= EQUAL).mean() >= EQUAL_SHARE and correlation >= EQUAL_FORM
    return Match(0, correlation) if alike else None


def drawn(grey: np.ndarray) -> bool:
    """Return whether a picture uint8 [h, w] is a drawing: few grey levels, flat areas, sharp edges between them."""
    if entropy(grey) >= DRAWN:
        return False
    levels = grey.astype(np.int16)
    steps = np.maximum(np.abs(np.diff(levels, axis=1))[:-1], np.abs(np.diff(levels, axis=0))[:, :-1])
    flat = float((steps <= DRAWN_STEP).mean()) if steps.size else 0.0
    return flat >= DRAWN_FLAT and float(np.quantile(steps, 0.98)) >= DRAWN_EDGE


def entropy(grey: np.ndarray) -> float:
    """Count the bits (Shannon's) of the grey levels of a picture uint8 [h, w] in steps of 4: few for drawings."""
    share = np.bincount(grey.ravel() // 4, minlength=64) / grey.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def _plausible(affine: np.ndarray) -> bool:
    """Return whether a map [2, 3] neither mirrors nor stretches beyond STRETCH, in any direction."""
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

"""Build the DALI graphs: fixed arithmetic, without random operators and without state, the same on CPU and GPU.

Training and evaluation resize the decoded 8-bit RGB image by separable resampling. The kernel is widened by the scale
when the image shrinks (antialiased), pixel centres are at half-integers, and edges are clamped. The kernel is a
triangle (`linear`) or the Keys cubic with a = -1/2 (`cubic`). Pillow calls them BILINEAR and BICUBIC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.pipeline import do_not_convert

from ssld.data.policies import KINDS
from ssld.errors import DataError

INTERPOLATION = {"linear": types.INTERP_LINEAR, "cubic": types.INTERP_CUBIC}
Inputs = Sequence[tuple[Any, int]]  # type and dimensions of what a graph is fed
BYTES, BOX, IMAGE = (types.UINT8, 1), (types.INT32, 1), (types.UINT8, 3)
FILL = 128  # the grey value that a warp moves in from outside the image


def interpolation_of(name: str) -> Any:
    """Return DALI's constant for `linear` or `cubic`. It raises DataError for any other name."""
    if name not in INTERPOLATION:
        raise DataError(f"interpolation: {name!r} is not known; use one of {', '.join(INTERPOLATION)}")
    return INTERPOLATION[name]


def decode_graph(feed: Callable[[], Any], *, crop: bool, handed: Inputs = (), **pipeline: Any) -> Any:
    """Build a graph on a CPU that makes images for `resample`.

    Its outputs are the images, uint8 [h, w, 3] of any sizes, and their jobs, int32 [b, JOB]. `feed` gives the bytes,
    with `crop` the anchor and shape of what is decoded, the jobs, and the inputs that are handed on unchanged. No graph
    of this module applies an EXIF orientation, so that the header's height and width hold.
    """
    dtypes, ndims = zip(BYTES, *[BOX] * (2 * crop), (types.INT32, 1), *handed, strict=True)

    @pipeline_def(**pipeline)
    def graph() -> Any:
        image, *more = fn.external_source(feed, num_outputs=len(ndims), batch=True, dtype=dtypes, ndim=ndims)
        return _decoded(image, *more[: 2 * crop], device="cpu"), *more[2 * crop :]

    return graph()


def train_graph(
    feed: Callable[[], Any], *, size: int, slots: int, erase: bool, mean: Sequence[float], std: Sequence[float],
    interpolation: str, pad: bool = False, resized: bool = False, **pipeline: Any,
) -> Any:  # fmt: skip
    """Build the graph of a training batch.

    Its output on a GPU is float32 [b, 3, size, size]; on a CPU it is the input of `normalise.finish`. `feed` gives, as
    in `augment.Draw`: bytes, crop anchor and shape, with `pad` the shift, then what `after_resize` lists. Only the crop
    is decoded. With `resized`, images uint8 [size, size, 3] that are shifted already stand in the place of these.
    """
    interp = interpolation_of(interpolation)
    first = [IMAGE] if resized else [BYTES, *[BOX] * (2 + pad)]
    dtypes, ndims = zip(*first, *after_resize(slots, erase), strict=True)
    layout = ["HWC" if resized else "", *[""] * (len(ndims) - 1)]

    @pipeline_def(enable_conditionals=slots > 0, **pipeline)
    def graph() -> Any:
        image, *more = fn.external_source(
            feed, num_outputs=len(ndims), batch=True, dtype=dtypes, ndim=ndims, layout=layout
        )
        if not resized:
            anchor, shape, *more = more
            image = _decoded(image, anchor, shape, device=_decoder(pipeline))
            image = fn.resize(image, size=[size, size], interp_type=interp, antialias=True)
        if pad and not resized:
            shift, *more = more
            image = _shifted(image, shift, size)
        flip, *more = more
        for slot in range(slots):
            image = _operation(image, *more[3 * slot : 3 * slot + 3])
        if _decoder(pipeline) == "cpu":
            return image, flip, *(more[-2:] if erase else ())
        image = _normalise(image, mean, std, mirror=flip)
        if erase:
            image = fn.erase(image, anchor=more[-2], shape=more[-1], axis_names="HW", fill_value=0)
        return image

    return graph()


def after_resize(slots: int, erase: bool) -> Inputs:
    """List the inputs of a training graph for the steps after the resize.

    They are the flip; kind, value and warp of each slot; and with `erase` the erased anchor and shape.
    """
    slot = [(types.INT32, 0), (types.FLOAT, 0), (types.FLOAT, 2)]
    return [(types.INT32, 0), *slot * slots, *[(types.FLOAT, 1)] * (2 * erase)]


def eval_graph(
    feed: Callable[[], Any], *, size: int, mean: Sequence[float], std: Sequence[float], interpolation: str,
    **pipeline: Any,
) -> Any:  # fmt: skip
    """Build the graph of an evaluation batch; its outputs are those of `train_graph`.

    `feed` gives the bytes, the resized height and width, and the top-left corner of the crop.
    """
    interp = interpolation_of(interpolation)

    @pipeline_def(**pipeline)
    def graph() -> Any:
        image, resized, corner = fn.external_source(
            feed, num_outputs=3, batch=True, dtype=[types.UINT8, types.FLOAT, types.INT32], ndim=[1, 1, 1]
        )
        image = _decoded(image, device=_decoder(pipeline))
        image = fn.resize(image, size=resized, interp_type=interp, antialias=True)
        image = fn.slice(image, start=corner, shape=[size, size], axis_names="HW")
        return image if _decoder(pipeline) == "cpu" else _normalise(image, mean, std)

    return graph()


def _decoder(pipeline: dict[str, Any]) -> str:
    return "cpu" if pipeline["device_id"] is None else "mixed"


@do_not_convert
def _decoded(image: Any, *box: Any, device: str) -> Any:
    options = {"device": device, "output_type": types.RGB, "adjust_orientation": False}
    if box:
        return fn.decoders.image_slice(image, *box, axis_names="HW", **options)
    return fn.decoders.image(image, **options)


@do_not_convert
def _shifted(image: Any, shift: Any, size: int) -> Any:
    """Cut a square out of the image with black pixels around it, whose corner is the shift."""
    return fn.slice(
        image, start=shift, shape=[size, size], axis_names="HW", out_of_bounds_policy="pad", fill_values=[0]
    )


@do_not_convert
def _normalise(image: Any, mean: Sequence[float], std: Sequence[float], **mirror: Any) -> Any:
    return fn.crop_mirror_normalize(
        image,
        dtype=types.FLOAT,
        output_layout="CHW",
        mean=[255 * m for m in mean],
        std=[255 * s for s in std],
        **mirror,
    )


def _operation(image: Any, kind: Any, value: Any, warp: Any) -> Any:
    """Pass each image through the one operation of its kind: DALI turns these `if`s into splits of the batch."""
    if kind == KINDS.index("warp"):
        image = fn.warp_affine(image, matrix=warp, fill_value=FILL, interp_type=types.INTERP_LINEAR)
    elif kind == KINDS.index("translate"):
        image = _translate(image, warp)
    else:
        image = _colours(image, kind, value)
    return image


def _colours(image: Any, kind: Any, value: Any) -> Any:
    """Apply the operations that leave every pixel where it is."""
    if kind == KINDS.index("solarize"):
        image = _solarize(image, value)
    elif kind == KINDS.index("posterize"):
        image = _posterize(image, value)
    elif kind == KINDS.index("brightness"):
        image = fn.brightness(image, brightness=value)
    elif kind == KINDS.index("color"):
        image = fn.saturation(image, saturation=value)
    elif kind == KINDS.index("contrast"):
        image = _contrast(image, value)
    elif kind == KINDS.index("sharpness"):
        image = _sharpness(image, value)
    elif kind == KINDS.index("auto_contrast"):
        image = _auto_contrast(image)
    elif kind == KINDS.index("equalize"):
        image = fn.equalize(image)  # OpenCV's table differs from Pillow's where many pixels share the extremes
    return image


@do_not_convert
def _translate(image: Any, warp: Any) -> Any:
    """Shift by the whole pixels of the warp's last column.

    The shift is a cut that reaches beyond the image; it takes a tenth of a warp's time.
    """
    corner, square = fn.cast(warp[:, 2], dtype=types.INT64), image.shape()[:2]
    return fn.slice(image, corner, square, axis_names="WH", out_of_bounds_policy="pad", fill_values=[FILL])


@do_not_convert
def _solarize(image: Any, threshold: Any) -> Any:
    return image ^ ((image >= _beside(threshold, image)) * types.Constant(255, dtype=types.UINT8))


@do_not_convert
def _posterize(image: Any, mask: Any) -> Any:
    return image & _beside(fn.cast(mask, dtype=types.UINT8), image)


@do_not_convert
def _contrast(image: Any, factor: Any) -> Any:
    """Move every pixel away from or towards the image's mean grey (ITU-R BT.601 luma)."""
    luma = types.Constant(np.array([0.299, 0.587, 0.114], dtype=np.float32), device=image.device)
    grey = fn.reductions.sum(fn.reductions.mean(image, axis_names="HW") * luma)
    return fn.contrast(image, contrast=factor, contrast_center=grey)


@do_not_convert
def _sharpness(image: Any, factor: Any) -> Any:
    """Blend with the image smoothed by [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13.

    Pillow leaves the border as it is; here it is smoothed too.
    """
    smooth = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13
    sharp = np.zeros((3, 3), dtype=np.float32)
    sharp[1, 1] = 1
    kernel = types.Constant(smooth) + factor * types.Constant(sharp - smooth)
    return fn.filter(image, _beside(kernel, image))


@do_not_convert
def _auto_contrast(image: Any) -> Any:
    """Stretch each channel to 0..255; a channel of one value stays."""
    low = fn.cast(fn.reductions.min(image, axis_names="HW", keep_dims=True), dtype=types.FLOAT)
    high = fn.cast(fn.reductions.max(image, axis_names="HW", keep_dims=True), dtype=types.FLOAT)
    flat = fn.cast(high == low, dtype=types.FLOAT)
    scale = (255 * (1 - flat) + flat) / (high - low + flat)
    return fn.cast_like((image - low * (1 - flat)) * scale, image)


@do_not_convert
def _beside(parameter: Any, image: Any) -> Any:
    """Return the parameter on the image's device."""
    return parameter.gpu() if image.device == "gpu" else parameter

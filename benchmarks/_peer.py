"""PaddleClas, branch develop, as the opponent: its own trainer, network, loss and input pipeline, from a checkout.

What the checkout imports must be installed beside ssld, without its pins: tqdm, prettytable, ujson, easydict, visualdl,
faiss-cpu. It runs on the Paddle of this process, and so on the same kernels and the same MKL path.
"""

import sys
from pathlib import Path
from typing import Any

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def attach(peer: Path) -> None:
    """Make `ppcls` importable; exits with one line where `peer` is no checkout, or lacks a package."""
    if not (peer / "ppcls" / "engine" / "engine.py").is_file():
        sys.exit(f"{peer}: no PaddleClas checkout (no ppcls/engine); give the folder that holds ppcls")
    sys.path.insert(0, str(peer.resolve()))
    try:
        import ppcls.engine.engine  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        sys.exit(f"{peer}: cannot be imported ({error}); install what it needs, see benchmarks/_peer.py")


def trainer(
    folder: Path, lists: Path, images: Path, *, teacher: str, student: str, size: int, batch: int, workers: int
) -> Any:
    """Its Engine, ready to train: DistillationModel, SSLD loss (there called DML), momentum, its published transforms.

    `workers` processes prepare images. Metrics, evaluation and visualdl are off. Fresh weights of 1,000 classes.
    """
    from ppcls.engine.engine import Engine
    from ppcls.utils.config import AttrDict, create_attr_dict

    networks = [{"Teacher": {"name": teacher, "class_num": 1000}}, {"Student": {"name": student, "class_num": 1000}}]
    options = {"checkpoints": None, "pretrained_model": None, "device": "cpu", "use_visualdl": False, "epochs": 1}
    loss = {"weight": 1.0, "model_name_pairs": [["Student", "Teacher"]]}
    config = AttrDict(
        {
            "Global": {**options, "output_dir": str(folder), "eval_during_train": False},
            "AMP": {"use_amp": False},
            "Arch": {"name": "DistillationModel", "freeze_params_list": [True, False], "models": networks},
            "Loss": {"Train": [{"DistillationDMLLoss": loss}]},
            "Optimizer": {"name": "Momentum", "momentum": 0.9, "lr": {"name": "Constant", "learning_rate": 0.01}},
            "DataLoader": {"Train": reading(lists, images, size=size, batch=batch, workers=workers)},
            "profiler_options": None,
        }
    )
    create_attr_dict(config)
    engine = Engine(config, mode="train")
    engine.time_info, engine.output_info, engine.global_step = meters(), {}, 0
    return engine


def meters() -> dict[str, Any]:
    """What its loop keeps its own times in."""
    from ppcls.utils.misc import AverageMeter

    return {name: AverageMeter(name, ".5f", postfix=" s,") for name in ("batch_cost", "reader_cost")}


def reading(
    lists: Path, images: Path, *, size: int, batch: int, workers: int, policy: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The loader block of its distillation recipes; `policy`: an operator between flip and normalisation."""
    transforms: list[dict[str, Any]] = [
        {"DecodeImage": {"to_rgb": True, "channel_first": False}},
        {"RandCropImage": {"size": size}},
        {"RandFlipImage": {"flip_code": 1}},
        *([policy] if policy else []),
        {"NormalizeImage": {"scale": 1 / 255, "mean": MEAN, "std": STD, "order": ""}},
    ]
    data = {"name": "ImageNetDataset", "image_root": str(images), "cls_label_path": str(lists)}
    return {
        "dataset": {**data, "transform_ops": transforms},
        "sampler": {"name": "DistributedBatchSampler", "batch_size": batch, "drop_last": False, "shuffle": True},
        "loader": {"num_workers": workers, "use_shared_memory": True},
    }


def loader(block: dict[str, Any]) -> Any:
    """Its DataLoader for a `reading` block."""
    import paddle
    from ppcls.data import build_dataloader
    from ppcls.utils.logger import init_logger

    init_logger()
    return build_dataloader({"Train": block, "class_num": 1000, "epochs": 1}, "Train", paddle.CPUPlace())

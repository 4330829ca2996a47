"""The package: what it needs, what it carries, and the `ssld` command.

Recipes, teachers and students are top-level folders of the checkout and travel inside the wheel as
`ssld/shelf/...`; `ssld.paths.shelf` finds them in either place.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# Lower bounds are the oldest versions that the code is written for, upper bounds the next major version.
# Every line resolves from wheels on Python 3.10, 3.11 and 3.12.
BASE = [
    "numpy>=1.26,<2",  # paddleslim pins opencv-python 4.6, which is compiled against numpy 1
    "scipy>=1.13,<2",
    "scikit-learn>=1.5,<2",
    "pillow>=10.3,<14",
    "matplotlib>=3.9,<4",
    "safetensors>=0.4.5,<1",
    "pyyaml>=6.0.1,<7",
    "pydantic>=2.9,<3",
    "rich>=13.7,<16",
    "wandb>=0.31,<0.32",  # its quiet, offline settings are tested with this series
    "nvidia-dali-cuda120>=2.0,<3",  # one wheel for CPU and GPU
]
EXTRAS = {
    "cpu": ["paddlepaddle==3.3.*"],
    # Paddle publishes 3.x GPU wheels on an index of its own and pip cannot name an index in a requirement, so:
    #   pip install "ssld[gpu]" --extra-index-url <address of Paddle's index for your CUDA, see its installation page>
    # Without the index pip stops with "no matching distribution"; it never installs an old Paddle in silence.
    # The wheel brings its own CUDA libraries; DALI is above. Never install `cpu` and `gpu` into one environment.
    "gpu": ["paddlepaddle-gpu==3.3.*"],
    "int8": [
        "paddleslim==2.6.0",
        "opencv-python==4.6.0.66",
        "decorator>=5.1,<6",  # this and the next two are imported by paddleslim, which does not declare them
        "six>=1.16,<2",
        "requests>=2.32,<3",
    ],
    "engines": [
        "onnxruntime>=1.20,<2",
        "openvino>=2025.0",
        "paddle2onnx==2.1.0",
        "onnx==1.17.0",
        "onnx-graphsurgeon>=0.5.2,<0.7",  # paddle2onnx folds constants with these two and would pip-install them
        "sympy>=1.12,<2",
    ],
    "mine": [
        "faiss-cpu>=1.9,<2",
        # The version that `int8` pins: both OpenCV packages fill one folder, and two versions in it would mix.
        # Headless, as it loads on a server without the libraries of a desktop.
        "opencv-python-headless==4.6.0.66",
    ],
    "tensorboard": ["tensorboardX>=2.6.2,<3", "tensorboard>=2.18,<3"],  # `ssld run --tensorboard`, and its viewer
    "dev": [
        "tensorboardX>=2.6.2,<3",
        "hypothesis>=6.100,<7",
        "pytest>=8,<9.2",  # 9.2 takes no notice of the groups of pytest-xdist 3.8: files would run in two processes
        "pytest-timeout>=2.3,<3",
        "pytest-xdist>=3.8,<4",
        "playwright>=1.50,<2",  # drives the Chromium of the system: none of its own is downloaded
        "ruff>=0.14,<0.18",
        "mypy>=1.14,<3",
        "types-PyYAML>=6.0.12,<7",
        "build>=1.2,<2",
        "setuptools>=65,<81",  # the packaging test builds a wheel offline
        "wheel>=0.43,<1",
    ],
}
SHELF = ["recipes", "teachers", "students"]


def version() -> str:
    """Read `__version__` from the source: importing the package here could import what is not installed yet."""
    source = (HERE / "ssld" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', source, flags=re.MULTILINE)
    if match is None:
        raise SystemExit('setup.py: ssld/__init__.py has no line __version__ = "..."')
    return match[1]


def shelf() -> dict[str, str]:
    """Installed package name -> folder of the checkout, for the three folders and what is under them."""
    folders = [f for top in SHELF for f in [HERE / top, *sorted((HERE / top).rglob("*"))] if f.is_dir()]
    names = [folder.relative_to(HERE).as_posix() for folder in folders]
    return {"ssld.shelf." + name.replace("/", "."): name for name in names}


setup(
    name="ssld",
    version=version(),
    description="One command takes a recipe to a distilled, exported, measured student (SSLD on PaddlePaddle)",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.10,<3.13",
    install_requires=BASE,
    extras_require=EXTRAS,
    packages=[*find_packages(include=["ssld", "ssld.*"]), *shelf()],
    package_dir=shelf(),
    package_data={"ssld": ["py.typed", "data/*.c"], **{name: ["*.yaml", "*.md"] for name in shelf()}},
    entry_points={"console_scripts": ["ssld = ssld.cli:main"]},
    zip_safe=False,
)

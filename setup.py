"""Build rtflow: the top-level folders become subpackages of ``rtflow``.

``nodes/`` is imported as ``rtflow.nodes``, and so on. The packages are listed by name because a search would
take every folder twice: once at the top, once through the link beside the engine.
"""

from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent

#: Top-level folders that are imported as ``rtflow.FOLDER``.
FOLDERS = ("nodes", "workflows", "bids_apps", "dash_app")


def packages_under(folder: str, name: str) -> list[str]:
    """Return the packages in `folder`, itself first, without following links.

    Parameters
    ----------
    folder : str
        Folder, relative to this file.
    name : str
        Import name of that folder.
    """
    found = [name]
    for child in sorted((HERE / folder).iterdir()):
        if child.is_dir() and not child.is_symlink() and (child / "__init__.py").is_file():
            found += packages_under(f"{folder}/{child.name}", f"{name}.{child.name}")
    return found


def version() -> str:
    """Return ``__version__`` as it is written in the package, without importing it."""
    for line in (HERE / "rtflow" / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__ = "):
            return line.split('"')[1]
    raise RuntimeError('rtflow/__init__.py has no line `__version__ = "..."`; write one.')


setup(
    name="rtflow",
    version=version(),
    description="A Nipype workflow engine plug-in that runs a graph once per fMRI volume, in real time",
    long_description=(HERE / "README.md").read_text(encoding="utf-8")
    if (HERE / "README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    # All but Apache-2.0: jsPsych, niivue and noVNC, which pages bring along
    license="Apache-2.0 AND BSD-2-Clause AND BSD-3-Clause AND ISC AND MIT AND MPL-2.0 AND Zlib",
    license_files=[
        "LICENSE",
        "rtflow/server/page/jspsych/LICENSE",
        "dash_app/assets/niivue/LICENSE",
        "dash_app/novnc/LICENSE",
    ],
    python_requires=">=3.11,<3.14",
    package_dir={"rtflow": "rtflow"} | {f"rtflow.{folder}": folder for folder in FOLDERS},
    packages=packages_under("rtflow", "rtflow")
    + [package for folder in FOLDERS for package in packages_under(folder, f"rtflow.{folder}")],
    package_data={
        "rtflow": ["py.typed"],
        "rtflow.server": ["page/*", "page/jspsych/*"],
        "rtflow.workflows": ["*.toml"],
        "rtflow.dash_app": ["assets/*", "assets/niivue/*", "static/*", "novnc/**/*"],
        "rtflow.bids_apps": ["apps/*.toml", "apps/*.md"],
    },
    include_package_data=False,
    zip_safe=False,
    install_requires=[
        "nipype>=1.11,<2",
        "nibabel>=5.3,<6",
        "pydicom>=3,<4",
        "pynetdicom>=3.0.4,<4",
        "pylibjpeg>=2,<3",
        "pylibjpeg-libjpeg>=2.3,<3",
        "pylibjpeg-openjpeg>=2.4,<3",
        "pylibjpeg-rle>=2.1,<3",
        "dicom-anonymizer>=2,<3",
        "numpy>=2,<3",
        "scipy>=1.14,<2",
        "nilearn>=0.11,<1",
        "nitransforms>=25.1,<26",
        "numba>=0.61,<1",
        "scikit-learn>=1.6,<2",
        "SimpleITK>=2.4,<3",
        "skops>=0.14,<1",
        "aiohttp>=3.11,<4",
        "dash>=4.4.1,<4.5",  # the next one adds a client of its makers' cloud
        "dash-mantine-components>=2.8,<3",
        "dash-ag-grid>=35.3,<36",
        "plotly>=6.5,<8",
        "argon2-cffi>=23,<26",
        "cryptography>=44",
        "boto3>=1.35,<2",
        "msgspec>=0.19,<1",
        "pybids>=0.18,<1",
        "typer>=0.15,<1",
        "rich>=13.9,<16",
        "tomli>=2.2,<3",
        "watchdog>=5",
        "threadpoolctl>=3.5,<4",
        "packaging>=24",
        "psutil>=6",
    ],
    extras_require={
        "lsl": ["pylsl>=1.16"],  # rtflow subject --lsl
        "test": [
            "bids-validator-deno>=2",
            "build>=1.2",
            "dcm2niix>=1.0.20240202",
            "hypothesis>=6.112",
            "import-linter>=2.1",
            "moto[server]>=5",
            "mypy>=1.13",
            "pylsl>=1.16",
            "playwright>=1.50",  # with the system's Chromium
            "pytest>=8.3",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "python-rtspm>=0.2.18; python_version < '3.13'",  # a peer in benchmarks; GPL, never shipped
            "ruff>=0.8",
            "setuptools>=77",
            "websockets>=13",  # what the one-file client needs on the stimulus host
        ],
    },
    entry_points={"console_scripts": ["rtflow = rtflow.cli.main:main"]},
)

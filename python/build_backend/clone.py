"""Builds the package from the root of a clone: each hook runs as if started in python/.

scikit-build-core does the work; python/pyproject.toml says how.
"""

import contextlib
import os
import pathlib
import tomllib

_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def _requirements():
    return tomllib.loads((_PACKAGE / "pyproject.toml").read_text())["build-system"]["requires"]


@contextlib.contextmanager
def _in_package():
    before = os.getcwd()
    os.chdir(_PACKAGE)
    try:
        from scikit_build_core import build

        yield build
    finally:
        os.chdir(before)


def get_requires_for_build_wheel(config_settings=None):
    with contextlib.suppress(ImportError), _in_package() as build:
        return _requirements() + build.get_requires_for_build_wheel(config_settings)
    return _requirements() + ["ninja>=1.5"]


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    metadata_directory = os.path.abspath(metadata_directory)
    with _in_package() as build:
        return build.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    wheel_directory = os.path.abspath(wheel_directory)
    with _in_package() as build:
        return build.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory, config_settings=None):
    raise RuntimeError(
        "offramp has no source distribution: build a wheel with python/make_wheel from a clone"
    )

"""The text of a package's Containerfile."""

from __future__ import annotations

INSIDE = "/opt/package"
"""Where a package stands in its image."""

_TEXT = """\
# An image of {workflow}, made by 'rtflow package'. Build it in this folder:
#   podman build --tag {tag} .
# BASE is any image with Python {python} at python3; name it by its digest to have the same system each time.
ARG BASE={base}

FROM ${{BASE}} AS build
COPY requirements-build.txt requirements.txt /build/
COPY wheels/ /build/wheels/
WORKDIR /build
# 1 where wheels/ holds everything: no index is asked
ARG PIP_NO_INDEX=
ENV PIP_FIND_LINKS=/build/wheels PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \\
    PIP_ROOT_USER_ACTION=ignore
# The base's pip, or that of wheels/, installs the one that is locked, which installs the rest.
RUN pip="python3 -m pip"; $pip --version >/dev/null 2>&1 || pip="python3 $(echo wheels/pip-*.whl)/pip"; \\
    $pip install --require-hashes --no-deps --target /build/tools -r requirements-build.txt \\
 && PYTHONPATH=/build/tools python3 -m pip install --require-hashes --no-deps --no-build-isolation \\
      --no-compile --target /opt/rtflow -r requirements.txt \\
 && find /opt/rtflow -depth -type d -name tests -exec rm -rf {{}} +

FROM ${{BASE}}
LABEL org.opencontainers.image.title="{title}" org.opencontainers.image.version="{version}"
COPY --from=build /opt/rtflow /opt/rtflow
COPY manifest.json {inside}/
COPY workflow/ {inside}/workflow/
COPY self-test/ {inside}/self-test/
ENV PYTHONPATH=/opt/rtflow:{inside}/workflow PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR {inside}
USER 1000:1000
ENTRYPOINT ["python3", "-m", "rtflow"]
CMD ["package", "--self-test", "{inside}"]
"""


def containerfile(workflow: str, *, base: str, python: str, tag: str, version: str) -> str:
    """The text of a Containerfile.

    Parameters
    ----------
    workflow
        The workflow file, in the package.
    base
        Image that it begins with.
    python
        Such as ``3.11``.
    tag
        What the image is to be called.
    version
        Of rtflow.
    """
    title = tag.rpartition("/")[2]
    return _TEXT.format(
        workflow=workflow, base=base, python=python, tag=tag, version=version, title=title, inside=INSIDE
    )

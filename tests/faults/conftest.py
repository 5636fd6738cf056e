"""The fixtures of real faults over a network."""

import os
import pathlib
import signal

import pytest

import field

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pytest_configure(config):
    """A run that is told to end (a timeout of meson's) still takes its network down."""
    del config

    def end(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    made = getattr(item.module, "made_field", None)
    if report.when in ("call", "setup") and report.failed and made is not None:
        report.sections.append(("logs of the cluster", made.cluster.logs()))


@pytest.fixture(scope="module")
def place(request):
    """The cluster of all tests of a file; each begins with place.settle(). CONSUL: more of that section of
    the configuration."""
    made = field.Field(
        os.path.abspath(os.environ.get("HOLDFAST_BINARY", ROOT / "build/holdfast")),
        os.path.abspath(os.environ.get("HOLDFAST_GUARD_BINARY", ROOT / "build/holdfast-guard")))
    made.cluster.consul.update(getattr(request.module, "CONSUL", {}))
    request.module.made_field = made
    request.addfinalizer(made.close)
    made.start()
    return made

"""Fixtures for clusters of real processes."""

import os
import signal

import pytest

import harness


def _binary(variable, default):
    path = os.environ.get(variable, default)
    return os.path.abspath(path)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for cluster in (getattr(item, "started_clusters", []) +
                        getattr(item.module, "started_clusters", [])):
            report.sections.append(("logs of the cluster", cluster.logs()))


def pytest_configure(config):
    """A run that is told to end (a timeout of meson's) still closes its clusters."""
    del config

    def end(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def _binaries():
    build = os.path.join(os.path.dirname(__file__), "..", "..", "build")
    return (_binary("HOLDFAST_BINARY", os.path.join(build, "holdfast")),
            _binary("HOLDFAST_GUARD_BINARY", os.path.join(build, "holdfast-guard")))


@pytest.fixture(scope="module")
def shared(request):
    """Three nodes for all tests of a file; each begins with steps.settle(shared). A file whose store is
    not the local one names it in STORE."""
    cluster = harness.Cluster(*_binaries(), 3, getattr(request.module, "STORE", harness.Store))
    request.module.started_clusters = [cluster]
    request.addfinalizer(cluster.close)
    cluster.start()
    return cluster


@pytest.fixture
def unstarted(request):
    """unstarted(nodes=3, **dynamic configuration): configured, nothing runs yet but the store."""
    request.node.started_clusters = []

    def make(nodes=3, **dcs):
        cluster = harness.Cluster(*_binaries(), nodes, **dcs)
        request.node.started_clusters.append(cluster)
        request.addfinalizer(cluster.close)
        cluster.store.start()
        for node in cluster.nodes:
            node.configure()
        return cluster

    return make


@pytest.fixture
def make_cluster(request):
    """make_cluster(nodes=3, **dynamic configuration): started, and closed whatever happens."""
    holdfast, guard = _binaries()
    request.node.started_clusters = []

    def make(nodes=3, **dcs):
        cluster = harness.Cluster(holdfast, guard, nodes, **dcs)
        request.node.started_clusters.append(cluster)
        request.addfinalizer(cluster.close)
        cluster.start()
        return cluster

    return make

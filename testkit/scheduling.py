"""Which worker of pytest (`-n`) runs which test."""

from collections.abc import Callable

from xdist.scheduler import LoadScopeScheduling


class ByModule(LoadScopeScheduling):  # type: ignore[misc]  # xdist says nothing of its types
    """Tests of one module go to one worker, which then makes their fixtures and fits only once; tests for which `free`
    holds go wherever there is room, one by one.

    Groups given by `pytest.mark.xdist_group` would do the same, but xdist 3.8 cannot attach them in pytest 9.2.
    """

    free: Callable[[str], bool]

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if self.free(nodeid) else nodeid.split("::", 1)[0]

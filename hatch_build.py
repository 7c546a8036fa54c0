"""Ship the benchmarks inside of a wheel; an editable install has them beside the package."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BenchmarksHook(BuildHookInterface):  # type: ignore[type-arg]
    """Put `benchmarks/` where `gradlab bench` looks for it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add them, unless the package is not copied either."""
        if version != "editable":
            build_data["force_include"]["benchmarks"] = "gradlab/benchmarks"

"""Runs the benchmarks and prints their tables: ``python benchmarks/run.py --help``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic

import bench_build
import bench_checkpoint
import bench_data
import bench_demo
import bench_engines
import bench_instructions
import bench_metg
import bench_pool
import bench_scheduling
import bench_workflows
from measuring import Settings
from subjects import SUBJECTS
from workflows import find_files, read_workflow

BENCHMARKS = {
    "build": bench_build,
    "scheduling": bench_scheduling,
    "instructions": bench_instructions,
    "pool": bench_pool,
    "engines": bench_engines,
    "metg": bench_metg,
    "data": bench_data,
    "checkpoint": bench_checkpoint,
    "demo": bench_demo,
    "workflows": bench_workflows,
}
PACKAGES = ("processes", "cloudpickle", "dask", "distributed", "joblib", "loky", "mpire", "pebble", "ray")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure processes and its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: under two minutes")
    parser.add_argument("--rounds", type=int, help="how often each figure is measured (3; with --quick 1)")
    parser.add_argument("--workers", type=int, default=2, help="how many threads or processes (2)")
    parser.add_argument(
        "--files", nargs="+", default=(), metavar="PATH", help="recorded workflows, or folders of them"
    )
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every sample in this file")
    parser.add_argument(
        "--plots", type=Path, metavar="FOLDER", help="draw the tables into this folder, as SVG"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {unknown.pop()!r}; known are {', '.join(BENCHMARKS)}")
    try:
        workflows = {file: read_workflow(file) for file in find_files(arguments.files)}
    except (OSError, ValueError) as error:
        parser.error(f"--files: {error}")
    if arguments.plots is not None and _version("matplotlib") is None:
        parser.error("--plots needs matplotlib; install it, or '.[bench]'")

    start = monotonic()
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    settings = Settings(rounds, arguments.workers, arguments.quick, workflows)
    about = _about(settings)
    print("\n".join(f"{'- ' if arguments.markdown else ''}{key}: {value}" for key, value in about.items()))
    print(flush=True)
    tables = []
    for name in arguments.names or BENCHMARKS:
        start_of_one = monotonic()
        for table in BENCHMARKS[name].measure(settings):
            print(table.to_text(markdown=arguments.markdown), flush=True)
            tables.append(table.to_data())
        print(f"{name} took {monotonic() - start_of_one:.0f} s.", file=sys.stderr)
    print(f"All took {monotonic() - start:.0f} s.", file=sys.stderr)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"about": about, "tables": tables}, indent=1), encoding="utf-8")
    if arguments.plots is not None:
        from plots import draw_all

        draw_all(tables, arguments.plots)


def _about(settings: Settings) -> dict[str, str]:
    """Tell when, where and with what it is measured."""
    missing = sorted({subject.library for subject in SUBJECTS.values() if not subject.installed})
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{_processor()}, {_usable_cpus()} CPUs, load {_load()} when it began",
        "system": platform.platform(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name))),
        "not installed, left out": ", ".join(missing) or "none",
        "settings": f"rounds {settings.rounds}, workers {settings.workers}{', quick' * settings.quick}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _usable_cpus() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()

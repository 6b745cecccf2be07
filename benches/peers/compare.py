#!/usr/bin/env python3
"""Fornax beside other engines, on the same models, in turns, in one sitting.

    python3 benches/peers/compare.py [--models a,b] [--threads 1,2] [--quick] [--json OUT]

Each engine runs each model in a process of its own that lives through the comparison and is asked for blocks of runs, one
engine at a time, in an order that rotates from round to round. A block begins with a run that does not count. An engine's
time in a round is the median of its block, its time overall the median of rounds; intervals are 95 % of a bootstrap over
rounds, the same rounds for both sides of a ratio. Each engine is called as its users call it: Fornax by `fornax bench
--serve`, the others from Python, whose call of some microseconds is part of their times.

Path to the first output and memory are measured in fresh processes: `fornax run` to its end, and for the others to the
first output, with Python, its packages and the engine's import, and without. Memory is the most a process had (VmHWM) less
what it had before the model was opened.

Models are the graphs of a folder of benchmark graphs (--graphs) filled by its `fill.py`. Engines are installed by pip in a
virtual environment that is made where there is none; what does not install, or does not take a model, is named.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import time

import report
from statistics import median

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FILL_PACKAGES = ["numpy", "onnx", "onnxruntime"]
PACKAGES = [*FILL_PACKAGES, "openvino", "tract", "jax", "torch"]
# Engines that peers' first outputs and memory are compared with: the others start in seconds.
STARTING = ["onnxruntime", "openvino", "tract"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="", help="names of graphs, separated by commas [all]")
    parser.add_argument("--engines", default="", help="engines beside Fornax, separated by commas [all]")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, separated by commas [1,2]")
    parser.add_argument("--quick", action="store_true", help="a third of the rounds, in shorter blocks")
    parser.add_argument("--starts", type=int, default=5, help="fresh processes of each engine [5]; 0 for none")
    parser.add_argument("--json", type=pathlib.Path, help="where to write everything that was measured")
    parser.add_argument("--fornax", type=pathlib.Path, default=ROOT / "target/release/fornax", help="the command")
    parser.add_argument("--fornax-args", default="", help="further options of `fornax bench` and `fornax run`")
    parser.add_argument("--fill-only", action="store_true", help="fill the models and measure nothing")
    folders = [
        ("--graphs", ROOT.parent / "shared/bench", "a folder of benchmark graphs"),
        ("--filled", ROOT / "target/bench", "where filled models are [target/bench]"),
        ("--venv", ROOT / "target/peers", "a virtual environment [target/peers]"),
    ]
    for name, default, what in folders:
        parser.add_argument(name, type=pathlib.Path, default=default, help=what)
    return parser.parse_args()


def environment(venv, packages):
    """The environment's Python, and what could not be installed in it."""
    python = venv / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    missing = []
    for package in packages:
        there = subprocess.run([python, "-I", "-c", f"import importlib.util as u; exit(not u.find_spec('{package}'))"])
        if there.returncode == 0:
            continue
        print(f"installing {package}", file=sys.stderr)
        done = subprocess.run([python, "-m", "pip", "install", "-q", package], stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            missing.append(package)
            print(f"missing: {package}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    return python, missing


def asked_models(options):
    """Names of the models."""
    known = sorted(p.stem for p in options.graphs.glob("*.graph"))
    asked = [m for m in options.models.split(",") if m] or known
    if not asked:
        sys.exit(f"no graphs in {options.graphs}; name the folder with --graphs")
    return asked


def fill(options, python, asked):
    """Fills the models that are not filled yet."""
    lacking = [m for m in asked if not (options.filled / f"{m}.in.npz").exists()]
    if lacking:
        subprocess.run([python, options.graphs / "fill.py", options.filled, *lacking], check=True)


class Worker:
    """An engine's process on one model. `ready` is what it said first; `missing` why it does not take part."""

    def __init__(self, command):
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            [str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        line = self.answer()
        self.wall_s = time.perf_counter() - begin
        self.ready = json.loads(line) if line.startswith("{") else {"missing": f"ends without an answer {line[:80]}"}
        self.missing = self.ready.get("missing")

    def answer(self):
        return self.process.stdout.readline()

    def runs(self, count):
        """Milliseconds of that many runs."""
        self.process.stdin.write(f"run {count}\n")
        self.process.stdin.flush()
        return json.loads(self.answer())

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Sitting:
    """What the whole comparison shares."""

    def __init__(self, options):
        self.options = options
        self.models = asked_models(options)
        self.python, self.lacking = environment(options.venv, PACKAGES)
        fill(options, self.python, self.models)
        known = subprocess.run([self.python, HERE / "engines.py", "--list"], capture_output=True, text=True, check=True)
        asked = [e for e in options.engines.split(",") if e]
        self.engines = [e for e in known.stdout.split() if not asked or e in asked]

    def files(self, model):
        return self.options.filled / f"{model}.onnx", self.options.filled / f"{model}.in.npz"

    def command(self, engine, model, threads):
        path, inputs = self.files(model)
        if engine != "fornax":
            return [self.python, HERE / "engines.py", engine, path, inputs, threads]
        further = self.options.fornax_args.split()
        return [self.options.fornax, "bench", path, "--inputs", inputs, "--threads", threads, "--serve", *further]

    def latencies(self, model, threads):
        """Medians of rounds by engine, and why others do not take part."""
        quick = self.options.quick
        rounds, block_ms = (5, 60) if quick else (15, 150)
        workers, missing = {}, {}
        try:
            for engine in ["fornax", *self.engines]:
                worker = Worker(self.command(engine, model, threads))
                workers[engine] = worker
                if worker.missing:
                    missing[engine] = worker.missing
                    workers.pop(engine).end()
            counts = {}
            for engine, worker in workers.items():
                worker.runs(2)
                once = median(worker.runs(3))
                counts[engine] = max(1, min(300, math.ceil(block_ms / max(once, 1e-3))))
            times = {engine: [] for engine in workers}
            order = list(workers)
            for k in range(rounds):
                turn = k % len(order)
                for engine in order[turn:] + order[:turn]:
                    # Threads of the engine before may spin for a while.
                    time.sleep(0.01)
                    times[engine].append(median(workers[engine].runs(counts[engine] + 1)[1:]))
            return times, missing
        finally:
            for worker in workers.values():
                worker.end()

    def starts(self, model, threads):
        """Milliseconds to the first output and net megabytes of fresh processes, medians by engine."""
        path, inputs = self.files(model)
        run = [self.options.fornax, "run", path, "--inputs", inputs, "--threads", str(threads)]
        run += self.options.fornax_args.split()
        found = {}
        for _ in range(self.options.starts):
            begin = time.perf_counter()
            subprocess.run([str(c) for c in run], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wall = time.perf_counter() - begin
            for engine in ["fornax", *(e for e in STARTING if e in self.engines)]:
                worker = Worker(self.command(engine, model, threads))
                worker.end()
                if worker.missing:
                    continue
                ready = worker.ready
                inside = ready["first_result_ms"] if engine == "fornax" else (ready["load_s"] + ready["first_run_s"]) * 1e3
                whole = (wall if engine == "fornax" else worker.wall_s) * 1e3
                net = (ready["peak_rss_bytes"] - ready["bare_rss_bytes"]) / 1e6
                found.setdefault(engine, []).append((inside, whole, net))
        columns = ("inside_ms", "whole_ms", "net_mb")
        return {e: dict(zip(columns, map(median, zip(*all)))) for e, all in found.items()}


def main():
    options = arguments()
    if options.fill_only:
        asked = asked_models(options)
        fill(options, environment(options.venv, FILL_PACKAGES)[0], asked)
        return
    if not options.fornax.exists():
        sys.exit(f"{options.fornax} is missing: cargo build --release --workspace, or name it with --fornax")
    sitting = Sitting(options)
    threads = [int(t) for t in options.threads.split(",")]
    for package in sitting.lacking:
        print(f"missing: {package} does not install")
    found = {"cpus": os.cpu_count(), "latency": {}, "starts": {}}
    for t in threads:
        rows = found["latency"][t] = {}
        for model in sitting.models:
            times, missing = sitting.latencies(model, t)
            rows[model] = {"times_ms": times, "missing": missing}
            report.row(model, t, times, missing)
        report.table(t, rows, [*sitting.engines])
    if options.starts:
        for model in sitting.models:
            found["starts"][model] = sitting.starts(model, threads[-1])
        report.starts(found["starts"], threads[-1])
    if options.json:
        options.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()

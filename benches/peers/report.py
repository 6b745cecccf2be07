"""Medians, ratios with intervals, and tables of a comparison."""

import math
import random
from statistics import median

# The rows whose geometric mean counts: whole networks.
NETWORKS = ["resnet18", "resnet50", "mobilenet_v2", "mlp_b1", "mlp_b64", "bert_base", "minilm", "gpt2", "vit_tiny"]
RESAMPLES = 1000


def resampled(times):
    """Medians by engine for each resample of rounds, the same rounds for all engines."""
    rounds = len(next(iter(times.values())))
    rng = random.Random(1)
    for _ in range(RESAMPLES):
        picks = [rng.randrange(rounds) for _ in range(rounds)]
        yield {engine: median(values[k] for k in picks) for engine, values in times.items()}


def to_best(medians):
    """Fornax's time to the fastest other engine's."""
    return medians["fornax"] / min(v for e, v in medians.items() if e != "fornax")


def interval(values):
    """The middle 95 %."""
    ordered = sorted(values)
    return ordered[int(0.025 * len(ordered))], ordered[int(0.975 * len(ordered)) - 1]


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def number(ms):
    """Three significant digits or so."""
    return f"{ms:.3f}" if ms < 10 else f"{ms:.1f}"


def row(model, threads, times, missing):
    """One model, as soon as it is measured."""
    medians = {engine: median(values) for engine, values in times.items()}
    shown = ", ".join(f"{engine} {number(ms)}" for engine, ms in medians.items())
    print(f"{model}, {threads} threads: {shown}", flush=True)
    for engine, why in missing.items():
        print(f"  missing: {engine}: {why}", flush=True)


def line(cells, widths):
    print(" ".join(str(c).rjust(w) if k else str(c).ljust(w) for k, (c, w) in enumerate(zip(cells, widths))))


def table(threads, rows, engines):
    """All models on that many threads."""
    comparable = {m: r["times_ms"] for m, r in rows.items() if "fornax" in r["times_ms"] and len(r["times_ms"]) > 1}
    print(f"\nMedian latency, ms, {threads} threads; ratios are Fornax / peer")
    widths = [13, 9, *(13 for _ in engines), 11, 8, 16]
    line(["model", "fornax", *engines, "best peer", "to best", "95 %"], widths)
    samples = {}
    for model, times in comparable.items():
        medians = {engine: median(values) for engine, values in times.items()}
        samples[model] = list(resampled(times))
        best = min((v, e) for e, v in medians.items() if e != "fornax")[1]
        lo, hi = interval(to_best(s) for s in samples[model])
        shown = [f"{number(medians[e])} ({medians['fornax'] / medians[e]:.2f})" if e in medians else "-" for e in engines]
        cells = [model, number(medians["fornax"]), *shown, best, f"{to_best(medians):.3f}", f"{lo:.3f}..{hi:.3f}"]
        line(cells, widths)
    networks = [m for m in NETWORKS if m in comparable]
    if not networks:
        return
    for engine in engines:
        both = [m for m in networks if engine in comparable[m]]
        if both:
            ratios = [median(comparable[m]["fornax"]) / median(comparable[m][engine]) for m in both]
            print(f"geometric mean to {engine}, {len(both)} networks: {geomean(ratios):.3f}")
    value = geomean([to_best({e: median(v) for e, v in comparable[m].items()}) for m in networks])
    draws = [geomean([to_best(samples[m][k]) for m in networks]) for k in range(RESAMPLES)]
    lo, hi = interval(draws)
    print(f"geometric mean to the best peer, {len(networks)} networks: {value:.3f} ({lo:.3f}..{hi:.3f})")


def starts(found, threads):
    """Path to the first output, and memory."""
    engines = [e for e in ("fornax", "onnxruntime", "openvino", "tract") if any(e in r for r in found.values())]
    print(f"\nFirst output in a fresh process, ms, {threads} threads: from opening the model / from starting the process")
    widths = [13, *(17 for _ in engines)]
    line(["model", *engines], widths)
    for model, row in found.items():
        cell = lambda e: f"{row[e]['inside_ms']:.0f} / {row[e]['whole_ms']:.0f}" if e in row else "-"
        line([model, *map(cell, engines)], widths)
    print("\nMost memory of a fresh process less that of the bare one, MB")
    line(["model", *engines], widths)
    for model, row in found.items():
        line([model, *(f"{row[e]['net_mb']:.1f}" if e in row else "-" for e in engines)], widths)

"""One engine on one model in a process of its own: `engines.py ENGINE MODEL INPUTS THREADS`.

Prints one JSON object when the first run is done: seconds of the import, of loading and of the first run, and the memory
of the process before the model was opened and at most. Then it answers each line `run N` of stdin with the milliseconds
of N runs in a row, as a JSON array, as `fornax bench --serve` does. An engine that is not installed or cannot take the
model prints {"missing": why}. `engines.py --list` prints the engines.
"""

import json
import os
import sys
import time

START = time.perf_counter()


def peak_rss_bytes():
    """The most physical memory that this process had at once: VmHWM of Linux."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def onnxruntime(threads):
    """onnxruntime with all its graph optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1

    def load(path, feed):
        model = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda: model.run(None, feed)

    return load


def openvino(threads):
    """OpenVINO for latency, computing in f32."""
    import openvino as ov

    core = ov.Core()
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }

    def load(path, feed):
        request = core.compile_model(path, "CPU", config).create_infer_request()
        return lambda: request.infer(feed, share_inputs=True, share_outputs=True)

    return load


def torch_module(torch, path, feed):
    """The graph as a module, and its operands."""
    import onnx

    import convert

    shapes = {name: value.shape for name, value in feed.items()}
    constants, steps, outputs = convert.plan(onnx.load(path), convert.torch_table(), shapes)
    names = list(feed)

    class Graph(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for k, value in enumerate(constants.values()):
                self.register_buffer(f"c{k}", torch.tensor(value))

        def forward(self, *operands):
            values = {name: getattr(self, f"c{k}") for k, name in enumerate(constants)}
            values.update(zip(names, operands))
            return tuple(convert.execute(steps, values, outputs))

    return Graph().eval(), tuple(torch.from_numpy(v) for v in feed.values())


def torch_engine(threads, compiled):
    """torch, eager or by Inductor with frozen weights."""
    import torch

    torch.set_num_threads(threads)

    def load(path, feed):
        with torch.no_grad():
            module, operands = torch_module(torch, path, feed)
            if compiled:
                import torch._inductor.config as inductor

                inductor.freezing = True
                module = torch.compile(torch.export.export(module, operands, strict=False).module())

        def run():
            with torch.no_grad():
                return [t.numpy() for t in module(*operands)]

        return run

    return load


def jax(threads):
    """JAX, jitted, with the weights as operands that stay on the device."""
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax as library

    def load(path, feed):
        import onnx

        import convert

        shapes = {name: value.shape for name, value in feed.items()}
        constants, steps, outputs = convert.plan(onnx.load(path), convert.jax_table(), shapes)

        @library.jit
        def graph(constants, operands):
            return convert.execute(steps, constants | operands, outputs)

        weights, operands = library.device_put(constants), library.device_put(feed)

        def run():
            return library.block_until_ready(graph(weights, operands))

        return run

    return load


def tract(threads):
    """tract, which computes on one thread."""
    if threads > 1:
        raise ImportError("it computes on one thread")
    import tract as library

    def load(path, feed):
        model = library.onnx().load(path)
        names = [model.input_name(k) for k in range(model.input_count())]
        for k, name in enumerate(names):
            kind = {"float32": "f32", "int64": "i64"}[str(feed[name].dtype)]
            model.set_input_fact(k, ",".join([*map(str, feed[name].shape), kind]))
        runnable = model.into_model().into_runnable()
        operands = [feed[name] for name in names]
        return lambda: [t.to_numpy() for t in runnable.run(operands)]

    return load


ENGINES = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "torch": lambda threads: torch_engine(threads, False),
    "torch.compile": lambda threads: torch_engine(threads, True),
    "jax": jax,
    "tract": tract,
}


def main():
    if sys.argv[1:] == ["--list"]:
        print(" ".join(ENGINES))
        return
    engine, model, inputs, threads = sys.argv[1:]
    import numpy as np

    with np.load(inputs) as arrays:
        feed = {name: arrays[name] for name in arrays.files}
    try:
        before = time.perf_counter()
        load = ENGINES[engine](int(threads))
        imported, bare = time.perf_counter(), peak_rss_bytes()
        run = load(model, feed)
        loaded = time.perf_counter()
        run()
        done = time.perf_counter()
    except Exception as error:  # whatever a library raises is why it does not take part
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        print(json.dumps({"missing": why[:200]}), flush=True)
        return
    ready = {
        "import_s": imported - before,
        "load_s": loaded - imported,
        "first_run_s": done - loaded,
        "process_s": done - START,
        "bare_rss_bytes": bare,
        "peak_rss_bytes": peak_rss_bytes(),
    }
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line.split()[1])):
            start = time.perf_counter()
            outputs = run()
            times.append((time.perf_counter() - start) * 1e3)
            del outputs
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()

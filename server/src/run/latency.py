# Times a model with ONNX Runtime on the CPU: FILE, runs that are not counted, runs that are, seconds after which none is begun.
import json, sys, time
import numpy, onnxruntime

file, warm, runs, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
kinds = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64}
feed = {
    one.name: numpy.zeros([n if isinstance(n, int) else 1 for n in one.shape], kinds[one.type])
    for one in session.get_inputs()
}
taken, begun = [], time.perf_counter()
for run in range(warm + runs):
    start = time.perf_counter()
    session.run(None, feed)
    if run >= warm:
        taken.append(time.perf_counter() - start)
        if time.perf_counter() - begun > seconds:
            break
print(json.dumps({"version": onnxruntime.__version__, "seconds": taken}))

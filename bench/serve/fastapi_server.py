"""What a person builds today: FastAPI in front of ONNX Runtime. peers.py starts it.

    python fastapi_server.py MODEL.onnx PORT THREADS

POST /infer takes the pixels of one image, 3x32x32 float32, and gives {"class_index": 3}.
"""

import sys

import fastapi
import fastapi.concurrency
import numpy
import onnxruntime
import uvicorn

model, port, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
app = fastapi.FastAPI()


@app.post("/infer")
async def infer(request: fastapi.Request):
    values = numpy.frombuffer(await request.body(), numpy.float32).reshape(1, *shape[1:])
    # In a thread, so that the server reads other requests meanwhile.
    logits = await fastapi.concurrency.run_in_threadpool(session.run, None, {name: values})
    return {"class_index": int(logits[0][0].argmax())}


uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)

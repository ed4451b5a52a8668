// ONNX Runtime as a worker process of compare.py. It loads a model, writes its logits to a file and
// prints {"ready": true}. For each line "run SECONDS" on standard input it then runs the model for
// that long and prints the number of images, the seconds and the latencies in ms as JSON.
//
//   node ort_worker.js NODE_MODULES MODEL.onnx BATCH THREADS IMAGES.f32 LOGITS.f32 SHAPE [OPTIMISED.onnx]
const fs = require('fs');
const path = require('path');
const readline = require('readline');

const [modules, model, batchText, threads, imagesFile, logitsFile, shapeText, optimised] =
    process.argv.slice(2);
const ort = require(path.resolve(modules, 'onnxruntime-node'));
const batch = Number(batchText);
const shape = shapeText.split(',').map(Number);
const size = shape.reduce((a, b) => a * b, 1);

function quantile(sorted, share) {
  return sorted[Math.max(Math.ceil(share * sorted.length - 1e-9), 1) - 1];
}

async function main() {
  const options = {
    intraOpNumThreads: Number(threads),
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
  };
  if (optimised) options.optimizedModelFilePath = optimised;
  const session = await ort.InferenceSession.create(model, options);
  const bytes = fs.readFileSync(imagesFile);
  const images = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const batches = [];
  for (let at = 0; at + batch * size <= images.length; at += batch * size)
    batches.push(new ort.Tensor('float32', images.slice(at, at + batch * size), [batch, ...shape]));
  const run = async (i) =>
      (await session.run({input: batches[i % batches.length]})).logits.data;
  const logits = [];
  for (let i = 0; i < batches.length; ++i) logits.push(Buffer.from((await run(i)).slice().buffer));
  fs.writeFileSync(logitsFile, Buffer.concat(logits));
  console.log(JSON.stringify({ready: true}));

  for await (const line of readline.createInterface({input: process.stdin})) {
    if (!line.startsWith('run ')) break;
    const budget = Number(line.slice(4));
    let start = process.hrtime.bigint();
    let now = start;
    while (Number(now - start) < 1e9 * budget / 8) {  // warm up for as long as offramp does
      await run(0);
      now = process.hrtime.bigint();
    }
    const times = [];
    start = now;
    while (Number(now - start) < 1e9 * budget) {
      const before = now;
      await run(times.length);
      now = process.hrtime.bigint();
      times.push(Number(now - before) / 1e6);
    }
    const sorted = Float64Array.from(times).sort();
    console.log(JSON.stringify({
      images: times.length * batch,
      seconds: Number(now - start) / 1e9,
      latency_ms: {
        p50: quantile(sorted, 0.5),
        p95: quantile(sorted, 0.95),
        p99: quantile(sorted, 0.99),
        max: sorted[sorted.length - 1],
      },
    }));
  }
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

// Runs the network over an image of any size: standardised, mirrored, in tiles, in symmetries.
//
// Mirrors graphseg.unet.inference (moments, margin, tile_slices, tile_weights, blend_tiles,
// probabilities). The network itself is an ONNX file, run by ONNX Runtime (WebAssembly).
"use strict";

// The eight symmetries of the square: quarter turns, and whether to mirror first.
const SYMMETRIES = [0, 1, 2, 3].flatMap((quarters) => [[quarters, false], [quarters, true]]);

// Starts ONNX Runtime from bytes, since a local page may not fetch files.
async function startNetwork({ wasm, mjs, onnx }) {
  ort.env.wasm.numThreads = 1; // more need memory that is shared, which a local page has not
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = wasm;
  const script = new Blob([mjs], { type: "text/javascript" });
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(script) };
  return ort.InferenceSession.create(new Uint8Array(onnx), { executionProviders: ["wasm"] });
}

function moments(pixels) {
  let mean = 0, square = 0;
  for (const value of pixels) mean += value;
  mean /= pixels.length;
  for (const value of pixels) square += (value - mean) ** 2;
  const deviation = Math.sqrt(square / pixels.length);
  return [mean, deviation > 1e-7 * Math.abs(mean) ? deviation : Infinity];
}

// How far the result of one pixel depends on others.
function margin({ stride, levels, multiple }) {
  let reach = 0;
  for (let level = 0; level < levels; level++) {
    reach += 2 * 2 ** level * (level < levels - 1 ? 2 : 1); // the deepest is passed once
  }
  return stride * reach + multiple;
}

const upTo = (value, multiple) => Math.ceil(value / multiple) * multiple;

// Covers a length with as few tiles of equal size as possible, [start, stop] each.
function tileSlices(length, tile, overlap, multiple) {
  tile -= tile % multiple;
  overlap = upTo(overlap, multiple);
  length = upTo(length, multiple);
  if (length <= tile) return [[0, length]];
  const number = Math.ceil((length - overlap) / (tile - overlap));
  const size = upTo(Math.ceil((length + (number - 1) * overlap) / number), multiple);
  return Array.from({ length: number }, (_, i) => {
    const start = Math.floor(i * (length - size) / ((number - 1) * multiple)) * multiple;
    return [start, start + size];
  });
}

// Weights of overlapping tiles; `blank` pixels at inner edges count nothing.
function tileWeights(slices, blank) {
  const total = new Float64Array(slices.at(-1)[1]);
  const weights = slices.map(([start, stop], k) => {
    const weight = new Float64Array(stop - start).fill(1);
    const before = slices[k - 1], after = slices[k + 1];
    const fade = (overlap, distance) => {
      const ramp = Math.max(overlap - 2 * blank, 1);
      for (let i = 0; i < weight.length; i++) {
        weight[i] = Math.min(weight[i], Math.min(Math.max((distance(i) - blank) / ramp, 0), 1));
      }
    };
    if (before) fade(before[1] - start, (i) => i + 0.5);
    if (after) fade(stop - after[0], (i) => stop - start - i - 0.5);
    weight.forEach((value, i) => { total[start + i] += value; });
    return weight;
  });
  return weights.map((weight, k) => weight.map((value, i) => value / total[slices[k][0] + i]));
}

// One tile, standardised, and mirrored at its lower and right edge up to whole coarsest pixels.
function tileOf(image, [top, bottom], [left, right], [mean, deviation], multiple) {
  const height = Math.min(bottom, image.height) - top, width = Math.min(right, image.width) - left;
  const rows = upTo(height, multiple), columns = upTo(width, multiple);
  const mirrored = (place, length) => {
    const folded = place % (2 * length);
    return folded < length ? folded : 2 * length - 1 - folded;
  };
  const values = new Float32Array(rows * columns);
  for (let y = 0; y < rows; y++) {
    const line = (top + mirrored(y, height)) * image.width + left;
    for (let x = 0; x < columns; x++) {
      values[y * columns + x] = (image.pixels[line + mirrored(x, width)] - mean) / deviation;
    }
  }
  return { values, rows, columns, height, width };
}

// Turns an array as numpy.rot90 after mirroring does, or back again.
function turned(values, rows, columns, [quarters, mirrored], isBack) {
  const [height, width] = quarters % 2 ? [columns, rows] : [rows, columns];
  const out = new Float32Array(values.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let [row, column] = [
        [y, x], [x, columns - 1 - y], [rows - 1 - y, columns - 1 - x], [rows - 1 - x, y],
      ][quarters];
      if (mirrored) column = columns - 1 - column;
      const place = row * columns + column;
      if (isBack) out[place] = values[y * width + x];
      else out[y * width + x] = values[place];
    }
  }
  return { values: out, height, width };
}

// The probability of contamination on the grid of an image, averaged over symmetries on demand.
async function predictProba(session, network, image, isAveraged, progress) {
  const blank = margin(network), { multiple } = network, normal = moments(image.pixels);
  const overlap = Math.max(network.overlap, 2 * blank), tile = Math.max(network.tile, 2 * overlap);
  const [rows, columns] = [image.height, image.width].map(
    (length) => tileSlices(length, tile, overlap, multiple));
  const down = tileWeights(rows, blank), across = tileWeights(columns, blank);
  const symmetries = isAveraged ? SYMMETRIES : SYMMETRIES.slice(0, 1);
  const out = new Float32Array(image.height * image.width);
  const all = rows.length * columns.length * symmetries.length;
  let done = 0;
  for (const [i, rowSlice] of rows.entries()) {
    for (const [j, columnSlice] of columns.entries()) {
      const part = tileOf(image, rowSlice, columnSlice, normal, multiple);
      for (const symmetry of symmetries) {
        const size = [part.rows, part.columns, symmetry];
        const { values, height, width } = turned(part.values, ...size, false);
        const input = new ort.Tensor("float32", values, [1, height, width]);
        const { probability } = await session.run({ image: input });
        const found = turned(probability.data, ...size, true).values;
        for (let y = 0; y < part.height; y++) {
          const line = (rowSlice[0] + y) * image.width + columnSlice[0];
          for (let x = 0; x < part.width; x++) {
            out[line + x] += found[y * part.columns + x] * down[i][y] * across[j][x]
              / symmetries.length;
          }
        }
        progress(++done / all);
      }
    }
  }
  return out;
}

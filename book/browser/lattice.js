// The lattice of graphene: its parameter in pixels, and how clearly it is seen.
//
// Mirrors graphseg.structure.lattice without masks: clean_signal, search, refine, ring_amplitudes
// and measure_lattice. Signals are Float32Arrays of (height, width) in rows; waves are frequencies
// [down the rows, along them] in cycles per pixel.
"use strict";

const LATTICE_CONSTANT = 2.46; // Å
const SECTOR = Math.PI / 3;
const WINDOW_TAPER = 0.5;
const NOISE_SCORE = 1.4, BACKGROUND = 0.3, FLOOR = 1e-3, FOUND_SCORE = 0.5;
const WINDOW_WIDTH = 1.5, WINDOW_STEP = 2, REFINEMENTS = 2;
const SMALLEST_SIDE = 32, SMALLEST_PARAMETER = 2.6, FEWEST_PERIODS = 6;
const NEGLIGIBLE = 7; // standard deviations from the centre of a Gaussian window

// measure_lattice: {parameter, pixelSize, score, found, amplitudes, certainty}
function measureLattice(image, height, width) {
  const signal = cleanSignal(image, height, width);
  const longest = Math.min(height, width) / FEWEST_PERIODS;
  const best = search(signal, height, width, SMALLEST_PARAMETER, longest), { score } = best;
  let { parameter, orientation } = best;
  if (score > 0) [parameter, orientation] = refine(signal, height, width, parameter, orientation);
  const [amplitudes, certainty] = ringAmplitudes(signal, height, width, parameter, orientation);
  const found = score > FOUND_SCORE;
  const pixelSize = LATTICE_CONSTANT / parameter;
  return { parameter, pixelSize, score, found, amplitudes, certainty };
}

// Orthonormal polynomials up to degree 2, which span what the Bernstein polynomials span.
function polynomials(length) {
  const made = [];
  for (let degree = 0; degree < 3; degree++) {
    let values = Float64Array.from(
      { length }, (_, i) => (2 * i / Math.max(length - 1, 1) - 1) ** degree);
    for (let pass = 0; pass < 2; pass++) {
      for (const other of made) {
        const along = values.reduce((sum, value, i) => sum + value * other[i], 0);
        values = values.map((value, i) => value - along * other[i]);
      }
    }
    const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
    made.push(values.map((value) => value / norm));
  }
  return made;
}

// The image without its quadratic background, with standard deviation 1; zeros if constant.
function cleanSignal(image, height, width) {
  const rows = polynomials(height), columns = polynomials(width);
  const coefficients = [0, 1, 2].map(() => [0, 0, 0]);
  for (let y = 0; y < height; y++) {
    for (let j = 0; j < 3; j++) {
      let along = 0;
      for (let x = 0; x < width; x++) along += image[y * width + x] * columns[j][x];
      for (let i = 0; i < 3; i++) coefficients[i][j] += rows[i][y] * along;
    }
  }
  const signal = new Float64Array(height * width);
  let mean = 0, square = 0, largest = 0;
  for (let y = 0; y < height; y++) {
    const line = [0, 1, 2].map(
      (j) => [0, 1, 2].reduce((sum, i) => sum + coefficients[i][j] * rows[i][y], 0));
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      signal[i] = image[i];
      for (let j = 0; j < 3; j++) signal[i] -= line[j] * columns[j][x];
      mean += signal[i];
      largest = Math.max(largest, Math.abs(image[i]));
    }
  }
  mean /= signal.length;
  for (const value of signal) square += (value - mean) ** 2;
  const deviation = Math.sqrt(square / signal.length);
  if (deviation <= 1e-6 * largest) return new Float32Array(height * width);
  return Float32Array.from(signal, (value) => value / deviation);
}

// Parameter and orientation at which both rings of reflections stand out most, and how far.
function search(signal, height, width, shortest, longest) {
  const size = Math.min(height, width);
  const shift = Math.ceil(size * Math.log(3) / 4), step = Math.log(3) / 2 / shift;
  const count = Math.ceil(Math.log(longest / shortest) / step) + 1;
  const radii = Float64Array.from(
    { length: shift + count },
    (_, i) => 2 / Math.sqrt(3) / shortest * Math.exp(-(i - shift) * step));
  const { spots, angles } = spotScores(signal, height, width, radii);
  const best = { score: -1 };
  for (let radius = 0; radius < count; radius++) {
    for (let angle = 0; angle < angles; angle++) {
      const first = spots[angle * radii.length + shift + radius];
      const second = spots[(angle + (angles >> 1)) % angles * radii.length + radius];
      if (first + second > best.score) {
        best.score = first + second;
        best.parameter = 2 / Math.sqrt(3) / radii[shift + radius];
        best.orientation = angle * SECTOR / angles;
      }
    }
  }
  return best;
}

// How far three reflections, 60 degrees apart, stand out at each angle and radius.
function spotScores(signal, height, width, radii) {
  const spectrum = weightedSpectrum(signal, height, width, WINDOW_TAPER);
  const half = (width >> 1) + 1, number = radii.length;
  const all = 6 * Math.max(Math.ceil(Math.PI * Math.min(height, width) / 12), 30);
  const power = new Float64Array(all * number).fill(-1); // where there is none
  const value = (y, x) =>
    x < 0 || x >= half || y < 0 || y > height ? 0 : spectrum[y % height * half + x];
  let highest = 0;
  for (let a = 0; a < all; a++) {
    const angle = -Math.PI / 2 + a * Math.PI / all;
    const sine = Math.sin(angle), cosine = Math.cos(angle);
    for (let r = 0; r < number; r++) {
      const row = sine * radii[r], column = cosine * radii[r];
      if (Math.abs(row) > 0.5 || column > 0.5) continue;
      // Places are float32 between -1 and 1, as torch's grid_sample takes them.
      const y = (Math.fround(((row % 1 + 1) % 1) * 2 - 1) + 1) / 2 * height;
      const x = (Math.fround(column * width / (width >> 1) * 2 - 1) + 1) / 2 * (half - 1);
      const top = Math.floor(y), left = Math.floor(x), v = y - top, u = x - left;
      const sample = (value(top, left) * (1 - u) + value(top, left + 1) * u) * (1 - v)
        + (value(top + 1, left) * (1 - u) + value(top + 1, left + 1) * u) * v;
      power[a * number + r] = sample * sample;
      highest = Math.max(highest, sample * sample);
    }
  }
  const angles = all / 3, spots = new Float64Array(angles * number);
  const ring = new Float64Array(all);
  for (let r = 0; r < number; r++) {
    let inside = 0;
    for (let a = 0; a < all; a++) {
      if (power[a * number + r] >= 0) ring[inside++] = power[a * number + r];
    }
    if (!inside) continue;
    // The power between the reflections: a low quantile over the angles.
    const quantile = ring.subarray(0, inside).sort()[Math.floor(BACKGROUND * inside)];
    const background = Math.max(quantile, FLOOR ** 2 * highest || 1);
    for (let a = 0; a < all; a++) {
      const relative = Math.log1p(Math.max(power[a * number + r], 0) / background);
      spots[a % angles * number + r] += relative / 3;
    }
  }
  return { spots: spots.map((score) => Math.max(score - NOISE_SCORE, 0)), angles };
}

// Reflections of both rings, one of each pair; the first three add up to zero.
function ringVectors(parameter, orientation) {
  const ring = (start, step, radius) => [0, 1, 2].map(
    (k) => [Math.sin(start + k * step) * radius, Math.cos(start + k * step) * radius]);
  const first = ring(orientation + Math.PI / 6, 2 * SECTOR, 2 / Math.sqrt(3) / parameter);
  return [...first, ...ring(orientation, SECTOR, 2 / parameter)];
}

const isResolved = (wave) => Math.max(...wave.map(Math.abs)) < 0.5;

// Parameter and orientation from the phase gradient of each wave, below one bin of the spectrum.
function refine(signal, height, width, parameter, orientation) {
  const expected = ringVectors(parameter, orientation);
  let waves = expected, powers = [];
  for (let repeat = 0; repeat < REFINEMENTS; repeat++) {
    const steps = waves.map((wave) =>
      phaseSteps(localCoefficients(signal, height, width, wave, parameter)));
    waves = waves.map((wave, k) => wave.map(
      (f, axis) => f + Math.atan2(steps[k][axis][1], steps[k][axis][0])
        / (2 * Math.PI * WINDOW_STEP * parameter)));
    powers = steps.map(([down, across]) => Math.hypot(...down) + Math.hypot(...across));
  }
  // Least squares for the linear map from the expected to the measured reflections.
  const gram = [[0, 0], [0, 0]], right = [[0, 0], [0, 0]];
  expected.forEach((wave, k) => {
    const weight = isResolved(wave) ? powers[k] ** 2 : 0;
    for (const i of [0, 1]) {
      for (const j of [0, 1]) {
        gram[i][j] += weight * wave[i] * wave[j];
        right[i][j] += weight * wave[i] * waves[k][j];
      }
    }
  });
  const [[a, b], [, d]] = gram, determinant = a * d - b * b;
  const middle = (a + d) / 2, spread = Math.hypot((a - d) / 2, b);
  if (!(middle - spread > 1e-6 * (middle + spread))) return [parameter, orientation];
  const change = [[d, -b], [-b, a]].map((row) => [0, 1].map(
    (j) => (row[0] * right[0][j] + row[1] * right[1][j]) / determinant));
  const area = change[0][0] * change[1][1] - change[0][1] * change[1][0];
  if (area <= 0) return [parameter, orientation];
  const turn = Math.atan2(change[1][0] - change[0][1], change[0][0] + change[1][1]);
  return [parameter / Math.sqrt(area), orientation + turn];
}

// Sums over all windows of a coefficient times the conjugate of its neighbour, [down, across].
function phaseSteps({ rows, columns, re, im }) {
  const steps = [[0, 0], [0, 0]];
  const add = (step, i, j) => {
    step[0] += re[i] * re[j] + im[i] * im[j];
    step[1] += im[i] * re[j] - re[i] * im[j];
  };
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const i = y * columns + x;
      if (y) add(steps[0], i, i - columns);
      if (x) add(steps[1], i, i - 1);
    }
  }
  return steps;
}

// Signed amplitudes of both rings, and how certain the sign of the first is.
function ringAmplitudes(signal, height, width, parameter, orientation) {
  const waves = ringVectors(parameter, orientation);
  const found = waves.map((wave) => localCoefficients(signal, height, width, wave, parameter));
  const triples = (one, two, three, conjugated) => Array.from(one.re, (_, i) => {
    // one · two · three, with the second and the third conjugated on demand
    const s = conjugated ? -1 : 1;
    const re = one.re[i] * two.re[i] - s * one.im[i] * two.im[i];
    const im = one.im[i] * two.re[i] + s * one.re[i] * two.im[i];
    return [re * three.re[i] - s * im * three.im[i], im * three.re[i] + s * re * three.im[i]];
  });
  const [a, b, c, ...second] = found;
  const sign = meanCosine(triples(a, b, c, false));
  const other = meanCosine([[a, b], [a, c], [b, c]].flatMap(
    ([one, two], k) => triples(one, two, second[k], true)));
  const sizes = [found.slice(0, 3), second].map((ring) => {
    const powers = ring.flatMap(({ re, im }) => Array.from(re, (x, i) => x * x + im[i] * im[i]));
    return Math.sqrt(powers.reduce((sum, power) => sum + power, 0) / powers.length);
  });
  const copysign = (size, of) => of < 0 || Object.is(of, -0) ? -size : size;
  const resolved = waves.slice(3).every(isResolved) ? 1 : 0;
  return [[copysign(sizes[0], sign), copysign(sizes[1], other) * resolved], Math.abs(sign)];
}

// The mean cosine of the phases of products, weighted by their cubic root.
function meanCosine(products) {
  let sum = 0, weights = 0;
  for (const [re, im] of products) {
    const size = Math.hypot(re, im), weight = Math.cbrt(size);
    sum += size > 0 ? weight * re / size : 0;
    weights += weight;
  }
  return sum / Math.max(weights, 1.2e-38);
}

// The Fourier coefficients of a wave in Gaussian windows, (rows, columns) of them.
function localCoefficients(signal, height, width, wave, parameter) {
  const down = windowedWaves(height, wave[0], parameter);
  const across = windowedWaves(width, wave[1], parameter);
  const rows = down.length, columns = across.length;
  const re = new Float64Array(rows * columns), im = new Float64Array(rows * columns);
  const a = new Float64Array(width), b = new Float64Array(width);
  down.forEach((window, i) => {
    a.fill(0);
    b.fill(0);
    for (let k = 0; k < window.re.length; k++) {
      const line = (window.from + k) * width, c = window.re[k], s = window.im[k];
      for (let x = 0; x < width; x++) {
        a[x] += c * signal[line + x];
        b[x] += s * signal[line + x];
      }
    }
    across.forEach((other, j) => {
      let p = 0, q = 0;
      for (let k = 0; k < other.re.length; k++) {
        const x = other.from + k;
        p += a[x] * other.re[k] - b[x] * other.im[k];
        q += a[x] * other.im[k] + b[x] * other.re[k];
      }
      re[i * columns + j] = p;
      im[i * columns + j] = q;
    });
  });
  return { rows, columns, re, im };
}

// exp(-2πi f x) in normalised windows, one every WINDOW_STEP lattice parameters.
function windowedWaves(length, frequency, parameter) {
  const windows = [], width = WINDOW_WIDTH * parameter;
  for (let centre = parameter; centre < length; centre += WINDOW_STEP * parameter) {
    const from = Math.max(Math.ceil(centre - NEGLIGIBLE * width), 0);
    const to = Math.min(Math.floor(centre + NEGLIGIBLE * width) + 1, length);
    const weights = Float64Array.from(
      { length: to - from }, (_, i) => Math.exp(-(((from + i - centre) / width) ** 2) / 2));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    const phase = (i) => 2 * Math.PI * frequency * (from + i);
    windows.push({
      from,
      re: weights.map((weight, i) => weight / sum * Math.cos(phase(i))),
      im: weights.map((weight, i) => -weight / sum * Math.sin(phase(i))),
    });
  }
  return windows;
}

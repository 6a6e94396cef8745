// Fourier transforms of any length, and the weighted spectrum.
//
// Mirrors scipy.fft.rfft2 and irfft2, and graphseg.preprocessing.weighted_spectrum (eq. 4).
"use strict";

const REFERENCE_PIXELS = 256 * 256;

const LARGEST_FACTOR = 15; // odd; a length with a larger one is transformed by a convolution

const twiddles = new Map(); // length: [cosines, sines] of half a turn
const turns = new Map(); // length: [cosines, sines] of a whole turn, and room for the parts
const chirps = new Map(); // length: what Bluestein's algorithm multiplies by

function twiddlesOf(length) {
  if (!twiddles.has(length)) {
    const angle = (i) => -2 * Math.PI * i / length;
    twiddles.set(length, [Math.cos, Math.sin].map(
      (wave) => Float64Array.from({ length: length / 2 }, (_, i) => wave(angle(i)))));
  }
  return twiddles.get(length);
}

// Transforms in place.
function fft(re, im) {
  const n = re.length, odd = n / (n & -n);
  if (odd > 1) return odd <= LARGEST_FACTOR ? parted(re, im, odd) : bluestein(re, im);
  for (let i = 1, j = 0; i < n; i++) { // the order of reversed bits
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  const [cosines, sines] = twiddlesOf(n);
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2, stride = n / size;
    for (let start = 0; start < n; start += size) {
      for (let k = 0; k < half; k++) {
        const c = cosines[k * stride], s = sines[k * stride], a = start + k, b = a + half;
        const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
}

// A transform of a few interleaved parts, whose lengths are powers of two.
function parted(re, im, count) {
  const n = re.length, length = n / count;
  if (!turns.has(n)) {
    const angle = (i) => -2 * Math.PI * i / n;
    const waves = [Math.cos, Math.sin].map(
      (wave) => Float64Array.from({ length: n }, (_, i) => wave(angle(i))));
    const room = () => Array.from({ length: count }, () => new Float64Array(length));
    turns.set(n, [...waves, room(), room()]);
  }
  const [cosines, sines, a, b] = turns.get(n);
  for (let part = 0; part < count; part++) {
    for (let i = 0; i < length; i++) {
      a[part][i] = re[i * count + part];
      b[part][i] = im[i * count + part];
    }
    fft(a[part], b[part]);
  }
  re.fill(0);
  im.fill(0);
  for (let part = 0; part < count; part++) {
    const x = a[part], y = b[part];
    for (let k = 0, from = 0, turn = 0; k < n; k++) {
      re[k] += x[from] * cosines[turn] - y[from] * sines[turn];
      im[k] += x[from] * sines[turn] + y[from] * cosines[turn];
      from = from + 1 < length ? from + 1 : 0;
      turn = turn + part < n ? turn + part : turn + part - n;
    }
  }
}

// A transform of any length as a convolution of one that is a power of two.
function bluestein(re, im) {
  const n = re.length;
  let m = 1;
  while (m < 2 * n) m *= 2;
  if (!chirps.has(n)) {
    const c = new Float64Array(n), s = new Float64Array(n);
    const kernelRe = new Float64Array(m), kernelIm = new Float64Array(m);
    for (let i = 0; i < n; i++) {
      const angle = Math.PI * ((i * i) % (2 * n)) / n;
      kernelRe[i] = kernelRe[(m - i) % m] = c[i] = Math.cos(angle);
      kernelIm[i] = kernelIm[(m - i) % m] = s[i] = Math.sin(angle);
    }
    fft(kernelRe, kernelIm);
    chirps.set(n, { c, s, kernelRe, kernelIm });
  }
  const { c, s, kernelRe, kernelIm } = chirps.get(n);
  const a = new Float64Array(m), b = new Float64Array(m);
  for (let i = 0; i < n; i++) {
    a[i] = re[i] * c[i] + im[i] * s[i];
    b[i] = im[i] * c[i] - re[i] * s[i];
  }
  fft(a, b);
  for (let i = 0; i < m; i++) { // conjugated, so that the next transform is the inverse
    const x = a[i] * kernelRe[i] - b[i] * kernelIm[i];
    b[i] = -(a[i] * kernelIm[i] + b[i] * kernelRe[i]);
    a[i] = x;
  }
  fft(a, b);
  for (let i = 0; i < n; i++) {
    const x = a[i] / m, y = -b[i] / m;
    re[i] = x * c[i] + y * s[i];
    im[i] = y * c[i] - x * s[i];
  }
}

// Half of the transform of a real image (height, width): re and im of (height, width / 2 + 1).
function rfft2(image, height, width) {
  const half = (width >> 1) + 1;
  const re = new Float64Array(height * half), im = new Float64Array(height * half);
  const a = new Float64Array(width), b = new Float64Array(width);
  for (let y = 0; y < height; y++) {
    a.set(image.subarray(y * width, (y + 1) * width));
    b.fill(0);
    fft(a, b);
    re.set(a.subarray(0, half), y * half);
    im.set(b.subarray(0, half), y * half);
  }
  const c = new Float64Array(height), d = new Float64Array(height);
  for (let x = 0; x < half; x++) {
    for (let y = 0; y < height; y++) [c[y], d[y]] = [re[y * half + x], im[y * half + x]];
    fft(c, d);
    for (let y = 0; y < height; y++) [re[y * half + x], im[y * half + x]] = [c[y], d[y]];
  }
  return { re, im, half };
}

// The first rows of the real image whose half transform (height, half) is given; overwrites it.
function irfft2(re, im, height, width, rows) {
  const half = (width >> 1) + 1, out = new Float64Array(rows * width), scale = height * width;
  const c = new Float64Array(height), d = new Float64Array(height);
  for (let x = 0; x < half; x++) { // conjugated, the transform is the inverse
    for (let y = 0; y < height; y++) {
      c[y] = re[y * half + x];
      d[y] = -im[y * half + x];
    }
    fft(c, d);
    for (let y = 0; y < rows; y++) {
      re[y * half + x] = c[y];
      im[y * half + x] = -d[y];
    }
  }
  const a = new Float64Array(width), b = new Float64Array(width);
  for (let y = 0; y < rows; y += 2) { // two rows at once: one becomes the real part
    const first = y * half, second = y + 1 < rows ? first + half : -1;
    for (let x = 0; x < width; x++) {
      const isMirrored = x >= half, from = isMirrored ? width - x : x, sign = isMirrored ? -1 : 1;
      const p = re[first + from], q = sign * im[first + from];
      const r = second < 0 ? 0 : re[second + from], s = second < 0 ? 0 : sign * im[second + from];
      a[x] = p - s;
      b[x] = -(q + r);
    }
    fft(a, b);
    for (let x = 0; x < width; x++) {
      out[y * width + x] = a[x] / scale;
      if (second >= 0) out[(y + 1) * width + x] = -b[x] / scale;
    }
  }
  return out;
}

// scipy.signal.windows.tukey
function tukey(length, taper) {
  const window = new Float64Array(length).fill(1);
  const edge = Math.floor(taper * (length - 1) / 2);
  for (let i = 0; i <= edge; i++) {
    window[i] = 0.5 * (1 + Math.cos(Math.PI * (2 * i / taper / (length - 1) - 1)));
    window[length - 1 - i] = window[i];
  }
  return window;
}

// |q| |F{W I}| of a signal with mean zero, (height, half), blurred by a Gaussian of some bins.
function weightedSpectrum(signal, height, width, taper, blur = 1) {
  const down = tukey(height, taper), across = tukey(width, taper);
  const windowed = Float64Array.from(
    signal, (value, i) => value * down[Math.floor(i / width)] * across[i % width]);
  const { re, im, half } = rfft2(windowed, height, width);
  const scale = REFERENCE_PIXELS / (height * width);
  const heights = re.map((value, i) => {
    const y = Math.floor(i / half), x = i % half;
    const distance = Math.hypot((y < height / 2 ? y : y - height) / height, x / width);
    return Math.hypot(value, im[i]) * distance * scale;
  });
  if (blur === 0) return heights;
  const reach = Math.floor(4 * blur + 0.5); // as scipy.ndimage.gaussian_filter1d
  const kernel = Array.from(
    { length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * blur * blur)));
  const sum = kernel.reduce((a, b) => a + b);
  const rows = new Float64Array(height * half), out = new Float64Array(height * half);
  for (let y = 0; y < height; y++) {
    for (let k = -reach; k <= reach; k++) {
      const from = (y + k + reach * height) % height * half, weight = kernel[k + reach] / sum;
      for (let x = 0; x < half; x++) rows[y * half + x] += weight * heights[from + x];
    }
  }
  // Left of frequency zero stands the mirror image; at the right edge the spectrum is reflected.
  for (let y = 0; y < height; y++) {
    const mirrored = (height - y) % height * half;
    for (let x = 0; x < half; x++) {
      let total = 0;
      for (let k = -reach; k <= reach; k++) {
        const place = x + k < half ? x + k : 2 * half - 1 - x - k;
        total += kernel[k + reach] * (place < 0 ? rows[mirrored - place] : rows[y * half + place]);
      }
      out[y * half + x] = total / sum;
    }
  }
  return out;
}

// Fourier transforms of any length, and the weighted spectrum.
//
// Mirrors scipy.fft.rfft2 and graphseg.preprocessing.weighted_spectrum (eq. 4).
"use strict";

const REFERENCE_PIXELS = 256 * 256;

const twiddles = new Map(); // length: [cosines, sines]
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
  const n = re.length;
  if (n & (n - 1)) return bluestein(re, im);
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

// |q| |F{W I}| of a signal with mean zero, blurred by a Gaussian of one bin, (height, half).
function weightedSpectrum(signal, height, width, taper) {
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
  const kernel = Array.from({ length: 9 }, (_, i) => Math.exp(-((i - 4) ** 2) / 2));
  const sum = kernel.reduce((a, b) => a + b);
  const rows = new Float64Array(height * half), out = new Float64Array(height * half);
  for (let y = 0; y < height; y++) {
    for (let k = -4; k <= 4; k++) {
      const from = (y + k + 4 * height) % height * half, weight = kernel[k + 4] / sum;
      for (let x = 0; x < half; x++) rows[y * half + x] += weight * heights[from + x];
    }
  }
  // Left of frequency zero stands the mirror image; at the right edge the spectrum is reflected.
  for (let y = 0; y < height; y++) {
    const mirrored = (height - y) % height * half;
    for (let x = 0; x < half; x++) {
      let total = 0;
      for (let k = -4; k <= 4; k++) {
        const place = x + k < half ? x + k : 2 * half - 1 - x - k;
        total += kernel[k + 4] * (place < 0 ? rows[mirrored - place] : rows[y * half + place]);
      }
      out[y * half + x] = total / sum;
    }
  }
  return out;
}

// Reads micrographs: PNG, JPEG, TIFF, DM3, DM4 and MRC, with their pixel size where they say it.
//
// Mirrors graphseg.io.micrographs (PNG, TIFF, units, refusals), graphseg.io.readers (MRC) and what
// RosettaSciIO does for Digital Micrograph. A canvas would reduce 16-bit PNG to 8 bits, so PNG is
// decoded here; TIFF goes through geotiff.js; JPEG is the browser's.
//
// A file is not believed: sizes are compared with the length of the file before memory is taken.
"use strict";

const LARGEST = 2 ** 26; // pixels, 8192 x 8192; for more there is the command line
const PLAUSIBLE = [1e-3, 1e6]; // Å per pixel of a micrograph
const SQUARE = 0.01; // relative difference of height and width of a pixel that counts as none
const DEFLATE_RATIO = 1032; // the most that deflate can compress

const ANGSTROM = {
  pm: 0.01, å: 1, a: 1, ang: 1, angstrom: 1, ångström: 1, nm: 10, nanometer: 10, µm: 1e4, um: 1e4,
  micron: 1e4, micrometer: 1e4, mm: 1e7, cm: 1e8, m: 1e10, meter: 1e10,
};
const ANGLES = new Set(["rad", "mrad", "µrad", "urad", "deg", "°"]);
const ENERGIES = new Set(["ev", "kev", "mev"]);

// Bad input: its message is one sentence for the user, with the remedy.
class InputError extends Error {}

const CUT_SHORT = "is cut short, it lacks pixels that it declares; copy it again.";
const SERIES = "holds several frames; export a single image.";

const READERS = {
  png: readPng, jpg: readJpeg, jpeg: readJpeg, tif: readTiff, tiff: readTiff,
  dm3: readDigitalMicrograph, dm4: readDigitalMicrograph, mrc: readMrc,
};

// Returns {pixels: Float32Array, height, width, pixelSize: Å or null} of a file's bytes.
async function readMicrograph(name, buffer) {
  const suffix = name.includes(".") ? name.split(".").at(-1).toLowerCase() : "";
  const known = Object.keys(READERS).map((one) => `.${one}`).join(", ");
  if (!(suffix in READERS)) {
    throw new InputError(`${name} has none of the known suffixes; convert it to one of ${known}.`);
  }
  if (buffer.byteLength === 0) throw new InputError(`${name} is empty; copy it again.`);
  try {
    const found = await READERS[suffix](buffer);
    const image = { ...found, pixelSize: pixelSizeOf(found.scales), pixels: grey(found) };
    if (!image.pixels.every(Number.isFinite)) {
      throw new InputError("has values that are not finite; mask or replace them first.");
    }
    if (image.pixels.every((value) => value === image.pixels[0])) {
      throw new InputError("has the same value everywhere; leave it out.");
    }
    return image;
  } catch (error) {
    const reason = error instanceof InputError
      ? error.message : `is no readable ${suffix.toUpperCase()} file; export or copy it again.`;
    throw new InputError(`${name} ${reason}`);
  }
}

// Refuses sizes that no image has, before memory is taken for them.
function checkSize(height, width) {
  if (!(height >= 1 && width >= 1)) throw new InputError("holds no pixels; export it again.");
  if (height * width > LARGEST) {
    throw new InputError(
      `declares an image of (${height}, ${width}) pixels, which is too large for this page; cut it`
      + " up, or use graphseg segment.");
  }
}

// Takes a grey image that was saved in colour as grey; refuses real colours.
function grey({ values, height, width, channels = 1 }) {
  const length = height * width;
  if (channels === 1) return values instanceof Float32Array ? values : Float32Array.from(values);
  const colours = channels % 2 === 0 ? channels - 1 : channels; // without the opacity
  const pixels = new Float32Array(length);
  for (let i = 0; i < length; i++) {
    pixels[i] = values[i * channels];
    for (let c = 1; c < colours; c++) {
      if (values[i * channels + c] !== values[i * channels]) {
        throw new InputError("has several channels; save it as greyscale.");
      }
    }
  }
  return pixels;
}

// ---- units

function spelled(unit) {
  const text = unit.replace(/\s|\0/g, "").replaceAll("\u03bc", "µ").replaceAll("\u212b", "å")
    .toLowerCase().replace("metre", "meter");
  return text.endsWith("s") && text.slice(0, -1) in ANGSTROM ? text.slice(0, -1) : text;
}

function toAngstrom(value, unit) {
  const factor = ANGSTROM[spelled(unit)];
  return factor && Number.isFinite(value) && value !== 0 ? Math.abs(value) * factor : null;
}

function isReciprocal(unit) {
  const text = spelled(unit);
  const inverse = text.startsWith("1/") || text.endsWith("-1") || text.endsWith("⁻¹");
  const length = text.replace(/^[-1/^⁻¹*()]+|[-1/^⁻¹*()]+$/g, "");
  return ANGLES.has(text) || (inverse && length in ANGSTROM);
}

// Returns Å per pixel of [[step down, unit], [step along, unit]], or null where it is not said.
function pixelSizeOf(scales) {
  if (!scales) return null;
  if (scales.some(([, unit]) => isReciprocal(unit))) {
    throw new InputError("holds a diffraction pattern; give an image in real space.");
  }
  if (scales.some(([, unit]) => ENERGIES.has(spelled(unit)))) {
    throw new InputError("holds a spectrum and no image; give an image.");
  }
  const [down, along] = scales.map(([step, unit]) => toAngstrom(step, unit));
  if (!down || !along) return null;
  if (Math.abs(down / along - 1) > SQUARE) {
    throw new InputError(
      `has pixels of ${down.toPrecision(4)} Å by ${along.toPrecision(4)} Å; resample it to square`
      + " ones.");
  }
  const size = (down + along) / 2;
  return size >= PLAUSIBLE[0] && size <= PLAUSIBLE[1] ? size : null;
}

// ---- PNG and JPEG

// Unpacks a zlib stream to exactly so many bytes; of a longer one the rest is not looked at.
async function inflated(parts, length) {
  const packed = parts.reduce((sum, part) => sum + part.byteLength, 0);
  if (length > packed * DEFLATE_RATIO + 1024) throw new InputError(CUT_SHORT);
  const out = new Uint8Array(length);
  const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"))
    .getReader();
  let filled = 0;
  while (filled < length) {
    const { done, value } = await reader.read().catch(() => ({ done: true }));
    if (done) throw new InputError(CUT_SHORT);
    out.set(value.subarray(0, length - filled), filled);
    filled += value.length;
  }
  reader.cancel().catch(() => {});
  return out;
}

const PNG_CHANNELS = { 0: 1, 2: 3, 4: 2, 6: 4 };

async function readPng(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0) !== 0x89504e47) throw new Error("no PNG");
  const parts = [];
  for (let at = 8; at + 8 <= buffer.byteLength;) {
    const length = view.getUint32(at);
    if (view.getUint32(at + 4) === 0x49444154) { // IDAT
      parts.push(new Uint8Array(buffer, at + 8, Math.min(length, buffer.byteLength - at - 8)));
    }
    at += length + 12;
  }
  const [width, height, depth] = [view.getUint32(16), view.getUint32(20), view.getUint8(24)];
  const [colour, interlaced] = [view.getUint8(25), view.getUint8(28)];
  checkSize(height, width);
  if (interlaced && depth === 16) {
    throw new InputError("is interlaced and has 16 bits; save it without interlacing.");
  }
  if (interlaced || colour === 3) return decodedByBrowser(buffer);
  const channels = PNG_CHANNELS[colour];
  const row = Math.ceil(width * channels * depth / 8);
  const lines = unfiltered(
    await inflated(parts, (row + 1) * height), height, row, Math.max(1, channels * depth >> 3));
  const values = new Float32Array(width * height * channels);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width * channels; x++, i++) {
      const at = y * row + (x * depth >> 3);
      if (depth === 16) values[i] = lines[at] << 8 | lines[at + 1];
      else values[i] = lines[at] >> (8 - depth - (x * depth & 7)) & ((1 << depth) - 1);
    }
  }
  return { values, height, width, channels };
}

// Undoes the filter that each line of a PNG has: none, left, above, their mean, or Paeth's.
function unfiltered(data, height, row, step) {
  const lines = new Uint8Array(row * height);
  for (let y = 0; y < height; y++) {
    const filter = data[y * (row + 1)], source = y * (row + 1) + 1, at = y * row;
    for (let x = 0; x < row; x++) {
      const left = x >= step ? lines[at + x - step] : 0;
      const above = y ? lines[at + x - row] : 0;
      const corner = x >= step && y ? lines[at + x - row - step] : 0;
      let guess = 0;
      if (filter === 1) guess = left;
      else if (filter === 2) guess = above;
      else if (filter === 3) guess = (left + above) >> 1;
      else if (filter === 4) guess = paeth(left, above, corner);
      lines[at + x] = data[source + x] + guess;
    }
  }
  return lines;
}

function paeth(left, above, corner) {
  const linear = left + above - corner;
  const [a, b, c] = [left, above, corner].map((value) => Math.abs(linear - value));
  return a <= b && a <= c ? left : b <= c ? above : corner;
}

async function readJpeg(buffer) {
  const view = new DataView(buffer);
  if (view.getUint16(0) !== 0xffd8) throw new Error("no JPEG");
  for (let at = 2; at + 9 < buffer.byteLength; at += 2 + view.getUint16(at + 2)) {
    const mark = view.getUint16(at);
    const isFrame = mark >= 0xffc0 && mark <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(mark);
    if (!isFrame) continue;
    checkSize(view.getUint16(at + 5), view.getUint16(at + 7));
    // Browsers fill up what is missing with grey, so the mark of the end is asked for.
    const end = new Uint8Array(buffer).subarray(-64);
    if (!end.some((byte, i) => byte === 0xff && end[i + 1] === 0xd9)) {
      throw new InputError(CUT_SHORT);
    }
    return decodedByBrowser(buffer);
  }
  throw new Error("no JPEG");
}

// 8 bits a channel.
async function decodedByBrowser(buffer) {
  const bitmap = await createImageBitmap(new Blob([buffer]), { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return { values: context.getImageData(0, 0, width, height).data, height, width, channels: 4 };
}

// ---- TIFF

const DM_UNIT = 65003, DM_STEP = 65009; // tags of Digital Micrograph, each for columns and rows
const FEI = [34680, 34682]; // tags of FEI's SFEG and Helios: the text of an INI file
const MOST_PAGES = 100; // that are looked at; those of a damaged file can go round in circles
const DEFLATE = [8, 32946]; // how TIFF names it, and used to

async function readTiff(buffer) {
  const tiff = await GeoTIFF.fromArrayBuffer(buffer);
  const pages = [];
  for (let i = 0; i < MOST_PAGES && pages.length < 2; i++) {
    const page = await tiff.getImage(i).catch((error) => {
      if (i && /^No image at index/.test(error.message)) return null;
      throw error;
    });
    if (!page) break;
    const kind = page.fileDirectory.hasTag(254) ? await page.fileDirectory.loadValue(254) : 0;
    if (!(kind & 1)) pages.push(page); // others are previews of reduced size
  }
  const page = pages[0], tags = page.fileDirectory;
  const [height, width, channels] = [page.getHeight(), page.getWidth(), page.getSamplesPerPixel()];
  const text = tags.hasTag(270) ? String(await tags.loadValue(270)) : "";
  if (pages.length > 1 || /^images=(?!1$)/m.test(text)) throw new InputError(SERIES);
  checkSize(height, width);
  if (channels > 4) throw new InputError("has several channels; save it as greyscale.");
  await checkPieces(buffer, page);
  const values = await page.readRasters({ interleave: true });
  return { values, height, width, channels, scales: await tiffScales(tags, text) };
}

// Refuses a file that ends before its pixels do, and pieces that unpack to more than they declare.
async function checkPieces(buffer, page) {
  const tags = page.fileDirectory, tiled = tags.hasTag(324);
  const [offsets, counts] = await Promise.all(
    (tiled ? [324, 325] : [273, 279]).map(async (tag) => [await tags.loadValue(tag)].flat()
      .flatMap((one) => typeof one === "object" ? Array.from(one, Number) : Number(one))));
  const compression = tags.hasTag(259) ? await tags.loadValue(259) : 1;
  const whole = page.getTileWidth() * page.getTileHeight() * page.getBytesPerPixel();
  const rows = (piece) => tiled ? page.getTileHeight() : Math.min(
    page.getTileHeight(), page.getHeight() - piece * page.getTileHeight());
  if (offsets.some((offset, i) => !(offset + counts[i] <= buffer.byteLength))) {
    throw new InputError(CUT_SHORT);
  }
  const across = Math.ceil(page.getWidth() / page.getTileWidth());
  const down = Math.ceil(page.getHeight() / page.getTileHeight());
  if (offsets.length < across * down) throw new InputError(CUT_SHORT);
  if (compression === 1 && page.getSamplesPerPixel() === 1) {
    const lacks = counts.some((count, i) => count < whole / page.getTileHeight()
      * rows(Math.floor(i / across)) * Math.min(1, page.getBitsPerSample() / 8));
    if (lacks) throw new InputError(CUT_SHORT);
  }
  if (!DEFLATE.includes(compression)) return;
  for (let i = 0; i < offsets.length; i++) {
    if (counts[i] * DEFLATE_RATIO <= whole) continue;
    const stream = new Blob([new Uint8Array(buffer, offsets[i], counts[i])]).stream()
      .pipeThrough(new DecompressionStream("deflate")).getReader();
    for (let total = 0; ;) {
      const { done, value } = await stream.read();
      if (done) break;
      total += value.length;
      if (total > whole) throw new InputError("unpacks to more than it declares; export it again.");
    }
  }
}

// The step and the unit down the rows and along them, where a microscope's program wrote them.
async function tiffScales(tags, text) {
  const value = (tag) => tags.hasTag(tag) ? tags.loadValue(tag) : undefined;
  const number = async (tag) => Number([await value(tag)].flat()[0]);
  if (tags.hasTag(DM_STEP) && tags.hasTag(DM_UNIT)) {
    return Promise.all([1, 0].map(async (axis) => [
      await number(DM_STEP + axis), String(await value(DM_UNIT + axis) ?? "")]));
  }
  const imageJ = /^ImageJ=/.test(text) && /^unit=(.*)$/m.exec(text);
  if (imageJ && tags.hasTag(282) && tags.hasTag(283)) {
    const unit = imageJ[1].replace("\\u00B5", "µ");
    const steps = await Promise.all([283, 282].map(value)); // pixels in a unit, as a fraction
    return steps.map((one) => [one.length === 2 ? one[1] / one[0] : 1 / one, unit]);
  }
  for (const tag of FEI) {
    const scan = /\[Scan\]([^[]*)/.exec(String(await value(tag) ?? ""))?.[1] ?? "";
    const [down, along] = ["PixelHeight", "PixelWidth"].map(
      (key) => parseFloat(new RegExp(`^${key}=(.*)$`, "m").exec(scan)?.[1]));
    if (down && along) return [[down, "m"], [along, "m"]];
  }
  const ome = /<([a-z]+:)?Pixels\s[^>]*>/i.exec(text)?.[0] ?? "";
  const attribute = (name) => new RegExp(`\\s${name}="([^"]*)"`).exec(ome)?.[1];
  if (attribute("PhysicalSizeX") && attribute("PhysicalSizeY")) {
    return ["Y", "X"].map((axis) => [
      parseFloat(attribute(`PhysicalSize${axis}`)),
      (attribute(`PhysicalSize${axis}Unit`) ?? "µm").replace(
        /&#(\d+);/g, (_, code) => String.fromCodePoint(code)),
    ]);
  }
  return null;
}

// ---- Digital Micrograph

const DM_NUMBERS = { // type of a value: bytes, and how a DataView reads it
  2: [2, "getInt16"], 3: [4, "getInt32"], 4: [2, "getUint16"], 5: [4, "getUint32"],
  6: [4, "getFloat32"], 7: [8, "getFloat64"], 8: [1, "getUint8"], 9: [1, "getInt8"],
  10: [1, "getUint8"], 11: [8, "getBigInt64"], 12: [8, "getBigUint64"],
};
const DM_COMPLEX = [3, 13, 27, 28]; // types of images
const DM_COLOURS = [8, 23];

function readDigitalMicrograph(buffer) {
  const tags = digitalMicrographTags(buffer);
  const hidden = new Set(Object.values(tags.Thumbnails ?? {}).map((one) => one.ImageIndex));
  const images = Object.values(tags.ImageList ?? {}).map((one) => one.ImageData);
  const shown = images.filter((one, i) => one?.Data?.at && !hidden.has(i) && one.DataType !== 23);
  const image = shown[0] ?? images.find((one) => one?.Data?.at);
  if (!image) throw new InputError("holds no image; export one.");
  if (shown.length > 1) throw new InputError(SERIES);
  const [width, height, ...more] = Object.values(image.Dimensions);
  if (DM_COMPLEX.includes(image.DataType)) {
    throw new InputError("holds complex numbers; export an image in real space.");
  }
  if (height === undefined) throw new InputError("holds a spectrum and no image; give an image.");
  if (more.some((length) => length !== 1)) throw new InputError(SERIES);
  if (DM_COLOURS.includes(image.DataType)) {
    throw new InputError("has several channels; save it as greyscale.");
  }
  checkSize(height, width);
  const { at, count, type, view, little } = image.Data;
  if (count !== height * width) throw new InputError(CUT_SHORT);
  const [size, method] = DM_NUMBERS[type];
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = Number(view[method](at + i * size, little));
  const axes = Object.values(image.Calibrations?.Dimension ?? {}).slice(0, 2).reverse();
  const scales = axes.length === 2
    ? axes.map((axis) => [axis.Scale, String(axis.Units ?? "")]) : null;
  return { values, height, width, scales };
}

// The tree of tags as nested objects; large arrays stay in the file as {at, count, type, ...}.
function digitalMicrographTags(buffer) {
  const view = new DataView(buffer), version = view.getInt32(0);
  if (version !== 3 && version !== 4) throw new Error("no DM3 or DM4");
  const four = version === 4, little = view.getInt32(four ? 12 : 8) === 1;
  let at = four ? 16 : 12;
  const word = () => {
    const value = four ? Number(view.getBigInt64(at)) : view.getInt32(at);
    at += four ? 8 : 4;
    return value;
  };
  // A value says what it is: a number, a string, a structure, or an array of one of these.
  const extent = ([type, ...rest]) => {
    if (type === 20) { // an array: the type of its elements, then their number
      const element = extent(rest.slice(0, -1));
      return { count: rest.at(-1), size: element.size * rest.at(-1), type: rest[0] };
    }
    if (type === 18) return { count: rest[0], size: 2 * rest[0], type: 4 };
    if (type === 15) { // a structure: pairs of a name's length and a type
      const types = rest.slice(2).filter((_, i) => i % 2);
      return { count: 1, size: types.reduce((sum, one) => sum + DM_NUMBERS[one][0], 0), type };
    }
    return { count: 1, size: DM_NUMBERS[type][0], type };
  };
  const value = () => {
    at += 4; // %%%%
    const number = word();
    if (!(number >= 1 && number < 1000)) throw new Error("damaged");
    const description = Array.from({ length: number }, word);
    const { count, size, type } = extent(description), start = at;
    if (!(size >= 0)) throw new Error("damaged");
    if (start + size > buffer.byteLength) throw new InputError(CUT_SHORT);
    at += size;
    if (number === 1) return Number(view[DM_NUMBERS[type][1]](start, little));
    if (description[0] === 20 && type === 4 && count < 4096) { // text, unless an image is so small
      const units = Array.from({ length: count }, (_, i) => view.getUint16(start + 2 * i, little));
      return Object.assign(new String(String.fromCharCode(...units)),
        { at: start, count, type, view, little });
    }
    return { at: start, count, type, view, little };
  };
  const group = (depth) => {
    at += 2; // sorted, open
    const number = word(), found = {};
    if (depth > 64 || !(number >= 0) || number > buffer.byteLength) throw new Error("damaged");
    for (let i = 0; i < number; i++) {
      const kind = view.getUint8(at), length = view.getUint16(at + 1);
      const name = String.fromCharCode(...new Uint8Array(buffer, at + 3, length)) || String(i);
      at += 3 + length + (four ? 8 : 0);
      found[name] = kind === 20 ? group(depth + 1) : value();
    }
    return found;
  };
  return group(0);
}

// ---- MRC

const MRC_HEADER = 1024; // bytes
const MRC_FEI_HEADER = 128 * 1024; // bytes, which only FEI's extended header has
const IMOD_STAMP = 1146047817; // the mark of a file whose flags tell whether bytes have a sign
const MRC_NUMBERS = {
  0: [1, "getInt8"], 1: [2, "getInt16"], 2: [4, "getFloat32"], 6: [2, "getUint16"],
  12: [2, "getFloat16"],
};

function readMrc(buffer) {
  const view = new DataView(buffer), little = view.getUint16(212) !== 0x1111;
  const word = (offset) => view.getInt32(offset, little);
  const [width, height, frames, mode] = [0, 4, 8, 12].map(word);
  if (mode === 4) throw new InputError("holds complex numbers; export an image in real space.");
  if (!(mode in MRC_NUMBERS)) throw new Error("no MRC");
  checkSize(height, width);
  if (frames !== 1) throw new InputError(SERIES);
  const extended = word(92), start = MRC_HEADER + extended;
  const isUnsigned = mode === 0 && word(152) === IMOD_STAMP && !(word(156) & 1);
  const [size, method] = isUnsigned ? [1, "getUint8"] : MRC_NUMBERS[mode];
  if (extended < 0) throw new Error("damaged");
  if (start + height * width * size > buffer.byteLength) throw new InputError(CUT_SHORT);
  const read = method === "getFloat16" ? (at) => float16(view.getUint16(at, little))
    : (at) => view[method](at, little);
  const values = new Float32Array(height * width);
  for (let i = 0; i < values.length; i++) values[i] = read(start + i * size);
  const side = (cell, steps) => [view.getFloat32(cell, little) / Math.max(word(steps), 1), "Å"];
  const scales = extended === MRC_FEI_HEADER
    ? [0, 1].map(() => [view.getFloat32(MRC_HEADER + 44, little), "m"])
    : [side(44, 32), side(40, 28)];
  return { values, height, width, scales };
}

function float16(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

"use strict";
// Three planes of an image on canvases: what the bytes mean, which way is left, and how they are drawn.
window.rtflow ||= {};
(() => {
  const PLANES = [
    // Names, and the voxel axes that run along (across, up) and through the picture.
    { name: "Axial", across: 0, up: 1, through: 2 },
    { name: "Coronal", across: 0, up: 2, through: 1 },
    { name: "Sagittal", across: 1, up: 2, through: 0 },
  ];
  const LETTERS = ["LR", "PA", "IS"]; // of the ends of the axes in RAS+ millimetres
  const MARGIN = 20; // CSS pixels around a picture, for its letters
  const MASK = [255, 212, 59];
  const CROSSHAIR = "#69db7c";

  // A message of the dashboard: {heading, slices: [per image: [axial, coronal, sagittal] as Uint8Array]}.
  function parse(buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    const heading = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    let at = 4 + length;
    const slices = (heading.shown ?? []).map((one) =>
      PLANES.map((plane) => {
        const size = one.shape[plane.across] * one.shape[plane.up];
        const slice = new Uint8Array(buffer, at, size);
        at += size;
        return slice;
      }),
    );
    return { heading, slices, bytes: buffer.byteLength };
  }

  const column = (affine, axis) => [0, 1, 2].map((row) => affine[row][axis]);
  const norm = (vector) => Math.hypot(...vector);
  const zooms = (affine) => [0, 1, 2].map((axis) => norm(column(affine, axis)));
  const world = (affine, at) => [0, 1, 2].map((row) => affine[row][3] + at.reduce((sum, one, axis) => sum + affine[row][axis] * one, 0));

  // Letters at the first and the last voxel of an axis: the world axis that it runs along most.
  function ends(affine, axis) {
    const along = column(affine, axis);
    const most = [0, 1, 2].reduce((best, row) => (Math.abs(along[row]) > Math.abs(along[best]) ? row : best), 0);
    const [low, high] = LETTERS[most];
    return along[most] > 0 ? [low, high] : [high, low];
  }

  // Degrees by which an axis of the image is off the axis that its letters name, at most.
  function tilt(affine) {
    const angles = [0, 1, 2].map((axis) => {
      const along = column(affine, axis);
      return Math.acos(Math.min(1, Math.max(...along.map(Math.abs)) / norm(along)));
    });
    return (Math.max(...angles) * 180) / Math.PI;
  }

  // Which axes are drawn backwards, and the letters at the four sides. Left is on the left (neurological) or on the
  // right (radiological); up is the top or the front of the head, and the front is on the right where it is not up.
  function sides(plane, affine, radiological) {
    const across = ends(affine, plane.across);
    const up = ends(affine, plane.up);
    const backwards = "LR".includes(across[0]) ? (across[0] === "L") === radiological : across[0] === "A";
    const down = "AS".includes(up[0]);
    return {
      flipAcross: backwards,
      flipUp: down,
      left: across[backwards ? 1 : 0],
      right: across[backwards ? 0 : 1],
      bottom: up[down ? 1 : 0],
      top: up[down ? 0 : 1],
    };
  }

  // The value that a byte stands for; of a map, 128 is zero.
  function valueOf(image, byte) {
    const [low, high] = image.window;
    if (image.kind === "map") return byte > 128 ? ((byte - 128) / 127) * high : ((byte - 128) / 128) * high;
    return low + (byte / 255) * (high - low);
  }

  // In words, with as many digits as a byte can tell; what lies beyond the ends is not known any better.
  function wordsOf(image, byte) {
    if (image.kind === "mask") return byte ? "inside" : "outside";
    const step = (image.window[1] - image.window[0]) / 255;
    const digits = Math.min(6, Math.max(0, Math.ceil(-Math.log10(step))));
    const beyond = byte === 255 ? "≥ " : byte === 0 ? "≤ " : "";
    return beyond + valueOf(image, byte).toFixed(digits).replace("-", "\u2212");
  }

  // Colour of a map's value, by its share of the way from the threshold to the end; null where it is below.
  function colourOf(value, threshold, most) {
    const size = Math.abs(value);
    if (!value || size < threshold) return null;
    const share = most > threshold ? Math.min(1, (size - threshold) / (most - threshold)) : 1;
    return value > 0 ? [225 + 30 * share, 30 + 215 * share, 80 * share * share] : [90 * share, 90 + 155 * share, 225 + 30 * share];
  }

  // A table of 256 colours of a map.
  function table(image, threshold) {
    return Array.from({ length: 256 }, (_, byte) => colourOf(valueOf(image, byte), threshold, image.window[1]));
  }

  // Pixels of one plane, one for each voxel, as they lie on the screen.
  function pixels(picture, number, look) {
    const plane = PLANES[number];
    const [base, over] = picture.heading.shown;
    const wide = base.shape[plane.across], high = base.shape[plane.up];
    const side = sides(plane, base.affine, look.radiological);
    const grey = picture.slices[0][number];
    const laid = picture.slices[1]?.[number];
    const colours = { base: base.kind === "map" ? table(base, look.threshold) : null, over: over?.kind === "map" ? table(over, look.threshold) : null };
    const image = new ImageData(wide, high);
    let to = 0;
    for (let y = 0; y < high; y += 1) {
      const row = (side.flipUp ? y : high - 1 - y) * wide;
      for (let x = 0; x < wide; x += 1, to += 4) {
        const from = row + (side.flipAcross ? wide - 1 - x : x);
        let [r, g, b] = colours.base ? (colours.base[grey[from]] ?? [0, 0, 0]) : [grey[from], grey[from], grey[from]];
        if (colours.over) [r, g, b] = colours.over[laid[from]] ?? [r, g, b];
        else if (laid && laid[from] && !look.outline) [r, g, b] = [r, g, b].map((one, at) => 0.6 * one + 0.4 * MASK[at]);
        image.data[to] = r;
        image.data[to + 1] = g;
        image.data[to + 2] = b;
        image.data[to + 3] = 255;
      }
    }
    return { image, side };
  }

  // Lines around a mask's voxels, in voxels from the upper left corner of the picture: [[x0, y0, x1, y1], ...].
  function outline(mask, wide, high, side) {
    const at = (x, y) => {
      if (x < 0 || y < 0 || x >= wide || y >= high) return 0;
      return mask[(side.flipUp ? y : high - 1 - y) * wide + (side.flipAcross ? wide - 1 - x : x)];
    };
    const lines = [];
    for (let y = 0; y <= high; y += 1)
      for (let x = 0; x <= wide; x += 1) {
        if (Boolean(at(x, y)) !== Boolean(at(x - 1, y))) lines.push([x, y, x, y + 1]);
        if (Boolean(at(x, y)) !== Boolean(at(x, y - 1))) lines.push([x, y, x + 1, y]);
      }
    return lines;
  }

  // CSS pixels per millimetre at which all three planes fit into a width and a height.
  function fit(image, width, height) {
    const sizes = zooms(image.affine).map((zoom, axis) => zoom * image.shape[axis]);
    return Math.min(
      ...PLANES.map((plane) => Math.min((width - 2 * MARGIN) / sizes[plane.across], (height - 2 * MARGIN) / sizes[plane.up])),
    );
  }

  const scratch = document.createElement("canvas");

  // Draw one plane; gives how its voxels lie on the canvas.
  function draw(canvas, picture, number, look, at, scale) {
    const plane = PLANES[number];
    const base = picture.heading.shown[0];
    const size = zooms(base.affine);
    const wide = base.shape[plane.across], high = base.shape[plane.up];
    const stepX = size[plane.across] * scale, stepY = size[plane.up] * scale;
    const width = Math.round(wide * stepX + 2 * MARGIN), height = Math.round(high * stepY + 2 * MARGIN);
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const { image, side } = pixels(picture, number, look);
    scratch.width = wide;
    scratch.height = high;
    scratch.getContext("2d").putImageData(image, 0, 0);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, width, height);
    pen.imageSmoothingEnabled = false; // what is seen is what was measured
    pen.drawImage(scratch, MARGIN, MARGIN, wide * stepX, high * stepY);
    const over = picture.heading.shown[1];
    if (over?.kind === "mask" && look.outline) {
      pen.strokeStyle = `rgb(${MASK})`;
      pen.lineWidth = 1.5;
      pen.beginPath();
      for (const [x0, y0, x1, y1] of outline(picture.slices[1][number], wide, high, side)) {
        pen.moveTo(MARGIN + x0 * stepX, MARGIN + y0 * stepY);
        pen.lineTo(MARGIN + x1 * stepX, MARGIN + y1 * stepY);
      }
      pen.stroke();
    }
    const lies = { plane, side, wide, high, stepX, stepY };
    const [x, y] = toScreen(lies, at);
    pen.strokeStyle = CROSSHAIR;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x, MARGIN);
    pen.lineTo(x, height - MARGIN);
    pen.moveTo(MARGIN, y);
    pen.lineTo(width - MARGIN, y);
    pen.stroke();
    pen.fillStyle = "#fff";
    pen.font = "600 14px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(side.left, MARGIN / 2, height / 2);
    pen.fillText(side.right, width - MARGIN / 2, height / 2);
    pen.fillText(side.top, width / 2, MARGIN / 2);
    pen.fillText(side.bottom, width / 2, height - MARGIN / 2);
    return lies;
  }

  // The middle of a voxel, in CSS pixels of the canvas.
  function toScreen(lies, at) {
    const { plane, side, wide, high, stepX, stepY } = lies;
    const across = at[plane.across], up = at[plane.up];
    return [
      MARGIN + ((side.flipAcross ? wide - 1 - across : across) + 0.5) * stepX,
      MARGIN + ((side.flipUp ? up : high - 1 - up) + 0.5) * stepY,
    ];
  }

  // The voxel under a point of the canvas; the coordinate through the plane is that of `at`.
  function toVoxel(lies, x, y, at) {
    const { plane, side, wide, high, stepX, stepY } = lies;
    const within = (value, size) => Math.min(size - 1, Math.max(0, Math.floor(value)));
    const across = within((x - MARGIN) / stepX, wide), down = within((y - MARGIN) / stepY, high);
    const found = [...at];
    found[plane.across] = side.flipAcross ? wide - 1 - across : across;
    found[plane.up] = side.flipUp ? down : high - 1 - down;
    return found;
  }

  // The byte of an image (0: what is shown, 1: what is laid over) at a voxel; null if no plane that is here has it.
  function byteAt(picture, number, at) {
    const image = picture.heading.shown[number];
    if (!image) return null;
    const plane = PLANES.findIndex((one) => at[one.through] === picture.heading.at[one.through]);
    if (plane < 0) return null;
    const { across, up } = PLANES[plane];
    return picture.slices[number][plane][at[across] + at[up] * image.shape[across]];
  }

  // A bar of the colours of an image, over its whole window.
  function bar(canvas, image, threshold) {
    const pen = canvas.getContext("2d");
    const colours = image.kind === "map" ? table(image, threshold) : null;
    for (let x = 0; x < canvas.width; x += 1) {
      const byte = Math.round((x / (canvas.width - 1)) * 255);
      pen.fillStyle = colours ? `rgb(${colours[byte] ?? [70, 70, 70]})` : `rgb(${byte}, ${byte}, ${byte})`;
      pen.fillRect(x, 0, 1, canvas.height);
    }
  }

  rtflow.planes = { PLANES, parse, ends, sides, tilt, zooms, world, valueOf, wordsOf, fit, draw, toScreen, toVoxel, byteAt, bar };
})();

"use strict";
// The Brain tab: asks for the pictures that are looked at, draws them, and moves the crosshair.
window.rtflow ||= {};
(() => {
  const HIGHEST = 360; // CSS pixels of a picture, or what the window has
  const BESIDE = 320; // CSS pixels of what stands above and below
  const NONE = "none";
  const planes = () => rtflow.planes;
  const element = (id) => document.getElementById(id);
  const wish = { base: null, over: null, at: null, live: true };
  const look = { radiological: false, outline: true, threshold: 0 };
  let told = "null"; // what the dashboard was told last
  let picture = null;
  let says = "";
  let lies = []; // how each plane lies on its canvas
  let asked = false; // to draw
  let most = 0; // what the threshold's slider reaches to
  let thresholdOf = ""; // the map that it is of
  const thresholds = {}; // by name of the map
  let offered = ""; // what the lists were filled with
  const set = { base: null, over: null }; // what the lists were set to by this script

  const visible = () => element("brain-planes")?.offsetParent !== null && !document.hidden;

  function tell() {
    if (!element("brain-planes")) return;
    const now = JSON.stringify({ picture: visible() ? wish : null });
    if (now !== told && rtflow.socket.send(JSON.parse(now))) told = now;
  }

  function receive(buffer) {
    rtflow.socket.send({ has: true });
    const came = planes().parse(buffer);
    const { heading } = came;
    says = heading.says ?? "";
    if (heading.shown) {
      const before = picture?.heading.shown[0];
      const now = heading.shown[0];
      if (before && (JSON.stringify(before.shape) !== JSON.stringify(now.shape) || JSON.stringify(before.affine) !== JSON.stringify(now.affine))) {
        wish.at = null; // on another grid the same numbers are another place
      }
      picture = came;
      threshold();
    } else if (heading.images) picture = null; // there is none; otherwise the engine did not say, and the last one stays
    if (heading.images) offer(heading.images);
    ask();
  }

  const at = () => wish.at ?? picture.heading.at;
  const mapOf = () => picture?.heading.shown.find((one) => one.kind === "map");

  function ask() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      paint();
    });
  }

  function paint() {
    const place = element("brain-planes");
    if (!place) return;
    element("brain-pictures").hidden = picture === null;
    const empty = element("brain-empty");
    empty.hidden = picture !== null;
    if (picture === null) {
      const begun = rtflow.store.current && rtflow.store.now.start;
      words("brain-empty", begun || !says ? says || "Waiting for the dashboard." : "No run yet. Press Run; the picture comes with the first volume.");
      words("brain-note", "");
      return;
    }
    if (!visible()) return;
    const began = performance.now();
    const canvases = [...place.querySelectorAll("canvas.plane")];
    const width = canvases[0].parentElement.clientWidth;
    const scale = planes().fit(picture.heading.shown[0], width, Math.max(HIGHEST, innerHeight - BESIDE));
    lies = canvases.map((canvas, number) => planes().draw(canvas, picture, number, look, at(), scale));
    lies.forEach((one, number) => caption(one, number));
    bars();
    read();
    place.dataset.volume = picture.heading.shown[0].volume ?? "";
    place.dataset.bytes = picture.bytes;
    place.dataset.ms = (performance.now() - began).toFixed(1);
  }

  function caption(one, number) {
    const image = picture.heading.shown[0];
    const place = planes().world(image.affine, at());
    const axis = [2, 1, 0][number];
    const middle = Math.abs(place[axis]) <= planes().zooms(image.affine)[axis] / 2;
    const side = number === 2 ? (middle ? ", midline" : place[axis] < 0 ? ", left side" : ", right side") : "";
    words(`brain-caption-${number}`, `${one.plane.name} · ${"xyz"[axis]} = ${mm(place[axis])} mm${side}`);
    element(`brain-plane-${number}`).dataset.sides = [one.side.left, one.side.right, one.side.top, one.side.bottom].join("");
  }

  const mm = (value) => value.toFixed(1).replace("-", "\u2212");

  function read() {
    const shown = picture.heading.shown;
    const where = at();
    const place = planes().world(shown[0].affine, where);
    const number = shown[0].volume;
    words("brain-volume", number === null ? "–" : `${number}`);
    words("brain-state", state(number));
    words("brain-voxel", where.join(", "));
    words("brain-mm", place.map(mm).join(", "));
    shown.concat(shown.length < 2 ? [null] : []).forEach((image, which) => {
      const id = which ? "brain-over-value" : "brain-base-value";
      const byte = image ? planes().byteAt(picture, which, where) : null;
      words(id, image ? (byte === null ? "…" : planes().wordsOf(image, byte)) : "–");
      words(`${id}-of`, image ? image.name : "Nothing laid over");
    });
    const tilt = planes().tilt(shown[0].affine);
    const notes = [says];
    words("brain-tilt", tilt > 0.5 ? `The slices are tilted by ${tilt.toFixed(0)}° to the axes of the scanner; letters name the nearest side.` : "");
    if (shown[1] && shown[1].volume !== shown[0].volume) notes.push(`${shown[1].name} is of volume ${shown[1].volume}.`);
    words("brain-note", notes.filter(Boolean).join(" "));
  }

  function state(number) {
    const run = rtflow.store.current ? rtflow.store.now : null;
    if (rtflow.store.dashboard || rtflow.store.engine) return "not updated: no connection";
    if (run && run.uid !== picture.heading.shown[0].run_uid) return "of an earlier run";
    if (!wish.live) return "held";
    if (run?.stop) return "the run is over";
    return run && run.results > number + 1 ? `behind: volume ${run.results} is done` : "live";
  }

  // Bars with the values of their ends.
  function bars() {
    const [base] = picture.heading.shown;
    const map = mapOf();
    bar("grey", base.kind === "volume" ? base : null, base.kind === "volume" ? base.window : []);
    bar("map", map, map ? [-most, -look.threshold, look.threshold, most] : []);
    element("brain-threshold").disabled = !map;
    element("brain-threshold-row").hidden = !map;
    words("brain-threshold-says", map ? look.threshold.toPrecision(3) : "");
  }

  function bar(name, image, values) {
    const place = element(`brain-bar-${name}`);
    place.hidden = !image;
    if (!image) return;
    planes().bar(place.querySelector("canvas"), image, look.threshold);
    place.querySelectorAll("span.end").forEach((one, number) => {
      const text = Number(values[number].toPrecision(3)).toString().replace("-", "\u2212");
      if (one.textContent !== text) one.textContent = text;
      one.style.left = `${(100 * (values[number] - values[0])) / (values.at(-1) - values[0])}%`;
    });
  }

  // The slider reaches to the end of the map's colours; each map keeps the threshold that was chosen for it.
  function threshold() {
    const map = mapOf();
    if (!map || (map.name === thresholdOf && map.window[1] === most)) return;
    thresholdOf = map.name;
    most = map.window[1];
    thresholds[map.name] ??= map.name.endsWith(".t") && most > 4 ? 3 : 0.3 * most;
    look.threshold = Math.min(thresholds[map.name], most);
    const slider = element("brain-threshold");
    slider.max = most;
    slider.step = most / 100;
    slider.value = look.threshold;
  }

  function words(id, text) {
    const found = element(id);
    if (found && found.textContent !== text) found.textContent = text;
  }

  // What may be chosen, and what is.
  function offer(images) {
    const [base, over] = picture?.heading.shown ?? [];
    const volumes = images.some((one) => one.kind === "volume") ? images.filter((one) => one.kind === "volume") : images;
    const kinds = { volume: "", mask: " · mask", map: " · map" };
    const entry = (one, grid) => ({
      value: one.name,
      label: `${one.name}${kinds[one.kind] ?? ""}${grid ? " · another grid" : ""}`,
      disabled: Boolean(grid),
    });
    const other = (one) => base && JSON.stringify(one.shape) !== JSON.stringify(base.shape);
    const lists = {
      base: { data: volumes.map((one) => entry(one)), value: base?.name ?? null },
      over: {
        data: [{ value: NONE, label: "nothing" }, ...images.filter((one) => one.kind !== "volume" && one.name !== base?.name).map((one) => entry(one, other(one)))],
        value: over?.name ?? (wish.over === "" ? NONE : null),
      },
    };
    const key = JSON.stringify(lists);
    if (key === offered || !window.dash_clientside?.set_props) return;
    offered = key;
    for (const [name, list] of Object.entries(lists)) {
      set[name] = list.value;
      window.dash_clientside.set_props(`brain-${name}`, list);
    }
  }

  function move(to) {
    if (!picture) return;
    const shape = picture.heading.shown[0].shape;
    wish.at = to.map((one, axis) => Math.min(shape[axis] - 1, Math.max(0, one)));
    tell();
    ask();
  }

  const KEYS = { ArrowLeft: ["across", -1], ArrowRight: ["across", 1], ArrowUp: ["up", 1], ArrowDown: ["up", -1], PageUp: ["through", 1], PageDown: ["through", -1] };

  function listen(canvas, number) {
    const point = (event) => {
      if (!picture || !lies[number]) return;
      const box = canvas.getBoundingClientRect();
      move(planes().toVoxel(lies[number], event.clientX - box.left, event.clientY - box.top, at()));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      point(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons & 1 && point(event));
    canvas.addEventListener("keydown", (event) => {
      const key = KEYS[event.key];
      if (!key || !picture || !lies[number]) return;
      event.preventDefault();
      const [way, step] = key;
      const { plane, side } = lies[number];
      const turned = (way === "across" && side.flipAcross) || (way === "up" && side.flipUp);
      const to = [...at()];
      to[plane[way]] += turned ? -step : step;
      move(to);
    });
  }

  rtflow.brain = {
    choose(base, over, live, radiological, outline) {
      if (base !== set.base) wish.base = base;
      if (over !== set.over) wish.over = over === NONE ? "" : over;
      set.base = base;
      set.over = over;
      wish.live = !live;
      look.outline = Boolean(outline);
      look.radiological = Boolean(radiological);
      tell();
      ask();
    },
    get picture() {
      return picture;
    },
    look,
  };
  rtflow.ready ||= [];
  rtflow.ready.push(() => {
    const place = element("brain-planes");
    if (!place) return;
    place.querySelectorAll("canvas.plane").forEach(listen);
    const slider = document.createElement("input"); // Dash has none of its own
    Object.assign(slider, { id: "brain-threshold", type: "range", min: 0, max: 1, step: 0.01, disabled: true });
    element("brain-threshold-here").append(slider);
    slider.addEventListener("input", (event) => {
      look.threshold = thresholds[thresholdOf] = Number(event.target.value);
      ask();
    });
    const looked = () => {
      tell();
      ask();
    };
    new IntersectionObserver(looked).observe(place);
    addEventListener("visibilitychange", looked);
    addEventListener("resize", ask);
    rtflow.socket.onBinary(receive);
    rtflow.socket.onOpen(() => {
      told = "null";
      tell();
    });
    rtflow.store.listen(() => visible() && (picture ? read() : ask()));
    tell();
  });
})();

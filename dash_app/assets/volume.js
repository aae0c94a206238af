"use strict";
// Whole images by niivue, which is loaded when somebody wants it, and not before.
window.rtflow ||= {};
(() => {
  const SCRIPT = "/assets/niivue/niivue.umd.js";
  const element = (id) => document.getElementById(id);
  let loading = null;
  let viewer = null;
  let turn = 0;
  let before = Promise.resolve(); // of what was asked for before: two at once would be mixed up

  function says(text) {
    const place = element("volume-says");
    place.textContent = text;
    place.hidden = !text;
    for (const id of ["volume-here", "volume-sides"]) element(id).hidden = Boolean(text);
  }

  function load() {
    loading ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = SCRIPT;
      script.onload = done;
      script.onerror = () => {
        loading = null;
        failed(new Error("niivue could not be loaded from the dashboard; load the page again"));
      };
      document.head.append(script);
    });
    return loading;
  }

  let opening = null;

  // The one that there is: two questions at once are not to make two of them.
  function opened(radiological) {
    opening ??= open(radiological).catch((error) => {
      opening = null;
      throw error;
    });
    return opening;
  }

  async function open(radiological) {
    await load();
    if (!document.createElement("canvas").getContext("webgl2"))
      throw new Error("this browser has no WebGL 2, which whole images need; the planes work without it");
    element("volume-here").hidden = false; // it takes its size from the page
    viewer = new window.niivue.Niivue({
      isRadiologicalConvention: radiological,
      showAllOrientationMarkers: true,
      show3Dcrosshair: true,
      multiplanarShowRender: 1, // always
      dragAndDropEnabled: false,
      crosshairWidth: 1.2,
      crosshairWidthUnit: "mm",
      fontMinPx: 20,
      isOrientCube: true, // the sides of the rendered head
      multiplanarPadPixels: 16,
      tileMargin: 24,
      crosshairColor: [0.41, 0.86, 0.49, 1],
      fontColor: [1, 1, 1, 1],
      logLevel: "error",
    });
    await viewer.attachTo("volume-canvas");
    return viewer;
  }

  // A map has two colours from a third of its largest value on, a mask one.
  const LOOKS = {
    map: { colormap: "warm", colormapNegative: "winter", opacity: 0.8 },
    mask: { colormap: "red", opacity: 0.35 },
  };
  const file = (name, number) => ({ url: `/images/${encodeURIComponent(name)}.nii.gz?of=${number}`, name: `${name}.nii.gz` });

  rtflow.volume = {
    // `overs` is what may be laid over, as the list has it: each label ends with the kind of image.
    async show(base, over, overs, radiological) {
      turn += 1;
      const mine = turn;
      if (!base) return says("No image yet. Images are there as soon as a volume has gone through the graph.");
      try {
        if (viewer === null) says("Loading ...");
        const nv = await opened(Boolean(radiological));
        await before;
        if (mine !== turn) return;
        says("");
        const volumes = [{ ...file(base, mine), colormap: "gray" }];
        const kind = overs?.find((one) => one.value === over)?.label.split(" ").pop();
        if (over) volumes.push({ ...file(over, mine), ...LOOKS[kind] });
        const loaded = nv.loadVolumes(volumes);
        before = loaded.catch(() => {});
        await loaded;
        if (mine !== turn) return;
        nv.setRadiologicalConvention(Boolean(radiological));
        element("volume-canvas").dataset.shown = [base, over].filter(Boolean).join(" ");
      } catch (error) {
        if (mine === turn) says(`It cannot be shown: ${error.message}.`);
      }
    },
    get viewer() {
      return viewer;
    },
  };
})();

"use strict";
// Whole images by niivue, which is loaded when somebody wants it, and not before.
window.rtflow ||= {};
(() => {
  const SCRIPT = "/assets/niivue/niivue.umd.js";
  const element = (id) => document.getElementById(id);
  let loading = null;
  let viewer = null;
  let turn = 0;

  function says(text) {
    const place = element("volume-says");
    place.textContent = text;
    place.hidden = !text;
    element("volume-here").hidden = Boolean(text);
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

  async function opened(radiological) {
    await load();
    if (viewer === null) {
      if (!document.createElement("canvas").getContext("webgl2"))
        throw new Error("this browser has no WebGL 2, which whole images need; the planes work without it");
      element("volume-here").hidden = false; // it takes its size from the page
      const made = new window.niivue.Niivue({
        isRadiologicalConvention: radiological,
        showAllOrientationMarkers: true,
        show3Dcrosshair: true,
        multiplanarShowRender: 1, // always
        dragAndDropEnabled: false,
        crosshairWidth: 0.5,
        multiplanarPadPixels: 16,
        tileMargin: 24,
        crosshairColor: [0.41, 0.86, 0.49, 1],
        fontColor: [1, 1, 1, 1],
        logLevel: "error",
      });
      await made.attachTo("volume-canvas");
      viewer = made;
    }
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
      if (!base) return says("No image yet. Images are there as soon as a volume has gone through the graph.");
      turn += 1;
      const mine = turn;
      try {
        if (viewer === null) says("Loading ...");
        const nv = await opened(Boolean(radiological));
        says("");
        const volumes = [{ ...file(base, mine), colormap: "gray" }];
        const kind = overs?.find((one) => one.value === over)?.label.split(" ").pop();
        if (over) volumes.push({ ...file(over, mine), ...LOOKS[kind] });
        await nv.loadVolumes(volumes);
        if (mine !== turn) return;
        nv.setRadiologicalConvention(Boolean(radiological));
        element("volume-canvas").dataset.shown = [base, over].filter(Boolean).join(" ");
      } catch (error) {
        says(`It cannot be shown: ${error.message}.`);
      }
    },
    get viewer() {
      return viewer;
    },
  };
})();

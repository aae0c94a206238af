"use strict";
// The Live tab: feedback, motion, quality, and whatever else somebody wants to see, over the volumes of the run.
window.rtflow ||= {};
(() => {
  const DEGREES = 180 / Math.PI;
  const FD_LIMIT = 0.5; // mm: a customary threshold of framewise displacement
  const DOUBTED = "#e8930c";
  let charts = [];
  let shown = ""; // what the charts that there are were made for
  let picked = []; // names of further values
  let offered = ""; // what the two lists were made for
  let compared = []; // uids of earlier runs
  let turn = 0; // of what was chosen last

  const named = (run, end) => [...run.series.keys()].filter((name) => name.endsWith(`.${end}`));
  const numeric = (values) => values.some((one) => typeof one === "number");

  // Runs whose values stand in one chart: the present one, and those that it is compared with.
  const chosen = () => [rtflow.store.now, ...compared.map((uid) => rtflow.store.run(uid))];

  function traces(names, { scale = 1, style = {}, label = (name) => name } = {}) {
    return chosen().flatMap((run, at) =>
      names.map((name) => ({
        name: compared.length ? `${label(name)} · ${run.uid}` : label(name),
        style: { ...style, ...(at ? { line: { dash: ["dot", "dash", "dashdot"][(at - 1) % 3], width: 1.5 } } : {}) },
        read: () => rtflow.charts.row(run.series.get(name) ?? [], scale),
      })),
    );
  }

  // The values of volumes that a node doubts.
  const doubted = (name) => ({
    name: "doubted",
    style: { mode: "markers", marker: { symbol: "x", size: 8, color: DOUBTED } },
    read: () => {
      const run = rtflow.store.now;
      return rtflow.charts.row((run.series.get(name) ?? []).map((value, at) => (run.doubts[at] === undefined ? null : value)));
    },
  });

  function blocks(dark) {
    const found = rtflow.store.now.blocks().filter((one) => one.label !== "rest");
    const labels = [...new Set(found.map((one) => one.label))];
    return found.map((one) => ({
      type: "rect",
      xref: "x",
      yref: "paper",
      x0: one.from - 0.5,
      x1: one.to + 0.5,
      y0: 0,
      y1: 1,
      line: { width: 0 },
      layer: "below",
      fillcolor: rtflow.charts.SHADES[labels.indexOf(one.label) % rtflow.charts.SHADES.length],
      label: { text: one.label, textposition: "top center", font: { size: 11, color: dark ? "#ced4da" : "#495057" } },
    }));
  }

  const line = (value) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, line: { color: "#c92a2a", width: 1.5, dash: "dash" } });

  function usual(run) {
    const specs = [];
    const feedback = run.feedbackName;
    if (feedback) specs.push({ id: "chart-feedback", title: `Feedback: ${feedback}`, values: [feedback], y: describe(run, feedback) });
    const trans = ["trans_x", "trans_y", "trans_z"].flatMap((end) => named(run, end));
    if (trans.length) specs.push({ id: "chart-motion", title: "Motion of the head", motion: true });
    const fd = named(run, "framewise_displacement");
    if (fd.length) specs.push({ id: "chart-fd", title: "Framewise displacement", values: fd, y: "mm", lines: [FD_LIMIT], zero: true });
    for (const [end, title, y] of [["dvars", "DVARS", ""], ["dvars_running", "DVARS over its median so far", ""], ["tsnr", "Temporal signal-to-noise ratio", "tSNR"]]) {
      const names = named(run, end);
      if (names.length) specs.push({ id: `chart-${end}`, title, values: names, y: y || describe(run, names[0]) });
    }
    return specs;
  }

  // What a node says of an output, up to the first comma: a unit, mostly.
  function describe(run, name) {
    const [node, field] = name.split(".");
    const says = run.start?.nodes?.[node]?.outputs?.[field] ?? "";
    const short = says.split(/[,;:]/)[0];
    return short.length <= 32 ? short : field;
  }

  function asked(run) {
    const plots = run.start?.settings?.plots ?? [];
    return plots.map((plot, at) => ({
      id: `chart-plot-${at}`,
      title: plot.title || plot.values.join(", "),
      values: plot.values,
      y: plot.label || describe(run, plot.values[0]),
      range: plot.range,
      lines: plot.thresholds ?? [],
    }));
  }

  function make(spec, into) {
    const drawn = { id: spec.id, title: spec.title, y: spec.y, range: spec.range, zero: spec.zero, height: spec.height, shapes: (dark) => [...blocks(dark), ...(spec.lines ?? []).map(line)] };
    if (spec.motion) {
      const run = rtflow.store.now;
      const of = (ends) => ends.flatMap((end) => named(run, end));
      const short = (name) => name.split(".")[1];
      drawn.traces = [
        ...traces(of(["trans_x", "trans_y", "trans_z"]), { label: short }),
        ...traces(of(["rot_x", "rot_y", "rot_z"]), { scale: DEGREES, label: short, style: { yaxis: "y2", line: { dash: "dot", width: 2 } } }),
      ];
      drawn.y = "mm";
      drawn.y2 = "degrees";
    } else drawn.traces = [...traces(spec.values), ...(spec.doubted ? [doubted(spec.values[0])] : [])];
    return new rtflow.charts.Chart(drawn, into);
  }

  function specs(run) {
    const own = asked(run);
    const there = new Set(own.flatMap((one) => one.values));
    const rest = usual(run).filter((one) => one.motion || !one.values.every((name) => there.has(name)));
    const shown = (run.start?.settings?.show ?? []).filter((name) => !there.has(name) && !rest.some((one) => one.values?.includes(name)));
    const more = [...shown, ...picked].filter((name) => run.series.has(name)).map((name) => ({ id: `chart-${name.replace(/\W/g, "-")}`, title: name, values: [name], y: describe(run, name) }));
    const feedback = run.feedbackName;
    return [...own, ...rest, ...more].map((one) => (run.doubted && one.values?.[0] === feedback ? { ...one, doubted: true } : one));
  }

  function update(changed) {
    const into = document.getElementById("live-charts");
    if (!into) return;
    const run = rtflow.store.current ? rtflow.store.now : null;
    const found = run ? specs(run) : [];
    empty(run, found);
    alarms(run);
    const key = JSON.stringify([run?.uid, compared, found]);
    if (key !== shown) {
      shown = key;
      charts.forEach((chart) => chart.remove());
      charts = found.map((spec) => make(spec, into));
    }
    offer(run);
    if (changed.has("scheme")) charts.forEach((chart) => chart.again());
    else charts.forEach((chart) => chart.ask());
  }

  function alarms(run) {
    const place = document.getElementById("live-alarms");
    const on = run ? rtflow.health.alarms(run, rtflow.store.status) : [];
    const says = on.map((one) => `⚠ ${one}`).join("\n");
    if (place.textContent === says) return;
    place.textContent = says;
    place.hidden = !says;
  }

  function empty(run, found) {
    const place = document.getElementById("live-empty");
    place.hidden = found.length > 0;
    if (found.length) return;
    if (!run?.start) place.textContent = rtflow.store.status.waits === false ? "The run begins." : "No run yet. Press Run when the participant lies still and the scanner is ready.";
    else if (!run.volumes) place.textContent = "Waiting for the first volume: start the sequence at the scanner.";
    else if ([...run.series.values()].some(numeric)) place.textContent = "No value of this run has a chart by itself. Choose some at Further values.";
    else place.textContent = "No values yet. They appear here as soon as a node gives one; dummy volumes have none.";
  }

  // The names that may be picked besides those that are there anyway.
  function offer(run) {
    if (!run || !window.dash_clientside?.set_props) return;
    const names = [...run.series].filter(([, values]) => numeric(values)).map(([name]) => name);
    const key = JSON.stringify([names, run.uid, run.stop !== null]);
    if (key === offered) return;
    offered = key;
    window.dash_clientside.set_props("live-values", { data: names });
    window.dash_clientside.set_props("live-run", { data: [run.uid, run.stop !== null] });
  }

  rtflow.live = {
    async choose(names, uids) {
      turn += 1;
      const mine = turn;
      const wanted = uids ?? [];
      let error = null;
      picked = names ?? [];
      try {
        await Promise.all(wanted.map((uid) => rtflow.store.fetch(uid)));
      } catch (one) {
        error = `cannot be read: ${one.message}; choose again`;
      }
      if (mine !== turn) return; // another choice was made meanwhile
      window.dash_clientside.set_props("live-runs", { error });
      if (error === null) compared = wanted;
      rtflow.store.compare("live", compared);
      update(new Set());
    },
    charts: () => charts,
  };
  rtflow.ready ||= [];
  rtflow.ready.push(() => {
    rtflow.store.listen(update);
    addEventListener("visibilitychange", () => update(new Set()));
    update(new Set());
  });
})();

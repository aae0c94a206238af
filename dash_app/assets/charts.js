"use strict";
// Charts over volumes that grow: Plotly, drawn only while they are in sight, or a window's height from it.
window.rtflow ||= {};
(() => {
  const AT_MOST_EVERY = 100; // ms at least from one drawing of a chart to the next
  const COLOURS = ["#1c7ed6", "#e8590c", "#2b8a3e", "#c2255c", "#7048e8", "#0b7285", "#a16207", "#5c940d"];
  const SHADES = ["rgba(28,126,214,.16)", "rgba(232,89,12,.16)", "rgba(43,138,62,.16)", "rgba(112,72,232,.16)", "rgba(194,37,92,.16)"];

  function layoutOf(chart, shapes) {
    const dark = rtflow.scheme() === "dark";
    const text = dark ? "#e9ecef" : "#1a1b1e";
    const grid = dark ? "#3b3f45" : "#dee2e6";
    const titled = (text) => ({ text, font: { size: 13 } });
    const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, tickfont: { size: 12 }, fixedrange: false, automargin: true };
    return {
      autosize: true,
      height: chart.height ?? 260,
      margin: { l: 56, r: chart.y2 ? 56 : 16, t: 12, b: 40 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: text, family: "system-ui, sans-serif", size: 13 },
      showlegend: false, // the key stands in the caption, where it takes no room from the lines
      hovermode: "x unified",
      uirevision: "kept",
      xaxis: { ...axis, showgrid: false, title: titled(chart.x ?? "Volume"), rangemode: "tozero" },
      yaxis: { ...axis, title: titled(chart.y ?? ""), rangemode: chart.zero ? "tozero" : "normal", ...(chart.range ? { range: chart.range, autorange: false } : {}) },
      ...(chart.y2 ? { yaxis2: { ...axis, title: titled(chart.y2), overlaying: "y", tickmode: "auto", side: "right", showgrid: false } } : {}),
      shapes,
    };
  }

  // Call something whenever an element comes into sight: another tab was chosen, or the page was scrolled.
  function whenSeen(element, call) {
    const observer = new IntersectionObserver((entries) => entries.some((one) => one.isIntersecting) && call());
    observer.observe(element);
    return observer;
  }

  const colourOf = (trace, at) => trace.style?.marker?.color ?? COLOURS[at % COLOURS.length];

  // Those that there are; a chart that was removed is heard of no more.
  const all = new Set();

  // Milliseconds from one drawing of a chart to the next: so many that the charts in sight take half of the time
  // at most, however many there are, and whoever clicks is heard.
  function pause() {
    let took = 0;
    for (const chart of all) if (chart.visible) took += chart.took;
    return Math.max(AT_MOST_EVERY, 2 * took);
  }

  addEventListener("resize", () => all.forEach((chart) => chart.resize()));

  class Chart {
    // spec: {id, title, y, y2, range, zero (whether the axis begins there), height, traces: [{name, read: () => ({x, y}), style}], shapes: (dark) => [], redrawn}
    constructor(spec, into) {
      this.spec = spec;
      this.drawn = 0; // when it was drawn last
      this.took = 0; // and how many milliseconds that took
      this.timer = null;
      this.figure = document.createElement("figure");
      this.figure.className = "chart";
      this.figure.id = spec.id;
      const caption = document.createElement("figcaption");
      caption.textContent = spec.title;
      this.plot = document.createElement("div");
      this.hidden = new Set();
      this.figure.append(caption, this.plot);
      if (spec.traces.length > 1) caption.append(this.key());
      into.append(this.figure);
      this.near = false;
      this.seen = new IntersectionObserver(
        (entries) => {
          this.near = entries.at(-1).isIntersecting;
          this.ask();
        },
        { rootMargin: "100% 0px" },
      );
      this.seen.observe(this.figure);
      all.add(this);
    }

    resize() {
      if (this.visible && this.made) Plotly.Plots.resize(this.plot);
      else this.made = false; // it takes its size from the page when it is drawn next
    }

    // What each line is; a click takes it away, and another one brings it back.
    key() {
      const list = document.createElement("span");
      list.className = "key";
      this.spec.traces.forEach((trace, at) => {
        const button = document.createElement("button");
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        const line = document.createElement("span");
        const dash = { dot: "dotted", dash: "dashed", dashdot: "dashed" }[trace.style?.line?.dash] ?? "solid";
        line.style.borderTop = `3px ${dash} ${colourOf(trace, at)}`;
        line.setAttribute("aria-hidden", "true");
        button.append(line, trace.name);
        button.addEventListener("click", () => {
          if (!this.hidden.delete(at)) this.hidden.add(at);
          button.setAttribute("aria-pressed", String(!this.hidden.has(at)));
          this.again();
        });
        list.append(button);
      });
      return list;
    }

    get visible() {
      return this.near && this.figure.offsetParent !== null && !document.hidden;
    }

    // Draw, soon, if somebody looks.
    ask() {
      if (this.timer === null && this.visible)
        this.timer = setTimeout(() => {
          this.timer = null;
          this.draw();
        }, Math.max(0, this.drawn + pause() - performance.now()));
    }

    again() {
      this.made = false;
      this.ask();
    }

    draw() {
      if (!this.visible || !window.Plotly) return;
      this.drawn = performance.now();
      const traces = this.spec.traces;
      const rows = traces.map((trace) => trace.read());
      const shapes = this.spec.shapes?.(rtflow.scheme() === "dark") ?? [];
      if (!this.made || this.spec.redrawn || rows.some((row, at) => row.y.length < this.lengths[at])) {
        const data = traces.map((trace, at) => ({ type: "scatter", mode: "lines", connectgaps: false, line: { width: 2 }, ...trace.style, name: trace.name, visible: !this.hidden.has(at), x: rows[at].x.slice(), y: rows[at].y.slice() }));
        data.forEach((one, at) => {
          const color = colourOf(traces[at], at);
          one.marker = { color, ...one.marker };
          if (one.type === "scatter") one.line = { color, ...one.line };
        });
        Plotly.react(this.plot, data, layoutOf(this.spec, shapes), { displaylogo: false, responsive: false, displayModeBar: "hover", modeBarButtonsToRemove: ["lasso2d", "select2d"] });
        this.made = true;
      } else {
        const grown = rows.map((row, at) => at).filter((at) => rows[at].y.length > this.lengths[at]);
        if (grown.length)
          Plotly.extendTraces(
            this.plot,
            { x: grown.map((at) => rows[at].x.slice(this.lengths[at])), y: grown.map((at) => rows[at].y.slice(this.lengths[at])) },
            grown,
          );
        if (JSON.stringify(shapes) !== this.shapes) Plotly.relayout(this.plot, { shapes });
      }
      this.shapes = JSON.stringify(shapes);
      this.lengths = rows.map((row) => row.y.length);
      this.took = performance.now() - this.drawn;
      document.dispatchEvent(new CustomEvent("rtflow:drawn", { detail: { id: this.spec.id, length: Math.max(...this.lengths) } }));
    }

    remove() {
      clearTimeout(this.timer);
      this.seen.disconnect();
      all.delete(this);
      if (this.drawn) Plotly.purge(this.plot);
      this.figure.remove();
    }
  }

  // x and y of a row by volume; what a volume does not have is a gap.
  function row(values, scale = 1) {
    const x = [], y = [];
    for (let at = 0; at < values.length; at += 1) {
      const value = values[at];
      x.push(at + 1);
      y.push(typeof value === "number" ? value * scale : typeof value === "boolean" ? Number(value) : null);
    }
    return { x, y };
  }

  rtflow.charts = { Chart, whenSeen, row, COLOURS, SHADES };
})();

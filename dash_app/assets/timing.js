"use strict";
// The Timing tab: where the milliseconds of each volume go, and which volumes did not end well.
window.rtflow ||= {};
(() => {
  const LISTED = 50; // of the volumes that did not end well, the latest
  const BINS = 40;
  const NAMED = 12; // nodes that have an area of their own; the others, which cost least, have one together
  let charts = [];
  let made = "";
  let whole = false;

  const ms = (value) => (value > 0 && value < 0.05 ? "< 0.1 ms" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);
  const largest = (values) => values.reduce((most, one) => (typeof one === "number" && one > most ? one : most), 0);

  // Nodes by what they cost in all, the dearest first.
  function dearest(run) {
    const cost = (row) => row.reduce((sum, one) => sum + (one ?? 0), 0);
    return [...run.timings.entries()].sort((a, b) => cost(b[1]) - cost(a[1])).map(([node]) => node);
  }

  // The sum of rows by volume.
  function filled(rows, length) {
    const x = [], y = [];
    for (let at = 0; at < length; at += 1) {
      x.push(at + 1);
      y.push(rows.reduce((sum, row) => sum + (row?.[at] ?? 0), 0));
    }
    return { x, y };
  }

  // Areas of the first chart: [name, nodes].
  function areas(run) {
    const nodes = dearest(run);
    const own = nodes.length > NAMED + 1 ? NAMED : nodes.length;
    const others = nodes.slice(own);
    return [...nodes.slice(0, own).map((node) => [node, [node]]), ...(others.length ? [[`${others.length} others`, others]] : [])];
  }

  // Shares of volumes by latency, in bins of equal width from 0 to the largest.
  function histogram(values) {
    const found = values.filter((one) => typeof one === "number");
    if (!found.length) return { x: [], y: [] };
    const width = niceWidth(largest(found) / BINS);
    const counts = new Array(Math.floor(largest(found) / width) + 1).fill(0);
    for (const one of found) counts[Math.floor(one / width)] += 1;
    return { x: counts.map((_, at) => (at + 0.5) * width), y: counts };
  }

  function niceWidth(width) {
    const power = 10 ** Math.floor(Math.log10(width || 1));
    return [1, 2, 5, 10].find((one) => one * power >= width) * power;
  }

  function quantile(values, share) {
    const sorted = values.filter((one) => typeof one === "number").sort((a, b) => a - b);
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : null;
  }

  // A line across, with its words on the side that has room.
  const limit = (value, words, above) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, line: { color: "#c92a2a", width: 1.5, dash: "dash" },
    label: { text: words, textposition: "start", yanchor: above ? "bottom" : "top", font: { size: 11, color: "#c92a2a" } },
  });

  function specs(run) {
    const tr = run.tr === null ? null : run.tr * 1000;
    // Lines that are far above all that is there would press it flat; the switch shows them all the same.
    const lines = () => {
      const found = [];
      if (run.deadline !== null) found.push([run.deadline, `deadline ${ms(run.deadline)}`]);
      if (tr !== null && tr !== run.deadline) found.push([tr, `TR ${ms(tr)}`]);
      const high = 2 * largest(run.latency);
      const shown = found.filter(([value]) => whole || value < high);
      const top = largest([...shown.map(([value]) => value), largest(run.latency)]);
      return shown.map(([value, words]) => limit(value, words, value < top / 2));
    };
    const found = [
      {
        id: "chart-nodes",
        title: "Milliseconds of each node, one upon the other",
        y: "ms",
        zero: true,
        height: 320,
        shapes: lines,
        traces: areas(run).map(([name, nodes]) => ({
          name,
          style: { stackgroup: "one", line: { width: 0.5 } },
          read: () => filled(nodes.map((node) => run.timings.get(node)), run.latency.length),
        })),
      },
      {
        id: "chart-latency",
        title: "From a volume's last byte",
        y: "ms",
        zero: true,
        height: 320,
        shapes: lines,
        traces: [
          { name: "to its Result", read: () => rtflow.charts.row(run.latency) },
          ...(run.handed.length ? [{ name: "to the subject's side", read: () => rtflow.charts.row(run.handed) }] : []),
          ...(run.shown.length ? [{ name: "to the display", read: () => rtflow.charts.row(run.shown) }] : []),
        ],
      },
      {
        id: "chart-histogram",
        title: "How often which latency",
        x: "Latency to the Result, ms",
        y: "Volumes",
        redrawn: true,
        traces: [{ name: "volumes", style: { type: "bar" }, read: () => histogram(run.latency) }],
      },
    ];
    return found;
  }

  function row(cells) {
    const line = document.createElement("tr");
    for (const text of cells) {
      const cell = document.createElement("td");
      cell.textContent = text;
      line.append(cell);
    }
    return line;
  }

  function slowest(run, at) {
    let best = ["–", 0];
    for (const [node, values] of run.timings) if ((values[at] ?? 0) > best[1]) best = [node, values[at]];
    return best[1] ? `${best[0]}, ${ms(best[1])}` : "–";
  }

  const left = (margin) => (margin < 0 ? `none, ${ms(-margin)} over it` : ms(margin));

  function ledger(run) {
    const place = document.getElementById("timing-ledger");
    const margins = run.margin.filter((one) => typeof one === "number");
    const facts = [
      ["Volumes", run.results],
      ["in time", run.counts.ok],
      ["late", run.counts.late],
      ["missing", run.counts.missing],
      ["failed", run.counts.failed],
      ["doubted", run.doubted],
      ["median latency", quantile(run.latency, 0.5) === null ? "–" : ms(quantile(run.latency, 0.5))],
      ["99 %", quantile(run.latency, 0.99) === null ? "–" : ms(quantile(run.latency, 0.99))],
      ["least left until the deadline", margins.length ? left(margins.reduce((least, one) => Math.min(least, one))) : "no deadline"],
      ["to the display, median", run.shown.length ? ms(quantile(run.shown, 0.5)) : "no display says so"],
    ];
    place.replaceChildren(
      ...facts.map(([name, value]) => {
        const fact = document.createElement("div");
        fact.className = "fact";
        fact.innerHTML = '<span class="label"></span><span class="value"></span>';
        fact.firstChild.textContent = name;
        fact.lastChild.textContent = value;
        return fact;
      }),
    );
    const bad = [];
    for (let at = run.status.length - 1; at >= 0 && bad.length < LISTED; at -= 1)
      if (run.status[at] && run.status[at] !== "ok")
        bad.push(row([at + 1, run.status[at], typeof run.latency[at] === "number" ? ms(run.latency[at]) : "–", slowest(run, at)]));
    document.getElementById("timing-late").replaceChildren(...bad);
    document.getElementById("timing-table").hidden = bad.length === 0;
  }

  function update(changed) {
    const all = document.getElementById("timing-all");
    if (!all) return;
    const run = rtflow.store.current ? rtflow.store.now : null;
    const something = run !== null && run.results > 0;
    all.hidden = !something;
    const empty = document.getElementById("timing-empty");
    empty.hidden = something;
    empty.textContent = "No volume yet. Press Run; with the first volume you see here what each node takes, and how far the deadline is.";
    if (!something) return;
    // Which nodes cost most is looked at again after the first, the tenth, the hundredth volume.
    const key = JSON.stringify([run.uid, run.timings.size, Math.floor(Math.log10(run.results)), run.handed.length > 0, run.shown.length > 0]);
    if (key !== made) {
      made = key;
      charts.forEach((chart) => chart.remove());
      const into = document.getElementById("timing-charts");
      charts = specs(run).map((spec) => new rtflow.charts.Chart(spec, into));
    }
    charts.forEach((chart) => (changed.has("scheme") ? chart.again() : chart.ask()));
    if (all.offsetParent !== null) ledger(run);
  }

  rtflow.timing = {
    scale(to) {
      whole = Boolean(to);
      charts.forEach((chart) => chart.again()); // with a scale of its own
    },
    areas,
    histogram,
    quantile,
  };
  rtflow.ready ||= [];
  rtflow.ready.push(() => {
    rtflow.store.listen(update);
    rtflow.charts.whenSeen(document.getElementById("timing-ledger"), () => update(new Set()));
    update(new Set());
  });
})();

"use strict";
// The Timing tab: where the milliseconds of each volume go, and which volumes were late.
window.rtflow ||= {};
(() => {
  const LISTED = 50; // of the volumes that did not end well, the latest
  const BINS = 40;
  let charts = [];
  let made = "";
  let whole = false;

  const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

  // Nodes by what they cost in all, the dearest first.
  function dearest(run) {
    const cost = (row) => row.reduce((sum, one) => sum + (one ?? 0), 0);
    return [...run.timings.entries()].sort((a, b) => cost(b[1]) - cost(a[1])).map(([node]) => node);
  }

  function filled(row, length) {
    const x = [], y = [];
    for (let at = 0; at < length; at += 1) {
      x.push(at + 1);
      y.push(row[at] ?? 0);
    }
    return { x, y };
  }

  // Shares of volumes by latency, in bins of equal width from 0 to the largest.
  function histogram(values) {
    const found = values.filter((one) => typeof one === "number");
    if (!found.length) return { x: [], y: [] };
    const width = niceWidth(Math.max(...found) / BINS);
    const counts = new Array(Math.floor(Math.max(...found) / width) + 1).fill(0);
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

  const limit = (value, words) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, line: { color: "#c92a2a", width: 1.5, dash: "dash" },
    label: { text: words, textposition: "start", yanchor: "top", font: { size: 11, color: "#c92a2a" } },
  });

  function specs(run) {
    const deadline = run.deadline;
    const lines = () => (deadline === null ? [] : [limit(deadline, `deadline ${ms(deadline)}`)]);
    const highest = Math.max(...run.latency.filter((one) => typeof one === "number"), 1);
    const near = whole && deadline !== null ? Math.max(deadline * 1.05, highest) : null;
    const found = [
      {
        id: "chart-nodes",
        title: "Milliseconds of each node, one upon the other",
        y: "ms",
        range: near ? [0, near] : null,
        height: 320,
        shapes: () => (near || (deadline !== null && deadline < 2 * highest) ? lines() : []),
        traces: dearest(run).map((node) => ({ name: node, style: { stackgroup: "one", line: { width: 0.5 } }, read: () => filled(run.timings.get(node) ?? [], run.latency.length) })),
      },
      {
        id: "chart-latency",
        title: "From a volume's last byte",
        y: "ms",
        zero: true,
        height: 320,
        shapes: () => (deadline !== null && deadline < 2 * highest ? lines() : []),
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

  function ledger(run) {
    const place = document.getElementById("timing-ledger");
    const margins = run.margin.filter((one) => typeof one === "number");
    const facts = [
      ["Volumes", run.results],
      ["in time", run.counts.ok],
      ["late", run.counts.late],
      ["missing", run.counts.missing],
      ["failed", run.counts.failed],
      ["median latency", quantile(run.latency, 0.5) === null ? "–" : ms(quantile(run.latency, 0.5))],
      ["99 %", quantile(run.latency, 0.99) === null ? "–" : ms(quantile(run.latency, 0.99))],
      ["least left until the deadline", margins.length ? ms(Math.min(...margins)) : "no deadline"],
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
    empty.textContent = "No volume yet. With the first one you see here what each node takes, and how far the deadline is.";
    if (!something) return;
    const key = JSON.stringify([run.uid, run.timings.size, whole, run.deadline, run.handed.length > 0, run.shown.length > 0]);
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
      update(new Set());
    },
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

"use strict";
// The Runs tab: what was chosen, compared number by number and value by value; and the files of a run.
window.rtflow ||= {};
(() => {
  const COLUMNS = ["ok", "late", "missing", "failed"];
  let shown = "";
  let charts = [];

  const number = (value) => (typeof value === "number" ? (Math.abs(value) >= 1000 || Number.isInteger(value) ? String(value) : value.toPrecision(4)) : "–");

  function mean(values) {
    const found = (values ?? []).filter((one) => typeof one === "number");
    return found.length ? found.reduce((sum, one) => sum + one, 0) / found.length : null;
  }

  // Rows of [what, value of each run].
  function facts(runs) {
    const names = [...new Set(runs.flatMap((run) => [...run.series].filter(([, row]) => row.some((one) => typeof one === "number")).map(([name]) => name)))].sort();
    return [
      ["Status", ...runs.map((run) => run.stop?.status ?? "unfinished")],
      ["Volumes", ...runs.map((run) => run.results)],
      ...COLUMNS.map((name) => [`Volumes ${name}`, ...runs.map((run) => run.counts[name])]),
      ["Median latency, ms", ...runs.map((run) => number(rtflow.timing.quantile(run.latency, 0.5)))],
      ...[...new Set(runs.flatMap((run) => Object.keys(run.stop?.values ?? {})))].map((name) => [`${name} (at the end)`, ...runs.map((run) => number(run.stop?.values?.[name]))]),
      ...names.map((name) => [`${name} (mean)`, ...runs.map((run) => number(mean(run.series.get(name))))]),
    ];
  }

  function table(runs) {
    const made = document.createElement("table");
    made.className = "plain";
    const head = made.createTHead().insertRow();
    for (const text of ["", ...runs.map((run) => run.uid)]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = text;
      head.append(cell);
    }
    const body = made.createTBody();
    for (const [what, ...values] of facts(runs)) {
      const line = body.insertRow();
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = what;
      line.append(name);
      for (const value of values) line.insertCell().textContent = value;
    }
    return made;
  }

  async function compare(place) {
    const key = place.dataset.uids;
    if (key === shown && place.childElementCount) return;
    shown = key;
    const uids = key.split(" ").filter(Boolean);
    try {
      const runs = await Promise.all(uids.map((uid) => rtflow.store.fetch(uid)));
      if (shown !== key || !place.isConnected) return;
      charts.forEach((chart) => chart.remove());
      place.replaceChildren();
      const into = document.createElement("div");
      into.className = "charts";
      place.append(into, table(runs));
      charts = ["feedbackName", "fd"].flatMap((what) => {
        const of = (run) => (what === "fd" ? [...run.series.keys()].find((name) => name.endsWith(".framewise_displacement")) : run.feedbackName);
        const there = runs.filter(of);
        if (!there.length) return [];
        const traces = there.map((run) => ({ name: run.uid, read: () => rtflow.charts.row(run.series.get(of(run))) }));
        return [new rtflow.charts.Chart({ id: `runs-${what}`, title: what === "fd" ? "Framewise displacement, mm" : `Feedback: ${of(there[0])}`, traces }, into)];
      });
      charts.forEach((chart) => chart.ask());
    } catch (error) {
      place.textContent = `These runs cannot be read: ${error.message}`;
    }
  }

  async function list(link) {
    const uid = link.dataset.uid;
    const into = document.getElementById(`files-${uid}`);
    const answer = await fetch(`/runs/${encodeURIComponent(uid)}/files`);
    const found = await answer.json();
    into.replaceChildren(
      ...(answer.ok ? found : [{ path: found.error, size: null }]).map((one) => {
        const item = document.createElement("li");
        if (one.size === null) item.textContent = one.path;
        else {
          const anchor = document.createElement("a");
          anchor.href = `/runs/${encodeURIComponent(uid)}/files/${one.path.split("/").map(encodeURIComponent).join("/")}`;
          anchor.download = one.path.split("/").pop();
          anchor.textContent = one.path;
          item.append(anchor, ` ${(one.size / 1000).toFixed(1)} kB`);
        }
        return item;
      }),
    );
  }

  rtflow.ready ||= [];
  rtflow.ready.push(() => {
    new MutationObserver(() => {
      const place = document.getElementById("runs-compared");
      if (place) compare(place);
    }).observe(document.getElementById("runs-chosen"), { childList: true, subtree: true });
    document.addEventListener("click", (event) => {
      const link = event.target.closest(".runs-files");
      if (link) {
        event.preventDefault();
        list(link);
      }
    });
  });
})();

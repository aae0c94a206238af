"use strict";
// The Runs tab: what was chosen, compared number by number and value by value; and the files of a run.
window.rtflow ||= {};
(() => {
  const COLUMNS = ["ok", "late", "missing", "failed"];
  const MOST = 6; // runs that are compared at once: all their values are kept meanwhile
  let drawn = null, shown = ""; // where the comparison stands, or is to, and of which runs
  let charts = [];

  function paragraph(text) {
    const made = document.createElement("p");
    made.className = "label";
    made.textContent = text;
    return made;
  }

  const number = (value) => (typeof value === "number" ? (Math.abs(value) >= 1000 || Number.isInteger(value) ? String(value) : value.toPrecision(4)) : "–");

  function mean(values) {
    const found = (values ?? []).filter((one) => typeof one === "number");
    return found.length ? found.reduce((sum, one) => sum + one, 0) / found.length : null;
  }

  // Rows of [what, value of each run].
  function facts(runs) {
    const names = [...new Set(runs.flatMap((run) => [...run.series].filter(([, row]) => row.some((one) => typeof one === "number")).map(([name]) => name)))].sort();
    return [
      ["Participant", ...runs.map((run) => run.bids || "–")],
      ["Status", ...runs.map((run) => run.stop?.status ?? "unfinished")],
      ["Volumes", ...runs.map((run) => run.results)],
      ...COLUMNS.map((name) => [`Volumes ${name}`, ...runs.map((run) => run.counts[name])]),
      ["Volumes doubted", ...runs.map((run) => run.doubted)],
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
    const wanted = place.dataset.uids;
    if (place === drawn && wanted === shown) return; // what has changed is what this script has put there
    [drawn, shown] = [place, wanted];
    const all = wanted.split(" ").filter(Boolean);
    const uids = all.slice(0, MOST);
    charts.forEach((chart) => chart.remove());
    charts = [];
    rtflow.store.compare("runs", uids);
    if (!uids.length) return;
    try {
      const runs = await Promise.all(uids.map((uid) => rtflow.store.fetch(uid)));
      if (shown !== wanted || !place.isConnected) return;
      place.replaceChildren();
      const into = document.createElement("div");
      into.className = "charts";
      place.append(into, table(runs));
      if (all.length > MOST) place.append(paragraph(`The first ${MOST} of ${all.length} are compared. Choose fewer to see others.`));
      charts = ["feedbackName", "fd"].flatMap((what) => {
        const of = (run) => (what === "fd" ? [...run.series.keys()].find((name) => name.endsWith(".framewise_displacement")) : run.feedbackName);
        const there = runs.filter(of);
        if (!there.length) return [];
        const traces = there.map((run) => ({ name: run.uid, read: () => rtflow.charts.row(run.series.get(of(run))) }));
        return [new rtflow.charts.Chart({ id: `runs-${what}`, title: what === "fd" ? "Framewise displacement" : `Feedback: ${of(there[0])}`, y: what === "fd" ? "mm" : "", zero: what === "fd", traces }, into)];
      });
      charts.forEach((chart) => chart.ask());
    } catch (error) {
      if (shown === wanted) place.replaceChildren(paragraph(`These runs cannot be read: ${error.message}. Choose them again.`));
    }
  }

  async function list(link) {
    const uid = link.dataset.uid;
    const into = document.getElementById(`files-${uid}`);
    let found;
    try {
      const answer = await fetch(`/runs/${encodeURIComponent(uid)}/files`);
      found = await answer.json();
      if (!answer.ok) throw new Error(found.error);
    } catch (error) {
      found = [{ path: `They cannot be listed: ${error.message}`, size: null }];
    }
    into.replaceChildren(
      ...found.map((one) => {
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
    }).observe(document.getElementById("runs-chosen"), { childList: true, subtree: true, attributeFilter: ["data-uids"] });
    document.addEventListener("click", (event) => {
      const link = event.target.closest(".runs-files");
      if (link) {
        event.preventDefault();
        list(link);
      }
    });
  });
})();

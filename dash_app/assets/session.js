"use strict";
// The Session tab: what has been done, what is being done, what is still to come; and errors in full.
window.rtflow ||= {};
(() => {
  const MOST_ERRORS = 200; // shown; the log has more
  let drawn = "";

  const make = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const took = (ms) => (typeof ms !== "number" ? "–" : ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`);

  function row(cells, state = "") {
    const tr = make("tr", undefined, state ? { "data-state": state } : {});
    for (const cell of cells) tr.append(typeof cell === "string" ? make("td", cell) : cell);
    return tr;
  }

  // Whether a node outside the stream waits, is at it, is done, has failed, or was never reached.
  function stateOf(run, when, step) {
    if (step) return step.state === "begun" ? (run.stop ? "not finished" : "running") : step.state;
    if (run.stop || (when === "set-up" && run.volumes)) return "not run";
    return "waits";
  }

  function steps(run, when) {
    const rows = Object.entries(run.start.nodes)
      .filter(([, node]) => node.when === when)
      .map(([name, node]) => {
        const step = run.steps.get(name);
        const state = stateOf(run, when, step);
        return row([name, node.interface, make("td", state, { class: "step-state" }), took(step?.milliseconds)], state);
      });
    return rows;
  }

  function perVolume(run) {
    return Object.entries(run.start.nodes)
      .filter(([, node]) => node.when === "volume")
      .map(([name, node]) => {
        const times = (run.timings.get(name) ?? []).filter((one) => typeof one === "number");
        const wrong = run.failed.get(name) ?? 0;
        return row([name, node.interface, times.length || !run.results ? String(times.length) : "–", make("td", String(wrong), wrong ? { class: "step-wrong" } : {}), took(times.at(-1))], wrong ? "failed" : "");
      });
  }

  function errors(run) {
    const found = [];
    if (rtflow.store.status.trouble) found.push({ what: "The run could not begin", says: rtflow.store.status.trouble });
    for (const [name, step] of run?.steps ?? []) if (step.error) found.push({ what: name, says: step.error });
    for (const one of run?.failures ?? []) found.push({ what: `${one.node}, volume ${one.volume}`, says: one.says });
    if (run?.stop && run.stop.status !== "completed" && run.stop.reason) found.push({ what: `The run has ${run.stop.status === "failed" ? "failed" : "been ended"}`, says: run.stop.reason });
    return found;
  }

  function errorBox({ what, says }) {
    const box = make("div", undefined, { class: "error-box" });
    const head = make("div", undefined, { class: "error-head" });
    const copy = make("button", "copy", { type: "button", class: "small", "aria-label": `copy the error of ${what}` });
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(`${what}\n${says}`);
        copy.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(text); // the browser does not let a page copy by itself: Ctrl-C does
      }
    });
    const text = make("pre", says, { tabindex: "0", "aria-label": `error of ${what}` });
    head.append(make("strong", what), copy);
    box.append(head, text);
    return box;
  }

  function fill(id, rows) {
    const body = document.getElementById(id);
    const table = body.closest("table");
    body.replaceChildren(...rows);
    table.hidden = !rows.length;
    return rows.length ? "" : table.dataset.none;
  }

  function volumes(run) {
    const parts = [`${run.volumes} of ${run.planned ?? "?"} volumes have come, ${run.results} are through the graph`];
    for (const status of ["late", "missing", "failed"]) if (run.counts[status]) parts.push(`${run.counts[status]} ${status}`);
    return parts.join("; ");
  }

  function update() {
    const all = document.getElementById("session-all");
    if (!all) return;
    const run = rtflow.store.current && rtflow.store.now.start ? rtflow.store.now : null;
    const found = errors(run);
    const empty = document.getElementById("session-empty");
    empty.hidden = Boolean(run) || found.length > 0;
    empty.textContent = rtflow.store.status.state === "preparing" ? "The run is being prepared." : "No run yet. When you press Run, its steps stand here, from the first node at set-up to the last one at the end.";
    all.hidden = !run && !found.length;
    if (all.offsetParent === null) return;
    const key = JSON.stringify([run?.uid, run?.next, found.length]);
    if (key === drawn) return;
    drawn = key;
    for (const section of all.querySelectorAll("section")) section.hidden = !run;
    if (run) {
      for (const when of ["set-up", "end"]) document.getElementById(`session-${when}-says`).textContent = fill(`session-${when}`, steps(run, when));
      document.getElementById("session-volume-says").textContent = fill("session-volume", perVolume(run)) || volumes(run);
      document.getElementById("session-progress").value = run.planned ? run.results / run.planned : 0;
    }
    document.getElementById("session-wrong").hidden = !found.length;
    const into = document.getElementById("session-errors");
    const texts = JSON.stringify(found);
    if (into.dataset.texts === texts) return; // what somebody is copying stays as it is
    into.dataset.texts = texts;
    into.replaceChildren(...found.slice(-MOST_ERRORS).reverse().map(errorBox));
    if (found.length > MOST_ERRORS) into.append(make("p", `These are the last ${MOST_ERRORS} of ${found.length}; the journal has all.`, { class: "label" }));
  }

  rtflow.ready ||= [];
  rtflow.ready.push(() => {
    rtflow.store.listen(update);
    rtflow.charts.whenSeen(document.getElementById("session-all").parentElement, update);
    update();
  });
})();

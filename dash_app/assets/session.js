"use strict";
// The Session tab: what has been done, what is being done, what is still to come; what earlier runs left; errors in full.
window.rtflow ||= {};
(() => {
  const MOST_ERRORS = 200; // shown; the log has more
  let drawn = "", asked = "";
  const boxes = new Map(); // what and says -> the box that is there

  const make = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const took = (ms) => (typeof ms !== "number" ? "–" : ms < 0.05 ? "< 0.1 ms" : ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`);

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
        return row([name, node.interface, times.length || !run.results ? String(Math.max(0, times.length - wrong)) : "–", make("td", String(wrong), wrong ? { class: "step-wrong" } : {}), took(times.at(-1))], wrong ? "failed" : "");
      });
  }

  // Failures of volumes; those that say the same stand together, where the last of them is.
  function failures(run) {
    const alike = new Map();
    for (const { node, volume, says } of run?.failures ?? []) {
      const key = JSON.stringify([node, says]);
      const one = alike.get(key) ?? { key, node, says, first: volume, times: 0 };
      alike.delete(key);
      alike.set(key, { ...one, last: volume, times: one.times + 1 });
    }
    return [...alike.values()].map(({ key, node, says, first, last, times }) => ({
      key,
      what: times === 1 ? `${node}, volume ${first}` : `${node}, ${times} volumes from ${first} to ${last}`,
      says,
    }));
  }

  function errors(run) {
    const found = [];
    if (rtflow.store.status.trouble) found.push({ what: "The run could not begin", says: rtflow.store.status.trouble });
    for (const [name, step] of run?.steps ?? []) if (step.error) found.push({ what: name, says: step.error });
    found.push(...failures(run));
    if (run?.stop && run.stop.status !== "completed" && run.stop.reason) found.push({ what: `The run has ${run.stop.status === "failed" ? "failed" : "been ended"}`, says: run.stop.reason });
    return found;
  }

  // The boxes that are there stay: what somebody reads or copies is not drawn anew.
  function show(found) {
    const into = document.getElementById("session-errors");
    const seen = found.slice(-MOST_ERRORS).reverse();
    const keys = new Set(seen.map(keyOf));
    for (const [key, box] of boxes)
      if (!keys.has(key)) {
        box.remove();
        boxes.delete(key);
      }
    let next = into.firstChild;
    for (const one of seen) {
      const key = keyOf(one);
      const box = boxes.get(key) ?? errorBox(one);
      boxes.set(key, box);
      const head = box.querySelector("strong");
      if (head.textContent !== one.what) head.textContent = one.what;
      if (box === next) next = box.nextSibling;
      else into.insertBefore(box, next);
    }
    const more = document.getElementById("session-more");
    more.hidden = found.length <= MOST_ERRORS;
    more.textContent = `These are the last ${MOST_ERRORS} of ${found.length}; the journal has all.`;
  }

  const keyOf = ({ key, what, says }) => key ?? JSON.stringify([what, says]);

  // What earlier runs have left: asked for when the tab is looked at, and when a run has ended.
  async function items() {
    const place = document.getElementById("session-items-says");
    const { engine, dashboard, status } = rtflow.store;
    const key = JSON.stringify([status.state === "idle", status.run_uid, engine]);
    if (!place || place.offsetParent === null || status.state === undefined || engine || dashboard || key === asked) return;
    asked = key;
    let says = "";
    let rows = [];
    try {
      const answer = await fetch("/items");
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.error);
      rows = told.items.map((one) =>
        row([one.name, one.trouble ?? (one.run_uid || "–"), new Date(one.saved * 1000).toLocaleString([], { hour12: false }), one.shape?.join(" × ") ?? "–", rtflow.files.size(one.bytes)], one.trouble ? "failed" : ""),
      );
      says = rows.length
        ? `In ${told.folder}; the next run takes of it what its nodes ask for.`
        : `Nothing yet: a run that ends well leaves here what the next one needs, such as a reference, a mask and a decoder${told.folder ? ` (${told.folder})` : ""}.`;
    } catch (error) {
      says = `It cannot be told: ${error.message}.`;
    }
    if (asked !== key) return; // another answer is on its way
    place.textContent = says;
    const body = document.getElementById("session-items");
    body.replaceChildren(...rows);
    body.closest("table").hidden = !rows.length;
  }

  function errorBox({ what, says }) {
    const box = make("div", undefined, { class: "error-box" });
    const head = make("div", undefined, { class: "error-head" });
    const copy = make("button", "copy", { type: "button", class: "small", "aria-label": `copy the error of ${what}` });
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(`${title.textContent}\n${says}`);
        copy.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(text); // the browser does not let a page copy by itself: Ctrl-C does
      }
    });
    const text = make("pre", says, { tabindex: "0", "aria-label": `error of ${what}` });
    const title = make("strong", what);
    head.append(title, copy);
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

  // A mask that was brought from another image: the picture is in the folder of the run, and is fetched once.
  function masks(run) {
    const into = document.getElementById("session-masks");
    if (into.dataset.run !== (run?.uid ?? "")) {
      for (const picture of into.querySelectorAll("img")) URL.revokeObjectURL(picture.src);
      into.replaceChildren();
      into.dataset.run = run?.uid ?? "";
    }
    for (const { seq, name, data } of run?.events ?? [])
      if (name === "mask_brought" && data.picture && !into.querySelector(`[data-seq="${seq}"]`)) into.append(figure(run.uid, seq, data));
    into.closest("section").hidden = !into.childElementCount;
  }

  function figure(uid, seq, { says, picture }) {
    const made = make("figure", undefined, { "data-seq": seq, class: "mask-brought" });
    const caption = make("figcaption", says);
    made.append(caption);
    const path = ["overlays", picture.split("/").pop()].map(encodeURIComponent).join("/");
    fetch(`/runs/${encodeURIComponent(uid)}/files/${path}`)
      .then(async (answer) => {
        if (!answer.ok) throw new Error((await answer.json()).error);
        const image = make("img", undefined, { alt: "The mask on slices of the reference, with the outline of the brain that was registered" });
        image.src = URL.createObjectURL(new Blob([await answer.arrayBuffer()], { type: "image/png" }));
        made.prepend(image);
      })
      .catch((error) => (caption.textContent = `${says} (the picture cannot be shown: ${error.message})`));
    return made;
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
    document.getElementById("session-wrong").hidden = !found.length;
    for (const section of all.querySelectorAll("section[data-of-run]")) section.hidden = !run;
    masks(run);
    if (all.offsetParent === null) return;
    items();
    const key = JSON.stringify([run?.uid, run?.next, found.length]);
    if (key === drawn) return;
    drawn = key;
    if (run) {
      for (const when of ["set-up", "end"]) document.getElementById(`session-${when}-says`).textContent = fill(`session-${when}`, steps(run, when));
      document.getElementById("session-volume-says").textContent = fill("session-volume", perVolume(run)) || volumes(run);
      document.getElementById("session-progress").value = run.planned ? run.results / run.planned : 0;
    }
    show(found);
  }

  rtflow.ready ||= [];
  rtflow.ready.push(() => {
    rtflow.store.listen(update);
    rtflow.charts.whenSeen(document.getElementById("session-all").parentElement, () => {
      asked = "";
      update();
    });
    update();
  });
})();

"use strict";
// What is known of each run, built from its documents: series by volume, events, and how it stands.
window.rtflow ||= {};
(() => {
  const KEPT_EVENTS = 2000; // of a run; the journal has all
  const FEEDBACK_FIELDS = ["feedback.value", "decode.value", "subject.value"];

  // Whose run it is, as BIDS would name it; empty where that is not known.
  function entities(bids) {
    const { subject, session, run } = bids ?? {};
    return [["sub", subject], ["ses", session], ["run", run]].filter(([, label]) => label).map((pair) => pair.join("-")).join(" ");
  }

  class Run {
    constructor(uid) {
      this.uid = uid;
      this.next = 0; // number of the next document
      this.known = 0; // of the next one that the dashboard will hear of
      this.start = null;
      this.stop = null;
      this.volumes = 0; // number of the latest volume that came
      this.results = 0;
      this.counts = { ok: 0, late: 0, missing: 0, failed: 0 };
      this.series = new Map(); // name -> array by volume - 1: number, string or null
      this.timings = new Map(); // node -> array by volume - 1: milliseconds or null
      this.latency = [];
      this.margin = [];
      this.status = [];
      this.doubts = []; // why a volume's values are doubted, where they are
      this.doubted = 0;
      this.alarms = new Map(); // those that are on: {says, volume} by node and measure
      this.received = [];
      this.shown = []; // milliseconds from the last byte to the display, as far as the display says
      this.handed = []; // and to the subject's side
      this.events = [];
      this.steps = new Map(); // node at set-up or at the end -> how far it is
      this.failed = new Map(); // node -> how many volumes it has failed
      this.failures = []; // of these, the latest: {volume, node, says}
      this.lastResult = null;
      this.lastArrival = 0;
      this.lastFeedback = 0;
      this.deadline = null;
      this.recordedRun = ""; // where it is another one than was asked for
    }

    get planned() {
      return this.start?.volumes ?? null;
    }

    get tr() {
      return this.start?.tr ?? null;
    }

    get bids() {
      const asked = this.start?.settings?.bids;
      return entities({ ...asked, run: this.recordedRun || asked?.run });
    }

    add(document) {
      this.next = document.seq + 1;
      const at = document.volume ? document.volume - 1 : -1;
      switch (document.document) {
        case "RunStart":
          this.start = document;
          break;
        case "VolumeReceived":
        case "VolumeMissing":
          this.volumes = Math.max(this.volumes, document.volume);
          this.received[at] = document.received;
          this.lastArrival = document.time;
          if (document.document === "VolumeMissing") this.event({ ...document, name: "missing", data: { says: document.reason } });
          break;
        case "Result":
          this.result(document, at);
          break;
        case "Delivered":
          this.lastFeedback = Math.max(this.lastFeedback, document.at ?? document.time);
          if (this.received[at] !== undefined) {
            const into = document.stage === "shown" ? this.shown : this.handed;
            into[at] ??= ((document.at ?? document.time) - this.received[at]) * 1000;
          }
          break;
        case "Event":
          if (document.name === "another_run") this.recordedRun = document.data.run;
          if (document.name === "alarm") this.alarm(document);
          if (document.name === "step") this.steps.set(document.data.node, document.data);
          this.event(document);
          break;
        case "RunStop":
          this.stop = document;
          this.event({ ...document, name: "end", data: { says: `${document.status}${document.reason ? ": " + document.reason : ""}` } });
          break;
      }
    }

    result(document, at) {
      this.results += 1;
      this.volumes = Math.max(this.volumes, document.volume);
      this.counts[document.status] += 1;
      this.status[at] = document.status;
      this.latency[at] = document.latency;
      this.margin[at] = document.margin;
      // To a thousandth: the two are rounded apart, and their sum is to be the same for each volume.
      if (document.margin !== null) this.deadline = Math.round((document.margin + document.latency) * 1000) / 1000;
      this.doubt(document, at);
      for (const [name, value] of Object.entries(document.values)) this.row(this.series, name)[at] = value;
      for (const [node, ms] of Object.entries(document.timings)) this.row(this.timings, node)[at] = ms;
      this.lastResult = document;
      const errors = Object.entries(document.errors);
      for (const [node, says] of errors) {
        this.failed.set(node, (this.failed.get(node) ?? 0) + 1);
        this.failures.push({ volume: document.volume, node, says });
      }
      if (this.failures.length > KEPT_EVENTS) this.failures.splice(0, this.failures.length - KEPT_EVENTS);
      if (errors.length)
        this.event({ ...document, name: "failed", data: { says: errors.map(([node, says]) => `${node}: ${says}`).join("; ") } });
    }

    alarm({ node, volume, data }) {
      const key = `${node} ${data.alarm}`;
      if (data.on) this.alarms.set(key, { says: data.says.replace(/^alarm: /, ""), volume });
      else this.alarms.delete(key);
    }

    // A volume that was done, and whose values a node does not trust, or which repeat earlier ones.
    doubt(document, at) {
      if (document.quality !== "suspect" || !["ok", "late"].includes(document.status)) return;
      const says = [...new Set(document.reasons ?? [])].join("; ");
      this.doubted += 1;
      this.doubts[at] = says;
      if (says !== this.doubts[at - 1]) this.event({ ...document, name: "doubted", data: { says } });
    }

    row(table, name) {
      let row = table.get(name);
      if (row === undefined) table.set(name, (row = []));
      return row;
    }

    event(document) {
      this.events.push({
        seq: document.seq,
        time: document.time,
        volume: document.volume ?? null,
        name: document.name,
        node: document.node || "",
        data: document.data || {},
      });
      if (this.events.length > KEPT_EVENTS) this.events.splice(0, this.events.length - KEPT_EVENTS);
    }

    // The value that the participant is shown: a Feedback node's, else a decoder's.
    get feedbackName() {
      for (const name of FEEDBACK_FIELDS) if (this.series.has(name)) return name;
      for (const [name, node] of Object.entries(this.start?.nodes ?? {}))
        if (["Feedback", "Decode"].includes(node.interface) && this.series.has(`${name}.value`)) return `${name}.value`;
      for (const name of this.series.keys()) if (name.endsWith(".value")) return name;
      return null;
    }

    // Runs of equal labels: [{label, from, to}] in volumes, both ends included.
    blocks() {
      let labels = null;
      for (const [name, row] of this.series) if (name.endsWith(".trial_type")) labels = row;
      const found = [];
      if (labels === null) return found;
      for (let at = 0; at < labels.length; at += 1) {
        const label = labels[at];
        if (!label || label === "n/a") continue;
        const last = found[found.length - 1];
        if (last && last.label === label && last.to === at) last.to = at + 1;
        else found.push({ label, from: at + 1, to: at + 1 });
      }
      return found;
    }
  }

  const runs = new Map();
  const listeners = new Set();
  const compared = new Map(); // tab -> uids
  let changed = new Set();
  let asked = false;

  function flush() {
    asked = false;
    const now = changed;
    changed = new Set();
    for (const listener of listeners) {
      try {
        listener(now);
      } catch (error) {
        console.error(error);
      }
    }
  }

  function touch(what) {
    changed.add(what);
    if (!asked) {
      asked = true;
      // Not requestAnimationFrame: a page in the background is to be up to date when it is looked at.
      setTimeout(flush, document.hidden ? 500 : 30);
    }
  }

  rtflow.store = {
    runs,
    entities,
    current: "", // uid of the present run
    status: {}, // what the engine says of itself
    engine: "", // what is in the way to it; empty for nothing
    dashboard: "connecting", // what is in the way to the dashboard
    skew: 0, // seconds that this computer's clock is ahead of the engine's
    run(uid) {
      let run = runs.get(uid);
      if (run === undefined) runs.set(uid, (run = new Run(uid)));
      return run;
    },
    get now() {
      return this.run(this.current);
    },
    // A document; false if one before it is missing.
    add(document) {
      const run = this.run(document.run_uid);
      if (document.seq < run.next) return true;
      if (document.seq > run.next) return false;
      run.add(document);
      touch(run.uid);
      return true;
    },
    touch,
    // Called with the set of what changed: uids of runs, "status".
    listen(listener) {
      listeners.add(listener);
    },
    // Documents of an earlier run, for a comparison; kept for as long as the page is open.
    async fetch(uid) {
      const run = this.run(uid);
      if (uid === this.current) return run;
      for (;;) {
        const answer = await fetch(`/documents/${encodeURIComponent(uid)}?since=${run.next}`);
        if (!answer.ok) throw new Error((await answer.json()).error);
        const text = await answer.text();
        if (!text) break;
        // Into this one, which others may have forgotten meanwhile.
        for (const line of text.split("\n")) {
          const document = JSON.parse(line);
          if (document.seq === run.next) run.add(document);
        }
      }
      return run;
    },
    // Forget all runs but the present one and those that a tab compares.
    keep() {
      const wanted = new Set([this.current, ...compared.values()].flat());
      for (const uid of runs.keys()) if (!wanted.has(uid)) runs.delete(uid);
    },
    // Which earlier runs a tab compares from now on.
    compare(tab, uids) {
      compared.set(tab, uids);
      this.keep();
    },
  };
})();

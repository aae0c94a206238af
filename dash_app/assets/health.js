"use strict";
// Whether all is well, and what to do if not: pure functions of what is known.
window.rtflow ||= {};
(() => {
  const GB = 1e9;
  const seconds = (value) => (value < 10 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`);

  // Whether a run is under way; one that was cut off has no end, but its engine does nothing any more.
  const going = (run, status) => Boolean(run?.start && !run.stop && status.state !== "idle");

  // Each light: {level: good|warn|bad|off, says: what is, todo: what to do}.
  function scanner(run, status, now) {
    const agents = (status.agents ?? []).filter((one) => one.kind === "scanner");
    const lost = agents.filter((one) => !one.connected);
    const source = run?.start?.source ?? "";
    if (!run?.start) return { level: "off", says: "no run yet", todo: "" };
    if (run.stop) return { level: "off", says: "the run is over", todo: "" };
    if (!going(run, status))
      return { level: "off", says: "the run was cut off", todo: `On the analysis host, 'rtflow run --resume ${status.out ?? "OUT"}/runs/${run.uid}' takes it up.` };
    if (source.startsWith("agent:") && lost.length)
      return {
        level: "bad",
        says: `the agent on the scanner's host (${lost[0].name}) is not connected`,
        todo: "Look whether 'rtflow scanner' runs there and the network cable is in. Nothing is lost: it sends what was written meanwhile.",
      };
    if (!run.volumes)
      return now - run.start.time > 60
        ? { level: "warn", says: "no volume has come yet", todo: `Start the sequence, or look whether the scanner writes to ${source}.` }
        : { level: "warn", says: "waiting for the first volume", todo: "Start the sequence." };
    const every = run.interval ?? run.tr;
    const ago = now - run.lastArrival;
    if (every && ago > Math.max(3 * every, 2) && run.volumes < (run.planned ?? Infinity))
      return {
        level: ago > Math.max(10 * every, 10) ? "bad" : "warn",
        says: `nothing has come for ${seconds(ago)}`,
        todo: "Look whether the scan still goes on at the console, and whether the export to this host works.",
      };
    if (run.counts.missing)
      return { level: "warn", says: `volumes come; ${run.counts.missing} of ${run.results} were missing`, todo: "See the log for which and why." };
    return { level: "good", says: "volumes come", todo: "" };
  }

  function subject(run, status, now) {
    const agents = (status.agents ?? []).filter((one) => one.kind === "subject");
    const lost = agents.filter((one) => !one.connected);
    if (lost.length)
      return {
        level: going(run, status) ? "bad" : "warn",
        says: `the display (${lost[0].name}) is not connected`,
        todo: "Look whether its program runs on the stimulus host and the network cable is in. It gets every value once it is back.",
      };
    if (!going(run, status)) return { level: agents.length ? "good" : "off", says: agents.length ? "the display is connected" : "no display is connected", todo: "" };
    const failed = run.events.findLast((one) => one.name === "delivery_failed");
    if (failed && run.lastResult && failed.volume >= run.lastResult.volume - 2)
      return { level: "bad", says: `a value was not handed over: ${failed.data.error ?? ""}`, todo: "See the log; the disk may be full, or its folder gone." };
    if (!agents.length)
      return { level: run.lastFeedback ? "good" : "off", says: run.lastFeedback ? "values are written to files" : "no display is connected", todo: "" };
    return { level: "good", says: "the display is connected", todo: "" };
  }

  function disk(run, status) {
    const free = status.disk?.free;
    if (free === undefined) return { level: "off", says: "not known yet", todo: "" };
    const says = `${(free / GB).toFixed(1)} GB are free where the run is written`;
    const needed = status.disk.needed ?? 0;
    if (free < 0.5 * GB || free < needed)
      return { level: "bad", says, todo: `Make room in ${status.out ?? "the output folder"} now, or the run ends when the disk is full.` };
    if (free < 5 * GB || free < 2 * needed) return { level: "warn", says, todo: `Make room in ${status.out ?? "the output folder"} before the next run.` };
    return { level: "good", says, todo: "" };
  }

  function deadline(run) {
    if (!run?.results) return { level: "off", says: "no volume yet", todo: "" };
    const last = run.status.slice(-20).filter((one) => one === "late").length;
    const total = run.counts.late;
    if (last > 2)
      return { level: "bad", says: `${last} of the last 20 volumes were late`, todo: "See Timing for the slowest node; less smoothing or a smaller mask helps." };
    const failing = run.status.slice(-3).filter((one) => one === "failed").length;
    if (failing === 3) return { level: "bad", says: "the last volumes failed", todo: "See the log for the node and its error; the participant gets no feedback." };
    if (total) return { level: "warn", says: `${total} of ${run.results} volumes were late`, todo: "See Timing for the slowest node." };
    if (run.deadline === null) return { level: "off", says: "this run has no deadline", todo: "" };
    return { level: "good", says: `every volume was done within ${Math.round(run.deadline)} ms`, todo: "" };
  }

  rtflow.health = { going, scanner, subject, disk, deadline };
})();

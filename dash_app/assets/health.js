"use strict";
// Whether all is well, and what to do if not: pure functions of what is known.
window.rtflow ||= {};
(() => {
  const GB = 1e9;
  const RECENT = 20; // volumes
  const seconds = (value) => (value < 10 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`);

  // Whether a run is under way; one that was cut off has no end, but its engine does nothing any more.
  const going = (run, status) => Boolean(run?.start && !run.stop && status.state !== "idle");

  // How a run has ended; empty while it goes on, or may: all that is known of it has to have come, and to be older
  // than the word that the engine is idle.
  function ended(run, status) {
    if (run?.stop) return run.stop.status;
    const cut = run?.start && status.state === "idle" && run.next >= run.known && status.time > run.start.time;
    return cut ? "cut off" : "";
  }

  const resume = (run, status) => `On the analysis host, 'rtflow run --resume ${status.out ?? "OUT"}/runs/${run.uid}' takes it up.`;

  // Each light: {level: good|warn|bad|off, says: what is, todo: what to do}.
  function scanner(run, status, now) {
    const agents = (status.agents ?? []).filter((one) => one.channel === "scanner");
    const lost = agents.filter((one) => !one.connected);
    const source = run?.start?.source ?? "";
    if (!run?.start) return { level: "off", says: "no run yet", todo: "" };
    if (run.stop) return { level: "off", says: "the run is over", todo: "" };
    if (!going(run, status)) return ended(run, status) ? { level: "off", says: "the run was cut off", todo: resume(run, status) } : { level: "off", says: "not known yet", todo: "" };
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
    const agents = (status.agents ?? []).filter((one) => one.channel === "subject" && (one.connected || one.expected));
    const lost = agents.filter((one) => !one.connected);
    if (lost.length && !lost[0].since)
      return {
        level: going(run, status) ? "warn" : "off",
        says: run?.lastFeedback ? "no display is connected; values stand in files" : "no display is connected",
        todo: going(run, status) ? "The participant sees nothing of them. If they should, start 'rtflow subject' on the stimulus host: it gets every value of the run." : "",
      };
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

  // Of the latest volumes, how many are so; volumes that were lost on the way say nothing of it.
  function recently(run, most, is) {
    let seen = 0, found = 0;
    for (let at = run.status.length - 1; at >= 0 && seen < most; at -= 1) {
      if (!run.status[at] || run.status[at] === "missing") continue;
      seen += 1;
      found += is(run.status[at], at) ? 1 : 0;
    }
    return { seen, found };
  }

  function deadline(run, status) {
    if (!run?.results) return { level: "off", says: "no volume yet", todo: "" };
    if (run.deadline === null) return { level: "off", says: "this run has no deadline", todo: "" };
    const { seen, found } = recently(run, RECENT, (status) => status === "late");
    const total = run.counts.late;
    const todo = "See Timing for the slowest node; less smoothing or a smaller mask helps.";
    // Of a run that is over, all volumes count alike.
    if (found > 2 && going(run, status))
      return { level: "bad", says: `${found} of the last ${seen} volumes were late`, todo };
    if (total) return { level: "warn", says: `${total} of ${run.results} volumes were late`, todo };
    const done = run.counts.ok;
    if (!done) return { level: "off", says: "no volume was done yet", todo: "" };
    return { level: "good", says: `every volume that was done took less than ${Math.round(run.deadline)} ms`, todo: "" };
  }

  // The alarms that are on, in words; none once the run is over.
  const alarms = (run, status) => (going(run, status) ? [...run.alarms.values()].map((one) => `${one.says}, since volume ${one.volume}`) : []);

  // Whether there are values, and whether the nodes trust them.
  function values(run, status) {
    if (!run?.results) return { level: "off", says: "no volume yet", todo: "" };
    const failing = recently(run, 3, (status) => status === "failed");
    const one = run.failures.at(-1);
    const why = one ? ` (${one.node}: ${one.says.trim().split("\n").at(-1).slice(0, 160)})` : "";
    if (failing.found === 3 && going(run, status))
      return { level: "bad", says: `the last volumes failed${why}`, todo: "The participant gets no feedback. See Session for the error in full; stop the run if it goes on." };
    const on = alarms(run, status);
    if (on.length)
      return { level: "warn", says: `alarm: ${on.join("; ")}`, todo: "Remind the participant to lie still; if it is not the head, look at Brain, the coil and the cables. See Live for the course." };
    const doubted = recently(run, RECENT, (_, at) => run.doubts[at] !== undefined);
    const reason = run.doubts.findLast((says) => says !== undefined);
    const because = reason ? ` (${reason.slice(0, 160)})` : "";
    if (doubted.found > 2)
      return { level: "warn", says: `${doubted.found} of the last ${doubted.seen} volumes are doubted${because}`, todo: "See Logs for each; the feedback of such volumes may be wrong." };
    if (run.counts.failed) return { level: "warn", says: `${run.counts.failed} of ${run.results} volumes failed${why}`, todo: "See Session for the error in full." };
    if (run.doubted) return { level: "warn", says: `${run.doubted} of ${run.results} volumes are doubted${because}`, todo: "See Logs for each." };
    if (!run.counts.ok && !run.counts.late) return { level: "off", says: "no volume was done yet", todo: "" };
    return { level: "good", says: "no volume failed, and no node doubts what it gave", todo: "" };
  }

  // How the last run ended, if not as it should: {says, todo}.
  function ending(run, status) {
    if (ended(run, status) === "cut off") return { says: "the run was cut off", todo: `What was recorded is kept. ${resume(run, status)}` };
    if (run?.stop?.status !== "failed") return null;
    const why = run.stop.reason.trim().split("\n").at(-1);
    return { says: `the run has failed${why ? ": " + why : ""}`, todo: "What was recorded is kept. See Session for the error in full, and mend it before you press Run." };
  }

  rtflow.health = { going, ended, scanner, subject, disk, deadline, alarms, values, ending };
})();

"use strict";
// The Logs tab: rows from what happened in the run, or from the lines of a log of the engine.
window.rtflow ||= {};
(() => {
  const MOST = 2000; // rows
  const EVERY = 1000; // ms from one look at a log of the engine to the next
  const DRAWN = 300; // ms at least from one drawing of the table to the next
  const WRONG = /(^|_)failed$/; // names of events
  const DOUBTFUL = /(^|_)(missing|late|lost|missed|refused|doubted)\b/; // these, and words of the server's log
  const chosen = { which: "user", levels: [], find: "", follow: true };
  const files = {}; // of each log: {run, next, rows, trouble}
  let drawn = "", timer = null, last = 0, shown = 0;

  const clock = (seconds) => {
    const at = new Date(seconds * 1000);
    return `${at.toLocaleTimeString([], { hour12: false })}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  };

  function levelOf(event) {
    if (WRONG.test(event.name) || event.data.error || (event.name === "step" && event.data.state === "failed")) return "error";
    if (event.name === "end") return event.data.says.startsWith("completed") ? "info" : "error";
    return DOUBTFUL.test(event.name) || (event.name === "alarm" && event.data.on) ? "warning" : "info";
  }

  function wordsOf({ name, node, data }) {
    if (name === "note") return data.who ? `${data.says} (${data.who})` : data.says;
    if (name === "step") {
      const took = typeof data.milliseconds === "number" ? ` after ${Math.round(data.milliseconds)} ms` : "";
      return `${data.node} (${data.when}): ${data.state}${took}${data.error ? "\n" + data.error : ""}`;
    }
    const { says, ...rest } = data;
    const more = Object.entries(rest).map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : typeof value === "number" ? Number(value.toPrecision(4)) : value}`).join(", ");
    return [node, says, more].filter(Boolean).join(": ");
  }

  function rowOf(event) {
    return { id: `${event.seq}-${event.name}`, time: clock(event.time), volume: event.volume ?? "", level: levelOf(event), name: event.name, says: wordsOf(event) };
  }

  // Events do not change, and to tell the time of two thousand of them takes longer than all else here.
  const known = new WeakMap();
  function kept(event) {
    let row = known.get(event);
    if (row === undefined) known.set(event, (row = rowOf(event)));
    return row;
  }

  // A line as loggers and the server write it; what has no time belongs to the line before it.
  const LOGGED = /^\d{4}-\d\d-\d\d (?<time>[\d:]+[.,]\d+) (?<name>[\w.]+) (?<level>[A-Z]+): (?<says>.*)$/s;
  const TOLD = /^\d{4}-\d\d-\d\d (?<time>[\d:]+[.,]\d+) (?:(?<name>[^\s:]+): )?(?<says>.*)$/s;

  function parsed(line, id) {
    const found = (LOGGED.exec(line) ?? TOLD.exec(line))?.groups;
    if (!found) return null;
    const level = found.level?.toLowerCase() ?? (DOUBTFUL.test(found.says) ? "warning" : "info");
    return { id, time: found.time.replace(",", "."), volume: "", level: level === "critical" ? "error" : level, name: /(?:^| )for=(\S+)/.exec(found.says)?.[1] ?? found.name ?? "", says: found.says };
  }

  function addLines(file, lines) {
    for (const line of lines) {
      const row = parsed(line, `${file.count++}`);
      const before = file.rows.at(-1);
      if (row) file.rows.push(row);
      else if (before) file.rows[file.rows.length - 1] = { ...before, says: `${before.says}\n${line}` };
      else file.rows.push({ id: `${file.count++}`, time: "", volume: "", level: "", name: "", says: line });
    }
    file.rows.splice(0, Math.max(0, file.rows.length - MOST));
  }

  const seen = () => document.getElementById("logs-find").offsetParent !== null && !document.hidden;

  async function look() {
    const name = chosen.which;
    if (name === "user" || !seen()) return;
    const run = name === "debug" ? rtflow.store.current : "";
    if (files[name]?.run !== run) files[name] = { run, next: null, count: 0, rows: [], trouble: "" };
    const file = files[name];
    if (file.busy) return;
    file.busy = true;
    try {
      for (;;) {
        const answer = await fetch(`/logs/${name}${file.next === null ? "" : `?since=${file.next}`}`);
        const told = await answer.json();
        if (!answer.ok) throw new Error(told.error);
        file.trouble = "";
        if (told.next < file.next) file.rows = []; // it began anew
        file.next = told.next;
        if (!told.lines.length) break;
        addLines(file, told.lines);
      }
    } catch (error) {
      file.trouble = error.message;
    } finally {
      file.busy = false;
    }
    ask();
  }

  function rows() {
    if (chosen.which !== "user") return files[chosen.which]?.rows ?? [];
    return rtflow.store.current ? rtflow.store.now.events.map(kept) : [];
  }

  function matches(row) {
    if (chosen.levels.length && !chosen.levels.includes(row.level)) return false;
    const text = `${row.name} ${row.says} ${row.volume}`.toLowerCase();
    return chosen.find.toLowerCase().split(/\s+/).every((word) => text.includes(word));
  }

  function empty(all, found) {
    const trouble = files[chosen.which]?.trouble;
    if (trouble) return `This log cannot be read: ${trouble}`;
    if (found) return "";
    if (all) return "No line fits. Take another level, or search for less.";
    return chosen.which === "user" ? "Nothing has happened yet. What happens in a run, and what you note, stands here." : "This log has no line yet.";
  }

  function draw() {
    if (!seen()) return;
    last = performance.now();
    const all = rows();
    const found = all.filter(matches);
    const key = JSON.stringify([chosen, rtflow.store.current, all.length, all.at(-1)?.id, all.at(-1)?.says.length]);
    const says = empty(all.length, found.length);
    const place = document.getElementById("logs-empty");
    place.hidden = !says;
    place.textContent = says;
    document.getElementById("logs-rows").hidden = !found.length;
    document.getElementById("logs-says").textContent = all.length ? `${found.length} of ${all.length} lines${all.length >= MOST ? ", the latest" : ""}` : "";
    if (key === drawn) return;
    drawn = key;
    window.dash_clientside.set_props("logs-grid", { rowData: found });
    shown = found.length;
    if (chosen.follow) setTimeout(end, 100);
  }

  async function end() {
    const api = await window.dash_ag_grid?.getApiAsync?.("logs-grid");
    const count = api?.getDisplayedRowCount() ?? 0;
    if (count && shown) api.ensureIndexVisible(count - 1, "bottom");
  }

  function ask() {
    if (timer === null)
      timer = setTimeout(() => {
        timer = null;
        draw();
      }, Math.max(0, last + DRAWN - performance.now()));
  }

  function note(event) {
    if (event.key === "Enter" && event.target.id === "note") {
      // As it stands in the field: Dash hears of the last letters later than of Enter.
      window.dash_clientside.set_props("note-taken", { data: event.target.value });
      return;
    }
    if (event.key !== "n" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable], [role=combobox], [role=dialog]")) return;
    if (!document.getElementById("note")) return;
    event.preventDefault();
    window.dash_clientside.set_props("tabs", { value: "logs" });
    const focus = () => {
      const field = document.getElementById("note");
      if (field.offsetParent === null) requestAnimationFrame(focus);
      else field.focus();
    };
    focus();
  }

  rtflow.logs = {
    choose(which, levels, find, follow) {
      Object.assign(chosen, { which: which ?? "user", levels: levels ?? [], find: (find ?? "").trim(), follow: Boolean(follow) });
      look();
      ask();
    },
    parsed,
    rowOf,
  };
  rtflow.ready ||= [];
  rtflow.ready.push(() => {
    rtflow.store.listen(() => ask());
    rtflow.charts.whenSeen(document.getElementById("logs-find"), () => {
      look();
      ask();
    });
    setInterval(look, EVERY);
    addEventListener("keydown", note);
  });
})();

"use strict";
// Fills in the header, twice a second and whenever something happens.
window.rtflow ||= {};
(() => {
  const LIGHTS = ["scanner", "subject", "disk", "values", "deadline"];
  const STATES = { idle: "waiting for Run", preparing: "preparing", running: "running", finishing: "finishing" };
  const element = (id) => document.getElementById(id);
  let couldStop = false, couldRun = false;

  function set(id, text) {
    const found = element(id);
    if (found && found.textContent !== text) found.textContent = text;
  }

  function clock(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }

  function state(store) {
    if (store.dashboard) return ["unreachable", "dashboard unreachable"];
    if (store.engine) return ["unreachable", "engine unreachable"];
    const now = store.status.state ?? "";
    if (now === "idle" && store.status.waits === false && store.now.stop) return [store.now.stop.status, store.now.stop.status];
    return [now, STATES[now] ?? "…"];
  }

  const ended = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);
  const sentence = (text) => ended(`${text[0].toUpperCase()}${text.slice(1)}`);

  function alertOf(store, lights) {
    if (store.dashboard === "lost") return "The dashboard does not answer: it, or the server with it, may be gone. Whether a run goes on is not known from here: look at the analysis host (rtflow serve, rtflow run or rtflow dashboard). This page tries again by itself.";
    if (store.engine) return `${sentence(store.engine)} Whether a run goes on is not known from here. The dashboard tries again by itself.`;
    if (store.status.trouble) return `The run could not begin: ${store.status.trouble}`;
    for (const [name, light] of Object.entries(lights))
      if (light.level === "bad") return `${name[0].toUpperCase()}${name.slice(1)}: ${ended(light.says)} ${light.todo}`;
    const ending = store.status.state === "idle" && store.current ? rtflow.health.ending(store.now, store.status) : null;
    return ending ? `${sentence(ending.says)} ${ending.todo}` : "";
  }

  function update() {
    const store = rtflow.store;
    if (!element("h-state")) return;
    const run = store.current ? store.now : null;
    const now = Date.now() / 1000 - store.skew;
    const [level, words] = state(store);
    set("h-state", words);
    element("h-state").dataset.state = level;
    set("h-workflow", run?.start?.workflow ?? store.status.workflow ?? "–");
    set("h-run", run?.uid || "–");
    set("h-bids", (run?.start ? run.bids : rtflow.store.entities(store.status.bids)) || "Run");
    const planned = run?.planned;
    set("h-volume", run?.start ? `${run.volumes} of ${planned ?? "?"}` : "–");
    const progress = element("h-progress");
    progress.value = planned ? run.volumes / planned : 0;
    const every = interval(run);
    if (run) run.interval = every;
    const going = rtflow.health.going(run, store.status);
    const reachable = !store.dashboard && !store.engine;
    const ended = rtflow.health.ended(run, store.status);
    // What was counted down or up when the connection was lost would look as if it were known now.
    set("h-left", reachable && going && planned && every ? clock((planned - run.volumes) * every) : "–");
    set("h-age", !reachable ? "not known" : !run?.lastFeedback ? "none yet" : going ? `${Math.max(0, now - run.lastFeedback).toFixed(1)} s ago` : run.stop ? "run is over" : ended ? "run was cut off" : "–");
    set("h-ended", ended);
    element("h-ended").dataset.ended = ended;
    for (const id of ["h-workflow", "h-run", "h-bids"]) element(id).title = element(id).textContent; // they may be too long to be shown
    const lights = Object.fromEntries(LIGHTS.map((name) => [name, rtflow.health[name](run, store.status, now)]));
    for (const name of LIGHTS) {
      const light = lights[name];
      element(`h-${name}`).dataset.level = store.dashboard || store.engine ? "unknown" : light.level;
      set(`h-${name}-says`, `${sentence(light.says)}${light.todo ? " " + light.todo : ""}`);
    }
    const says = alertOf(store, lights);
    const alert = element("h-alert");
    if (alert.textContent !== says) {
      alert.textContent = says;
      alert.hidden = !says;
    }
    const worst = ["bad", "warn", "good"].find((one) => Object.values(lights).some((light) => light.level === one));
    rtflow.window.show(says ? "bad" : going ? (worst ?? "good") : "off", words, going ? run : null, element("h-workflow").textContent);
    const goesOn = ["preparing", "running"].includes(store.status.state);
    const [noRun, noStop] = hindrances(store, reachable, goesOn);
    enable("run", noRun);
    enable("stop", noStop);
    // Who was asked about this run does not end the next one.
    if (couldStop && !goesOn) window.dash_clientside.set_props("stop-asks", { opened: false });
    couldStop = goesOn;
    const canRun = store.status.state === "idle";
    if (couldRun && !canRun) window.dash_clientside.set_props("run-asks", { opened: false });
    couldRun = canRun;
  }

  // Why there can be no run, and why none can be ended; empty where it can.
  function hindrances(store, reachable, goesOn) {
    if (!reachable) return ["it is not known whether there is a run", "it is not known whether there is a run"];
    const { state, waits } = store.status;
    const noRun = waits === false ? "this dashboard shows one run; 'rtflow serve' takes more" : state !== "idle" ? "there is a run already" : "";
    return [noRun, goesOn ? "" : state === "finishing" ? "the run is ending already" : "there is no run to end"];
  }

  // Through Dash, which would put back what it does not know of.
  function enable(id, hindrance) {
    const button = element(id);
    if (!button) return;
    if (button.title !== hindrance) button.title = hindrance;
    if (button.disabled === !hindrance) window.dash_clientside.set_props(id, { disabled: Boolean(hindrance) });
  }

  // Seconds from volume to volume, as they really come; a replay may be faster than its TR.
  function interval(run) {
    if (!run?.received.length) return run?.tr ?? null;
    const came = run.received.filter((one) => one !== undefined).slice(-11);
    return came.length > 3 ? (came[came.length - 1] - came[0]) / (came.length - 1) : run.tr;
  }

  function scheme(name) {
    localStorage.setItem("rtflow-scheme", name);
    document.documentElement.dataset.scheme = name;
    document.body.dataset.agThemeMode = name; // of the tables
    window.dash_clientside.set_props("theme", { forceColorScheme: name });
    rtflow.store.touch("scheme");
  }

  rtflow.scheme = () => document.documentElement.dataset.scheme ?? "light";

  function begin() {
    const kept = localStorage.getItem("rtflow-scheme");
    scheme(kept ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
    // A double click orders one run, not another one that is refused.
    const once = (event) => event.detail > 1 && event.target.closest("#run, #run-with, #run-anyway") && event.stopPropagation();
    document.addEventListener("click", once, true);
    document.addEventListener("click", async (event) => {
      if (event.target.closest("#scheme")) scheme(rtflow.scheme() === "dark" ? "light" : "dark");
      if (event.target.closest("#logout")) {
        const session = await (await fetch("/api/session")).json();
        await fetch("/api/logout", { method: "POST", headers: { "X-CSRF-Token": session.csrf } });
        location.replace("/login");
      }
    });
    rtflow.store.listen(update);
    setInterval(update, 500);
    update();
  }

  // Dash makes the page after it was loaded.
  const waiting = setInterval(() => {
    if (element("h-state") && window.dash_clientside?.set_props) {
      clearInterval(waiting);
      begin();
      rtflow.ready?.forEach((one) => one());
      rtflow.ready = { push: (one) => one() };
    }
  }, 30);
  rtflow.ready ||= [];
})();

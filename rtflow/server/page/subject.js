// The page of the subject's display: one trial for each run, for as long as it is open.
//
// /subject?look=thermometer&low=0&high=1&keys=1,2&trigger=5&name=subject#TOKEN

import FeedbackPlugin from "./feedback-plugin.js";
import { Link } from "./link.js";

const asked = new URLSearchParams(location.search);
const status = document.getElementById("status");
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname + location.search); // a token is nothing to keep or to show

const link = new Link({
  name: asked.get("name") ?? "subject",
  token,
  onStatus: (words, final) => {
    status.textContent = words === "connected" ? "Waiting for the run to begin." : words;
    document.title = `rtflow: ${words}`;
    if (final) document.body.dataset.running = "no";
  },
  onNote: (words) => {
    document.getElementById("note").textContent = words;
  },
});

function number(name, otherwise) {
  const given = Number.parseFloat(asked.get(name));
  return Number.isFinite(given) ? given : otherwise;
}

const jsPsych = globalThis.initJsPsych({ display_element: "display", override_safe_mode: true });
jsPsych.run([
  {
    timeline: [
      {
        type: FeedbackPlugin,
        link,
        look: ["circle", "thermometer", "text"].find((look) => look === asked.get("look")) ?? "circle",
        low: number("low", -1),
        high: number("high", 1),
        choices: asked.get("keys")?.split(",") ?? "ALL_KEYS",
        trigger: asked.get("trigger"),
      },
    ],
    loop_function: () => true,
  },
]);

// A plugin of jsPsych 8: one trial is one run; each value is painted in a frame of its own, and told to the
// server once it is on the display.

import { at, now } from "./link.js";

const { ParameterType } = globalThis.jsPsychModule;
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

function circle(group) {
  element("circle", { class: "frame", cx: 500, cy: 500, r: 400 }, group);
  const disc = element("circle", { class: "value", cx: 500, cy: 500 }, group);
  return (share) => disc.setAttribute("r", 400 * share);
}

function thermometer(group) {
  const [left, top, width, height] = [420, 100, 160, 800];
  const column = element("rect", { class: "value", x: left, width }, group);
  for (let tick = 1; tick < 10; tick += 1) {
    const y = top + (height * tick) / 10;
    element("line", { class: "tick", x1: left, x2: left + width, y1: y, y2: y }, group);
  }
  element("rect", { class: "frame", x: left, y: top, width, height }, group);
  return (share) => {
    column.setAttribute("y", top + height * (1 - share));
    column.setAttribute("height", height * share);
  };
}

function text(group) {
  const words = element("text", { class: "value", x: 500, y: 500 }, group);
  return (share, value) => {
    words.textContent = `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`;
  };
}

const LOOKS = { circle, thermometer, text };

/** A picture of values: `draw(value)` shows one; a cross where there is none. */
function picture(parent, look, low, high) {
  const svg = element("svg", { class: "feedback", viewBox: "0 0 1000 1000" }, parent);
  const cross = element("g", { class: "cross" }, svg);
  element("line", { x1: 470, x2: 530, y1: 500, y2: 500 }, cross);
  element("line", { x1: 500, x2: 500, y1: 470, y2: 530 }, cross);
  const group = element("g", { hidden: "" }, svg);
  const set = LOOKS[look](group);
  return ({ value, kind, volume, late }) => {
    const none = value === null || kind === "neutral";
    group.toggleAttribute("hidden", none);
    cross.toggleAttribute("hidden", !none);
    if (!none) set(Math.min(1, Math.max(0, (value - low) / (high - low))), value);
    svg.dataset.late = late ? "yes" : "no"; // to be styled, and for whoever looks
    svg.dataset.volume = volume;
  };
}

/** Change the display in the next frame; when that frame has been painted. */
function paint(change) {
  return new Promise((done) => {
    requestAnimationFrame(() => {
      change();
      const painted = new MessageChannel(); // what is posted now comes right after the frame
      painted.port2.onmessage = () => done(now());
      painted.port1.postMessage(null);
    });
  });
}

const info = {
  name: "rtflow-feedback",
  version: "1.0.0",
  parameters: {
    /** The `Link` that values come from. */
    link: { type: ParameterType.COMPLEX, default: undefined },
    /** circle, thermometer or text. */
    look: { type: ParameterType.STRING, default: "circle" },
    /** Value of an empty circle or thermometer, and of a full one. */
    low: { type: ParameterType.FLOAT, default: -1 },
    high: { type: ParameterType.FLOAT, default: 1 },
    /** Keys that count as responses. */
    choices: { type: ParameterType.KEYS, default: "ALL_KEYS" },
    /** Key that the scanner's triggers come as. */
    trigger: { type: ParameterType.KEY, default: null },
  },
  data: {
    run_uid: { type: ParameterType.STRING },
    /** Of each value: volume, value, kind, whether it came late, and when it was painted. */
    shown: { type: ParameterType.COMPLEX, array: true },
    /** Of each response: key, and when it was pressed. */
    responses: { type: ParameterType.COMPLEX, array: true },
  },
};

export default class FeedbackPlugin {
  static info = info;

  constructor(jsPsych) {
    this.jsPsych = jsPsych;
  }

  trial(display, { link, look, low, high, choices, trigger }) {
    const responses = [];
    const pressed = (event) => {
      const time = at(event.timeStamp);
      if (event.repeat) return;
      if (event.key === trigger) {
        link.trigger(time);
      } else if (choices === "ALL_KEYS" || choices.includes(event.key)) {
        link.respond(event.key, time);
        responses.push({ key: event.key, at: time });
      }
    };
    display.replaceChildren();
    document.addEventListener("keydown", pressed);
    this.run(link, picture(display, look, low, high)).then((seen) => {
      document.removeEventListener("keydown", pressed);
      this.jsPsych.finishTrial({ ...seen, responses });
    });
  }

  async run(link, draw) {
    const shown = [];
    for (;;) {
      const message = await link.next();
      const { type, run_uid } = message.body;
      if (type === "Value") {
        const value = message.body;
        const wait = await link.due(value);
        if (wait > 0) await new Promise((due) => setTimeout(due, wait));
        const time = await paint(() => draw(value));
        link.shown(value, time);
        shown.push({ volume: value.volume, value: value.value, kind: value.kind, late: value.late, at: time });
      }
      document.body.dataset.running = type === "EndRun" ? "no" : "yes";
      link.done(message);
      if (type === "EndRun") return { run_uid, shown };
    }
  }
}

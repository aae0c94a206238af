"use strict";
// The title and the mark of the browser's own tab: how things are, for somebody who works in another one.
window.rtflow ||= {};
(() => {
  const COLOURS = { good: "#2b8a3e", warn: "#e8930c", bad: "#e03131", off: "#868e96" };
  let shown = "";

  // A disc when all is well, else a shape that stands out without its colour.
  function mark(level) {
    const shape = { bad: '<rect x="2" y="2" width="28" height="28" rx="4"/>', warn: '<path d="M16 1 31 16 16 31 1 16z"/>' }[level] ?? '<circle cx="16" cy="16" r="14"/>';
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="${COLOURS[level] ?? COLOURS.off}">${shape}</svg>`;
    return `data:image/svg+xml,${encodeURIComponent(svg)}`;
  }

  // What the title says: {level, words} of how things are, and the run that is under way, if there is one.
  function title(level, words, run, workflow) {
    const sign = { bad: "⚠", good: "▶", warn: "▶", off: "■" }[level];
    const says = level !== "bad" && run ? `${run.volumes}${run.planned ? `/${run.planned}` : ""}` : words;
    return `${sign} ${says}${workflow ? ` · ${workflow}` : ""} · rtflow`;
  }

  rtflow.window = {
    title,
    show(level, words, run, workflow) {
      const text = title(level, words, run, workflow);
      if (document.title !== text) document.title = text;
      if (shown === level) return;
      shown = level;
      document.querySelectorAll("link[rel~=icon]").forEach((one) => one.remove());
      const link = document.createElement("link");
      link.rel = "icon";
      link.href = mark(level);
      document.head.append(link);
    },
  };
})();

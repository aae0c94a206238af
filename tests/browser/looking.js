"use strict";
// What the tests ask of a page that is laid out.
window.looking = (() => {
  const seen = (one) =>
    one.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && one.getBoundingClientRect().width > 1;

  const named = (one) => {
    const id = one.id ? `#${one.id}` : "";
    return `${one.tagName.toLowerCase()}${id}.${[...one.classList].join(".")} '${one.textContent.trim().slice(0, 40)}'`;
  };

  const overlap = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;

  const within = (box, frame) =>
    box.left >= frame.left - 1 && box.right <= frame.right + 1 && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;

  // Things of one kind, of which none may stand upon another.
  const KINDS = [
    ".bar > *", ".light", ".orders > *", "[role=tab]", ".tabrow > *", ".account > *", ".chart", ".card", ".picks > *",
    ".bar-of-tab > *", ".numbers > *", ".key > *",
  ];

  function* overlapping() {
    for (const kind of KINDS) {
      const all = [...document.querySelectorAll(kind)].filter(seen);
      for (const [at, one] of all.entries())
        for (const other of all.slice(at + 1))
          if (!one.contains(other) && !other.contains(one) && overlap(one.getBoundingClientRect(), other.getBoundingClientRect()))
            yield `${named(one)} overlaps ${named(other)}`;
    }
  }

  // Words in a box that does not show all of them, and neither says so by an ellipsis nor can be scrolled.
  function* cut() {
    for (const one of document.querySelectorAll("header *, main *")) {
      if (!seen(one) || one.closest("svg, .ag-root-wrapper, .tip, .js-plotly-plot")) continue;
      if (![...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
      const style = getComputedStyle(one);
      if (style.textOverflow === "ellipsis" || !["hidden", "clip"].includes(style.overflowX)) continue;
      if (one.scrollWidth > one.clientWidth + 1) yield `${named(one)} is cut off: ${one.scrollWidth} px in ${one.clientWidth}`;
    }
  }

  function* outside() {
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) yield `the page is ${root.scrollWidth} px wide in a window of ${root.clientWidth}`;
    for (const one of document.querySelectorAll(".chart, .card, .bar > *, .account")) {
      const box = one.getBoundingClientRect();
      if (seen(one) && (box.left < -1 || box.right > root.clientWidth + 1)) yield `${named(one)} stands outside of the window`;
    }
    for (const plot of document.querySelectorAll(".js-plotly-plot")) {
      if (!seen(plot)) continue;
      for (const text of plot.querySelectorAll(".infolayer text, .xtick text, .ytick text, .y2tick text")) {
        const box = text.getBoundingClientRect();
        if (box.width && !within(box, plot.getBoundingClientRect()))
          yield `'${text.textContent}' leaves the chart ${plot.closest("figure").id}`;
      }
    }
  }

  return {
    // What is wrong with how the page is laid out, in words.
    faults: () => [...overlapping(), ...cut(), ...outside()],

    // Serious and critical violations that axe finds: the rule, and where.
    async violations() {
      const found = await axe.run(document, { resultTypes: ["violations"] });
      const says = (node) => `${node.target} ${node.any[0]?.message ?? ""}`;
      return found.violations
        .filter((one) => ["serious", "critical"].includes(one.impact))
        .map((one) => `${one.id}: ${one.help}: ${one.nodes.map(says).join(" | ").slice(0, 900)}`);
    },

    // Give a number to each thing that can be used by keyboard now; what they are.
    usable() {
      const all = document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']");
      const apart = ".ag-tab-guard, .ag-disabled, .ag-root *, .skip, [type=radio]:not(:checked)";
      const usable = [...all].filter(
        (one) =>
          one.tabIndex >= 0 && !one.disabled && !one.matches(apart) && !one.closest("[inert], [aria-hidden=true]") &&
          one.checkVisibility({ visibilityProperty: true }),
      );
      document.querySelectorAll("[data-usable]").forEach((one) => delete one.dataset.usable);
      usable.forEach((one, at) => (one.dataset.usable = at));
      return usable.map(named);
    },
  };
})();

"use strict";
// The Settings tab: asks for the settings when they may have changed, and only while it is looked at.
window.rtflow ||= {};
(() => {
  let known = "";

  function update() {
    const form = document.getElementById("settings-form");
    if (!form || form.offsetParent === null || rtflow.store.engine || rtflow.store.dashboard) return;
    const { state, run_uid, settings } = rtflow.store.status;
    const key = JSON.stringify([state, run_uid, settings]); // the last is another one when somebody has changed them
    if (state === undefined || key === known) return;
    known = key;
    window.dash_clientside.set_props("settings-load", { data: key });
  }

  rtflow.settings = {
    // Say on the tab, which is always in sight, that something is entered and not applied.
    mark(pending) {
      const tab = [...document.querySelectorAll("[role=tab]")].find((one) => one.getAttribute("aria-controls")?.endsWith("-settings"));
      if (!tab) return;
      tab.toggleAttribute("data-pending", pending);
      tab.title = pending ? "not applied yet: the next run goes without it" : "";
    },
  };
  rtflow.ready ||= [];
  rtflow.ready.push(() => {
    const form = document.getElementById("settings-form");
    rtflow.store.listen(update);
    // Whoever comes back to the tab sees what others have changed meanwhile.
    rtflow.charts.whenSeen(form.parentElement, () => {
      known = "";
      update();
    });
    update();
  });
})();

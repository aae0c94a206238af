"use strict";
// The Desktop tab: noVNC, which is loaded when somebody connects.
window.rtflow ||= {};
(() => {
  let remote = null;

  function say(text, connected) {
    document.getElementById("desktop-says").textContent = text;
    window.dash_clientside.set_props("desktop-connect", { disabled: connected });
    window.dash_clientside.set_props("desktop-leave", { disabled: !connected });
  }

  async function connect() {
    say("Connecting…", true);
    try {
      const { default: RFB } = await import("/novnc/core/rfb.js");
      const address = `${location.origin.replace("http", "ws")}/desktop`;
      remote = new RFB(document.getElementById("desktop-screen"), address, { shared: true, wsProtocols: ["binary"] });
      remote.scaleViewport = true;
      remote.addEventListener("connect", () => say("Connected.", true));
      remote.addEventListener("disconnect", ({ detail }) => {
        remote = null;
        say(detail.clean ? "Not connected." : "The connection was lost; the desktop may have been ended.", false);
      });
    } catch (error) {
      say(`The desktop cannot be shown: ${error.message}`, false);
    }
  }

  rtflow.ready ||= [];
  rtflow.ready.push(() =>
    document.addEventListener("click", (event) => {
      if (event.target.closest("#desktop-connect")) connect();
      if (event.target.closest("#desktop-leave")) remote?.disconnect();
    }),
  );
})();

"use strict";
// The one connection of the page: made again for as long as it takes, and what was missed comes first.
window.rtflow ||= {};
(() => {
  const FIRST = 200, LONGEST = 3000;
  const OVER = 1008; // the login is over
  let wait = FIRST;
  let socket = null;
  const binary = new Set();

  function control(message) {
    const store = rtflow.store;
    if (message.type === "status") {
      if (message.run_uid && message.run_uid !== store.current) {
        store.current = message.run_uid;
        store.touch(message.run_uid);
      }
      if (message.run_uid) store.run(message.run_uid).known = message.next;
      store.status = message.status;
      store.engine = message.engine;
      if (message.now) store.skew = Date.now() / 1000 - message.now;
      store.touch("status");
    } else if (message.type === "begins") {
      const run = store.run(message.run_uid); // what came before is gone for good
      run.next = Math.max(run.next, message.seq);
    }
  }

  function connect() {
    const store = rtflow.store;
    const run = store.current ? store.now : null;
    const query = run ? `?run=${encodeURIComponent(run.uid)}&since=${run.next}` : "";
    socket = new WebSocket(`${location.origin.replace("http", "ws")}/live${query}`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      wait = FIRST;
      store.dashboard = "";
      store.touch("status");
      for (const listener of opened) listener();
    };
    socket.onmessage = (event) => {
      if (typeof event.data !== "string") {
        for (const listener of binary) listener(event.data);
        return;
      }
      for (const line of event.data.split("\n")) {
        const message = JSON.parse(line);
        if (message.type) control(message);
        else {
          if (message.seq === 0 && message.run_uid !== store.current) {
            store.current = message.run_uid;
            store.keep();
          }
          if (!store.add(message)) {
            socket.close(); // something is missing: it comes with the next connection
            return;
          }
        }
      }
    };
    socket.onclose = async (event) => {
      if (store.dashboard === "") {
        store.dashboard = "lost";
        store.touch("status");
      }
      if (event.code === OVER || (await loggedOut())) {
        location.replace("/login#over");
        return;
      }
      setTimeout(connect, wait * (0.8 + 0.4 * Math.random()));
      wait = Math.min(LONGEST, 2 * wait);
    };
  }

  async function loggedOut() {
    try {
      return (await fetch("/api/session")).status === 401;
    } catch {
      return false; // the dashboard does not answer: that is no logout
    }
  }

  const opened = new Set();
  rtflow.socket = {
    // Say something to the dashboard; false if it cannot be said now.
    send(message) {
      if (socket?.readyState !== WebSocket.OPEN) return false;
      socket.send(JSON.stringify(message));
      return true;
    },
    onBinary: (listener) => binary.add(listener),
    onOpen: (listener) => opened.add(listener),
  };
  addEventListener("DOMContentLoaded", connect);
})();

"use strict";
// The Files tab: names that can be followed, and files that are sent, one after the other.
window.rtflow ||= {};
(() => {
  const waiting = []; // files that are still to be sent: {file, url, line}
  let busy = false;

  const size = (bytes) => {
    if (typeof bytes !== "number") return "";
    const units = ["bytes", "kB", "MB", "GB", "TB"];
    let at = 0;
    while (bytes >= 1000 && at < units.length - 1) [bytes, at] = [bytes / 1000, at + 1];
    return `${at && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[at]}`;
  };

  window.dashAgGridFunctions ||= {};
  Object.assign(window.dashAgGridFunctions, {
    sizeInWords: size,
    timeInWords: (seconds) => (typeof seconds === "number" ? new Date(seconds * 1000).toLocaleString([], { hour12: false }) : ""),
  });
  window.dashAgGridComponentFunctions ||= {};
  window.dashAgGridComponentFunctions.RemoteName = ({ data }) =>
    data.folder
      ? React.createElement("button", { type: "button", className: "remote folder", onClick: () => go(data.path) }, `${data.name}/`)
      : React.createElement("a", { className: "remote", href: data.href, download: data.name.split("/").at(-1) }, data.name);

  const go = (folder) => window.dash_clientside.set_props("files-go", { data: { ...(folder === undefined ? {} : { folder }), at: Date.now() } });
  const value = (id) => document.getElementById(id)?.value ?? "";

  function line(name) {
    const element = document.createElement("div");
    element.className = "sent";
    const title = document.createElement("span");
    title.textContent = name;
    const progress = document.createElement("progress");
    progress.max = 1;
    progress.value = 0;
    progress.setAttribute("aria-label", `how much of ${name} is sent`);
    const says = document.createElement("span");
    says.className = "label";
    says.textContent = "waits";
    const cancel = document.createElement("button");
    cancel.type = "button";
    cancel.className = "small";
    cancel.textContent = "leave it";
    element.append(title, progress, says, cancel);
    document.getElementById("files-sent").append(element);
    return { element, progress, says, cancel };
  }

  function put(files) {
    const scanner = value("files-scanner");
    // The one that is shown, of which it is known what is there; not one that is typed and not looked into yet.
    const folder = document.getElementById("files-put").dataset.folder.replace(/\/$/, "");
    const there = new Set([...rows()].map((row) => row.name));
    for (const file of files) {
      if (there.has(file.name) && !confirm(`${file.name} is there already. Write over it?`)) continue;
      const path = folder ? `${folder}/${file.name}` : file.name;
      const one = { file, url: `/scanner/${encodeURIComponent(scanner)}/file?path=${encodeURIComponent(path)}`, line: line(file.name) };
      one.line.cancel.addEventListener("click", () => {
        one.left = true;
        one.request?.abort();
        one.line.element.remove();
      });
      waiting.push(one);
    }
    send();
  }

  function rows() {
    const found = [];
    window.dash_ag_grid?.getApi("files-grid")?.forEachNode((node) => found.push(node.data));
    return found;
  }

  async function send() {
    if (busy) return;
    busy = true;
    for (let one = waiting.shift(); one; one = waiting.shift()) {
      if (one.left) continue;
      const { progress, says, cancel, element } = one.line;
      try {
        await sent(one);
        progress.value = 1;
        says.textContent = `sent, ${size(one.file.size)}`;
        cancel.textContent = "out of the list";
      } catch (error) {
        if (one.left) continue;
        element.classList.add("failed");
        says.textContent = error.message;
        cancel.textContent = "out of the list";
      }
      go();
    }
    busy = false;
  }

  async function sent(one) {
    const session = await (await fetch("/api/session")).json();
    const { progress, says } = one.line;
    await new Promise((done, failed) => {
      const request = (one.request = new XMLHttpRequest());
      request.open("PUT", one.url);
      request.setRequestHeader("X-CSRF-Token", session.csrf);
      request.upload.addEventListener("progress", ({ loaded, total }) => {
        progress.value = loaded / (total || 1);
        says.textContent = loaded < total ? `${size(loaded)} of ${size(total)} have left` : "goes on to the scanner's host";
      });
      const last = () => {
        const lines = request.responseText.split("\n").filter(Boolean);
        try {
          return JSON.parse(lines.at(-1) ?? "{}");
        } catch {
          return {}; // a line that has not come to its end
        }
      };
      request.addEventListener("progress", () => {
        const there = last();
        if (there.sent === undefined) return;
        progress.value = there.sent / (there.size || 1);
        says.textContent = `${size(there.sent)} of ${size(there.size)} are there`;
      });
      request.addEventListener("load", () => {
        const told = last();
        if (request.status < 300 && !told.error) done();
        else failed(new Error(told.error ?? `refused (${request.status})`));
      });
      request.addEventListener("error", () => failed(new Error("the dashboard has ended the connection; look whether it runs, and send it again")));
      request.addEventListener("abort", () => failed(new Error("left")));
      request.send(one.file);
    });
  }

  rtflow.files = { size };
  rtflow.ready ||= [];
  rtflow.ready.push(() => {
    const place = document.getElementById("files-pick-place");
    if (!place) return; // one who looks on
    const pick = document.createElement("input");
    pick.type = "file";
    pick.id = "files-pick";
    pick.multiple = true;
    pick.addEventListener("change", () => {
      put([...pick.files]);
      pick.value = "";
    });
    place.append(pick);
    // The table gives the focus to a cell, and not to what is in it.
    document.getElementById("files-there").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.classList.contains("ag-cell")) event.target.querySelector(".remote")?.click();
    });
    rtflow.charts.whenSeen(document.getElementById("files-scanner").closest(".bar-of-tab"), () => go());
  });
})();

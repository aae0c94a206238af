"use strict";
// Log in by name and password, or by the one-time code behind the # of the link, which no browser sends anywhere.
const form = document.getElementById("form");
const says = document.getElementById("says");
const enter = document.getElementById("enter");

async function login(what) {
  enter.disabled = true;
  says.textContent = "";
  try {
    const answer = await fetch("/api/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(what),
    });
    if (answer.ok) {
      location.replace("/");
      return;
    }
    says.textContent = (await answer.json()).error;
  } catch {
    says.textContent = "The dashboard does not answer; is it still running?";
  } finally {
    enter.disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  login({ name: form.elements.name.value.trim(), password: form.elements.password.value });
});

if (location.hash === "#over") says.textContent = "Your login is over. Log in again; a run is not touched by that.";

function loginByLink() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!code) return;
  history.replaceState(null, "", location.pathname);
  login({ code });
}

// A link that is pasted where this page is open already loads nothing anew.
addEventListener("hashchange", loginByLink);
loginByLink();

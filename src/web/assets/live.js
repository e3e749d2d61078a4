// Keeps a page up to date. A page is a function of its URL: when something happened, the same URL is asked for again,
// and what differs is put in. Without this file, everything works, and a reload shows the same.

/** At least so many milliseconds between two requests for the page. */
const PAUSE = 2000;
/** A page whose times grow old is asked for again after so many milliseconds without an event. */
const AGE = 60000;
/** After a stream was refused, another one begins after so many milliseconds. */
const AGAIN = 10000;

const policy = globalThis.trustedTypes?.createPolicy("gorget", { createHTML: (html) => html });
const status = document.getElementById("live");
const isLive = document.body.hasAttribute("data-live");

let source;
let last;
let text;
let due;
let asked = 0;
let paused = sessionStorage.getItem("paused") === "yes";

/** Shows whether the page is kept up to date, and since when it is as it is. */
function show(word) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = paused ? "Resume" : "Pause";
  button.addEventListener("click", () => {
    paused = !paused;
    sessionStorage.setItem("paused", paused ? "yes" : "no");
    if (paused) close();
    else open();
    show(paused ? "paused" : "live");
  });
  const time = new Date().toISOString().slice(11, 19);
  status.replaceChildren(`${word}, as of ${time} UTC `, button);
}

/** Whether somebody is in the middle of something that a change would disturb. */
function isBusy() {
  const active = document.activeElement;
  const types = active?.matches("main input, main select, main textarea");
  return types || !document.getSelection().isCollapsed;
}

/** Asks for the page again, soon, and once for many events. */
function refresh() {
  if (due === undefined) due = setTimeout(load, Math.max(0, asked + PAUSE - Date.now()));
}

async function load() {
  due = undefined;
  asked = Date.now();
  if (isBusy()) {
    refresh();
    return;
  }
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    // Whoever has to log in again is led there by hand.
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const next = await answer.text();
    if (next !== text) put(next);
    text = next;
    show(source?.readyState === EventSource.OPEN ? "live" : "out of reach");
  } catch {
    show("out of reach");
  }
}

/** Puts in what differs. What is open or has focus stays so. */
function put(html) {
  const page = new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, "text/html");
  const next = page.querySelector("main");
  const main = document.querySelector("main");
  if (!next || !main) return;
  globalThis.Idiomorph.morph(main, next, {
    ignoreActiveValue: true,
    restoreFocus: true,
    callbacks: {
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.localName === "details"),
    },
  });
  document.title = page.title;
}

function open() {
  if (source || paused || document.hidden) return;
  const query = last === undefined ? "" : `?after=${last}`;
  source = new EventSource(`/api/v1/events${query}`);
  const heard = (event) => {
    if (event.lastEventId) last = event.lastEventId;
    refresh();
  };
  for (const kind of ["action", "push", "spec", "evaluation", "builds", "host", "verdict", "coverage", "progress", "reset"]) {
    source.addEventListener(kind, heard);
  }
  source.addEventListener("hello", (event) => {
    last ??= JSON.parse(event.data).newest;
    show("live");
  });
  source.addEventListener("error", () => {
    show("out of reach");
    // A browser tries again by itself, but not after an answer that is an error.
    if (source?.readyState === EventSource.CLOSED) {
      source = undefined;
      setTimeout(open, AGAIN);
    }
  });
}

function close() {
  source?.close();
  source = undefined;
  clearTimeout(due);
  due = undefined;
}

/** Keys, unless somebody types: `/` searches, `g` and a letter goes to a page. */
const PAGES = { o: "/", q: "/queue", c: "/compare", f: "/farm" };
let isGoing = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "/") {
    event.preventDefault();
    document.querySelector(".search input")?.focus();
  } else if (isGoing && PAGES[event.key]) {
    location.assign(PAGES[event.key]);
  }
  isGoing = event.key === "g";
});

if (isLive) {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
    } else if (!paused) {
      open();
      refresh();
    }
  });
  setInterval(() => {
    if (source && Date.now() - asked > AGE) refresh();
  }, PAUSE);
  show(paused ? "paused" : "live");
  open();
}

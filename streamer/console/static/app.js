// The shell: which page is open, shortcuts, theme, token, and what is live.
import { ageing, count, fill, h, live, lock, on, put, state, toast, unlocked, ask } from "./lib.js";
import * as overview from "./overview.js";
import * as streams from "./streams.js";
import * as stream from "./stream.js";
import * as incidents from "./incidents.js";
import * as health from "./health.js";

const pages = {
  "/": [overview.show, "overview"], "/streams": [streams.show, "streams"], "/stream": [stream.show, "streams"],
  "/incidents": [incidents.show, "incidents"], "/incident": [incidents.one, "incidents"], "/health": [health.show, "health"],
};
const main = document.getElementById("main");
let leaving = new AbortController();
let keys = {};

// A page gets its element, its parameters, a signal that ends with it, and a place for its shortcuts.
function open() {
  leaving.abort();
  leaving = new AbortController();
  keys = {};
  const [show, nav] = pages[location.pathname] ?? pages["/"];
  for (const link of document.querySelectorAll("[data-nav]")) {
    if (link.dataset.nav === nav) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  const trouble = h(".notice", { hidden: true });
  const page = {
    root: h("section"), params: new URLSearchParams(location.search), signal: leaving.signal, go, keys,
    trouble(error) { trouble.hidden = false; trouble.textContent = error.message; },
    well() { trouble.hidden = true; },
    title(text) { document.title = `${text} · AnomalyLLM`; },
  };
  fill(main, trouble, page.root);
  scrollTo(0, 0);
  if (location.pathname !== "/stream") live.open();
  Promise.resolve(show(page)).catch((error) => { if (error.name !== "AbortError") page.trouble(error); });
}

export function go(path, replace = false) {
  history[replace ? "replaceState" : "pushState"](null, "", path);
  if (!replace) { open(); main.focus({ preventScroll: true }); }
}
addEventListener("popstate", open);
addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || link.target) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});

// Theme -------------------------------------------------------------------------------------------------------------
const dark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
function theme() {
  const next = dark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
  document.dispatchEvent(new Event("theme"));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
document.getElementById("theme").onclick = theme;

// Token -------------------------------------------------------------------------------------------------------------
const locking = document.getElementById("lock");
function locked() {
  locking.hidden = false;
  locking.textContent = !state.writable ? "View only" : state.token ? "Unlocked" : "Unlock";
  locking.title = !state.writable ? "Start the console with --console-token to change things" : state.token ? "Forget the token" : "Type the token in to change things";
  locking.disabled = !state.writable;
}
locking.onclick = () => (state.token ? lock() : unlocked());
document.addEventListener("unlocked", locked);

// Shortcuts ---------------------------------------------------------------------------------------------------------
const everywhere = {
  "g o": ["Overview", () => go("/")], "g s": ["Streams", () => go("/streams")], "g i": ["Incidents", () => go("/incidents")],
  "g h": ["Health", () => go("/health")], t: ["Light or dark", theme], "?": ["These shortcuts", help],
};
function help() {
  const dialog = document.getElementById("shortcuts");
  if (dialog.open) { dialog.close(); return; }
  const line = ([key, [what]]) => [h("span", key.split(" ").map((part) => [h("kbd", part), " "])), h("span", what)];
  fill(dialog, h("h2", "Keyboard shortcuts"), h(".kbds", Object.entries({ ...keys, ...everywhere }).map(line)),
    h(".ends", h("button", { type: "button", onclick: () => dialog.close() }, "Close")));
  dialog.showModal();
}
document.getElementById("help").onclick = help;
let first = "", until = 0;
addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || document.querySelector("dialog[open]:not(#shortcuts)")) return;
  if (event.target.closest("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const two = Date.now() < until ? `${first} ${event.key}` : "";
  const found = { ...everywhere, ...keys };
  const [, act] = found[two] ?? found[event.key] ?? [];
  first = event.key;
  until = event.key === "g" ? Date.now() + 1200 : 0;
  if (!act) return;
  event.preventDefault();
  act();
});

// Live --------------------------------------------------------------------------------------------------------------
const told = document.getElementById("live"), opened = document.getElementById("open-count");
live.addEventListener("state", ({ detail }) => {
  told.className = `live ${detail ? "on" : "off"}`;
  told.textContent = detail ? "live" : "not connected";
});
live.addEventListener("tick", ({ detail }) => {
  state.summary = { ...state.summary, ...detail };
  badge();
  ageing();
});
function badge() {
  const { critical = 0, warning = 0, info = 0 } = state.summary?.open ?? {};
  const all = critical + warning + info;
  opened.hidden = !all;
  opened.textContent = count(all);
  opened.className = `count ${critical ? "critical" : warning ? "warning" : ""}`;
}

state.summary = await ask("/api/summary").catch((error) => { toast(error.message); return null; });
state.writable = Boolean(state.summary?.writable);
locked();
badge();
open();
document.documentElement.dataset.ready = "yes";

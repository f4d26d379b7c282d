// Elements, formats, the server, and what is open: no framework, some 200 lines.

// h("p.quiet", {title: "x"}, "text", child): strings become text, never markup.
export function h(what, given, ...children) {
  const [tag, ...classes] = what.split(".");
  const made = document.createElement(tag || "div");
  if (classes.length) made.className = classes.join(" ");
  if (given === null || typeof given !== "object" || given instanceof Node || Array.isArray(given)) {
    children.unshift(given);
    given = {};
  }
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(made.style, value);
    else if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  put(made, ...children);
  return made;
}

export function put(into, ...children) {
  for (const child of children.flat(3)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    into.append(child instanceof Node ? child : String(child));
  }
  return into;
}

export function fill(into, ...children) {
  into.replaceChildren();
  return put(into, ...children);
}

// Formats -----------------------------------------------------------------------------------------------------------

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const minute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const count = (value) => whole.format(value ?? 0).replaceAll(",", "\u2009");
export const many = (value, one, more) => `${count(value)} ${value === 1 ? one : more ?? one + "s"}`;

export function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e7 || size < 1e-4)) return value.toExponential(2);
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 8 }).replaceAll(",", "\u2009");
}

export function rate(value) {
  return value >= 100 ? count(value) : number(value, 2);
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 90) return `${Math.round(seconds * 10) / 10 >= 10 ? Math.round(seconds) : Math.round(seconds * 10) / 10} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

const zero = (date) => new Date(date).setHours(0, 0, 0, 0);
export const millis = (time) => (typeof time === "number" ? time : Date.parse(time));
export function when(time, seconds = false) {
  const at = millis(time);
  const hour = (seconds ? clock : minute).format(at);
  return zero(at) === zero(Date.now()) ? hour : `${day.format(at)} ${hour}`;
}
export function dayName(time) {
  const gone = Math.round((zero(Date.now()) - zero(millis(time))) / 86400000);
  return gone === 0 ? "Today" : gone === 1 ? "Yesterday" : day.format(millis(time));
}
export function age(time) {
  const seconds = (Date.now() - millis(time)) / 1000;
  return seconds < 1.5 ? "now" : `${span(seconds)} ago`;
}
// An element whose text is an age, kept right by `ageing`.
export const ago = (time, kind = "time") => {
  const made = h(kind, { title: new Date(millis(time)).toISOString() }, age(time));
  made.dataset.since = millis(time);
  return made;
};
export function ageing() {
  for (const made of document.querySelectorAll("[data-since]")) {
    const text = age(Number(made.dataset.since));
    if (made.textContent !== text) made.textContent = text;
  }
}

export function severity(name, open = true, word) {
  if (!name) return h("span.sev.faint", word ?? "");
  return h(`span.sev.${open ? name : "over"}`, { title: open ? name : `was ${name}` }, word ?? name);
}

export const streamPath = (name) => `/stream?name=${encodeURIComponent(name)}`;
export const incidentPath = (id) => `/incident?id=${encodeURIComponent(id)}`;

// The server --------------------------------------------------------------------------------------------------------

export const state = { summary: null, writable: false, token: sessionStorage.getItem("token") ?? "" };

export async function ask(path, params = {}, signal) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== undefined && value !== ""));
  const answer = await fetch(`${path}?${query}`, { signal });
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(body?.error ?? `the console answers ${answer.status}`);
  return body;
}

export async function post(path, body, token = state.token) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  });
  if (answer.ok) return;
  const told = await answer.json().catch(() => null);
  const error = new Error(told?.error ?? `the console answers ${answer.status}`);
  error.status = answer.status;
  throw error;
}

let hiding = 0;
export function toast(text) {
  const made = document.getElementById("toast");
  made.textContent = text;
  made.classList.add("on");
  clearTimeout(hiding);
  hiding = setTimeout(() => made.classList.remove("on"), 3500);
}

// Asks for the token where there is none yet; false when the person would rather not.
export function unlocked() {
  if (!state.writable) return Promise.resolve(false);
  if (state.token) return Promise.resolve(true);
  const dialog = document.getElementById("token");
  return new Promise((done) => {
    const field = h("input", { type: "password", autocomplete: "current-password", required: true, "aria-label": "Token" });
    const told = h("p.quiet", "Whoever started the console set it (--console-token). It is kept until this tab is closed.");
    const finish = (yes) => {
      dialog.close();
      done(yes);
    };
    const tries = async (event) => {
      event.preventDefault();
      try {
        await post("/api/token", {}, field.value);
      } catch (error) {
        told.textContent = `${error.message}.`;
        field.select();
        return;
      }
      state.token = field.value;
      sessionStorage.setItem("token", state.token);
      document.dispatchEvent(new Event("unlocked"));
      finish(true);
    };
    fill(dialog, h("h2", "The token, to change things"), h("form", { onsubmit: tries }, told, field,
      h(".ends", h("button", { type: "button", onclick: () => finish(false) }, "Cancel"), h("button", { type: "submit" }, "Unlock"))));
    dialog.oncancel = () => done(false);
    dialog.showModal();
    field.focus();
  });
}

export function lock() {
  state.token = "";
  sessionStorage.removeItem("token");
  document.dispatchEvent(new Event("unlocked"));
}

// One change; says what became of it.
export async function change(body, told) {
  if (!(await unlocked())) return false;
  try {
    await post("/api/change", body);
    toast(told);
    return true;
  } catch (error) {
    if (error.status === 401) lock();
    toast(error.message);
    return false;
  }
}

// What happens: one connection, reopened for the stream that a page shows.
class Live extends EventTarget {
  #source = null;
  #watched = "";
  open(params = {}) {
    const query = new URLSearchParams(params).toString();
    if (this.#source && this.#watched === query && this.#source.readyState !== EventSource.CLOSED) return;
    this.close();
    this.#watched = query;
    const source = (this.#source = new EventSource(`/api/events?${query}`));
    for (const name of ["tick", "incident", "verdict", "model", "settings", "points", "reset"]) {
      source.addEventListener(name, (event) => this.dispatchEvent(new CustomEvent(name, { detail: JSON.parse(event.data) })));
    }
    source.onopen = () => this.dispatchEvent(new CustomEvent("state", { detail: true }));
    source.onerror = () => this.dispatchEvent(new CustomEvent("state", { detail: false }));
  }
  close() {
    this.#source?.close();
    this.#source = null;
  }
}
export const live = new Live();

// Listens until the page is left.
export function on(page, target, name, react) {
  target.addEventListener(name, react, { signal: page.signal });
}

// Calls `work` now and every so often while the page is in view.
export function every(page, ms, work) {
  const turn = () => {
    if (page.signal.aborted) return;
    Promise.resolve(document.hidden ? null : work())
      .catch((error) => { if (error.name !== "AbortError") page.trouble(error); })
      .finally(() => setTimeout(turn, ms));
  };
  turn();
}

// What several pages show: a line of an incident, verdict buttons.
import { change, h, incidentPath, put, severity, span, millis, when, ago } from "./lib.js";

export const VERDICTS = { false_alarm: "False alarm", true: "True", maintenance: "Maintenance" };

// The sentence of its newest revision. That of an open one says how long it had lasted then, which is not how long it lasts.
export const sentence = (incident) => incident.open ? incident.reason.replace(/, for [^,;]+ so far/, "") : incident.reason;

export function incidentLine(incident, { name = true, seconds = false } = {}) {
  const lasted = incident.ended_at ? (millis(incident.ended_at) - millis(incident.started_at)) / 1000 : null;
  return h(`a.incident.${incident.open ? "open" : "over"}`, { href: incidentPath(incident.incident_id) },
    severity(incident.severity, incident.open),
    h("span.name", name ? incident.stream : when(incident.started_at, seconds),
      incident.kind === "no_data" && h("span.tag", "no data"), incident.warming && h("span.tag", "warming"),
      incident.verdict && h("span.tag", VERDICTS[incident.verdict].toLowerCase())),
    h("span.when", incident.open ? ["since ", when(incident.started_at)] : name ? [when(incident.started_at), ", ", span(lasted)] : span(lasted)),
    h("span.why", sentence(incident)));
}

export function incidentList(rows, options) {
  return h("ul.list", rows.map((row) => h("li", { "data-id": row.incident_id }, incidentLine(row, options))));
}

// Buttons that say what an incident was. `said`: the newest verdict.
export function verdicts(incident, said, note) {
  const say = async (verdict) => {
    await change({ what: "verdict", stream: incident.stream, incident_id: incident.incident_id, verdict, note: note?.value || null },
      `Said: ${VERDICTS[verdict].toLowerCase()}`);
  };
  return Object.entries(VERDICTS).map(([verdict, text]) =>
    h("button", { type: "button", "data-verdict": verdict, "aria-pressed": said === verdict ? "true" : "false", onclick: () => say(verdict) }, text));
}

// Moves through lines by j and k, opens one by Enter.
export function byKeys(page, root, selector) {
  let at = -1;
  const lines = () => [...root.querySelectorAll(selector)];
  const move = (step) => {
    const all = lines();
    if (!all.length) return;
    at = Math.min(Math.max(at + step, 0), all.length - 1);
    all.forEach((line, i) => line.classList.toggle("chosen", i === at));
    all[at].scrollIntoView({ block: "nearest" });
  };
  page.keys.j = ["Next line", () => move(1)];
  page.keys.k = ["Line before", () => move(-1)];
  page.keys.Enter = ["Open the line", () => lines()[at]?.click()];
}

export function choice(options, chosen, pick, label) {
  const made = h(".seg", { role: "group", "aria-label": label });
  const draw = (now) => {
    made.replaceChildren();
    put(made, Object.entries(options).map(([value, text]) => h("button", {
      type: "button", "data-value": value, "aria-pressed": value === now ? "true" : "false",
      onclick: () => { draw(value); pick(value); },
    }, text)));
  };
  draw(chosen);
  made.set = draw;
  return made;
}

export { ago };

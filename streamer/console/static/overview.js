// The first page: is anything wrong, and does the machinery run.
import { ask, count, every, fill, h, live, many, on, rate, span, state } from "./lib.js";
import { spark } from "./chart.js";
import { byKeys, incidentList } from "./parts.js";

const STATES = { ready: "ready", warming: "warming", shadow: "shadow", unjudged: "not judged", irregular: "irregular", waiting: "waiting", unseen: "no points yet" };
const SHADES = { ready: 0.9, warming: 0.62, shadow: 0.46, unjudged: 0.36, irregular: 0.28, waiting: 0.2, unseen: 0.12 };

export function sentence({ open, total, trouble }) {
  if (!total && trouble?.length) return "The servers do not answer";
  const all = open.critical + open.warning + open.info;
  if (!all) return "All quiet";
  const parts = ["critical", "warning", "info"].filter((name) => open[name]).map((name) => `${count(open[name])} ${name}`);
  return `${many(all, "open incident")}: ${parts.join(", ")}`;
}

export function statesOf({ states, total }) {
  const entries = Object.entries(STATES).filter(([name]) => states[name]);
  return [
    h(".stack", { role: "img", "aria-label": entries.map(([name, text]) => `${states[name]} ${text}`).join(", ") },
      entries.map(([name]) => h("i", { style: { flex: `${states[name]} 0 0`, background: "var(--text)", opacity: SHADES[name] } }))),
    h("dl.facts", entries.map(([name, text]) => [h("dt", h("a", { href: `/streams?state=${name}` }, text)), h("dd", count(states[name]))]),
      total ? null : [h("dt", "No stream yet"), h("dd", "publish points to metrics")]),
  ];
}

export function troubles(summary) {
  const lines = [...(summary.trouble ?? [])];
  for (const [room, parts] of Object.entries(summary.unread ?? {})) {
    lines.push(`No ${room} reads partition${parts.length === 1 ? "" : "s"} ${parts.join(", ")}: start a ${room} worker`);
  }
  return lines.map((line) => h(".notice", line));
}

const past = [];
export function show(page) {
  page.title("Overview");
  const lede = h("h1.lede"), under = h("p.under"), notices = h("div"), list = h("div"), recent = h("div"), streams = h("div"), numbers = h(".numbers");
  const pulse = h("canvas", { style: { width: "100%", height: "44px", display: "block", marginTop: "14px" }, "aria-hidden": "true" });
  const letters = h("div");
  fill(page.root, lede, under, notices, h(".cols",
    h(".col", h(".card", h("h2", "Open incidents"), list), h(".card", h(".title", h("h2", "Lately over"), h("a.right.quiet", { href: "/incidents" }, "All incidents")), recent)),
    h(".col", h(".card", h("h2", "Flow"), numbers, pulse), h(".card", h("h2", "Streams"), streams), letters)));
  byKeys(page, page.root, "a.incident");

  const draw = () => {
    const now = state.summary;
    if (!now) return;
    lede.textContent = sentence(now);
    const judged = (now.states.ready ?? 0) + (now.states.warming ?? 0) + (now.states.shadow ?? 0);
    under.textContent = `${count(judged)} of ${many(now.total, "stream")} judged${now.muted ? `, ${count(now.muted)} muted` : ""}`;
    fill(notices, troubles(now));
    fill(streams, statesOf(now));
    const lag = Math.max(0, ...Object.values(now.lags ?? {}).map((l) => l.seconds));
    const cell = (value, text) => h("div", h("b", value), h("span", text));
    fill(numbers, cell(rate(now.points_per_s ?? 0), "points a second"), cell(rate(now.slots_per_s ?? 0), "slots judged a second"),
      cell(lag ? span(lag) : "none", "waiting, the longest"), cell(count(Object.values(now.workers ?? {}).reduce((a, b) => a + b, 0)), "workers alive"));
    pulse.hidden = !past.some(Boolean);
    if (!pulse.hidden) spark(pulse, past);
    const dead = Object.entries(now.letters ?? {});
    letters.replaceChildren();
    if (dead.length) {
      letters.append(h(".card", h(".title", h("h2", "Dead letters, last week"), h("a.right.quiet", { href: "/health#letters" }, "Which")),
        h("dl.facts", dead.slice(0, 5).map(([why, many]) => [h("dt", why), h("dd", count(many))]))));
    }
  };
  const load = async () => {
    const [open, over] = await Promise.all([ask("/api/incidents", { state: "open", count: 12 }, page.signal), ask("/api/incidents", { state: "over", count: 6 }, page.signal)]);
    page.well();
    fill(list, open.rows.length ? incidentList(open.rows) : h("p.quiet", "None."));
    fill(recent, over.rows.length ? incidentList(over.rows) : h("p.quiet", "None in the last week."));
  };
  let soon = 0;
  on(page, live, "tick", ({ detail }) => {
    past.push(detail.points_per_s ?? null);
    if (past.length > 300) past.shift();
    draw();
  });
  for (const name of ["incident", "verdict", "reset"]) {
    on(page, live, name, () => { clearTimeout(soon); soon = setTimeout(() => load().catch(page.trouble), 100); });
  }
  on(page, document, "theme", draw);
  draw();
  every(page, 15000, load);
}

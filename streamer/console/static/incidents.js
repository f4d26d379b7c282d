// All incidents, grouped; and one, with the whole reason.
import { ask, count, dayName, every, fill, h, live, many, millis, number, on, severity, span, state, streamPath, toast, when } from "./lib.js";
import { valueChart } from "./chart.js";
import { VERDICTS, byKeys, choice, incidentList, sentence, verdicts } from "./parts.js";
import { shareBars } from "./stream.js";

const HOUR = 3600000;

export function show(page) {
  page.title("Incidents");
  const { params } = page;
  const asked = { q: params.get("q") ?? "", state: params.get("state") ?? "", severity: params.get("severity") ?? "" };
  let group = params.get("group") ?? "time", rows = [];
  const search = h("input", { type: "search", placeholder: "Stream, pattern*, label=value", value: asked.q, "aria-label": "Search incidents", autocomplete: "off", spellcheck: false });
  const which = choice({ "": "All", open: "Open", over: "Over" }, asked.state, (value) => again({ state: value }), "Open or over");
  const hard = h("select", { "aria-label": "Severity", onchange: () => again({ severity: hard.value }) },
    Object.entries({ "": "Any severity", critical: "Critical", warning: "Warning", info: "Info" }).map(([value, text]) => h("option", { value, selected: value === asked.severity }, text)));
  const by = h("select", { "aria-label": "Grouped by", onchange: () => { group = by.value; write(); draw(); } });
  const list = h("div"), total = h("span.sub");
  fill(page.root, h(".head", h("h1", "Incidents"), total), h(".bar", search, which, hard, by), list);
  byKeys(page, list, "a.incident");
  page.keys["/"] = ["Search", () => search.focus()];

  function draw() {
    const labels = [...new Set(rows.flatMap((row) => Object.keys(row.labels)))].sort();
    fill(by, [["time", "By time"], ["stream", "By stream"], ["severity", "By severity"], ...labels.map((key) => [`label:${key}`, `By ${key}`])]
      .map(([value, text]) => h("option", { value, selected: value === group }, text)));
    total.textContent = rows.length ? many(rows.length, "incident") + " of the last week" : "";
    const groups = new Map();
    for (const row of rows) {
      const key = keyOf(row);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(row);
    }
    const sorted = [...groups];
    if (group !== "time") sorted.sort((a, b) => b[1].filter((row) => row.open).length - a[1].filter((row) => row.open).length || b[1].length - a[1].length);
    fill(list, rows.length ? sorted.map(([key, some]) => [h("h2.day", key, h("span.faint", count(some.length))), h(".card.group", incidentList(some))])
      : h(".card", h("p.quiet", asked.q || asked.state || asked.severity ? "Nothing matches." : "No incident in the last week.")));
  }
  function keyOf(row) {
    if (group === "stream") return row.stream;
    if (group === "severity") return row.severity;
    if (group.startsWith("label:")) return row.labels[group.slice(6)] ?? "without";
    if (row.open) return "Open";
    const at = millis(row.started_at);
    return Date.now() - at < 24 * HOUR ? `${dayName(at)}, ${when(at - (at % HOUR)).split(" ").at(-1)}` : dayName(at);
  }
  const load = async () => {
    rows = (await ask("/api/incidents", { ...asked, count: 500 }, page.signal)).rows;
    page.well();
    draw();
  };
  function write() {
    const query = new URLSearchParams(Object.entries({ ...asked, group: group === "time" ? "" : group }).filter(([, value]) => value)).toString();
    history.replaceState(null, "", query ? `/incidents?${query}` : "/incidents");
  }
  function again(given) { Object.assign(asked, given); write(); load().catch(page.trouble); }
  let soon = 0;
  search.oninput = () => { clearTimeout(soon); soon = setTimeout(() => again({ q: search.value.trim() }), 150); };
  for (const name of ["incident", "verdict", "reset"]) on(page, live, name, () => { clearTimeout(soon); soon = setTimeout(() => load().catch(page.trouble), 80); });
  every(page, 30000, load);
}

export async function one(page) {
  const id = page.params.get("id") ?? "";
  let incident = await ask("/api/incident", { id }, page.signal);
  page.title(incident.stream);
  const head = h(".head"), reason = h("p", { style: { fontSize: "18px", lineHeight: "1.45", marginBottom: "20px", maxWidth: "75ch" } });
  const read = h("p.read"), values = h(".chart"), facts = h("div"), say = h("div"), steps = h("div"), shares = h("div"), channels = h("div");
  fill(page.root, head, reason, h(".card", h("h2", "Around it"), read, values),
    h(".cols", { style: { marginTop: "20px" } }, h(".col", say, channels, h(".card", h("h2", "How it went"), steps)), h(".col", h(".card", h("h2", "Why"), facts), shares)));
  const mark = () => [{ from: millis(incident.started_at) / 1000, to: (incident.ended_at ? millis(incident.ended_at) : Date.now()) / 1000, severity: incident.severity }];
  const chart = valueChart(values, read, mark, { height: innerWidth < 620 ? 200 : 240, unit: incident.unit_name });
  page.signal.addEventListener("abort", chart.end);
  const note = h("input", { type: "text", placeholder: "Note, for people", "aria-label": "Note", maxLength: 2000 });

  function draw() {
    const lasted = ((incident.ended_at ? millis(incident.ended_at) : millis(incident.updated_at)) - millis(incident.started_at)) / 1000;
    fill(head, h("h1", h("a", { href: streamPath(incident.stream) }, incident.stream)), severity(incident.severity, incident.open),
      h("span.sub", incident.open ? "open since " : "", when(incident.started_at, true), incident.ended_at ? ` to ${when(incident.ended_at, true)}, ${span(lasted)}` : ""),
      incident.kind === "no_data" && h("span.tag", "no data"), incident.warming && h("span.tag", "warming"), h(".act", h("a.quiet", { href: streamPath(incident.stream) }, "To the stream")));
    reason.textContent = sentence(incident);
    const unit = incident.unit_name ? ` ${incident.unit_name}` : "";
    const place = (title, at) => at && [h("dt", title), h("dd", `${number(at.value)}${unit} at ${when(at.at, true)}`, at.low !== null && h(".faint", `expected ${number(at.low)} to ${number(at.high)}`))];
    fill(facts, h("dl.facts", incident.kind === "anomaly" && [h("dt", "Score"), h("dd", `${incident.score.toFixed(1)} of ${incident.threshold.toFixed(1)}`),
      h("dt", "Chance on normal data"), h("dd", incident.tail_probability.toExponential(0))],
      place("Onset", incident.onset), place("Farthest out", incident.extreme), incident.usual && [h("dt", "Band"), h("dd", incident.usual)],
      h("dt", "Seen by"), h("dd", incident.view.replaceAll("_", " "), incident.scale > 1 ? h(".faint", `${count(incident.scale)} slots wide`) : null),
      incident.teacher_used && [h("dt", "LLM asked"), h("dd", "yes")],
      h("dt", "Model"), h("dd", h("span.mono", incident.model_version ?? (incident.warming ? "none yet" : "none"))),
      incident.end_reason && [h("dt", "Ended"), h("dd", incident.end_reason)],
      Object.entries(incident.labels).map(([key, value]) => [h("dt", key), h("dd", value)]),
      incident.source_offsets.length ? [h("dt", "Records"), h("dd", h("span.mono", `metrics/${incident.source_partition}/${incident.source_offsets.join("–")}`))] : null,
      h("dt", "Id"), h("dd", h("span.mono", incident.incident_id))));
    const said = incident.verdicts.at(-1);
    fill(say, h(".card", h("h2", "What was it?"), said && h("p", { style: { marginBottom: "10px" } }, `${VERDICTS[said.verdict]}${said.note ? `: ${said.note}` : ""}`, said.at && h("span.faint", `  ${when(said.at)}`)),
      state.writable ? h(".verdicts", verdicts(incident, said?.verdict, note), note) : h("p.quiet", "View only: start the console with --console-token to say.")));
    fill(channels, incident.channels.length > 1 || (incident.view !== "season" && incident.channels.length) ? h(".card", h("h2", "Channels at its peak"), h(".scroll", h("table", h("thead", h("tr", h("th", "Channel"), h("th.num", "Value"), h("th.num", { title: "by the prototype that is nearest" }, "Nearest prototype"), h("th.num", "Share"))),
      h("tbody", incident.channels.map((each) => h("tr", h("td", each.channel), h("td.num", number(each.value)), h("td.num", each.low === null ? "–" : `${number(each.low)} to ${number(each.high)}`), h("td.num", `${Math.round(each.share * 100)} %`))))))) : null);
    fill(shares, incident.channels.length > 1 && h(".card", h("h2", "Shares"), shareBars(incident.channels)));
    fill(steps, h("ol.steps", incident.revisions.map((step) => h("li", h("span.faint", `${when(step.at, true)}  `), severity(step.severity, !["resolved", "retracted"].includes(step.state), step.state), h(".quiet", step.reason)))));
  }
  const picture = async () => {
    const found = await ask("/api/stream", { name: incident.stream }, page.signal);
    const channel = Math.max(0, found.channels.indexOf(incident.channels[0]?.channel));
    const width = Math.max(incident.slots, 20), since = (Date.now() - millis(incident.started_at)) / 1000 / (found.interval_s || 1);
    const body = await ask("/api/series", { name: incident.stream, channel, last: Math.min(8192, Math.ceil(since + 4 * width + 60)) }, page.signal);
    const from = millis(incident.started_at) / 1000 - (4 * width + 40) * found.interval_s;
    const to = (incident.ended_at ? millis(incident.ended_at) / 1000 + (2 * width + 20) * found.interval_s : Infinity);
    const keep = body.times.map((time) => time >= from && time <= to);
    const part = (all) => all?.filter((_, i) => keep[i]) ?? null;
    chart.show({ times: part(body.times), values: part(body.values), lows: part(body.lows) }, body.judged ?? null);
    values.dataset.points = part(body.values).length;
  };
  const load = async () => { incident = await ask("/api/incident", { id }, page.signal); page.well(); draw(); await picture(); };
  for (const name of ["incident", "verdict"]) on(page, live, name, ({ detail }) => { if (detail.incident_id === incident.incident_id) load().catch(page.trouble); });
  on(page, document, "unlocked", draw);
  const press = (verdict) => () => (state.writable ? say.querySelector(`[data-verdict="${verdict}"]`)?.click() : toast("View only"));
  Object.assign(page.keys, { f: ["It was a false alarm", press("false_alarm")], y: ["It was true", press("true")], x: ["It was maintenance", press("maintenance")],
    s: ["To the stream", () => page.go(streamPath(incident.stream))], Escape: ["All incidents", () => page.go("/incidents")] });
  draw();
  await picture().catch(() => { values.replaceChildren(h("p.wait", "The window is gone.")); });
  every(page, 5000, async () => { if (incident.open) await picture(); });
}

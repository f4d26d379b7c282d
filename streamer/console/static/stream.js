// One stream: what it does, what is expected, what was unusual, and what judges it.
import { ask, change, count, every, fill, h, live, many, millis, number, on, put, severity, span, state, toast, unlocked, when } from "./lib.js";
import { scoreChart, valueChart, weekChart } from "./chart.js";
import { byKeys, choice, incidentList, sentence, verdicts } from "./parts.js";

const SPANS = { 240: "240 slots", 1024: "1 024", 8192: "8 192", weeks: "8 weeks" };
const DIALS = { "": "0.1 a week", 0.01: "0.01 a week", 1: "1 a week", 5: "5 a week", 20: "20 a week" };

export async function show(page) {
  const name = page.params.get("name") ?? "";
  page.title(name);
  let facts = await ask("/api/stream", { name }, page.signal);
  let channel = Math.max(0, facts.channels.indexOf(page.params.get("channel"))), length = page.params.get("span") ?? "240";
  if (!(length in SPANS)) length = "240";

  const badge = h("span"), sub = h("span.sub"), acts = h(".act"), read = h("p.read"), band = h("span.faint.right");
  const values = h(".chart"), scores = h(".chart"), scoreHead = h(".title", h("h2", "Score"), h("span.faint", "1 opens an incident when it lasts; averages over hours fall slowly after it"));
  const week = h(".card", { hidden: true }), incidents = h("div"), now = h("div"), model = h("div"), settings = h("div"), shares = h(".card", { hidden: true });
  const spans = choice(SPANS, length, (value) => { length = value; load(); }, "How far back");
  const tabs = facts.channels.length > 1 && facts.channels.length <= 12
    ? choice(Object.fromEntries(facts.channels.map((c, i) => [String(i), c])), String(channel), (value) => pick(Number(value)), "Channel")
    : facts.channels.length > 12
      ? h("select", { "aria-label": "Channel", onchange: (event) => pick(Number(event.target.value)) }, facts.channels.map((c, i) => h("option", { value: i, selected: i === channel }, c)))
      : null;
  fill(page.root, h(".head", h("h1", name), badge, sub, acts),
    h(".card", h(".title", h("h2", "Values and what is expected"), tabs, spans, band), read, values, scoreHead, scores),
    h(".cols", { style: { marginTop: "20px" } },
      h(".col", now, h(".card", h("h2", "Incidents, last week"), incidents), week),
      h(".col", shares, h(".card", h("h2", "Model"), model), h(".card", h("h2", "Stream"), settings))));
  byKeys(page, incidents, "a.incident");

  const marks = () => facts.incidents.map((each) => ({
    from: millis(each.started_at) / 1000, to: (each.ended_at ? millis(each.ended_at) : Date.now()) / 1000, severity: each.severity,
  }));
  const chart = valueChart(values, read, marks, { height: innerWidth < 620 ? 220 : 300, sync: "stream", unit: facts.unit_name });
  const score = scoreChart(scores, marks, { sync: "stream" });
  let season = null, seasonal = false, series = { times: [], values: [], lows: null }, judged = null;
  page.signal.addEventListener("abort", () => { chart.end(); score.end(); season?.end(); live.close(); });

  function paint() {
    chart.show(series, length === "weeks" ? null : judged);
    const scored = judged !== null && length !== "weeks";
    scoreHead.hidden = scores.hidden = !scored;
    if (scored) score.show(series.times, judged);
    band.textContent = length === "weeks" ? `means of ${span(series.interval_s)}`
      : judged === null ? "the band comes when the detector has looked" : judged.warming ? "band of the generic prior: no student yet" : judged.usual ? `band: ${judged.usual}` : "band: what is nearest to it";
    values.dataset.points = series.values.length;
    values.dataset.band = scored ? judged.times.length : 0;
  }

  async function load() {
    const asked = length === "weeks" ? { span: "weeks" } : { last: length };
    const body = await ask("/api/series", { name, channel, ...asked }, page.signal);
    page.well();
    series = body;
    judged = body.judged ?? judged;
    paint();
  }

  async function pick(next) {
    channel = next;
    judged = null;
    season?.end();
    season = null;
    week.hidden = true;
    live.open({ stream: name, channel });
    await load();
  }

  async function drawSeason() {
    if (season || !judged?.season) return;
    const found = await ask("/api/season", { name, channel }, page.signal);
    if (!found || season) return;
    const into = h(".chart");
    fill(week, h(".title", h("h2", "What a week usually looks like"), h("span.faint", found.zone)), into);
    week.hidden = false;
    season = weekChart(into, found);
  }

  function drawFacts() {
    const worst = facts.severity;
    fill(badge, worst ? severity(worst) : h("span.tag", { title: facts.why ?? "" }, facts.muted ? "muted" : facts.state));
    sub.textContent = [facts.why, ...Object.entries(facts.labels).map(([key, value]) => `${key}=${value}`)].filter(Boolean).join(" · ");
    fill(acts, state.writable ? [
      h("select", { "aria-label": "False alerts that are accepted", title: "False alerts that are accepted", id: "dial",
        onchange: async (event) => { const given = event.target.value; if (!(await change({ what: "dial", stream: name, alerts_per_week: given ? Number(given) : null }, "Dial set"))) drawFacts(); } },
        dialOptions()),
      h("button", { type: "button", id: "mute", onclick: mute }, facts.muted ? "Alert again" : "Mute")] : h("span.faint", "view only"));
    const open = facts.incidents.filter((each) => each.open);
    fill(now, open.map((each) => h(".card", h(".title", severity(each.severity), h("a.right.quiet", { href: `/incident?id=${each.incident_id}` }, "The whole story")),
      h("p", { style: { marginBottom: "12px" } }, sentence(each)), state.writable && h(".verdicts", verdicts(each, each.verdict)))));
    now.hidden = !open.length;
    fill(incidents, facts.incidents.length ? incidentList(facts.incidents.slice(0, 20), { name: false }) : h("p.quiet", "None."));
    fill(model, models());
    const own = Object.entries(facts.settings).filter(([key]) => key !== "labels");
    fill(settings, h("dl.facts", h("dt", "Interval"), h("dd", span(facts.interval_s)), h("dt", "Points ever"), h("dd", count(facts.points)), h("dt", "Window"), h("dd", `${count(facts.slots)} slots`),
      h("dt", "Season"), h("dd", facts.season ?? "none yet"), facts.passed_over && [h("dt", "Passed over"), h("dd", { title: "it comes at this time, as an incident before did" }, when(facts.passed_over))], h("dt", "Dial"), h("dd", facts.dial),
      own.map(([key, value]) => [h("dt", key), h("dd", typeof value === "object" ? JSON.stringify(value) : String(value))])));
    drawShares();
  }

  async function drawShares() {
    const latest = facts.incidents.find((each) => each.kind === "anomaly");
    shares.hidden = facts.channels.length < 2 || !latest;
    if (shares.hidden) return;
    const whole = await ask("/api/incident", { id: latest.incident_id }, page.signal);
    fill(shares, h("h2", latest.open ? "Channels' shares now" : "Channels' shares, last incident"), shareBars(whole.channels));
  }

  function dialOptions() {
    const mine = facts.per_week === null ? "" : String(facts.per_week);
    const all = mine in DIALS ? DIALS : { ...DIALS, [mine]: `${mine} a week` };
    return Object.entries(all).map(([value, text]) => h("option", { value, selected: value === mine }, `Accept ${text}`));
  }

  function models() {
    const record = facts.model;
    if (!record) return h("p.quiet", "None yet: the generic prior judges.");
    const line = (role, ref, more) => ref && [h("dt", role), h("dd", h("span.mono", ref.version), h(".faint", `${count(ref.points)} slots seen`), more)];
    return [h("dl.facts", line("In force", record.promoted), line("Before", record.previous), line("Refused", record.shadow, record.shadow?.refused && h(".quiet", record.shadow.refused))),
      h("p.faint", { style: { marginTop: "8px" } }, `announced ${when(record.announced_at)}`),
      state.writable && record.previous && h("button", { type: "button", id: "rollback", style: { marginTop: "10px" }, onclick: back }, "Roll back to the one before")];
  }

  async function mute() {
    await change({ what: "mute", stream: name, muted: !facts.muted }, facts.muted ? "Alerts again" : "Muted: its window is kept, nothing alerts");
  }
  async function back() {
    if (await unlocked()) if (confirm(`Roll ${name} back to ${facts.model.previous.version}?`)) await change({ what: "rollback", stream: name }, "Rolled back");
  }

  const refresh = async () => { facts = await ask("/api/stream", { name }, page.signal); page.well(); drawFacts(); };
  let soon = 0;
  for (const event of ["incident", "verdict", "model", "settings"]) {
    on(page, live, event, ({ detail }) => {
      if (detail.stream !== name) return;
      clearTimeout(soon);
      soon = setTimeout(() => refresh().then(paint).catch(page.trouble), 50);
    });
  }
  on(page, live, "reset", () => { load().catch(page.trouble); refresh().catch(page.trouble); });
  on(page, live, "points", ({ detail }) => {
    if (detail.error) { page.trouble(new Error(detail.error)); return; }
    if (length === "weeks") return;
    if (detail.times?.length) series = merged(series, detail, Number(length));
    judged = detail.judged ?? judged;
    if (!document.hidden) paint();
    drawSeason().catch(() => {});
  });
  on(page, document, "unlocked", drawFacts);
  Object.assign(page.keys, {
    m: ["Mute, or alert again", () => state.writable ? mute() : toast("View only")],
    "[": ["Less far back", () => step(-1)], "]": ["Further back", () => step(1)], Escape: ["All streams", () => page.go("/streams")],
  });
  function step(by) {
    const all = ["240", "1024", "8192", "weeks"];
    length = all[Math.min(Math.max(all.indexOf(length) + by, 0), 3)];
    spans.set(length);
    load().catch(page.trouble);
  }
  drawFacts();
  live.open({ stream: name, channel });
  await load();
  every(page, 5000, refresh);
  if (length === "weeks") every(page, 60000, load);
}

export function shareBars(channels) {
  return h(".share", channels.map((each) => [h("span", { style: { overflowWrap: "anywhere" } }, each.channel),
    h("span.rail", h("i", { style: { width: `${Math.round(each.share * 100)}%` } })), h("span.num", `${Math.round(each.share * 100)} %`)]));
}

// The window moved on by what is new; a few slots come again, since some points come late.
function merged(series, { times, values }, most) {
  if (series.lows || !series.times.length) return series.lows ? series : { ...series, times, values };
  const at = series.times.findIndex((time) => time >= times[0]);
  if (at < 0 && times[0] - series.times.at(-1) > (series.interval_s ?? Infinity) * 1.5) return { ...series, times: times.slice(-most), values: values.slice(-most) };
  const keep = at < 0 ? series.times.length : at;
  return { ...series, times: [...series.times.slice(0, keep), ...times].slice(-most), values: [...series.values.slice(0, keep), ...values].slice(-most) };
}

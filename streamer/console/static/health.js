// Does the machinery run: servers, workers, what waits, what was refused.
import { ago, count, every, fill, h, number, rate, span, when, ask } from "./lib.js";
import { statesOf, troubles } from "./overview.js";

export function show(page) {
  page.title("Health");
  const notices = h("div"), body = h("div");
  fill(page.root, h(".head", h("h1", "Health")), notices, body);
  const table = (heads, rows, none) => rows.length ? h(".scroll", h("table", h("thead", h("tr", heads.map(([text, num]) => h(num ? "th.num" : "th", text)))), h("tbody", rows))) : h("p.quiet", none);
  every(page, 2000, async () => {
    const told = await ask("/api/health", {}, page.signal);
    page.well();
    const seen = told.overview;
    fill(notices, troubles(told), told.unread && !Object.keys(told.unread).length && !told.trouble.length ? h("p.under", "Everything answers, and every partition has a reader.") : null);
    const open = new Set([...body.querySelectorAll("details[open]")].map((each) => each.dataset.key));
    if (getSelection()?.toString()) return; // somebody copies something
    fill(body, h(".cols", h(".col",
      h(".card", h("h2", "Workers"), table([["Worker"], ["Doing", 1], ["Partitions"], ["Up", 1]], (seen?.workers ?? []).map((w) => h("tr",
        h("td", w.room, h(".faint.mono", w.name)), h("td.num", `${rate(w.rates[{ streamer: "points_in", detector: "windows_scored", trainer: "students_trained", sink: "messages" }[w.room]] ?? 0)} /s`),
        h("td", w.partitions.length > 8 ? `${w.partitions.length} partitions` : w.partitions.join(", ") || "–"), h("td.num", span(w.up_s)))), "None is alive.")),
      h(".card", h("h2", "What waits"), table([["Stage"], ["Topic"], ["Records", 1], ["The oldest", 1]], (seen?.lags ?? []).map((lag) => h("tr",
        h("td", lag.stage), h("td.quiet", lag.topic), h("td.num", lag.unknown.length === lag.partitions.length && lag.unknown.length ? "unknown" : count(lag.partitions.reduce((sum, p) => sum + p.records, 0))),
        h("td.num", span(Math.max(0, ...lag.partitions.map((p) => p.seconds)) || null)))), "Not known yet.")),
      h(".card", { id: "letters" }, h("h2", "Dead letters, last week"),
        Object.keys(told.letters ?? {}).length ? h("dl.facts", { style: { marginBottom: "14px" } }, Object.entries(told.letters).map(([why, many]) => [h("dt", why), h("dd", count(many))])) : h("p.quiet", "None."),
        told.letters_newest.length ? table([["When"], ["Why"], ["Where", 1]], told.letters_newest.slice(0, 20).map((letter) => h("tr", h("td.quiet", { style: { whiteSpace: "nowrap" } }, when(letter.at * 1000, true)),
          h("td", { style: { overflowWrap: "anywhere" } }, h("b", { style: { fontWeight: 550 } }, letter.reason), " ", h("span.quiet", letter.message), letter.key && h(".faint", letter.key)), h("td.num.mono.faint", `${letter.topic}/${letter.partition}/${letter.offset}`))), "") : null)),
    h(".col",
      h(".card", h("h2", "Servers"), seen ? h("dl.facts", h("dt", "Kafka"), h("dd", seen.cluster_id ? seen.brokers.map((b) => `${b.host}:${b.port}`).join(", ") : "does not answer", seen.cluster_id && h(".faint.mono", seen.cluster_id)),
        h("dt", "Redis"), h("dd", seen.redis_facts ? `${seen.redis_facts.version}, ${number(seen.redis_facts.used_bytes / 2 ** 20, 3)} MB` : "does not answer",
          seen.redis_facts && h(".faint", seen.redis_facts.persistent ? "keeps its data" : "keeps nothing on disk")),
        seen.missing_topics.length ? [h("dt", "Topics missing"), h("dd", seen.missing_topics.join(", "))] : null) : h("p.quiet", "Not known yet.")),
      h(".card", h("h2", "Streams"), statesOf(told), Object.entries(told.why ?? {}).map(([name, whys]) => h("div", { style: { marginTop: "12px" } }, h("h2", name), h("dl.facts.left", Object.entries(whys).slice(0, 6).map(([why, many]) => [h("dt.num", count(many)), h("dd.quiet", why)]))))),
      h(".card", h("h2", "Newest models"), table([["Stream"], ["When", 1]], (seen?.models ?? []).map((m) => h("tr", h("td", { style: { overflowWrap: "anywhere" } }, m.stream, h(".faint", m.refused ?? (m.version ? `${count(m.slots)} slots seen` : ""))), h("td.num.quiet", when(m.announced_at)))), "None yet.")))));
  });
}
